"""Evidence in a picture for psfs, as a curve along one parameter.

A disk or a movement has zeros in its transfer function, whose places the picture shows: its curve
has one sharp summit as a rule.  A Gaussian only makes a spectrum steeper, and its summit is blunt.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from .choice import Slider

_CURVE_POINTS = 25  # along a slider
_HALVINGS = 3  # around the best of them, on both sides


class Curve(NamedTuple):
    """Evidence along a parameter.

    Attributes
    ----------
    values : of the parameter, ascending
    evidence : logarithm of the likelihood, the greatest 0
    """

    values: list[float]
    evidence: list[float]


def curve_along(
    parameter: Slider, evidence_at: Callable[[float], float], *, points: int = _CURVE_POINTS
) -> Curve:
    """Evidence at places spread over a slider, and closer to each other around the best."""
    last = points if parameter.is_angle else points - 1
    found: dict[float, float] = {}

    def look(place: float) -> None:
        place = place % 1 if parameter.is_angle else min(max(place, 0.0), 1.0)
        value = parameter.at(place)
        if value not in found:
            found[value] = evidence_at(value)
            if found[value] >= max(found.values()):
                best[:] = [place]

    best = [0.0]
    for i in range(points):
        look(i / last)
    for halving in range(1, _HALVINGS + 1):
        middle, step = best[0], 0.5**halving / last
        look(middle - step)
        look(middle + step)
    greatest = max(found.values())
    values = sorted(found)
    return Curve(values, [found[v] - greatest for v in values])
