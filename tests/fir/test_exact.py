"""Fractions: the figures that are known, and double precision for all others."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unconv.fir import exact, inverse_kernel

from ..helpers import relative

PLUS = torch.tensor([[0, 1, 0], [1, 1, 1], [0, 1, 0]])


@pytest.mark.parametrize("dtype", [torch.long, torch.uint8, torch.float32])
def test_plus_kernel(dtype):
    found = inverse_kernel(PLUS.to(dtype), (3, 3), exact=True)
    taps = found.exact.taps
    assert taps[1, 1] == Fraction(5, 21)
    assert {taps[i] for i in ((0, 1), (1, 0), (1, 2), (2, 1))} == {Fraction(13, 126)}
    assert {taps[i] for i in ((0, 0), (0, 2), (2, 0), (2, 2))} == {Fraction(-8, 63)}
    assert found.exact.residual_squared == Fraction(22, 63)
    assert found.method == "fractions"
    assert len(found.exact.orbits) == 3


def test_equations():
    assert inverse_kernel(PLUS, 3, exact=True).exact.equations() == "\n".join(
        [
            "7·g[0, 0] + 4·g[0, 1] + 2·g[1, 1] = 0",
            "4·g[0, 0] + 10·g[0, 1] + 2·g[1, 1] = 1",
            "8·g[0, 0] + 8·g[0, 1] + 5·g[1, 1] = 1",
            "with g[0, 0] = g[0, 2] = g[2, 0] = g[2, 2]",
            "with g[0, 1] = g[1, 0] = g[1, 2] = g[2, 1]",
            "g[0, 0] = -8/63",
            "g[0, 1] = 13/126",
            "g[1, 1] = 5/21",
            "‖f ∗ g − δ‖² = 22/63",
        ]
    )


def test_signs_of_equations():
    text = inverse_kernel(torch.tensor([-1, 2]), (2,), exact=True, delay=(0,)).exact.equations()
    assert text.splitlines()[:2] == ["5·g[0] - 2·g[1] = -1", "-2·g[0] + 5·g[1] = 0"]


@given(st.data())
def test_is_the_least_squares_solution(draw):
    shape = draw.draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))
    size = tuple(draw.draw(st.integers(1, 3)) for _ in shape)
    count = torch.Size(shape).numel()
    taps = draw.draw(st.lists(st.integers(-9, 9), min_size=count, max_size=count).filter(any))
    full = [k + n - 1 for k, n in zip(shape, size, strict=True)]
    delay = tuple(draw.draw(st.integers(0, m - 1)) for m in full)
    f = torch.tensor(taps).reshape(shape)
    found = inverse_kernel(f, size, delay=delay, exact=True)
    plain = inverse_kernel(f.double(), size, delay=delay)
    assert relative(found.weight, plain.weight, 1.0) < 1e-12
    assert float(found.exact.residual_squared) == pytest.approx(
        float(plain.residual) ** 2, abs=1e-12
    )
    # The gradient Aᵀ(Ag − δ) is zero, without round-off.
    for row, right in zip(found.exact.matrix, found.exact.right, strict=True):
        values = [found.exact.taps[orbit[0]] for orbit in found.exact.orbits]
        assert sum(a * x for a, x in zip(row, values, strict=True)) == right


def test_best_delay_is_that_of_double_precision():
    f = torch.tensor([1, 3, 5])
    found = inverse_kernel(f, (4,), delay="best", exact=True)
    assert found.delay == inverse_kernel(f.double(), (4,), delay="best").delay


def test_whole_numbers_beyond_double_precision():
    f = torch.tensor([2**53 + 1, 0])
    assert inverse_kernel(f, (1,), delay=(0,), exact=True).exact.taps[(0,)] == Fraction(
        1, 2**53 + 1
    )


def test_floating_point_numbers_are_fractions():
    g = inverse_kernel(torch.tensor([0.5, 0.25]), (1,), delay=(0,), exact=True)
    assert g.exact.taps[(0,)] == Fraction(8, 5)


@pytest.mark.parametrize(
    ("weight", "options", "error", "says"),
    [
        (torch.ones(2, 1, 3), {}, NotImplementedError, "one channel"),
        (torch.ones(3, dtype=torch.complex64), {}, NotImplementedError, "complex"),
        (torch.ones(3), {"damp": 0.1}, NotImplementedError, "leave damp"),
        (torch.ones(3), {"weighting": torch.ones(5)}, NotImplementedError, "leave damp"),
        (torch.zeros(3, dtype=torch.long), {}, ValueError, "zeros alone"),
    ],
)
def test_failures(weight, options, error, says):
    with pytest.raises(error, match=says):
        inverse_kernel(weight, (3,), exact=True, **options)


def test_too_many_equations_are_refused_with_their_number():
    f = torch.tensor([[1, 2], [3, 5]])
    with pytest.raises(ValueError, match=rf"at most {exact.MOST_UNKNOWNS} equations.* has 169"):
        inverse_kernel(f, 13, exact=True)
