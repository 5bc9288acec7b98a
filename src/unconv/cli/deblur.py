"""`unconv deblur`: restore a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from ..pictures import jpeg_rounding
from ..pictures import restoration as library
from ..pictures.formats import (
    PictureError,
    check_writable,
    read_picture,
    write_picture,
)
from ..pictures.formats.atomic import replacing
from ..pictures.formats.files import check_replaceable
from .common import (
    DEFAULT_MEMORY,
    UNCERTIFIED,
    BoundaryOption,
    JsonOption,
    MaxPixelsOption,
    MemoryOption,
    OutputOption,
    PsfOption,
    collected_doubts,
    friendly,
    parse_memory,
    parse_psf,
    progress,
    report,
    tell,
)
from .report_page import drawn_page


@friendly
def deblur(
    picture: Annotated[Path, typer.Argument(help="PNG, JPEG, TIFF or NPY.")],
    output: OutputOption,
    psf: PsfOption,
    prior: Annotated[
        str | None,
        typer.Option(
            help="wiener (least expected error, with the spectra of scene and noise read from the "
            "picture) or damp; by default wiener unless a damp or an invented boundary is given."
        ),
    ] = None,
    damp: Annotated[
        str | None,
        typer.Option(
            help="How much to damp: a number, or the rule that chooses it: risk (least expected "
            "error for white noise and a picture whose power falls as a power of frequency), gcv, "
            "discrepancy or sure."
        ),
    ] = None,
    noise_std: Annotated[
        float | None,
        typer.Option(help="Standard deviation of white noise, white = 1; else it is estimated."),
    ] = None,
    boundary: BoundaryOption = "valid",
    tol: Annotated[
        float, typer.Option(help="Relative error that is good enough; above it the code is 5.")
    ] = library.TOL,
    memory_limit: MemoryOption = DEFAULT_MEMORY,
    page: Annotated[
        Path | None,
        typer.Option("--report", help="Write an HTML page, before and after, with the evidence."),
    ] = None,
    max_pixels: MaxPixelsOption = 100_000_000,
    as_json: JsonOption = False,
) -> None:
    """Restore a blurred picture: x = E[scene | y], or argmin ‖psf ∗ x − y‖² + damp²‖x − mean‖².

    Example: unconv deblur blurred.png -o sharp.png --psf motion:15,30
    """
    wanted, most_bytes = None if damp is None else _damp(damp), parse_memory(memory_limit)
    check_writable(output)
    if page is not None:
        _check_page(page)
    kernel = parse_psf(psf)
    with progress() as step:
        step(f"reading {picture.name}")
        source = read_picture(picture, max_pixels=max_pixels)
        planes = torch.from_numpy(source.planes)
        with collected_doubts() as doubts:
            restored = library.deblur(
                planes,
                kernel,
                prior=prior,
                damp=wanted,
                jpeg=jpeg_rounding(source.metadata, len(planes)),
                boundary=boundary,
                noise_std=noise_std,
                tol=tol,
                memory_limit=most_bytes,
                progress=step,
            )
        proven = bool((restored.certificate.error_bound <= tol).all())
        facts = {
            "input": str(picture),
            "output": str(output),
            "size": list(planes.shape[::-1]),
            "psf": list(kernel.shape),
            "boundary": boundary,
            "prior": restored.prior,
            **_conclusions(restored, wanted),
            "converged": proven,
            **_evidence(restored),
        }
        drawn = None
        if page is not None:
            step(f"drawing {page.name}")
            facts["report"] = str(page)
            drawn = drawn_page(picture.name, planes, restored, facts | {"psf": psf})
        step(f"writing {output.name}")
        write_picture(output, source.replace(restored.planes.numpy()))
        if page is not None and drawn is not None:
            with replacing(page) as file:
                file.write(drawn)
    report("restored", facts, as_json)
    tell([*doubts, *_doubts_of(restored)])
    if not proven:
        raise typer.Exit(UNCERTIFIED)


def _check_page(page: Path) -> None:
    """Refuse a name that is no HTML file, or cannot be written, before any work."""
    if page.suffix.lower() not in (".html", ".htm"):
        raise PictureError(f"the report is an HTML page, got {page.name!r}; end it in .html.")
    check_replaceable(page)


def _conclusions(restored: library.Restored, wanted: float | str | None) -> dict[str, Any]:
    """What was read from the data: one line, or the damp and how it was chosen."""
    if restored.data is not None:
        return {"data": restored.data.sentence}
    return {"damp": restored.damp, "damp_chosen": _how(restored, wanted)}


def _how(restored: library.Restored, wanted: float | str | None) -> str:
    if wanted is not None and not isinstance(wanted, str):
        return "given"
    if restored.choice is None:
        return "any, the picture is even"
    return restored.choice.decided_by


def _doubts_of(restored: library.Restored) -> list[str]:
    """What fails of the assumptions, and a rule that found no minimum."""
    if restored.data is not None:
        return list(restored.data.doubts)
    choice = restored.choice
    failed = choice is not None and f"{choice.rule} is decided inside" not in choice.advice
    return [choice.advice] if choice is not None and failed else []


def _evidence(restored: library.Restored) -> dict[str, Any]:
    certificate = restored.certificate
    return {
        "method": certificate.method,
        "iterations": certificate.iterations.tolist(),
        "residual": certificate.residual.tolist(),
        "optimality": certificate.optimality.tolist(),
        "error_bound": certificate.error_bound.tolist(),
        "advice": certificate.advice,
    }


def _damp(text: str) -> float | str:
    if text in (*library.DAMP_RULES, "lcurve"):  # which the library refuses, with its reason
        return text
    try:
        return float(text)
    except ValueError:
        raise ValueError(
            f"--damp {text!r} must be a number >= 0 or one of {', '.join(library.DAMP_RULES)}."
        ) from None
