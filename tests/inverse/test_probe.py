"""What a factor promises is what it is held to: true inverses pass, wrong ones do not."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from unconv import ConvOperator
from unconv.inverse.facts import CannotServeError, SpectrumSummary
from unconv.inverse.probe import probe, refuse_unproven
from unconv.testing import dense_twin

from ..helpers import DOUBLES, F64, randn

SHAPES = {"square": (2, 2, 3), "tall": (3, 2, 3), "wide": (2, 3, 3)}


def deficient(weight: Tensor) -> Tensor:
    """One channel a multiple of another, on the shorter side."""
    rows, columns = weight.shape[:2]
    if rows <= columns:
        weight[-1] = 2 * weight[0]
    else:
        weight[:, -1] = -weight[:, 0]
    return weight


class Matrix:
    """A, a candidate for its pseudo-inverse, and the facts that its SVD states."""

    def __init__(self, kind: str, dtype: torch.dtype, *, full: bool, rank: int = 0) -> None:
        weight = randn(*SHAPES[kind], dtype=dtype, seed=3)
        self.op = ConvOperator(weight if full else deficient(weight), (9,), padding=1)
        U, S, Vh = torch.linalg.svd(dense_twin(self.op), full_matrices=False)
        right = int((1e-12 * S[0] < S).sum())
        r = right + rank
        self.X = (Vh[:r].mH / S[:r]) @ U[:, :r].mH
        self.cutoff = torch.tensor([1e-12 * float(S[0])], dtype=F64)
        self.facts = SpectrumSummary(
            norm=S[:1], floor=S[r - 1 : r], rank=torch.tensor([r]), gap=S[:1] / S[:1], rank_how="",
            dropped=torch.tensor([len(S) - r]),
        )  # fmt: skip

    def solve(self, y: Tensor) -> Tensor:
        return (y.flatten(1) @ self.X.mT).reshape(-1, *self.op.domain_shape)

    def solve_adjoint(self, x: Tensor) -> Tensor:
        return (x.flatten(1) @ self.X.conj()).reshape(-1, *self.op.range_shape)

    def worst(self) -> float:
        maps = self.solve, self.solve_adjoint
        found = probe(self.op, *maps, self.facts, self.cutoff, self.op.weight)
        return found.worst_of(torch.tensor([True]))[1]

    def refuse(self) -> None:
        maps = self.solve, self.solve_adjoint
        refuse_unproven(self.op, *maps, self.facts, self.cutoff, self.op.weight)


KINDS = pytest.mark.parametrize("kind", SHAPES)


@KINDS
@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("dtype", DOUBLES)
def test_a_pseudo_inverse_keeps_its_promise_with_room_to_spare(kind, full, dtype):
    case = Matrix(kind, dtype, full=full)
    assert case.worst() < 0.1
    case.refuse()


@KINDS
@pytest.mark.parametrize("dtype", DOUBLES)
def test_a_null_vector_that_was_missed(kind, dtype):
    """The SVD's own smallest value, which is round-off, taken for one that counts."""
    case = Matrix(kind, dtype, full=False, rank=1)
    case.facts = replace(case.facts, floor=1e-3 * case.facts.norm)  # as a squared matrix would say
    assert case.worst() > 1e3
    with pytest.raises(CannotServeError, match="times what it promises"):
        case.refuse()


@KINDS
@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("dtype", DOUBLES)
def test_a_rank_that_is_too_small(kind, full, dtype):
    case = Matrix(kind, dtype, full=full, rank=-1)
    assert case.worst() > 1e3


@KINDS
@pytest.mark.parametrize("dtype", DOUBLES)
def test_a_part_in_a_null_space(kind, dtype):
    """A generalised inverse that is not Moore and Penrose's: AXA = A alone."""
    case = Matrix(kind, dtype, full=False)
    m, n = case.op.shape
    X, A = case.X, dense_twin(case.op)
    N = torch.eye(n, dtype=dtype) - X @ A
    case.X = X + N @ randn(n, m, dtype=dtype, seed=5)
    assert case.worst() > 1e3
    case.X = X + randn(n, m, dtype=dtype, seed=5) @ (torch.eye(m, dtype=dtype) - A @ X)
    assert case.worst() > 1e3


@KINDS
@pytest.mark.parametrize("full", [True, False])
def test_what_is_not_a_number_breaks_every_promise(kind, full):
    case = Matrix(kind, F64, full=full)
    case.X = case.X * torch.nan
    with pytest.raises(CannotServeError):
        case.refuse()


@pytest.mark.parametrize("unit", [1e-150, 1e150])
@pytest.mark.parametrize("full", [True, False])
def test_units_do_not_matter(unit, full):
    case = Matrix("tall", F64, full=full)
    case.op = case.op.with_weight(case.op.weight * unit)
    case.X, case.cutoff = case.X / unit, case.cutoff * unit
    f = case.facts
    case.facts = replace(f, norm=f.norm * unit, floor=f.floor * unit)
    assert case.worst() < 0.1


def test_nothing_is_asked_of_a_zero_operator():
    case = Matrix("square", F64, full=True)
    case.facts = replace(case.facts, norm=torch.zeros(1, dtype=F64))
    asked = []
    case.solve = case.solve_adjoint = asked.append
    case.refuse()
    assert not asked


def test_a_zero_kernel_does_not_hide_another():
    weight = torch.stack([torch.zeros(2, 2, 3, dtype=F64), randn(2, 2, 3, seed=3)])
    op = ConvOperator(weight, (9,), padding=1)
    X = torch.linalg.pinv(dense_twin(op))
    S = torch.linalg.svdvals(dense_twin(op))
    facts = SpectrumSummary(
        norm=S[:, 0], floor=torch.stack([torch.tensor(torch.inf, dtype=F64), S[1, -1]]),
        rank=torch.tensor([0, 18]), gap=S[:, 0], rank_how="", dropped=torch.tensor([18, 0]),
    )  # fmt: skip

    def refuse(X: Tensor) -> None:
        def solve(y: Tensor) -> Tensor:
            return (X @ y.flatten(1)[..., None]).reshape(y.shape)

        def solve_adjoint(x: Tensor) -> Tensor:
            return (X.mH @ x.flatten(1)[..., None]).reshape(x.shape)

        refuse_unproven(op, solve, solve_adjoint, facts, 1e-12 * S[:, 0], op.weight)

    refuse(X)
    with pytest.raises(CannotServeError):
        refuse(X * torch.tensor([1, 1 + 1e-6], dtype=F64)[:, None, None])
