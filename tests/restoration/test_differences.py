"""Differences of an image, against their matrices: natural edges, spacing, wrap-around."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unconv import ConvOperator
from unconv.restoration.differences import differences
from unconv.restoration.grid_problem import GridProblem

from ..helpers import C128, F64, randn, relative
from .dense import difference_matrices

SPACINGS = {1: (0.5,), 2: (1.0, 2.0), 3: (3.0, 1.0, 0.5)}


def wrapping(nd: int, n: int) -> ConvOperator:
    return ConvOperator(randn(1, 1, *[3] * nd), [n] * nd, padding=1, padding_mode="circular")


def stack_of(op: ConvOperator, kind: str, spacing: tuple[float, ...]):
    problem = GridProblem(op, F64)
    return problem, differences(kind, op, problem.torus, spacing, F64)


@settings(max_examples=60)
@given(
    kind=st.sampled_from(["gradient", "hessian"]),
    sizes=st.lists(st.integers(1, 6), min_size=1, max_size=3),
    mode=st.sampled_from(["valid", "zeros", "reflect", "circular"]),
    data=st.data(),
)
def test_the_stack_is_its_matrices(kind, sizes, mode, data):
    nd = len(sizes)
    spacing = data.draw(st.lists(st.sampled_from([0.5, 1.0, 3.0]), min_size=nd, max_size=nd))
    taps = [min(n, 3) if mode == "valid" else 3 for n in sizes]
    sizes = [max(n, 2) if mode == "reflect" else n for n in sizes]
    options = {} if mode == "valid" else {"padding": 1, "padding_mode": mode}
    op = ConvOperator(randn(1, 1, *taps), sizes, **options)
    problem, D = stack_of(op, kind, tuple(spacing))
    matrices = difference_matrices(kind, sizes, spacing, [mode == "circular"] * nd)
    x = randn(1, 1, *sizes, seed=1)
    found = problem.domain(D(problem.extended(x)) * D.counted)
    for j, matrix in enumerate(matrices):
        expected = (matrix @ x.flatten()).reshape(sizes)
        assert relative(found[j, 0], expected, 10 * float(x.norm())) < 1e-13


@pytest.mark.parametrize("kind", ["gradient", "hessian"])
@pytest.mark.parametrize("nd", [1, 2, 3])
@pytest.mark.parametrize("dtype", [F64, C128])
def test_the_adjoint_and_the_power(kind, nd, dtype):
    op = ConvOperator(randn(2, 3, *[3] * nd, dtype=dtype), [5, 6, 7][:nd])
    problem, D = stack_of(op, kind, SPACINGS[nd])
    sizes = problem.torus.coarse
    v = randn(1, 3, *sizes, dtype=dtype)
    p = randn(len(D.stencils), 3, *sizes, dtype=dtype, seed=1)
    d = D(v)
    left, right = (
        torch.vdot(p.flatten(), d.flatten()),
        torch.vdot(D.adjoint(p).flatten(), v.flatten()),
    )
    assert abs(complex(left - right)) <= 1e-13 * float(p.norm() * d.norm())
    V = problem.torus.transform(v)
    expected = problem.torus.inverse_transform(V * D.power)
    assert relative(D.adjoint(d), expected) < 1e-13


@pytest.mark.parametrize("nd", [1, 2, 3])
def test_the_stack_of_second_differences_has_the_frobenius_norm(nd):
    """Of a quadratic image every matrix of second derivatives is the same, and known."""
    h = SPACINGS[nd]
    H = randn(nd, nd, seed=2)
    H = H + H.T
    axes = [h[d] * torch.arange(5, dtype=F64) for d in range(nd)]
    place = torch.stack(torch.meshgrid(*axes, indexing="ij"))
    x = torch.einsum("a...,ab,b...->...", place, H, place)[None, None] / 2
    problem, D = stack_of(ConvOperator(randn(1, 1, *[1] * nd), [5] * nd), "hessian", h)
    found = D(problem.extended(x)) * D.counted
    middle = (slice(None), 0, *[2] * nd)
    assert math.isclose(float(found[middle].norm()), float(H.norm()), rel_tol=1e-12)


@pytest.mark.parametrize("kind", ["gradient", "hessian"])
def test_axes_of_one_sample_have_no_differences(kind):
    problem, D = stack_of(ConvOperator(randn(1, 1, 1, 3), (1, 8)), kind, (1.0, 1.0))
    found = problem.domain(D(problem.extended(randn(1, 1, 1, 8))) * D.counted)
    assert float(found[0].abs().max()) == 0
    assert float(found[1].abs().max()) > 0


def test_only_the_axis_that_wraps_does():
    op = ConvOperator(randn(1, 1, 1, 3), (4, 6), padding=(0, 1), padding_mode="circular")
    problem, D = stack_of(op, "gradient", (1.0, 1.0))
    found = problem.domain(D(problem.extended(randn(1, 1, 4, 6))) * D.counted)
    assert float(found[0, 0, -1].abs().max()) == 0
    assert float(found[1, 0, :, -1].abs().min()) > 0
    assert bool(stack_of(wrapping(2, 4), "hessian", (1.0, 1.0))[1].counted.all())
