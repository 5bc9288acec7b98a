"""`unconv deblur`: restore a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from ..parameter_choice.rules import RULES
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

_RULES = ("risk", *RULES)


@friendly
def deblur(
    picture: Annotated[Path, typer.Argument(help="PNG, JPEG, TIFF or NPY.")],
    output: OutputOption,
    psf: PsfOption,
    damp: Annotated[
        str,
        typer.Option(
            help="How much to damp: a number, or the rule that chooses it: risk (least expected "
            "error for white noise and a picture whose power falls as a power of frequency), gcv, "
            "lcurve, discrepancy or sure."
        ),
    ] = "risk",
    noise_std: Annotated[
        float | None,
        typer.Option(help="Standard deviation of the noise, white = 1; else it is estimated."),
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
    """Restore a blurred picture: x = argmin ‖psf ∗ x − y‖² + damp²‖x − mean‖².

    Example: unconv deblur blurred.png -o sharp.png --psf motion:15,30
    """
    wanted, most_bytes = _damp(damp), parse_memory(memory_limit)
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
                damp=wanted,
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
            "damp_chosen": _how(restored, wanted),
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


def _how(restored: library.Restored, wanted: float | str) -> str:
    if not isinstance(wanted, str):
        return "given"
    if restored.choice is None:
        return "any, the picture is even"
    return restored.choice.decided_by


def _doubts_of(restored: library.Restored) -> list[str]:
    """What is to be said of a rule that found no minimum."""
    choice = restored.choice
    failed = choice is not None and f"{choice.rule} is decided inside" not in choice.advice
    return [choice.advice] if choice is not None and failed else []


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


def _damp(text: str) -> float | str:
    if text in _RULES:
        return text
    try:
        return float(text)
    except ValueError:
        raise ValueError(
            f"--damp {text!r} must be a number >= 0 or one of {', '.join(_RULES)}."
        ) from None
