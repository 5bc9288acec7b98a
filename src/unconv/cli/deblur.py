"""`unconv deblur`: restore pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import typer

from ..pictures import restoration as library
from ..pictures.formats import PictureError, check_writable
from ..pictures.formats.files import check_replaceable
from ..pictures.prior_choice import DAMP_RULES
from .common import (
    DEFAULT_MEMORY,
    BoundaryOption,
    JsonOption,
    MaxPixelsOption,
    MemoryOption,
    friendly,
    parse_memory,
    report,
    tell,
)
from .many import is_folder, restore_many
from .picture_options import (
    ForceOption,
    LightOption,
    check_light,
    check_names,
    read_mask,
)
from .progress_bar import progress
from .psf_option import (
    BackgroundOption,
    CenterOption,
    FoundPsfOption,
    asked_family,
    check_told,
    prepared_psf,
)
from .restoring import Wanted, restore_file


@friendly
def deblur(
    picture: Annotated[list[Path], typer.Argument(help="PNG, JPEG, TIFF, NPY or FITS; or many.")],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="PNG, JPEG, TIFF, NPY or FITS, by its ending; of many pictures the directory.",
        ),
    ],
    psf: FoundPsfOption = None,
    psf_background: BackgroundOption = "off",
    psf_center: CenterOption = False,
    prior: Annotated[
        str,
        typer.Option(
            help="auto (dct, where the noise is as it should be, else wiener), dct (few cosines in "
            "every block), tv (total variation), sparse (gradients), hessian (second differences), "
            "wiener (the linear estimate of least expected error), or damp. Asked for by name, a "
            "picture that contradicts the psf is restored too, which else is given back as it was."
        ),
    ] = "auto",
    strength: Annotated[
        str,
        typer.Option(help="Of tv, sparse and hessian: a number, or auto for the least risk."),
    ] = "auto",
    nonnegative: Annotated[
        bool, typer.Option("--nonnegative", help="No pixel below zero (dct, tv, sparse, hessian).")
    ] = False,
    noise_model: Annotated[
        str,
        typer.Option(
            help="gaussian, or poisson where the values of the file are counts of photons "
            "(dct, tv, sparse, hessian)."
        ),
    ] = "gaussian",
    keep_partial: Annotated[
        bool,
        typer.Option(
            "--keep-partial",
            help="On Ctrl-C write what dct, tv, sparse or hessian have got to, and end; a second "
            "Ctrl-C ends at once. Without it nothing of this picture is written.",
        ),
    ] = False,
    damp: Annotated[
        str | None,
        typer.Option(
            help="How much to damp: a number, or the rule that chooses it: risk or auto (least "
            "expected error for white noise and a picture whose power falls as a power of "
            "frequency), gcv, discrepancy or sure."
        ),
    ] = None,
    noise_std: Annotated[
        float | None,
        typer.Option(help="Standard deviation of white noise, white = 1; else it is estimated."),
    ] = None,
    boundary: BoundaryOption = "valid",
    light: LightOption = "auto",
    saturation: Annotated[
        str,
        typer.Option(
            help="Where a sensor was full, and saw at least so much light: auto (more than 0.1 % "
            "and at most 20 % of the samples at the largest value), a level, or off."
        ),
    ] = "auto",
    mask: Annotated[
        Path | None,
        typer.Option(help="A picture of the same size, not zero where a pixel is bad."),
    ] = None,
    tol: Annotated[
        float, typer.Option(help="Relative error that is good enough; above it the code is 5.")
    ] = library.TOL,
    memory_limit: MemoryOption = DEFAULT_MEMORY,
    page: Annotated[
        Path | None,
        typer.Option("--report", help="Write an HTML page, before and after, with the evidence."),
    ] = None,
    max_pixels: MaxPixelsOption = 100_000_000,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Restore a blurred picture: x = E[scene | y], and from there with a prior that keeps edges.

    Or by damping: x = argmin ‖psf ∗ x − y‖² + damp²‖x − mean‖².

    NaN, bad and saturated pixels are missing data and come out restored.

    Example: unconv deblur blurred.png -o sharp.png --psf motion:15,30, or motion:auto where length
    and angle are not known.
    """
    psf = check_told(psf)
    wanted_damp, most_bytes = None if damp is None else _damp(damp), parse_memory(memory_limit)
    many = len(picture) > 1 or is_folder(output)
    if many and page is not None:
        raise ValueError("--report is for one picture; leave it out, or restore one at a time.")
    if not many:
        check_writable(output)
    if page is not None:
        _check_page(page)
    inputs = {"picture": picture, "psf": [Path(psf)], "mask": [mask] if mask else []}
    check_names({"-o": None if many else output, "--report": page}, inputs, force=force)
    family = asked_family(psf, psf_background, center=psf_center)
    doubts: list[str] = []
    kernel = torch.ones(1, 1, dtype=torch.float64)  # until a picture is read
    if family is None:
        kernel, doubts = prepared_psf(psf, psf_background, center=psf_center)
    wanted = Wanted(
        psf=kernel,
        family=family,
        psf_text=psf,
        prior=prior,
        strength=_strength(strength),
        nonnegative=nonnegative,
        noise_model=noise_model,
        keep_partial=keep_partial,
        damp=wanted_damp,
        noise_std=noise_std,
        boundary=boundary,
        light=check_light(light),
        saturation=saturation,
        bad=None if mask is None else read_mask(mask, max_pixels),
        mask=mask,
        tol=tol,
        memory_limit=most_bytes,
        max_pixels=max_pixels,
        force=force,
    )
    if many:
        restore_many(picture, output, wanted, as_json, doubts)
        return
    with progress() as step:
        outcome = restore_file(picture[0], output, page, wanted, step)
    report("restored", outcome.facts, as_json)
    tell([*doubts, *outcome.doubts], outcome.notes)
    if outcome.exit_code:
        raise typer.Exit(outcome.exit_code)


def _check_page(page: Path) -> None:
    """Refuse a name that is no HTML file, or cannot be written, before any work."""
    if page.suffix.lower() not in (".html", ".htm"):
        raise PictureError(f"the report is an HTML page, got {page.name!r}; end it in .html.")
    check_replaceable(page)


def _damp(text: str) -> float | str:
    if text in (*DAMP_RULES, "lcurve"):  # which the library refuses, with its reason
        return text
    try:
        return float(text)
    except ValueError:
        raise ValueError(
            f"--damp {text!r} must be a number >= 0 or one of {', '.join(DAMP_RULES)}."
        ) from None


def _strength(text: str) -> float | str:
    if text == "auto":
        return text
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"--strength {text!r} must be a number above 0, or auto.") from None
