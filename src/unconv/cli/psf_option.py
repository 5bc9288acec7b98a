"""`--psf`: a short description or a file, and the remedies for a psf that was measured."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor

from ..pictures.formats.kernels import read_kernel
from ..psf import center as center_of_psf
from ..psf import check, measured, without_background
from ..psf.estimation import NAMES
from ..psf.families import FAMILIES

_USAGES = ", ".join(family.usage for family in FAMILIES.values())
DESCRIPTIONS = f"{_USAGES} (pixels; degrees counter-clockwise)"
"""The psfs that are described in a word, for a help text."""

_FILES = "a file: a grey picture, NPY, FITS, MAT, CSV or TXT; scaled to sum 1, centre (h//2, w//2)"
_FOUND = ", ".join(f"{name}:auto" for name in NAMES[1:])

PsfOption = Annotated[str, typer.Option(help=f"{DESCRIPTIONS}, or {_FILES}.")]
FoundPsfOption = Annotated[
    str | None,
    typer.Option(
        help=f"What blurred the picture, required: {DESCRIPTIONS}, or {_FILES}. Or read from the "
        f"picture itself: {_FOUND}, auto for the likeliest of them, or blind:SIZE for one of any "
        "form, SIZE × SIZE."
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

BLIND = "blind"  # :SIZE, a psf of any form that is looked for in the picture

_REMEDIES: Mapping[str, str] = {  # as options, for what the library does as functions
    "background": "--psf-background auto takes it off",
    "centre": "it moves the picture by that; --psf-center moves it back",
    "negative": "--psf-background auto leaves what stands out of its rim",
}


def check_told(psf: str | None) -> str:
    """The option as it was given, which it must be."""
    if psf is None:
        raise ValueError(
            "--psf is missing, which tells what blurred the picture; give --psf motion:auto, "
            "disk:auto or auto to read it from the picture, a description such as --psf "
            "gaussian:1.5, or a file."
        )
    return psf


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
    values, notes = _plane(text, torch.from_numpy(read_kernel(text)))
    psf, doubts = cleaned_psf(text, values, background, center=center)
    return psf, notes + doubts


def cleaned_psf(
    text: str, values: Tensor, background: str = "off", *, center: bool = False
) -> tuple[Tensor, list[str]]:
    """A measured psf as the options want it, float64 with sum 1, and what is doubtful about it."""
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
    """The family of psfs that is to be looked for in the picture; None for a psf that is told.

    A psf of any form is asked for by its size, 'blind:25'.
    """
    name, _, auto = text.rpartition(":")
    if name == BLIND or (text == BLIND and not exists(text)):
        _ = blind_size(text)
    elif auto != "auto" or (name and name not in NAMES):
        return None
    if center or background != "off":
        raise ValueError(
            f"--psf-background and --psf-center are for psfs in files; {text!r} is read from the "
            "picture, leave them out."
        )
    return text if name == BLIND else name or "auto"


def blind_size(text: str) -> int:
    """The size in 'blind:SIZE'."""
    size = text.removeprefix(f"{BLIND}:")
    if not size.isdecimal():
        raise ValueError(f"psf {text!r} must be written blind:SIZE, an odd number of samples.")
    return int(size)


def _described(text: str) -> Tensor | None:
    """The psf of a short description, None for the name of a file."""
    name, colon, arguments = text.partition(":")
    if colon and name in FAMILIES:
        family = FAMILIES[name]
        try:
            numbers = [float(v) for v in arguments.split(",")]
        except ValueError:
            numbers = []
        if len(numbers) != len(family.parameters):
            raise ValueError(f"psf {text!r} must be written {family.usage} with numbers.")
        return family.kernel(*numbers)
    if not exists(text):
        close = difflib.get_close_matches(name, FAMILIES, n=1)
        hint = f"; did you mean {_meant(close[0], arguments)}?" if close else "."
        raise ValueError(f"psf {text!r} is neither a file nor one of {_USAGES}{hint}")
    return None


def _meant(name: str, arguments: str) -> str:
    """How a psf of the family `name` is typed; with auto where the picture was to tell it."""
    return f"{name}:auto" if arguments == "auto" and name in NAMES else FAMILIES[name].usage


def _plane(text: str, values: Tensor) -> tuple[Tensor, list[str]]:
    """The psf of a picture in focus, of a file of two or three axes, and what is said of it."""
    if values.ndim == 2:
        return values, []
    planes = len(values)
    return values[planes // 2], [
        f"psf {text}: it is a volume of {planes} planes, and a picture is blurred by one; the "
        f"middle one, which is in focus, was taken"
    ]


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
