"""`unconv psf blind`: a psf of any form from the picture alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..common import JsonOption, MaxPixelsOption, friendly
from ..picture_options import LightOption
from ..psf_option import BLIND
from .estimate import MaskOption, NoiseOption, OutputOption, read_psf


@friendly
def blind(
    picture: Annotated[Path, typer.Argument(help="PNG, JPEG, TIFF, NPY or FITS.")],
    size: Annotated[
        int, typer.Option(min=3, help="Rows and columns of the psf, odd; it should hold all light.")
    ] = 25,
    output: OutputOption = None,
    noise_std: NoiseOption = None,
    light: LightOption = "auto",
    mask: MaskOption = None,
    max_pixels: MaxPixelsOption = 100_000_000,
    as_json: JsonOption = False,
) -> None:
    """Search a psf of any form, such as of a shaken camera: h = argmax p(y | h), h ≥ 0, Σ h = 1.

    A rough answer, good enough to deblur; of a disk, a Gaussian or a movement `estimate` knows
    more.

    Example: unconv psf blind photo.jpg --size 31 -o psf.npy
    """
    read_psf(
        picture,
        f"{BLIND}:{size}",
        output,
        noise_std,
        light,
        mask,
        max_pixels=max_pixels,
        as_json=as_json,
    )
