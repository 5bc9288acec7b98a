"""`unconv inverse-kernel`: the filter of a given size that best undoes a blur."""

from __future__ import annotations

import io
import textwrap
from pathlib import Path
from typing import IO, Annotated, Any

import numpy as np
import torch
import typer
from torch import Tensor

from ..fir import InverseKernel, decay
from ..fir import inverse_kernel as best_inverse
from ..pictures.formats import PictureError
from ..pictures.formats.atomic import replacing
from ..pictures.formats.files import check_replaceable
from .common import (
    DEFAULT_MEMORY,
    JsonOption,
    MemoryOption,
    friendly,
    parse_memory,
    report,
    tell,
)
from .drawing import BLUE, ORANGE, page
from .progress_bar import progress
from .psf_option import DESCRIPTIONS, BackgroundOption, CenterOption, prepared_psf

HALO_ERRORS = (1e-1, 1e-2, 1e-3)
"""Of the largest sample: errors for which the halo of a tile is told."""


@friendly
def inverse_kernel(
    psf: Annotated[
        str,
        typer.Argument(help=f"{DESCRIPTIONS}, or a file; scaled to sum 1."),
    ],
    size: Annotated[str, typer.Option(help="Rows and columns of g, such as 31x31.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="An NPY file for g, float64.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="A PNG with the figure.")] = None,
    delay: Annotated[
        str, typer.Option(help="Where psf ∗ g peaks: center, best, or ROW,COLUMN counted from 0.")
    ] = "center",
    damp: Annotated[float, typer.Option(help="How much to damp.")] = 0.0,
    psf_background: BackgroundOption = "off",
    psf_center: CenterOption = False,
    memory_limit: MemoryOption = DEFAULT_MEMORY,
    as_json: JsonOption = False,
) -> None:
    """Find the filter g = argmin ‖psf ∗ g − δ‖² + damp²‖g‖², so that g ∗ (psf ∗ x) ≈ x.

    Example: unconv inverse-kernel disk:2 --size 31x31 -o g.npy --plot g.png
    """
    most_bytes = parse_memory(memory_limit)
    sizes = _whole_numbers("--size", size, "x", "31x31")
    where = delay if delay in ("center", "best") else _whole_numbers("--delay", delay, ",", "15,15")
    for path, ending in ((output, ".npy"), (plot, ".png")):
        _check_path(path, ending)
    kernel, doubts = prepared_psf(psf, psf_background, center=psf_center)
    with progress() as step:
        step(f"solving for {size} taps")
        found = best_inverse(kernel, sizes, delay=where, damp=damp, memory_limit=most_bytes)
        facts = {"psf": psf, **found.as_dict(), "halos": _halos(found)}
        picture = None
        if plot is not None:
            step("drawing")
            picture = io.BytesIO()
            draw(picture, f"{psf}, inverse of {size}", found)
            facts["plot"] = str(plot)
        if output is not None:
            with replacing(output) as file:
                np.save(file, found.weight[0, 0].numpy())
            facts["output"] = str(output)
        if plot is not None and picture is not None:
            with replacing(plot) as file:
                file.write(picture.getvalue())
    report("found", facts if as_json else rows(found, facts), as_json)
    tell(doubts)


def rows(found: InverseKernel, facts: dict[str, Any]) -> dict[str, Any]:
    """The facts as short texts for people."""
    places = [f"({', '.join(f'{v:.3g}' for v in zero)})" for zero in found.transfer.zeros]
    halos = [f"{halo} for {error}" for error, halo in facts["halos"].items()]
    return {
        "size": " x ".join(map(str, found.size)),
        "delay": ", ".join(map(str, found.delay)),
        "method": found.method,
        "residual ‖psf ∗ g − δ‖": f"{float(found.residual):.6g}",
        "noise gain ‖g‖": f"{float(found.noise_gain):.4g}",
        "smallest |F|": f"{found.transfer.minimum:.3g}",
        "zeros of |F|, cycles per sample": ", ".join(places) or "none found",
        "halo of a tile, by its error": ", ".join(halos),
        **{f"advice {i}": sentence for i, sentence in enumerate(found.advice, 1)},
        **{name: facts[name] for name in ("output", "plot") if name in facts},
    }


