"""The laws themselves: they pass what is right and catch what is nearly right."""

from __future__ import annotations

import math

import pytest
import torch

from unconv import ConvOperator, LinearOperator
from unconv.grid.modes import MODES, PaddingMode, pads_of
from unconv.testing import dense_twin, dot_test, penrose_errors

from .helpers import C128, F64, randn


class Matrix(LinearOperator):
    """A matrix with an adjoint of its own choice."""

    def __init__(self, A: torch.Tensor, B: torch.Tensor) -> None:
        super().__init__()
        self.A, self.B = A, B
        self.range_shape, self.domain_shape = (A.shape[0],), (A.shape[1],)

    def _matvec(self, x):
        return x @ self.A.mT

    def _rmatvec(self, y):
        return y @ self.B.mT

    @property
    def dtype(self):
        return self.A.dtype

    @property
    def device(self):
        return self.A.device


def test_dot_test_passes_the_adjoint_and_catches_the_transpose():
    A = randn(4, 3, dtype=C128)
    assert dot_test(Matrix(A, A.mH)) < 1e-15
    assert dot_test(Matrix(A, A.mT)) > 0.01
    assert dot_test(Matrix(A, A.mH * (1 + 1e-6))) > 1e-9


def test_dot_test_without_a_scale():
    zero = torch.zeros(2, 3, dtype=F64)
    assert dot_test(Matrix(zero, zero.mT)) == 0
    assert dot_test(Matrix(zero, zero.mT + 1)) == math.inf


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.complex64])
def test_dot_test_in_low_precision(dtype):
    op = ConvOperator(randn(2, 3, 3, dtype=dtype), (9,), padding=1)
    assert dot_test(op) < 4 * torch.finfo(dtype).eps
    assert dot_test(op, batch=1) != dot_test(op, seed=1)


def test_dot_test_takes_the_operators_own_batch():
    assert dot_test(ConvOperator(randn(5, 1, 1, 3), (9,)), batch=2) < 1e-13


def test_dot_test_needs_a_sample():
    with pytest.raises(ValueError, match="batch=0 must be at least 1"):
        dot_test(ConvOperator(randn(1, 1, 3), (9,)), batch=0)


@pytest.mark.parametrize(
    ("wrong", "broken"),
    [
        (lambda A, X: X * 1.01, ["AXA", "XAX"]),
        (lambda A, X: torch.zeros_like(X), ["AXA"]),
        (lambda A, X: A.mH, ["AXA", "XAX"]),
        (lambda A, X: X + 0.1 * (torch.eye(3) - X @ A) @ torch.ones(3, 4).double(), ["XA"]),
    ],
)
def test_penrose_names_the_broken_condition(wrong, broken):
    A = randn(4, 2) @ randn(2, 3, seed=1)
    X = torch.linalg.pinv(A)
    op = Matrix(A, A.mH)
    assert max(penrose_errors(op, Matrix(X, X.mH))) < 1e-14
    W = wrong(A, X)
    errors = penrose_errors(op, Matrix(W, W.mH))._asdict()
    assert all(errors[name] > 1e-3 for name in broken)


def test_penrose_of_zero():
    Z = torch.zeros(2, 3, dtype=F64)
    assert penrose_errors(Matrix(Z, Z.mT), Matrix(Z.mT, Z)) == (0, 0, 0, 0)


def test_penrose_wants_the_shapes_turned():
    op = ConvOperator(randn(2, 1, 3), (9,))
    with pytest.raises(ValueError, match="pass the inverse of this operator"):
        penrose_errors(op, op)


TWINS = [
    ("zeros", [[2, 3, 0], [1, 2, 3], [0, 1, 2]]),
    ("circular", [[2, 3, 1], [1, 2, 3], [3, 1, 2]]),
    ("reflect", [[2, 4, 0], [1, 2, 3], [0, 4, 2]]),
    ("replicate", [[3, 3, 0], [1, 2, 3], [0, 1, 5]]),
    ("symmetric", [[3, 3, 0], [1, 2, 3], [0, 1, 5]]),
    ("antireflective", [[4, 2, 0], [1, 2, 3], [0, -2, 8]]),
]


@pytest.mark.parametrize(("mode", "rows"), TWINS)
def test_twin_by_hand(mode, rows):
    K = torch.tensor([[[1.0, 2.0, 3.0]]])
    op = ConvOperator(K, (3,), padding=1, padding_mode=mode)
    assert dense_twin(op).tolist() == rows


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "zeros"])
def test_twin_does_not_copy_the_table_of_the_operator(mode, monkeypatch, request):
    """A wrong entry spoils the operator, and its twin says so."""
    op = ConvOperator(randn(1, 1, 5), (6,), padding=((4, 5),), padding_mode=mode)
    right = dense_twin(op)
    assert float((op.to_dense() - right).abs().max()) < 1e-14
    pads_of.cache_clear()
    request.addfinalizer(pads_of.cache_clear)
    monkeypatch.setitem(MODES, mode, PaddingMode(lambda i, n: ((abs(i) % n // 2, 3.0),)))
    wrong = ConvOperator(op.weight, (6,), padding=((4, 5),), padding_mode=mode)
    assert float((wrong.to_dense() - right).abs().max()) > 0.1
    assert torch.equal(dense_twin(wrong), right)


def test_twin_by_hand_with_options():
    K = torch.tensor([[[1.0, 2.0]], [[3.0, 4.0]]])  # two groups
    op = ConvOperator(K, (4,), stride=2, dilation=2, padding=((1, 1),), groups=2, flip=True)
    block1 = [[0, 1, 0, 0], [0, 2, 0, 1]]
    block2 = [[0, 3, 0, 0], [0, 4, 0, 3]]
    zero = [0, 0, 0, 0]
    expected = [row + zero for row in block1] + [zero + row for row in block2]
    assert dense_twin(op).tolist() == expected
    turned = ConvOperator(
        K, (2,), stride=2, dilation=2, padding=1, groups=2, transposed=True, output_padding=1
    )
    assert dense_twin(turned).shape == (8, 4)
    assert dense_twin(turned).dtype == F64
