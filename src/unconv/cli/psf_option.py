"""`--psf`: a short description or a file, and the remedies for a psf that was measured."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor

from ..pictures.formats.kernels import read_kernel
from ..psf import center as center_of_psf
from ..psf import check, measured, models, without_background
from ..psf.estimation import NAMES

PsfOption = Annotated[
    str,
    typer.Option(
        help="gaussian:SIGMA, motion:LENGTH,ANGLE (pixels, degrees counter-clockwise), "
        "disk:RADIUS, or a file: a grey picture, NPY, FITS, MAT, CSV or TXT; scaled to sum 1, "
        "centre (h//2, w//2).",
    ),
]
FoundPsfOption = Annotated[
    str,
    typer.Option(
        help="gaussian:SIGMA, motion:LENGTH,ANGLE (pixels, degrees counter-clockwise), "
        "disk:RADIUS, or a file: a grey picture, NPY, FITS, MAT, CSV or TXT; scaled to sum 1, "
        "centre (h//2, w//2). Or read from the picture itself: gaussian:auto, disk:auto, "
        "motion:auto, moffat:auto, gaussian-disk:auto, or auto for the likeliest of them.",
    ),
]
BackgroundOption = Annotated[
    str,
    typer.Option(
        help="What to take off a psf in a file: auto (the median of its rim), a number in the unit "
        "of the file, or off."
    ),
]
CenterOption = Annotated[
    bool, typer.Option("--psf-center", help="Move the centroid of a psf in a file to its centre.")
]

_SHAPES: Mapping[str, tuple[str, Callable[..., Tensor], int]] = {
    "gaussian": ("gaussian:SIGMA", models.gaussian, 1),
    "motion": ("motion:LENGTH,ANGLE", models.motion, 2),
    "disk": ("disk:RADIUS", models.disk, 1),
}


_REMEDIES: Mapping[str, str] = {  # as options, for what the library does as functions
    "background": "--psf-background auto takes it off",
    "centre": "it moves the picture by that; --psf-center moves it back",
    "negative": "--psf-background auto leaves what stands out of its rim",
}


def parse_psf(text: str) -> Tensor:  # -> (h, w) float64, sum 1
    """A psf from its short description, or from a file."""
    return prepared_psf(text)[0]


def prepared_psf(
    text: str, background: str = "off", *, center: bool = False
) -> tuple[Tensor, list[str]]:
    """(h, w) float64 with sum 1, and what is doubtful about a psf that was measured."""
    shape = _described(text)
    if shape is not None:
        if center or background != "off":
            raise ValueError(
                f"--psf-background and --psf-center are for psfs in files; {text!r} has no "
                "background and is centred, leave them out."
            )
        return shape, []
    values = torch.from_numpy(read_kernel(text))
    if background != "off":
        values = without_background(values, _level(background))
    if center:
        values = center_of_psf(values)
    psf = measured(values)
    return psf, [
        f"psf {text}: {doubt.finding}; {_REMEDIES.get(kind, doubt.remedy)}"
        for kind, doubt in check(psf).doubts.items()
    ]


def asked_family(text: str, background: str, *, center: bool) -> str | None:
    """The family of psfs that is to be looked for in the picture; None for a psf that is told."""
    name, _, auto = text.rpartition(":")
    if auto != "auto" or (name and name not in NAMES):
        return None
    if center or background != "off":
        raise ValueError(
            f"--psf-background and --psf-center are for psfs in files; {text!r} is read from the "
            "picture, leave them out."
        )
    return name or "auto"


def _described(text: str) -> Tensor | None:
    """The psf of a short description, None for the name of a file."""
    name, colon, arguments = text.partition(":")
    if colon and name in _SHAPES:
        usage, make, count = _SHAPES[name]
        try:
            numbers = [float(v) for v in arguments.split(",")]
        except ValueError:
            numbers = []
        if len(numbers) != count:
            raise ValueError(f"psf {text!r} must be written {usage} with numbers.")
        return make(*numbers)
    if not exists(text):
        known = ", ".join(usage for usage, _, _ in _SHAPES.values())
        close = difflib.get_close_matches(name, _SHAPES, n=1)
        hint = f"; did you mean {_SHAPES[close[0]][0]}?" if close else "."
        raise ValueError(f"psf {text!r} is neither a file nor one of {known}{hint}")
    return None


def _level(background: str) -> float | None:
    if background == "auto":
        return None
    try:
        return float(background)
    except ValueError:
        raise ValueError(
            f"--psf-background {background!r} must be auto, off or a number in the unit of the "
            "file."
        ) from None


def exists(path: str) -> bool:
    """Whether a text is the name of a file, whatever the text."""
    try:
        return bool(path) and Path(path).exists()
    except OSError:  # a name that no file can have
        return False