def _halos(found: InverseKernel) -> dict[str, int]:
    """The smallest L with ‖g outside L‖₁ ≤ the error."""
    tail = decay(found.weight)
    return {f"{error:g}": int((tail > error).sum()) for error in HALO_ERRORS}


def _whole_numbers(option: str, text: str, separator: str, example: str) -> tuple[int, ...]:
    parts = text.lower().replace("×", "x").split(separator)
    if len(parts) != 2 or not all(part.strip().isdecimal() for part in parts):
        raise ValueError(f"{option} {text!r} must be two whole numbers, such as {example}.")
    return tuple(int(part) for part in parts)


def _check_path(path: Path | None, ending: str) -> None:
    """Refuse a name that cannot be written before any work."""
    if path is None:
        return
    if path.suffix.lower() != ending:
        what = "kernel is an NPY file" if ending == ".npy" else "figure is a PNG"
        raise PictureError(f"the {what}, got {path.name!r}; end it in {ending}.")
    check_replaceable(path)


# --- the figure
_TRANSFER_FLOOR = -80.0  # dB


def draw(file: IO[bytes], title: str, found: InverseKernel) -> None:
    """Draw g, the error psf ∗ g − δ, |F(ω)| and the tail of g into a PNG of 1400 × 1000 pixels."""
    with page(file, title) as figure:
        (upper_left, upper_right), (lower_left, lower_right) = figure.subplots(2, 2)
        _draw_signed(upper_left, found.weight[0, 0])
        upper_left.set_title(f"g, ‖g‖ = {float(found.noise_gain):.3g}")
        error = found.response[0, 0].clone()
        error[found.delay] -= 1
        _draw_signed(upper_right, error)
        upper_right.set_title(f"psf ∗ g − δ, norm {float(found.residual):.3g}")
        _draw_response(lower_left, found)
        _draw_tail(lower_right, found)
        figure.supxlabel("\n".join(textwrap.wrap(" ".join(found.advice[:2]), 110)), fontsize=16)


def _draw_signed(ax: Any, values: Tensor) -> None:
    top = float(values.abs().max()) or 1.0
    image = ax.imshow(values.numpy(), cmap="PuOr", vmin=-top, vmax=top)
    ax.figure.colorbar(image, ax=ax, shrink=0.9)


def _draw_response(ax: Any, found: InverseKernel) -> None:
    """|F(ω)| in dB and its zeros, ω and −ω."""
    transfer = found.transfer
    y, x = (-float(f[0]) for f in transfer.frequencies)
    levels = (
        20 * (transfer.smallest / transfer.maximum).clamp(min=10 ** (_TRANSFER_FLOOR / 20)).log10()
    )
    # Exact zeros shall not take the colours of all the rest.
    low = max(_TRANSFER_FLOOR, min(-20.0, float(torch.quantile(levels, 0.005))))
    image = ax.imshow(levels.numpy(), extent=(-x, x, y, -y), cmap="viridis", vmin=low, vmax=0)
    for row, column in transfer.zeros:
        ax.plot([column, -column], [row, -row], "x", color=ORANGE, ms=9, mew=2)
    ax.figure.colorbar(image, ax=ax, label="dB", shrink=0.9)
    ax.set(xlabel="columns, cycles/sample", ylabel="rows, cycles/sample")
    ax.set_title("|F(ω)|" + (", some zeros ×" if transfer.zeros else ""))


def _draw_tail(ax: Any, found: InverseKernel) -> None:
    tail = decay(found.weight)[:-1]  # the last entry is zero
    ax.semilogy(range(len(tail)), tail.numpy(), color=BLUE, marker="o", ms=6)
    ax.grid(alpha=0.4)
    ax.set(xlabel="L, samples", title="tail of g, ‖g outside L‖₁")
