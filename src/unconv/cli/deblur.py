"""`unconv deblur`: restore a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from .. import deblur as library
from ..images import check_writable, read_picture, write_picture
from ..linear_operator import DEFAULT_MEMORY_LIMIT
from .common import (
    UNCERTIFIED,
    BoundaryOption,
    JsonOption,
    MaxPixelsOption,
    OutputOption,
    PsfOption,
    collected_doubts,
    friendly,
    parse_psf,
    progress,
    report,
    tell,
)


@friendly
def deblur(
    picture: Annotated[Path, typer.Argument(help="PNG, JPEG, TIFF or NPY.")],
    output: OutputOption,
    psf: PsfOption,
    damp: Annotated[
        str,
        typer.Option(
            help="How much to damp: a number, or auto (least expected error for white noise and a "
            "picture whose power falls as a power of frequency)."
        ),
    ] = "auto",
    noise_std: Annotated[
        float | None,
        typer.Option(help="Standard deviation of the noise for auto, white = 1; else estimated."),
    ] = None,
    boundary: BoundaryOption = "valid",
    tol: Annotated[
        float, typer.Option(help="Relative error that is good enough; above it the code is 5.")
    ] = library.TOL,
    memory_limit: Annotated[
        float, typer.Option(min=0, help="Gigabytes that the restoration may take.")
    ] = round(DEFAULT_MEMORY_LIMIT / 1e9, 1),
    max_pixels: MaxPixelsOption = 100_000_000,
    as_json: JsonOption = False,
) -> None:
    """Restore a blurred picture: x = argmin ‖psf ∗ x − y‖² + damp²‖x − mean‖².

    Example: unconv deblur blurred.png -o sharp.png --psf motion:15,30
    """
    number = _damp(damp)
    check_writable(output)
    kernel = parse_psf(psf)
    with progress() as step:
        step(f"reading {picture.name}")
        source = read_picture(picture, max_pixels=max_pixels)
        planes = torch.from_numpy(source.planes)
        with collected_doubts() as doubts:
            restored = library.deblur(
                planes,
                kernel,
                damp=number,
                boundary=boundary,
                noise_std=noise_std,
                tol=tol,
                memory_limit=1e9 * memory_limit,
                progress=step,
            )
        step(f"writing {output.name}")
        write_picture(output, source.replace(restored.planes.numpy()))
    proven = bool((restored.certificate.error_bound <= tol).all())
    facts = {
        "input": str(picture),
        "output": str(output),
        "size": list(planes.shape[::-1]),
        "psf": list(kernel.shape),
        "boundary": boundary,
        "damp_chosen": "given" if number is not None else "by least expected error",
        "converged": proven,
        **_evidence(restored),
    }
    report("restored", facts, as_json)
    tell(doubts)
    if not proven:
        raise typer.Exit(UNCERTIFIED)


def _evidence(restored: library.Restored) -> dict[str, Any]:
    certificate = restored.certificate
    return {
        "damp": restored.damp,
        "method": certificate.method,
        "iterations": certificate.iterations.tolist(),
        "residual": certificate.residual.tolist(),
        "optimality": certificate.optimality.tolist(),
        "error_bound": certificate.error_bound.tolist(),
        "advice": certificate.advice,
    }


def _damp(text: str) -> float | None:
    if text == "auto":
        return None
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"--damp {text!r} must be a number >= 0 or auto.") from None
