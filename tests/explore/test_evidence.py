"""Curves along a slider."""

from __future__ import annotations

from unconv.explore.choice import families_for
from unconv.explore.evidence import curve_along

RADIUS = families_for((128, 128))["disk"][0]
ANGLE = families_for((128, 128))["motion"][1]


def test_a_curve_is_sharp_around_its_summit():
    curve = curve_along(RADIUS, lambda r: -((r - 3.3) ** 2))
    assert curve.values == sorted(curve.values)
    assert max(curve.evidence) == 0
    assert abs(curve.values[curve.evidence.index(0.0)] - 3.3) < 0.06
    assert (curve.values[0], curve.values[-1]) == (RADIUS.low, RADIUS.high)


def test_an_angle_has_no_ends():
    def evidence(angle: float) -> float:
        off = abs(angle - 179.2) % 180
        return -min(off, 180 - off)

    curve = curve_along(ANGLE, evidence)
    assert abs(curve.values[curve.evidence.index(0.0)] - 179.2) < 0.6
    assert 180.0 not in curve.values


def test_evidence_that_is_even_has_a_curve():
    assert set(curve_along(RADIUS, lambda r: 1.0).evidence) == {0.0}
