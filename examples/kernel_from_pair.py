"""Find the kernel of a blur from one sharp and one blurred picture, by descending through A⁺.

Deblur with a guess K, compare with the sharp picture, follow the gradient of the comparison back
through the solve into K.  With x sharp, y blurred, both high-passed, and
B = (AᴴA + damp²)⁻¹Aᴴ, A = A(K), there are two comparisons:

    approach    ‖B y − x‖²         from afar; damp starts large, so that a frequency of which the
                                   guess has the wrong sign is no trap
    polish      ‖B (y − A x)‖²     nearby; without noise zero at the true K, whatever the damp

Each is one `lstsq`.  High-passed pictures have a nearly white spectrum, so that all
frequencies of K weigh alike; the Laplacian commutes with a circular blur.  Noise biases the polish
by its square, since a larger K has a smaller B.

Given both pictures, y = A(K) x is linear in K and 81 unknowns are fitted sooner by plain least
squares, with less error: `linear_fit` is that answer, to compare.  Descending is for what has no
such form, a loss behind the deblurred picture: a network, a detector, a scene that is unknown too.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NamedTuple

import torch
import typer
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.console import Console
from skimage import data
from torch import Tensor
from torch.nn.functional import avg_pool2d

from unconv import ConvOperator
from unconv.pictures.formats import check_writable
from unconv.pictures.restoration import blur_operator
from unconv.psf import models as psf

SIDE = 9
APPROACH = (0.3, 0.1)  # damps
POLISH = 0.05
NOISE_STD = 5e-4

Loss = Callable[[ConvOperator], Tensor]


class Pair(NamedTuple):
    """A sharp and a blurred picture (1, 1, n, n), and the kernel (9, 9) to be found."""

    sharp: Tensor
    blurred: Tensor
    kernel: Tensor


class Trace(NamedTuple):
    """A fit.

    Attributes
    ----------
    kernel, start : (9, 9)
    errors : of the kernel, relative, at each evaluation of a loss
    stages : number of evaluations at which each loss was left
    """

    kernel: Tensor
    start: Tensor
    errors: list[float]
    stages: list[int]


def make_pair(size: int = 256, noise_std: float = NOISE_STD, seed: int = 0) -> Pair:
    """The photograph `camera`, reduced to size × size, and its circular blur with noise."""
    picture = torch.from_numpy(data.camera()).double()[None, None] / 255
    sharp = avg_pool2d(picture, picture.shape[-1] // size)
    kernel = psf.motion(11.5, 40)
    noise = torch.randn(sharp.shape, generator=torch.Generator().manual_seed(seed)).double()
    return Pair(sharp, operator(kernel, sharp)(sharp) + noise_std * noise, kernel)


def operator(kernel: Tensor, like: Tensor) -> ConvOperator:
    """The circular blur of pictures of this size."""
    return blur_operator(kernel, (like.shape[-2], like.shape[-1]), boundary="circular")


def start_kernel() -> Tensor:
    """A guess that knows nothing of direction or length: a Gaussian."""
    kernel = psf.gaussian(2.0, truncate=2.0)
    assert kernel.shape == (SIDE, SIDE)
    return kernel


def fit(pair: Pair, steps: int = 30) -> Trace:
    """Both comparisons in turn, `steps` L-BFGS iterations for a damp, twice as many to polish."""
    kernel = start_kernel().requires_grad_()
    highpass = operator(torch.tensor([[0, -1, 0], [-1, 4, -1], [0, -1, 0]]).double(), pair.sharp)
    x, y = highpass(pair.sharp), highpass(pair.blurred)

    def approach(damp: float) -> Loss:
        return lambda A: (A.lstsq(y, damp).solution - x).square().mean()

    def polish(A: ConvOperator) -> Tensor:
        return A.lstsq(y - A(x), POLISH).solution.square().mean()

    errors: list[float] = []
    stages = []
    for loss, most in [*((approach(damp), steps) for damp in APPROACH), (polish, 2 * steps)]:
        _descend(kernel, pair, loss, most, errors)
        stages.append(len(errors))
    return Trace(kernel.detach(), start_kernel(), errors, stages)


def _descend(kernel: Tensor, pair: Pair, loss: Loss, steps: int, errors: list[float]) -> None:
    optimizer = torch.optim.LBFGS(
        [kernel],
        max_iter=steps,
        history_size=steps,
        tolerance_grad=0.0,
        tolerance_change=0.0,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss(operator(kernel, pair.sharp))
        value.backward()
        errors.append(relative_error(kernel.detach(), pair.kernel))
        return value

    optimizer.step(closure)


def linear_fit(pair: Pair) -> Tensor:
    """argmin over K of ‖A(K) x − y‖²: a column for each of the 81 taps."""
    taps = torch.eye(SIDE * SIDE, dtype=torch.float64).reshape(-1, SIDE, SIDE)
    columns = [operator(tap, pair.sharp)(pair.sharp).flatten() for tap in taps]
    K = torch.linalg.lstsq(torch.stack(columns, 1), pair.blurred.flatten()[:, None]).solution
    return K.reshape(SIDE, SIDE)


def relative_error(kernel: Tensor, truth: Tensor) -> float:
    """‖K − truth‖ / ‖truth‖."""
    return float((kernel - truth).norm() / truth.norm())


def draw(path: Path, pair: Pair, trace: Trace) -> None:
    """The pictures, the kernels, and the error over the evaluations."""
    figure = Figure(figsize=(13, 6.6), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplot_mosaic([["sharp", "blurred", "curve"], ["true", "start", "found"]])
    for name, picture in (("sharp", pair.sharp), ("blurred", pair.blurred)):
        axes[name].imshow(picture[0, 0].numpy(), cmap="gray", vmin=0, vmax=1)
        axes[name].set_title(name, fontsize=11)
    kernels = {"true": pair.kernel, "start": trace.start, "found": trace.kernel}
    brightest = float(pair.kernel.max())
    for name, kernel in kernels.items():
        shown = axes[name].imshow(kernel.numpy(), cmap="magma", vmin=0, vmax=brightest)
        error = relative_error(kernel, pair.kernel)
        axes[name].set_title(
            f"{name} kernel" + (f", error {100 * error:.3g} %" if error else ""), fontsize=11
        )
    figure.colorbar(shown, ax=axes["found"], shrink=0.9)
    for name in ("sharp", "blurred", *kernels):
        axes[name].set_axis_off()
    _draw_curve(axes["curve"], trace)
    figure.savefig(path, format="png")


def _draw_curve(ax: Axes, trace: Trace) -> None:
    ax.semilogy([100 * e for e in trace.errors], color="C0")
    ax.axhline(1, color="0.5", linewidth=0.8, linestyle="--")
    names = [*(f"damp {damp:g}" for damp in APPROACH), "polish"]
    for left, right, name in zip([0, *trace.stages], trace.stages, names, strict=False):
        ax.axvline(right, color="0.8", linewidth=0.8)
        ax.text((left + right) / 2, 1.02, name, transform=ax.get_xaxis_transform(), ha="center")
    ax.set_xlabel("evaluations of the loss and its gradient")
    ax.set_ylabel("error of the kernel in %")


def main(
    output: Annotated[Path, typer.Option("--output", "-o", help="The PNG to draw.")] = Path(
        "kernel-from-pair.png"
    ),
    seed: Annotated[int, typer.Option(help="Of the noise.")] = 0,
    steps: Annotated[int, typer.Option(min=1, help="L-BFGS iterations a stage.")] = 30,
    noise_std: Annotated[float, typer.Option(min=0, help="White = 1.")] = NOISE_STD,
    quick: Annotated[
        bool, typer.Option("--quick", help="128 × 128 pixels, not 256 × 256.")
    ] = False,
) -> None:
    """Recover a 9 × 9 motion kernel from a sharp and a blurred picture, and draw it."""
    check_writable(output)
    pair = make_pair(128 if quick else 256, noise_std, seed)
    began = time.perf_counter()
    trace = fit(pair, steps)
    seconds = time.perf_counter() - began
    draw(output, pair, trace)
    found, linear = (relative_error(k, pair.kernel) for k in (trace.kernel, linear_fit(pair)))
    Console(highlight=False).print(
        f"error of the kernel {found:.2%} after {len(trace.errors)} evaluations in "
        f"{seconds:.1f} s; by linear least squares from the sharp picture {linear:.2%}\n{output}"
    )


if __name__ == "__main__":
    typer.run(main)
