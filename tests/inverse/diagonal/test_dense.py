"""The dense rung against torch.linalg.pinv of the twin, for every option."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings

from unconv import ConvOperator
from unconv.inverse import Request
from unconv.inverse.diagonal import dense
from unconv.testing import dense_twin

from ...helpers import (
    F64,
    GAP,
    apply_matrix,
    data,
    has_gap,
    randn,
    relative,
)
from ...strategies import Case, cases


def assert_pinv(op: ConvOperator, A: torch.Tensor) -> None:
    pinv = op.pinv(method="dense")
    X = torch.linalg.pinv(A, rtol=GAP)
    assert relative(pinv.to_dense(), X) < 1e-10
    rank = torch.linalg.matrix_rank(A, rtol=GAP).reshape(-1)
    assert pinv.summary.rank.tolist() == rank.tolist()
    assert pinv.summary.dropped.tolist() == (min(op.shape) - rank).tolist()
    y = data(op.range_shape, op)
    assert relative(pinv(y), apply_matrix(X, y, op.domain_shape)) < 1e-10


@given(cases())
@settings(max_examples=80)
def test_equals_the_matrix(case: Case):
    op = case.operator()
    A = dense_twin(op)
    assume(has_gap(A))
    assert_pinv(op, A)


@given(cases())
@settings(max_examples=60)
def test_damped_equals_the_normal_equations(case: Case):
    op = case.operator()
    A = dense_twin(op).numpy()
    damp = 0.2 * float(np.linalg.norm(A, 2, axis=(-2, -1)).max()) + 1e-3
    inverse = op.tikhonov(damp, method="dense")
    AH = A.conj().swapaxes(-1, -2)
    expected = np.linalg.solve(AH @ A + damp**2 * np.eye(A.shape[-1]), AH)
    assert relative(inverse.to_dense(), torch.from_numpy(expected)) < 1e-12
    assert inverse.summary.rank is None
    assert not inverse.summary.dropped.any()


@given(cases())
def test_summary_is_the_spectrum(case: Case):
    op = case.operator()
    A = dense_twin(op)
    assume(has_gap(A))
    S = torch.linalg.svdvals(A).reshape(op.batch_size or 1, -1)
    kept = torch.where(GAP * S[:, :1] < S, S, torch.inf).amin(1)
    summary = op.pinv(method="dense").summary
    assert relative(summary.norm, S[:, 0]) < 1e-13
    assert relative(summary.floor, kept) < 1e-9
    assert (summary.gap > 1e9).all()
    damped = op.tikhonov(0.5, method="dense").summary
    assert (damped.floor <= (S.amin(1) ** 2 + 0.25).sqrt() * (1 + 1e-12)).all()


STRUCTURES = {
    "rows never read": ((1, 1, 1), (9,), {"stride": 4}),
    "columns doubled by a mirror": ((1, 1, 3), (3,), {"padding": 3, "padding_mode": "symmetric"}),
    "one pixel, many copies": ((1, 1, 3), (1,), {"padding": 4, "padding_mode": "replicate"}),
    "upsampling by copies": ((1, 2, 1), (4,), {"stride": 3, "transposed": True}),
    "padding beyond full": ((1, 1, 2), (3,), {"padding": 4}),
    "two pixels, wrapped": ((1, 1, 5), (2,), {"padding": 4, "padding_mode": "circular"}),
}


@pytest.mark.parametrize("case", STRUCTURES)
@pytest.mark.parametrize("dtype", [F64, torch.complex128])
def test_structural_rank(case, dtype):
    shape, size, options = STRUCTURES[case]
    op = ConvOperator(randn(*shape, dtype=dtype), size, **options)
    A = dense_twin(op)
    assert has_gap(A)
    assert_pinv(op, A)


def test_limit_counts_the_smaller_side(monkeypatch):
    assert dense.LIMIT == 1024
    monkeypatch.setattr(dense, "LIMIT", 10)

    def obstacle(channels: int, n: int) -> str | None:
        return dense.obstacle(ConvOperator(randn(channels, 1, 1), (n,)), Request())

    assert obstacle(1, 10) is None
    assert "11 is above 10" in obstacle(1, 11)
    assert obstacle(5, 10) is None


@pytest.mark.slow
@given(cases())
@settings(max_examples=2000)
def test_equals_the_matrix_at_length(case: Case):
    op = case.operator()
    A = dense_twin(op)
    assume(has_gap(A))
    assert_pinv(op, A)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_a_wide_matrix_is_made_by_its_rows(monkeypatch, groups, dtype):
    """A stride of 100 leaves few outputs: a product for each of them, not one for each pixel."""
    w, sizes = randn(4, 2 // groups, 5, 3, dtype=dtype), (130, 110)
    op = ConvOperator(w, sizes, stride=100, groups=groups)
    rows = []
    for out, kernel in enumerate(w):
        first = out // (4 // groups) * len(kernel)
        for i, j in np.ndindex(op.range_shape[1:]):
            row = torch.zeros(2, *sizes, dtype=dtype)
            here = slice(100 * i, 100 * i + 5), slice(100 * j, 100 * j + 3)
            row[first : first + len(kernel), *here] = kernel
            rows.append(row.flatten())
    products = []
    for name in ("_matvec", "_rmatvec"):
        method = getattr(ConvOperator, name)

        def counted(self, x, method=method):
            products.append(len(x))
            return method(self, x)

        monkeypatch.setattr(ConvOperator, name, counted)
    expected = torch.linalg.svdvals(torch.stack(rows))
    torch.testing.assert_close(op.svdvals(), expected)
    found = dense.diagonalise(op).sigma[0].sort(descending=True).values  # group by group
    torch.testing.assert_close(found, expected)
    assert sum(products) <= 2 * op.shape[0] < op.shape[1] / 500
