"""What a visitor of the page can choose, and the checks of what a browser sends.

A browser names a family of psfs and gives numbers, never a file: the only file there can be is the
one that the command was started with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from ..pictures.restoration import PRIORS
from ..psf.families import FAMILIES, Parameter

FILE = "file"
"""The family of the one psf that came from a file."""

LIGHTS = ("auto", "as-is", "linear")

LARGEST_AREA = 512 * 512
"""Pixels of the part that is restored while somebody looks."""

_LEAST_REGION = 48  # of such a part
_OF_SIDE = 0.25  # that a psf may reach from its centre, of the shorter side of the picture
_SHORTEST_REACH, _LEAST_RANGE = 1.5, 2.0  # samples; and the ratio of the ends of a slider


class Told(Protocol):
    """Called with a step, and how much of it is done if that is known."""

    def __call__(self, step: str, fraction: float | None = None) -> None:
        """May raise to end what is done."""


@dataclass(frozen=True)
class Slider:
    """A number of a family of psfs, as it is chosen on the page.

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

    def nearest(self, value: float) -> float:
        """A number of the slider, to four digits, as `unconv psf estimate` prints them."""
        return min(max(float(f"{value:.4g}"), self.low), self.high)


def families_for(size: tuple[int, int]) -> dict[str, tuple[Slider, ...]]:
    """The sliders of each family of psfs (psf/families.py), for a picture (H, W).

    A psf reaches no farther from its centre than a quarter of the shorter side.
    """
    reach = max(_SHORTEST_REACH, _OF_SIDE * min(size))

    def slider(p: Parameter) -> Slider:
        high = float(f"{max(p.highest(reach), _LEAST_RANGE * p.low):.3g}")
        return Slider(p.name, p.unit, p.low, high, min(p.start, high), p.is_angle)

    return {name: tuple(map(slider, f.parameters)) for name, f in FAMILIES.items()}


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
        return FAMILIES[self.family].typed(self.numbers)


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


def parsed_choice(
    sent: object, families: Mapping[str, Sequence[Slider]], *, has_file: bool
) -> Choice:
    """The choice that a browser sent, or a ValueError that says what is wrong with it."""
    given = _record(sent, ("family", "numbers", "prior", "strength", "damp", "light"))
    family, numbers = given["family"], given["numbers"]
    if family == FILE and has_file:
        sliders: Sequence[Slider] = ()
    elif isinstance(family, str) and family in families:
        sliders = families[family]
    else:
        raise ValueError(f"family must be one of {', '.join(families)}.")
    if not isinstance(numbers, list) or len(numbers) != len(sliders):
        raise ValueError(f"numbers must be a list of {len(sliders)} for {family}.")
    values = [_number(p.name, v, p.low, p.high) for p, v in zip(sliders, numbers, strict=True)]
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


def parsed_light(sent: object) -> str:
    """In which light the picture is to be read."""
    return _one_of("light", _record(sent, ("light",))["light"], LIGHTS)


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
