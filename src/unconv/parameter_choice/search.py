"""The lowest point, or the crossing, of a function of the damp: a coarse grid, then one cell.

Rules may have several minima, so all of a grid is looked at before one cell of it is refined.
Where a value costs a factorisation, the grid runs from large damps, which are cheap, to small ones
and ends once the values have risen `patience` times beyond the lowest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

SMALLEST, LARGEST = 1e-8, 1e1
"""Damps that are worth a look, in units of σ_max: damp² would be round-off beside σ_max² below, and
x is Aᴴy/damp² above, whatever the damp."""

_FLAT = 1e-6  # relative variation of a function that has no minimum worth the name
_INFINITE = 1e300  # in place of inf and NaN, which a parabola does not bear
_XTOL = 1e-3  # relative error of a damp: far less than any rule is worth

_Function = Callable[[float], float]


class Found(NamedTuple):
    """What a search found: a damp, and the reason why it is no minimum or crossing, else None."""

    damp: float
    failure: str | None


def grid(smallest: float, largest: float, count: int) -> list[float]:
    """Damps in equal ratios, the largest first.

    Examples
    --------
    >>> grid(0.01, 100, 3)
    [100.0, 1.0, 0.01]
    """
    ratio = math.log(smallest / largest) / (count - 1)
    inner = [largest * math.exp(i * ratio) for i in range(1, count - 1)]
    return [float(largest), *(float(f"{damp:.12g}") for damp in inner), float(smallest)]


def lowest(
    function: _Function, damps: Sequence[float], *, patience: int | None = None, refine: int = 50
) -> Found:
    """The lowest point of a function of log damp.

    Parameters
    ----------
    function : of the damp; inf and NaN are never lowest
    damps : a grid, the largest first
    patience : values beyond the lowest after which the grid is left; None for never
    refine : evaluations inside the cells on both sides of the lowest

    Examples
    --------
    >>> found = lowest(lambda d: (d - 0.3) ** 2, grid(1e-3, 1e1, 9))
    >>> round(found.damp, 2), found.failure
    (0.3, None)
    """
    values: list[float] = []
    best = 0  # of equals, the largest damp
    for i, damp in enumerate(damps):
        value = function(damp)
        values.append(value if math.isfinite(value) else _INFINITE)
        best = i if values[i] < values[best] else best
        if patience is not None and i - best >= patience and values[best] < _INFINITE:
            break
    finite = [v for v in values if v < _INFINITE]
    if not finite or max(finite) - min(finite) <= _FLAT * max(map(abs, finite)):
        return Found(damps[best], "is flat: every damp serves it alike")
    if best in (0, len(damps) - 1):
        end = "largest" if best == 0 else "smallest"
        return Found(damps[best], f"is still falling at the {end} damp that was tried")
    if values[best + 1] == values[best]:  # Brent's method wants a strict minimum
        return Found(damps[best], None)
    from scipy.optimize import minimize_scalar  # a quarter of a second, for whoever needs it

    unit = math.e * damps[best]  # of which the logarithm is −1: Brent's tolerance is relative
    ends = {math.log(damps[i] / unit): i for i in (best + 1, best, best - 1)}
    found = minimize_scalar(
        lambda v: values[ends[v]] if v in ends else function(unit * math.exp(v)),
        bracket=tuple(ends),
        options={"xtol": _XTOL, "maxiter": refine, "disp": 0},
    )
    damp = damps[ends[found.x]] if found.x in ends else unit * math.exp(found.x)
    return Found(damp, None)


def crossing(function: _Function, damps: Sequence[float], *, refine: int = 50) -> Found:
    """Where a function that grows with the damp is one.

    Examples
    --------
    >>> round(crossing(lambda d: 4 * d**2, grid(1e-3, 1e1, 9)).damp, 3)
    0.5
    """

    above = damps[0]
    if (value := function(above)) < 1:
        return Found(above, "is below the noise at the largest damp that was tried")
    known = {}
    for damp in damps[1:]:
        known[math.log(above)] = value
        if (value := function(damp)) < 1:
            known[math.log(damp)] = value
            break
        above = damp
    else:
        return Found(above, "exceeds the noise at the smallest damp that was tried")

    from scipy.optimize import brentq

    def log_value(v: float) -> float:
        return math.log(max(known[v] if v in known else function(math.exp(v)), 1 / _INFINITE))

    ends = math.log(damp), math.log(above)
    options = {"xtol": _XTOL, "maxiter": refine, "full_output": True, "disp": False}
    return Found(math.exp(brentq(log_value, *ends, **options)[0]), None)
