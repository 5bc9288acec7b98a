"""`unconv blur`: make a test picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import typer

from ..pictures import restoration as library
from ..pictures.formats import check_writable, read_picture, write_picture
from .common import (
    BoundaryOption,
    JsonOption,
    MaxPixelsOption,
    OutputOption,
    PsfOption,
    friendly,
    parse_psf,
    progress,
    report,
)


@friendly
def blur(
    picture: Annotated[Path, typer.Argument(help="PNG, JPEG, TIFF or NPY.")],
    output: OutputOption,
    psf: PsfOption,
    noise_std: Annotated[
        float, typer.Option(help="Standard deviation of white Gaussian noise, white = 1.")
    ] = 0.0,
    boundary: BoundaryOption = "symmetric",
    seed: Annotated[int, typer.Option(help="Seed of the noise.")] = 0,
    max_pixels: MaxPixelsOption = 100_000_000,
    as_json: JsonOption = False,
) -> None:
    """Blur a picture and add noise: y = psf ∗ x + noise.

    Example: unconv blur sharp.png -o blurred.png --psf disk:4 --noise-std 0.01
    """
    check_writable(output)
    kernel = parse_psf(psf)
    with progress() as step:
        step(f"reading {picture.name}")
        source = read_picture(picture, max_pixels=max_pixels)
        if boundary == "valid" and source.alpha is not None:
            raise ValueError(
                "boundary valid makes a smaller picture, which cannot keep its alpha channel; "
                "remove the alpha channel or use another boundary."
            )
        step("blurring")
        planes = library.blur(
            torch.from_numpy(source.planes),
            kernel,
            boundary=boundary,
            noise_std=noise_std,
            seed=seed,
        )
        step(f"writing {output.name}")
        write_picture(output, source.replace(planes.numpy()))
    facts = {
        "input": str(picture),
        "output": str(output),
        "size": list(planes.shape[::-1]),
        "psf": list(kernel.shape),
        "boundary": boundary,
        "noise_std": noise_std,
    }
    report("blurred", facts, as_json)
