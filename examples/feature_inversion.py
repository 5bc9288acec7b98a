"""From the features of a network's first layers back to the picture, exactly.

A convolution with c_out·m ≥ c_in·n numbers out of c_in·n in is injective for almost all weights,
then A⁺A = 1; a leaky ReLU can be undone anywhere.  So a network of such layers is undone layer by
layer, the last first:

    z = leaky_relu⁻¹(h),    x = A⁺(z − bias)

and every A⁺ comes with a certificate.  Its error_bound, and the error e that the layers behind it
have left in z, bound the error of x by ‖A⁺‖ e + error_bound·‖x‖.

A layer with fewer numbers out than in forgets some of x.  A⁺ then gives the picture of least norm
among all that have the same features, and the rank in the certificate says how much of it is known.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, NamedTuple

import torch
import typer
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table
from skimage import data
from torch import Tensor, nn
from torch.nn.functional import interpolate, leaky_relu

from unconv import ConvOperator
from unconv.inverse import Certificate
from unconv.pictures.formats import check_writable

SIZE, QUICK_SIZE = 96, 32
SLOPE = 0.1
_SHOWN = 4  # feature maps of each layer


class Undone(NamedTuple):
    """One convolution undone.

    Attributes
    ----------
    x : (1, c_in, *n), the input of the convolution
    certificate : of this layer alone, for the z that it was given
    bound : on the relative error of x, the layers behind it included
    shape : (m, n) of A
    """

    x: Tensor
    certificate: Certificate
    bound: float
    shape: tuple[int, int]


def make_network(seed: int = 0) -> nn.Sequential:
    """Two layers that lose nothing: 8 numbers for 3, then 48/4 = 12 for 8."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.LeakyReLU(SLOPE),
        nn.Conv2d(8, 48, 3, stride=2, padding=1),
        nn.LeakyReLU(SLOPE),
    ).double()


def make_lossy_network(seed: int = 0) -> nn.Sequential:
    """One layer that keeps 8/4 = 2 numbers of 3."""
    torch.manual_seed(seed)
    layers = nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.LeakyReLU(SLOPE)
    return nn.Sequential(*layers).double()


def load_picture(size: int = SIZE) -> Tensor:
    """The photograph `astronaut`, its face, as (1, 3, size, size) float64 in [0, 1]."""
    pixels = torch.from_numpy(data.astronaut()).double().permute(2, 0, 1)[None] / 255
    return interpolate(pixels[..., :256, 96:352], (size, size), mode="area")


@torch.no_grad()
def undo(network: nn.Sequential, h: Tensor, size: int) -> list[Undone]:
    """Undo convolutions and leaky ReLUs, the last first; one entry a convolution, in that order.

    Parameters
    ----------
    h : what the network made of a picture (1, 3, size, size), taken for exact
    """
    found: list[Undone] = []
    error = 0.0  # absolute, of h
    for layer, n in reversed(list(zip(network, _input_sizes(network, size), strict=True))):
        if isinstance(layer, nn.LeakyReLU):
            h = leaky_relu(h, 1 / layer.negative_slope)
            error /= layer.negative_slope
            continue
        A = ConvOperator.from_module(layer, (n, n))
        x, certificate = A.lstsq(h, subtract_bias=True)
        smallest = float(A.svdvals(1, "smallest"))  # 1/‖A⁺‖
        norm = float(x.norm())
        error = error / smallest + certificate[0].error_bound * norm
        found.append(Undone(x, certificate, error / norm, A.shape))
        h = x
    return found


def _input_sizes(network: nn.Sequential, size: int) -> Iterator[int]:
    for layer in network:
        yield size
        if isinstance(layer, nn.Conv2d):
            size = (size + 2 * layer.padding[0] - layer.kernel_size[0]) // layer.stride[0] + 1


def relative_error(x: Tensor, truth: Tensor) -> float:
    """‖x − truth‖ / ‖truth‖."""
    return float((x - truth).norm() / truth.norm())


def draw(path: Path, network: nn.Sequential, picture: Tensor, exact: Undone, lossy: Undone) -> None:
    """The picture and what came back above, a few feature maps of each layer below."""
    figure = Figure(figsize=(12.5, 6.8), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subfigures(2, 1, height_ratios=[5, 1.8])
    rank, (_, n) = int(lossy.certificate.rank[0]), lossy.shape
    errors = [relative_error(undone.x, picture) for undone in (exact, lossy)]
    shown = (
        ("picture", picture),
        (
            f"from 48 maps of half the size\nerror {errors[0]:.1e}, certified {exact.bound:.1e}",
            exact.x,
        ),
        (
            "of least norm, from 8 maps of half the size\n"
            f"rank {rank:,} of {n:,}, error {errors[1]:.2f}",
            lossy.x,
        ),
    )
    for ax, (title, x) in zip(above.subplots(1, 3), shown, strict=True):
        ax.imshow(x[0].clamp(0, 1).permute(1, 2, 0).numpy())
        ax.set_title(title, fontsize=11)
        ax.set_axis_off()
    axes = below.subplots(1, 2 * _SHOWN)
    with torch.no_grad():
        first = network[:2](picture)
        second = network[2:](first)
    for k, ax in enumerate(axes):
        layer, channel = divmod(k, _SHOWN)
        ax.imshow((first, second)[layer][0, channel].numpy(), cmap="gray")
        ax.set_title(f"layer {layer + 1}, map {channel + 1}", fontsize=10)
        ax.set_axis_off()
    figure.savefig(path, format="png")


def main(
    output: Annotated[Path, typer.Option("--output", "-o", help="The PNG to draw.")] = Path(
        "feature-inversion.png"
    ),
    seed: Annotated[int, typer.Option(help="Of the weights.")] = 0,
    quick: Annotated[
        bool, typer.Option("--quick", help=f"{QUICK_SIZE} pixels a side, not {SIZE}.")
    ] = False,
) -> None:
    """Invert the first layers of two random networks, certify the pictures, and draw them."""
    check_writable(output)
    size = QUICK_SIZE if quick else SIZE
    picture = load_picture(size)
    network, lossy = make_network(seed), make_lossy_network(seed)
    table = Table("layer", "A (m, n)", "rank", "error_bound", "with the layers behind", box=None)
    began = time.perf_counter()
    last = {}
    for kind, one in (("injective", network), ("lossy", lossy)):
        for undone in undo(one, one(picture).detach(), size):
            bound = f"{undone.certificate[0].error_bound:.1e}"
            rank = f"{undone.certificate[0].rank:,}"
            table.add_row(
                kind, "{:,} × {:,}".format(*undone.shape), rank, bound, f"{undone.bound:.1e}"
            )
            last[kind] = undone
    seconds = time.perf_counter() - began
    errors = {kind: relative_error(undone.x, picture) for kind, undone in last.items()}
    console = Console(highlight=False)
    console.print(table)
    console.print(
        f"error of the picture {errors['injective']:.1e}, of the lossy one {errors['lossy']:.2f}; "
        f"{seconds:.1f} s"
    )
    draw(output, network, picture, last["injective"], last["lossy"])
    console.print(str(output))


if __name__ == "__main__":
    typer.run(main)
