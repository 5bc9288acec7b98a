"""`unconv psf points`: the psf of a picture of beads or stars."""

from __future__ import annotations

import io
from pathlib import Path
from typing import IO, Annotated, Any

import numpy as np
import torch
import typer
from torch import Tensor

from ...pictures.formats import Picture, PictureError, read_picture
from ...pictures.formats.atomic import replacing
from ...pictures.formats.files import check_replaceable
from ...pictures.formats.kernels import check_kernel_writable, write_kernel
from ...psf.points import MeasuredPsf, from_points
from ..common import JsonOption, MaxPixelsOption, friendly, report, tell
from ..drawing import BLUE, GREY, ORANGE, page
from ..picture_options import level_of, white_of
from ..progress_bar import progress

_AXES = "vertical", "horizontal"


@friendly
def points(
    picture: Annotated[
        Path, typer.Argument(help="A grey picture of points: PNG, TIFF, NPY, FITS, JPEG.")
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="NPY, FITS, TIFF, CSV or TXT for the psf, float64."),
    ] = None,
    size: Annotated[int, typer.Option(min=3, help="Rows and columns of the psf, odd.")] = 25,
    saturation: Annotated[
        str,
        typer.Option(
            help="Level from which samples are saturated, as stored: auto (a plateau of the "
            "largest value), off or a number."
        ),
    ] = "auto",
    plot: Annotated[Path | None, typer.Option(help="A PNG with the figure.")] = None,
    max_pixels: MaxPixelsOption = 100_000_000,
    as_json: JsonOption = False,
) -> None:
    """Measure a psf from points of light: one shape, their positions between samples, fluxes.

    Example: unconv psf points beads.tif --size 25 -o psf.npy --plot psf.png
    """
    if output is not None:
        check_kernel_writable(output)
    if plot is not None:
        _check_plot(plot)
    source = read_picture(picture, max_pixels=max_pixels)
    grey = _grey(source, picture)
    with progress() as step:
        step("measuring")
        found = from_points(grey, size=size, saturation=level_of(saturation, source))
        facts = facts_of(found, white_of(source))
        drawn = io.BytesIO()
        if plot is not None:
            step("drawing")
            draw(drawn, f"{picture.name}, {len(found.positions)} points", grey, found)
            facts["plot"] = str(plot)
        if output is not None:
            write_kernel(output, found.psf.numpy())
            facts["output"] = str(output)
        if plot is not None:
            with replacing(plot) as file:
                file.write(drawn.getvalue())
    if not as_json:
        tell(list(found.doubts.values()))
    report("measured", facts if as_json else rows(facts), as_json)


def facts_of(found: MeasuredPsf, white: float) -> dict[str, Any]:
    """What is reported, in the unit in which the file stores its pixels."""
    return {
        "size": list(found.psf.shape),
        "fwhm": list(found.fwhm),
        "points": len(found.positions),
        "error": found.error,
        "residual": found.residual,
        "positions": found.positions.tolist(),
        "fluxes": (white * found.fluxes).tolist(),
        "backgrounds": (white * found.backgrounds).tolist(),
        "refused": [{"position": list(r.position), "why": r.why} for r in found.refused],
        "doubts": found.doubts,
    }


def rows(facts: dict[str, Any]) -> dict[str, Any]:
    """The facts as short texts for people."""
    fluxes, backgrounds = facts["fluxes"], facts["backgrounds"]
    shown = {
        "size": " x ".join(map(str, facts["size"])),
        **{
            f"fwhm, {axis}": f"{width:.2f} samples"
            for axis, width in zip(_AXES, facts["fwhm"], strict=True)
        },
        "points used": facts["points"],
        "fluxes": f"{min(fluxes):.4g} to {max(fluxes):.4g}",
        "backgrounds": f"{min(backgrounds):.4g} to {max(backgrounds):.4g}",
        "error from noise": f"{100 * facts['error']:.2g} % of the psf",
        "residual": f"{100 * facts['residual']:.2g} % of the light",
    }
    for refused in facts["refused"]:
        place = ", ".join(f"{v:.0f}" for v in refused["position"])
        shown[f"refused ({place})"] = refused["why"]
    return shown | {name: facts[name] for name in ("output", "plot") if name in facts}


def _grey(source: Picture, path: Path) -> Tensor:
    """The one plane of a picture, or that which all its planes are."""
    first = source.planes[0]
    if not all(np.array_equal(plane, first, equal_nan=True) for plane in source.planes[1:]):
        raise ValueError(
            f"picture '{path}' has colours, and each has its own psf; give one channel of it as a "
            "grey picture."
        )
    return torch.from_numpy(first.copy())


def _check_plot(path: Path) -> None:
    """Refuse a name that cannot be drawn to before any work."""
    if path.suffix.lower() != ".png":
        raise PictureError(f"the figure is a PNG, got {path.name!r}; end it in .png.")
    check_replaceable(path)


# --- the figure
_WINGS = -4.0  # log₁₀ of the peak


def draw(file: IO[bytes], title: str, image: Tensor, found: MeasuredPsf) -> None:
    """Draw the psf, its wings, its lines through the peak and the points into a PNG."""
    with page(file, title) as figure:
        (upper_left, upper_right), (lower_left, lower_right) = figure.subplots(2, 2)
        psf = found.psf / found.psf.max()
        shown = upper_left.imshow(psf.numpy(), cmap="gray", vmin=0, vmax=1)
        figure.colorbar(shown, ax=upper_left, shrink=0.9)
        upper_left.set_title("psf, of its peak")
        wings = psf.clamp(min=10**_WINGS).log10()
        shown = upper_right.imshow(wings.numpy(), cmap="viridis", vmin=_WINGS, vmax=0)
        figure.colorbar(shown, ax=upper_right, shrink=0.9)
        upper_right.set_title("log₁₀ of it")
        _draw_lines(lower_left, psf, found.fwhm)
        _draw_points(lower_right, image, found)
        if found.doubts:
            figure.supxlabel("doubtful: " + ", ".join(found.doubts), fontsize=16)


def _draw_lines(ax: Any, psf: Tensor, fwhm: tuple[float, ...]) -> None:
    """The psf along each axis through its brightest sample."""
    row, column = (int(i) for i in np.unravel_index(int(psf.argmax()), psf.shape))
    lines = (psf[:, column], row), (psf[row], column)
    for (line, peak), axis, colour in zip(lines, _AXES, (BLUE, ORANGE), strict=True):
        places = np.arange(len(line)) - peak
        ax.plot(places, line.numpy(), "o-", ms=6, color=colour, label=axis)
    ax.axhline(0.5, color=GREY, lw=1.5, ls="--")
    ax.legend(fontsize=14, loc="upper right")
    ax.grid(alpha=0.4)
    ax.set(xlabel="samples from the peak", title="fwhm {:.2f} × {:.2f}".format(*fwhm))


def _draw_points(ax: Any, image: Tensor, found: MeasuredPsf) -> None:
    seen = image[image.isfinite()].double()
    low, high = (float(torch.quantile(seen[:: 1 + len(seen) // 10**6], q)) for q in (0.02, 0.998))
    ax.imshow(image.numpy(), cmap="gray", vmin=low, vmax=max(high, low + 1e-12))
    rows, columns = found.positions.T.numpy()
    ax.plot(columns, rows, "o", ms=11, mfc="none", mec=ORANGE, mew=2)
    if found.refused:
        rows, columns = np.array([r.position for r in found.refused]).T
        ax.plot(columns, rows, "x", ms=9, color=BLUE, mew=2)
    ax.set_title("points: ○ used, × refused")
