"""The algebra against matrices, and the checks at the public edge."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given

from unconv import ConvOperator, LinearOperator, MemoryLimitError
from unconv.operators.linear_operator import gigabytes
from unconv.testing import dense_twin, dot_test

from ..helpers import (
    C128,
    DOUBLES,
    apply_matrix,
    assert_says,
    data,
    randn,
    relative,
)
from ..strategies import Case, cases


@given(case=cases())
def test_linearity(case: Case):
    op = case.operator()
    x, z = data(op.domain_shape, op, seed=1), data(op.domain_shape, op, seed=2)
    a = 0.5 - 2j if op.dtype.is_complex else -2.5
    left, right = op(a * x + z), a * op(x) + op(z)
    assert relative(left, right, torch.linalg.norm(op(x)) + torch.linalg.norm(op(z))) < 1e-13


@given(case=cases())
def test_dot_test_of_every_member(case: Case):
    op = case.operator()
    for member in (op, op.H, op.T, op.T.H, op.H.T, op.gram, op.T.T):
        assert dot_test(member) < 1e-13


@given(case=cases())
def test_members_are_their_matrices(case: Case):
    op = case.operator()
    A = dense_twin(op)
    members = {
        op: A,
        op.H: A.mH,
        op.T: A.mT,
        op.T.H: A.conj(),
        op.H.T: A.conj(),
        op.T.T: A,
        op.gram: A.mH @ A,
        op @ op.H: A @ A.mH,
        (op @ op.H).H: A @ A.mH,
        op.H @ op @ op.H: A.mH @ A @ A.mH,
    }
    for member, matrix in members.items():
        assert member.shape == tuple(matrix.shape[-2:])
        dense = member.to_dense()
        assert dense.dtype == op.dtype
        # where A nearly vanishes (a lone tap on a border) its own size is no scale
        assert relative(dense, matrix) < 1e-12
        x = data(member.domain_shape, member)
        assert relative(member @ x, apply_matrix(matrix, x, member.range_shape)) < 1e-12


def test_adjoint_of_adjoint_is_the_operator():
    op = ConvOperator(randn(2, 3, 3, dtype=C128), (5,))
    assert op.H.H is op
    assert op.T.T is op
    assert op.pinv().H.H.domain_shape == op.range_shape
    real = ConvOperator(randn(2, 3, 3), (5,))
    assert relative(real.T.to_dense(), real.H.to_dense()) == 0
    assert relative(op.T.to_dense(), op.H.to_dense()) > 0.1


def test_composition_of_different_operators():
    A = ConvOperator(randn(3, 2, 3), (8,), stride=2, padding=1)
    B = ConvOperator(randn(2, 4, 2, 2, dtype=C128).flatten(2), (8,), padding=((1, 2),))
    C = A @ B
    assert isinstance(C, LinearOperator)
    assert (C.domain_shape, C.range_shape, C.dtype) == ((4, 8), (3, 4), C128)
    assert relative(C.to_dense(), dense_twin(A).to(C128) @ dense_twin(B)) < 1e-13
    x = randn(2, 4, 8)
    assert torch.equal(C @ x, A(B(x)))
    assert dot_test(C) < 1e-13


def test_composition_of_shared_and_own_kernels():
    shared = ConvOperator(randn(2, 2, 3), (5,), padding=1)
    own = ConvOperator(randn(3, 2, 2, 3), (5,), padding=1)
    assert (shared @ own).batch_size == (own @ shared).batch_size == 3
    assert relative((shared @ own).to_dense(), dense_twin(shared) @ dense_twin(own)) < 1e-13


@pytest.mark.parametrize("dtype", [*DOUBLES, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("batch", [(), (2,)])
def test_empty_batch(dtype, batch):
    op = ConvOperator(randn(*batch, 3, 2, 3, dtype=dtype), (5,))
    if batch:
        with pytest.raises(ValueError, match="2 samples, got a batch of 0"):
            op(torch.zeros(0, 2, 5, dtype=dtype))
        return
    for member in (op, op.H, op.pinv(), op.gram):
        y = member(torch.zeros(0, *member.domain_shape, dtype=dtype))
        assert y.shape == (0, *member.range_shape)
        assert y.dtype == dtype


def test_dense_matrix_in_the_operators_dtype():
    for dtype in (torch.float16, torch.float32, torch.complex64):
        op = ConvOperator(randn(2, 1, 3, dtype=dtype), (5,))
        assert op.to_dense().dtype == dtype


def test_moves_and_copies_like_a_module():
    op = ConvOperator(randn(2, 1, 3), (5,), padding=1)
    x = randn(1, 1, 5)
    again = copy.deepcopy(op)
    assert torch.equal(again(x), op(x))
    assert torch.equal(op.H.op.weight, op.weight)
    assert copy.deepcopy(op).to(torch.float32).dtype == torch.float32
    fresh = ConvOperator(torch.zeros_like(op.weight), (5,), padding=1)
    fresh.load_state_dict(op.state_dict())
    assert torch.equal(fresh(x), op(x))


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (2500, "2.5 kB"), (6_800_000_000, "6.8 GB"), (1e6, "1 MB")],
)
def test_bytes_in_a_sentence(size, text):
    assert gigabytes(size) == text


# --- refusals -------------------------------------------------------------------------------------

OP = ConvOperator(randn(3, 2, 3, 3), (6, 5), padding=1)
REFUSED = [
    (lambda: OP(randn(3, 6, 5)), ValueError, ["(N, 2, 6, 5)", "(3, 6, 5)", "check channels"]),
    (lambda: OP(randn(1, 3, 6, 5)), ValueError, ["(N, 2, 6, 5)", "(1, 3, 6, 5)", "check channels"]),
    (lambda: OP(randn(1, 2, 5, 6)), ValueError, ["(N, 2, 6, 5)", "(1, 2, 5, 6)", "input_shape"]),
    (lambda: OP(randn(1, 1, 2, 6, 5)), ValueError, ["(N, 2, 6, 5)", "(1, 1, 2, 6, 5)"]),
    (lambda: OP.H(randn(1, 2, 6, 5)), ValueError, ["(N, 3, 6, 5)", "(1, 2, 6, 5)"]),
    (lambda: OP(torch.ones(1, 2, 6, 5).long()), TypeError, ["int64", ".float()"]),
    (lambda: OP(torch.ones(1, 2, 6, 5).bool()), TypeError, ["bool", ".float()"]),
    (lambda: OP(randn(1, 2, 6, 5).numpy()), TypeError, ["ndarray", "torch.as_tensor"]),
    (lambda: OP(randn(1, 2, 6, 5).to("meta")), ValueError, ["meta", "cpu", ".to(device)"]),
    (lambda: OP @ OP, ValueError, ["(2, 6, 5)", "(3, 6, 5)", "must agree"]),
    (
        lambda: OP.H @ ConvOperator(randn(3, 2, 3, 3).to("meta"), (6, 5), padding=1),
        ValueError,
        ["cpu", "meta", ".to(device)"],
    ),
    (
        lambda: OP.to_dense(memory_limit=1000),
        MemoryLimitError,
        ["90 × 60", "43.2 kB", "1 kB", "smaller input_shape"],
    ),
]


@pytest.mark.parametrize(("call", "kind", "parts"), REFUSED)
def test_refused(call, kind, parts):
    with pytest.raises(kind) as error:
        call()
    assert_says(error, *parts)


def test_kernels_and_samples_must_agree():
    two = ConvOperator(randn(2, 1, 1, 3), (5,))
    three = ConvOperator(randn(3, 1, 1, 3), (5,))
    with pytest.raises(ValueError, match="2 samples, got a batch of 3"):
        two(randn(3, 1, 5))
    with pytest.raises(ValueError, match="3 and 2 samples"):
        _ = three.H @ two


def test_matmul_with_anything_else():
    with pytest.raises(TypeError):
        _ = OP @ 3


def test_memory_limit_counts_the_kernels():
    op = ConvOperator(randn(4, 1, 1, 1), (10,))
    assert op.to_dense(memory_limit=3200).shape == (4, 10, 10)
    with pytest.raises(MemoryLimitError, match=r"3\.2 kB"):
        op.to_dense(memory_limit=3199)
    assert issubclass(MemoryLimitError, ValueError)


def test_refused_before_anything_is_allocated():
    op = ConvOperator(torch.empty(1, 1, 3, 3, device="meta"), (10**5, 10**5))
    with pytest.raises(MemoryLimitError, match="GB"):
        op.to_dense()
