"""What a visitor of the page can choose, and the checks of what a browser sends.

A browser names a family of psfs and gives numbers, never a file: the only file there can be is the
one that the command was started with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from ..pictures.restoration import PRIORS
from ..psf import models

FILE = "file"
"""The family of the one psf that came from a file."""

LIGHTS = ("auto", "as-is", "linear")

LARGEST_AREA = 512 * 512
"""Pixels of the part that is restored while somebody looks."""

_LEAST_REGION = 48  # of such a part
_OF_SIDE = 0.25  # the largest size of a psf, of the shorter side of the picture


class Told(Protocol):
    """Called with a step, and how much of it is done if that is known."""

    def __call__(self, step: str, fraction: float | None = None) -> None:
        """May raise to end what is done."""


@dataclass(frozen=True)
class Parameter:
    """A number of a family of psfs, and the slider for it.

    Attributes
    ----------
    name, unit : for the eye
    low, high, start : of the slider
    is_angle : whether the ends of the slider are neighbours; sizes are on a logarithmic scale
    """

    name: str
    unit: str
    low: float
    high: float
    start: float
    is_angle: bool = False

    def at(self, place: float) -> float:
        """The number at a place of the slider, from 0 to 1, to three digits."""
        if self.is_angle:
            value = self.low + place * (self.high - self.low)
        else:
            value = self.low * (self.high / self.low) ** place
        return min(max(float(f"{value:.3g}"), self.low), self.high)


@dataclass(frozen=True)
class Family:
    """Psfs of a few numbers; `make` is one of `unconv.psf`, as `--psf name:numbers` calls it."""

    name: str
    make: Callable[..., Tensor]
    parameters: tuple[Parameter, ...]


_ALL = (
    Family("gaussian", models.gaussian, (Parameter("sigma", "px", 0.3, 10.0, 1.5),)),
    Family("disk", models.disk, (Parameter("radius", "px", 0.5, 25.0, 3.0),)),
    Family(
        "motion",
        models.motion,
        (
            Parameter("length", "px", 1.0, 80.0, 12.0),
            Parameter("angle", "°", 0.0, 180.0, 0.0, is_angle=True),
        ),
    ),
)


def families_for(size: tuple[int, int]) -> dict[str, Family]:
    """The families by name, their sizes limited to what a picture (H, W) can show."""
    most = max(1.5, _OF_SIDE * min(size))

    def fitted(p: Parameter) -> Parameter:
        high = p.high if p.is_angle else min(p.high, most)
        return Parameter(p.name, p.unit, p.low, high, min(p.start, high), p.is_angle)

    return {f.name: Family(f.name, f.make, tuple(map(fitted, f.parameters))) for f in _ALL}


@dataclass(frozen=True)
class Choice:
    """What a picture is to be restored with.

    Attributes
    ----------
    family : of `families_for`, or `FILE`
    numbers : its parameters
    prior : as of `unconv.pictures.deblur`
    strength, damp : None for what deblur chooses
    light : one of `LIGHTS`
    """

    family: str
    numbers: tuple[float, ...]
    prior: str
    strength: float | None
    damp: float | None
    light: str

    @property
    def psf_text(self) -> str:
        """As it is typed after --psf; of the family `FILE` its name alone."""
        if self.family == FILE:
            return FILE
        return f"{self.family}:{','.join(f'{v:g}' for v in self.numbers)}"


@dataclass(frozen=True)
class Region:
    """Rows and columns of a picture: the part that is looked at."""

    x: int
    y: int
    width: int
    height: int

    def grown(self, rows: int, columns: int, size: tuple[int, int]) -> Region:
        """With so many rows and columns more at each side, where the picture (H, W) has them."""
        x, y = max(0, self.x - columns), max(0, self.y - rows)
        right = min(size[1], self.x + self.width + columns)
        below = min(size[0], self.y + self.height + rows)
        return Region(x, y, right - x, below - y)

    def of(self, planes: Tensor) -> Tensor:
        """That part of (..., H, W), a view."""
        rows, columns = slice(self.y, self.y + self.height), slice(self.x, self.x + self.width)
        return planes[..., rows, columns]


def parsed_choice(sent: object, families: Mapping[str, Family], *, has_file: bool) -> Choice:
    """The choice that a browser sent, or a ValueError that says what is wrong with it."""
    given = _record(sent, ("family", "numbers", "prior", "strength", "damp", "light"))
    family, numbers = given["family"], given["numbers"]
    if family == FILE and has_file:
        parameters: Sequence[Parameter] = ()
    elif isinstance(family, str) and family in families:
        parameters = families[family].parameters
    else:
        raise ValueError(f"family must be one of {', '.join(families)}.")
    if not isinstance(numbers, list) or len(numbers) != len(parameters):
        raise ValueError(f"numbers must be a list of {len(parameters)} for {family}.")
    values = [_number(p.name, v, p.low, p.high) for p, v in zip(parameters, numbers, strict=True)]
    positive = {
        name: None if given[name] is None else _number(name, given[name], 1e-12, 1e12)
        for name in ("strength", "damp")
    }
    prior, light = (_one_of(n, given[n], of) for n, of in (("prior", PRIORS), ("light", LIGHTS)))
    return Choice(family, tuple(values), prior, positive["strength"], positive["damp"], light)


def parsed_region(sent: object, size: tuple[int, int]) -> Region:
    """The part of a picture (H, W) that a browser asked for, moved inside where it sticks out."""
    given = _record(sent, ("x", "y", "width", "height"))
    sides = {}
    for name, along in (("width", size[1]), ("height", size[0])):
        sides[name] = min(round(_number(name, given[name], 1, 1e6)), along)
        sides[name] = max(sides[name], min(_LEAST_REGION, along))
    if sides["width"] * sides["height"] > LARGEST_AREA:
        raise ValueError(f"a region has at most {LARGEST_AREA:,} pixels; ask for a smaller one.")
    corner = {
        name: min(max(round(_number(name, given[name], -1e6, 1e6)), 0), along - sides[side])
        for name, side, along in (("x", "width", size[1]), ("y", "height", size[0]))
    }
    return Region(**corner, **sides)


def parsed_place(sent: object, choice: Choice) -> int:
    """Which parameter of the choice's family the evidence is asked along."""
    place = _record(sent, ("along",))["along"]
    if (
        isinstance(place, bool)
        or not isinstance(place, int)
        or not (0 <= place < len(choice.numbers))
    ):
        raise ValueError(f"along must be the place of a parameter of {choice.family}.")
    return place


def _record(sent: object, names: Sequence[str]) -> dict[str, Any]:
    if not isinstance(sent, dict) or set(sent) != set(names):
        raise ValueError(f"expected an object with {', '.join(names)}.")
    return sent


def _number(name: str, value: object, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ValueError(f"{name} must be a number from {low:g} to {high:g}.")
    return float(f"{value:g}")  # what psf_text says


def _one_of(name: str, value: object, allowed: Sequence[str]) -> str:
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}.")
    return value
