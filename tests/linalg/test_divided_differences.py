"""D, M and f(s)/s of pairs, against 60 digits, at gaps of every size."""

from __future__ import annotations

import mpmath
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unconv.linalg.divided_differences import (
    divided_differences,
    inverse_differences,
    soft_differences,
)

from .reference import FUNCTIONS

sizes = st.floats(1e-3, 1e3)
gaps = st.floats(-16, 0).map(lambda power: 10**power) | st.just(0.0)


def quotients(S, f, df):
    """The first off-diagonal D and M in 60 digits."""
    with mpmath.workdps(60):
        x, y = (mpmath.mpf(s) for s in S.tolist())
        D = df(x) if x == y else (f(x) - f(y)) / (x - y)
        return float(D), float((f(x) + f(y)) / (x + y))


def pair(s, gap):
    return torch.tensor([s, s * (1 - gap)], dtype=torch.float64).clamp(min=1e-3)


@settings(deadline=None, max_examples=200)
@given(s=sizes, gap=gaps, name=st.sampled_from(sorted(FUNCTIONS)))
def test_any_function(s, gap, name):
    S, (f, df, exact_f, exact_df) = pair(s, gap), FUNCTIONS[name]
    D, M, ratio = divided_differences(S, S < 0, f, df)
    exact_D, exact_M = quotients(S, exact_f, exact_df)
    scale = float(ratio.abs().amax() + df(S).abs().amax())
    assert abs(D[0, 1] - exact_D) <= 1e-12 * scale
    assert abs(M[0, 1] - exact_M) <= 1e-14 * scale


@settings(deadline=None, max_examples=100)
@given(s=sizes, gap=gaps, level=st.floats(0, 2))
def test_thresholding_and_inversion(s, gap, level):
    S, level = pair(s, gap), s * level
    soft = soft_differences(S, S < 0, torch.tensor([level], dtype=torch.float64))
    exact = quotients(S, lambda x: max(x - level, 0), lambda x: mpmath.mpf(x >= level))
    assert [float(v[0, 1]) for v in soft[:2]] == pytest.approx(exact, rel=1e-14, abs=1e-16)

    inverse = inverse_differences(S, S < 0, torch.tensor([level], dtype=torch.float64))
    exact = quotients(
        S, lambda x: 1 / x if x > level else mpmath.mpf(0), lambda x: -(x**-2) * (x > level)
    )
    assert [float(v[0, 1]) for v in inverse[:2]] == pytest.approx(exact, rel=1e-13)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_zeros_have_the_slope_of_an_odd_function_or_nothing(dtype):
    S, zero = torch.tensor([2, 1e-20], dtype=dtype), torch.tensor([False, True])
    odd = divided_differences(S, zero, torch.sin, torch.cos)
    assert [float(v.flatten()[-1]) for v in odd] == pytest.approx([1, 1, 1])
    steep = divided_differences(S, zero, torch.sqrt, lambda s: 0.5 / s.sqrt())
    assert [float(v.flatten()[-1]) for v in steep] == [0, 0, 0]
    polar = divided_differences(S, zero, torch.ones_like, torch.zeros_like)
    assert [float(v.flatten()[-1]) for v in polar] == [0, 0, 0]
    assert float(polar[0][0, 1]) == float(polar[1][0, 1]) == 0.5  # f(0) = 0
