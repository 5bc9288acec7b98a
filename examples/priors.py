"""One blurred photograph, restored with six priors: what each of them believes can be seen.

An out-of-focus blur of radius 4 with noise of 2 % of white, surroundings unknown.  The linear
estimates are those of `unconv.pictures.deblur`; the others are those of `unconv.restore`, with
strengths that are chosen from the data.

    python -m examples.priors              writes restoration.jpg
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, NamedTuple

import torch
import typer
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from skimage import data
from skimage.metrics import structural_similarity
from torch import Tensor

import unconv
from unconv import pictures, psf
from unconv.pictures.formats import check_writable

RADIUS, NOISE_STD = 4.0, 0.02
SIZE = 320  # of the scene; what the camera sees is smaller by the psf
PARTS = {"camera": (75, 90, 110), "astronaut": (30, 90, 110)}
"""Corner and side of the part that is shown."""


class Shown(NamedTuple):
    """A picture (h, w) with white = 1, and how close it is to the truth; None for the truth."""

    planes: Tensor
    psnr: float | None
    ssim: float | None


def scene(name: str, size: int = SIZE) -> Tensor:
    """A photograph in grey, (1, 1, size, size)."""
    picture = torch.from_numpy(getattr(data, name)()).double() / 255
    grey = picture.mean(2) if picture.ndim == 3 else picture
    top, left = {"camera": (20, 130), "astronaut": (0, 100)}[name]
    return grey[top : top + size, left : left + size][None, None]


def restorations(truth: Tensor) -> dict[str, Shown]:
    """What was seen, and what each prior makes of it, on the frame that the camera saw."""
    spread = psf.disk(RADIUS).double()
    A = unconv.ConvOperator(spread[None, None], truth.shape[2:], flip=True)
    y = A(truth)
    noise = torch.randn(y.shape, generator=torch.Generator().manual_seed(0), dtype=y.dtype)
    y = y + NOISE_STD * noise
    rim = spread.shape[-1] // 2
    inner = (0, 0, *[slice(rim, -rim)] * 2)

    def judged(planes: Tensor) -> Shown:
        sharp, planes = truth[inner], planes.clamp(0, 1)
        psnr = float(-10 * (planes - sharp).square().mean().log10())
        ssim = structural_similarity(sharp.numpy(), planes.numpy(), data_range=1)
        return Shown(planes, psnr, float(ssim))

    found = {"original": Shown(truth[inner], None, None), "seen": judged(y[0, 0])}
    for name, prior in (("damped", "damp"), ("Wiener", "wiener")):
        found[name] = judged(pictures.deblur(y[0], spread, prior=prior).planes[0].double())
    for name, prior in (("total variation", "tv"), ("sparse gradients", "sparse"), ("dct", "dct")):
        found[name] = judged(unconv.restore(A, y, prior=prior, bounds=(0, 1)).solution[inner])
    return found


def draw(path: Path, rows: dict[str, dict[str, Shown]]) -> None:
    """A row for each photograph, a part of it enlarged; scores are those of the whole frame."""
    columns = max(map(len, rows.values()))
    figure = Figure(figsize=(2.1 * columns, 2.55 * len(rows)), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for row, (name, found) in zip(axes, rows.items(), strict=True):
        top, left, side = PARTS[name]
        for ax, (title, one) in zip(row, found.items(), strict=True):
            part = one.planes[top : top + side, left : left + side].clamp(0, 1)
            ax.imshow(part.numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            score = "" if one.psnr is None else f"{one.psnr:.1f} dB, SSIM {one.ssim:.2f}"
            ax.set_title(f"{title}\n{score}", fontsize=10)
            ax.set_axis_off()
    figure.savefig(path, format="jpg", pil_kwargs={"quality": 90})


def main(
    output: Annotated[Path, typer.Option("-o", help="Where the picture goes.")] = Path(
        "restoration.jpg"
    ),
) -> None:
    """Restore two photographs and show what the priors make of them."""
    check_writable(output)
    rows = {}
    for name in PARTS:
        rows[name] = restorations(scene(name))
        for title, one in rows[name].items():
            if one.psnr is not None:
                typer.echo(f"{name:12}{title:18}{one.psnr:6.2f} dB  SSIM {one.ssim:.3f}")
    draw(output, rows)


if __name__ == "__main__":
    typer.run(main)
