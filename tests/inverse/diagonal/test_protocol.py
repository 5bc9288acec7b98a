"""A = U Σ Vᴴ on every rung that diagonalises A: bases, filters and subspaces against the matrix."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from unconv import ConvOperator
from unconv.inverse.diagonal import separable
from unconv.inverse.diagonal.protocol import UNMATCHED, Basis, Diagonal, Few
from unconv.inverse.diagonal.rungs import RUNGS
from unconv.inverse.facts import SpectrumSummary
from unconv.inverse.request import Request
from unconv.testing import dense_twin

from ...helpers import F64, randn, relative
from ...strategies import Case, is_small
from ..rung_operators import RUNGS as CASES_OF

every_rung = pytest.mark.parametrize("name", RUNGS)
few_draws = settings(max_examples=40)


def drawn(name: str, data) -> tuple[ConvOperator, Tensor]:
    """An operator that the rung serves, and its matrix (B, m, n)."""
    case: Case = data.draw(CASES_OF[name]())
    op = case.operator()
    assume(is_small(op))
    A = dense_twin(op)
    return op, A if A.ndim == 3 else A[None]


def rows_of(op: ConvOperator, number: int, shape: tuple[int, ...], seed: int = 0) -> Tensor:
    """Random images of either side, one a kernel where samples have their own."""
    return randn(op.batch_size or number, *shape, dtype=op.dtype, seed=seed)


def coefficients(op: ConvOperator, basis: Basis, seed: int = 1) -> Tensor:
    """Random ones, real where an entry of a real operator stands for itself alone."""
    N = op.batch_size or 2
    c = randn(N, len(basis.counts), dtype=basis.dtype, seed=seed)
    if c.is_complex() and not op.dtype.is_complex:
        c = torch.where(basis.counts == 1, c.real.to(c.dtype), c)
    return c


def sides(op: ConvOperator, d: Diagonal) -> list[tuple[Basis, tuple[int, ...]]]:
    return [(d.data, op.range_shape), (d.domain, op.domain_shape)]


def times(A: Tensor, x: Tensor, op: ConvOperator) -> Tensor:
    """A x of the matrices (B, m, n), (N, *domain) -> (N, m)."""
    return (A @ x.flatten(1)[..., None])[..., 0] if op.batch_size else x.flatten(1) @ A[0].mT


@every_rung
@given(data=st.data())
@few_draws
def test_the_operator_is_its_three_factors(name, data):
    op, A = drawn(name, data)
    d = RUNGS[name].diagonalise(op)
    x, y = rows_of(op, 2, op.domain_shape), rows_of(op, 2, op.range_shape, 1)
    found = d.data.synthesise(d.sigma * d.domain.analyse(x))
    assert found.dtype == op.dtype
    size = torch.linalg.matrix_norm(A, 2).amax()
    error = (found.flatten(1) - times(A, x, op)).norm()
    assert error <= 1e-13 * size * x.norm()
    back = d.domain.synthesise(d.sigma * d.data.analyse(y))
    error = (back.flatten(1) - times(A.mH, y, op)).norm()
    assert error <= 1e-13 * size * y.norm()


@every_rung
@given(data=st.data(), complete=st.booleans())
@few_draws
def test_analysis_takes_synthesis_back(name, data, complete):
    op, _ = drawn(name, data)
    d = RUNGS[name].diagonalise(op, complete=complete)
    for basis, shape in sides(op, d):
        c = coefficients(op, basis)
        v = basis.synthesise(c)
        assert v.shape[1:] == shape
        stored = basis.counts > 0
        assert relative(basis.analyse(v)[:, stored], c[:, stored]) < 1e-13
        energy = (basis.counts * c.abs().square()).sum(1)
        assert relative(v.abs().square().flatten(1).sum(1), energy) < 1e-13


@every_rung
@given(data=st.data())
@few_draws
def test_complete_bases(name, data):
    op, A = drawn(name, data)
    d = RUNGS[name].diagonalise(op, complete=True)
    x = rows_of(op, 2, op.domain_shape)
    assert relative(d.domain.synthesise(d.domain.analyse(x)), x) < 1e-13
    assert int(d.data.counts.sum()) >= min(op.shape)
    every = torch.linalg.svdvals(A)
    for basis, _ in sides(op, d):
        sigma = basis.sigma
        assert sigma.shape == (op.batch_size or 1, len(basis.counts))
        for mine, S in zip(sigma, every, strict=True):
            values = mine.repeat_interleave(basis.counts)
            values = values[values != UNMATCHED].sort(descending=True).values
            assert (values >= 0).all()
            assert (values - S[: len(values)]).abs().amax() <= 1e-13 * S[0]
            assert (S[len(values) :] <= 1e-13 * S[0]).all()
    # the n-th that has a singular value on one side belongs to the n-th on the other
    left, right = (basis.sigma[0] != UNMATCHED for basis, _ in sides(op, d))
    assert torch.equal(d.data.sigma[:, left], d.domain.sigma[:, right])
    c = d.domain.analyse(x)
    mine = c.new_zeros(len(c), len(left))
    mine[:, left] = (d.domain.sigma * c)[:, right]
    size = torch.linalg.matrix_norm(A, 2).amax() * x.norm()
    assert (d.data.synthesise(mine).flatten(1) - times(A, x, op)).norm() <= 1e-13 * size


@every_rung
@given(data=st.data(), largest=st.booleans())
@few_draws
def test_a_few_vectors(name, data, largest):
    op, A = drawn(name, data)
    op = op.of_sample(0)
    whole = RUNGS[name].diagonalise(op)
    d = RUNGS[name].diagonalise(op, few=Few(2, largest))
    top = whole.sigma.amax()
    assert (d.sigma - whole.sigma).abs().amax() <= 1e-13 * top
    assert torch.equal(d.counts, whole.counts)
    index = (d.counts > 0).nonzero()[:, 0]
    index = index[d.sigma[0, index].topk(min(2, len(index)), largest=largest).indices]
    c = torch.zeros(len(index), len(d.counts), dtype=d.data.dtype)
    c[torch.arange(len(index)), index] = 1
    u, v = (basis.synthesise(c).flatten(1) for basis in (d.data, d.domain))
    assert (v @ A[0].mT - d.sigma[0, index, None] * u).abs().amax() <= 1e-13 * top
    counts = d.counts[index].to(F64)
    assert relative(u.abs().square().sum(1), counts) < 1e-13
    assert relative(v.abs().square().sum(1), counts) < 1e-13


@every_rung
@given(data=st.data())
@few_draws
def test_filters_and_subspaces(name, data):
    op, A = drawn(name, data)
    d = RUNGS[name].diagonalise(op)
    y = rows_of(op, 2, op.range_shape)
    none = torch.full((op.batch_size or 1,), torch.nan, dtype=F64)
    summary = SpectrumSummary(none, none, None, none, "for the test")
    adjoint = d.filter(d.sigma, Request(), summary)
    size = torch.linalg.matrix_norm(A, 2).amax()
    assert adjoint.method == name
    assert (adjoint(y).flatten(1) - times(A.mH, y, op)).norm() <= 1e-13 * size * y.norm()
    x = rows_of(op, 2, op.domain_shape)
    turned = adjoint.H(x)
    assert (turned.flatten(1) - times(A, x, op)).norm() <= 1e-13 * size * x.norm()
    keep = d.sigma > 0.5 * d.sigma.amax(1, keepdim=True)
    for basis, shape in sides(op, d):
        v = rows_of(op, 2, shape)
        inside = basis.subspace(keep).project(v)
        assert relative(inside, basis.synthesise(keep * basis.analyse(v))) < 1e-13
        assert relative(basis.subspace(keep).project(inside), inside) < 1e-13


@every_rung
@given(data=st.data())
@settings(max_examples=10)
def test_another_precision(name, data):
    op, _ = drawn(name, data)
    d = RUNGS[name].diagonalise(op)
    single = {torch.float64: torch.float32, torch.complex128: torch.complex64}
    for basis, shape in sides(op, d):
        v, narrow = rows_of(op, 2, shape), basis.mapped(lambda Q: Q.to(single[Q.dtype]))
        assert narrow.dtype == single[basis.dtype]
        c = narrow.analyse(v.to(single[v.dtype]))
        assert c.dtype == narrow.dtype
        assert relative(c, basis.analyse(v)) < 1e-5
        keep = torch.ones_like(d.sigma, dtype=torch.bool)
        moved = basis.subspace(keep).mapped(lambda Q: Q.clone())
        assert relative(moved.project(v), basis.subspace(keep).project(v)) == 0


@every_rung
@given(data=st.data())
@settings(max_examples=5)
def test_gradients_reach_data_and_coefficients(name, data):
    op, _ = drawn(name, data)
    assume(op.shape[1] <= 20)
    d = RUNGS[name].diagonalise(op)
    x = rows_of(op, 1, op.domain_shape).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda v: d.data.synthesise(d.sigma * d.domain.analyse(v)), (x,), fast_mode=True
    )


@pytest.mark.parametrize("shape", [(7, 8), (5,)])
@pytest.mark.parametrize("complete", [False, True])
def test_axes_in_two_halves(monkeypatch, shape, complete):
    """Short axes are split by parity here as long ones are."""
    monkeypatch.setattr(separable, "_SPLIT", 1)
    w, line = randn(2, 3), torch.tensor([1.0, 3.0, 1.0], dtype=F64)
    for _ in shape:
        w = w[..., None] * line
    op = ConvOperator(w, shape, padding=(2, 0)[: len(shape)])
    d = separable.diagonalise(op, complete=complete)
    assert len(d.data.shapes) == 2 ** len(shape)
    x = randn(2, *op.domain_shape)
    if not complete:
        y = d.data.synthesise(d.sigma * d.domain.analyse(x))
        assert relative(y, op(x)) < 1e-13
    else:
        assert relative(d.domain.synthesise(d.domain.analyse(x)), x) < 1e-13
