"""`unconv psf estimate`: the psf of a picture from the picture alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ...pictures.formats import read_picture
from ...pictures.formats.kernels import check_kernel_writable, write_kernel
from ...pictures.missing import find_missing
from ...psf.estimation import NAMES
from ..common import JsonOption, MaxPixelsOption, friendly, report, tell
from ..picture_options import (
    LightOption,
    check_light,
    check_names,
    fitting_mask,
    in_light,
    level_of,
    notes_on,
    question_noise,
    read_mask,
    transparent,
)
from ..progress_bar import progress
from ..psf_facts import doubts_of_psf, estimated_psf, facts_of_psf

OutputOption = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="NPY, FITS, TIFF, CSV or TXT for the psf, float64."),
]
NoiseOption = Annotated[
    float | None,
    typer.Option(help="Standard deviation of white noise, white = 1; else it is estimated."),
]
MaskOption = Annotated[
    Path | None,
    typer.Option(help="A picture of the same size, not zero where a pixel is bad."),
]


@friendly
def estimate(
    picture: Annotated[Path, typer.Argument(help="PNG, JPEG, TIFF, NPY or FITS.")],
    family: Annotated[
        str,
        typer.Option(
            help=f"{', '.join(NAMES[1:])}, or auto: the likeliest of them, or none for a picture "
            "without blur."
        ),
    ] = "auto",
    output: OutputOption = None,
    noise_std: NoiseOption = None,
    light: LightOption = "auto",
    mask: MaskOption = None,
    max_pixels: MaxPixelsOption = 100_000_000,
    as_json: JsonOption = False,
) -> None:
    """Read the psf of a blurred picture from its spectrum, with its uncertainty.

    Its parameters are those of the largest likelihood, for a scene of a smooth spectrum.

    Example: unconv psf estimate photo.jpg --family motion -o psf.npy
    """
    read_psf(
        picture, family, output, noise_std, light, mask, max_pixels=max_pixels, as_json=as_json
    )


def read_psf(
    picture: Path,
    family: str,
    output: Path | None,
    noise_std: float | None,
    light: str,
    mask: Path | None,
    *,
    max_pixels: int,
    as_json: bool,
) -> None:
    """Read the psf of a picture, write it and report; family as of `estimated_psf`."""
    check_light(light)
    if output is not None:
        check_kernel_writable(output)
    inputs = {"picture": [picture], "mask": [mask] if mask else []}
    check_names({"-o": output}, inputs, force=False)
    with progress() as step:
        step(f"reading {picture.name}")
        source = read_picture(picture, max_pixels=max_pixels)
        question_noise(noise_std, source, force=False)
        bad = None if mask is None else read_mask(mask, max_pixels)
        seen = find_missing(
            in_light(source, "as-is"),
            saturation=level_of("auto", source),
            white=1.0,
            bad=fitting_mask(bad, source, mask),
            transparent=transparent(source),
        )
        step("reading the psf")
        found = estimated_psf(source, seen, family, light, noise_std, step)
        if output is not None:
            write_kernel(output, found.psf.numpy())
    written = {} if output is None else {"output": str(output)}
    facts = {"input": str(picture), **written, "size": list(found.psf.shape)}
    facts |= facts_of_psf(found) | {"noise_std": found.noise_std}
    report("psf", facts | ({"doubts": list(found.doubts)} if as_json else {}), as_json)
    tell(doubts_of_psf(found), notes_on(source))
