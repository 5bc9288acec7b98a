"""Flat vectors against the matrix, SciPy's iterations against `lstsq`, and PyLops."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse.linalg as sla
import torch

import unconv
from unconv.adapters import as_scipy

from ..helpers import C128, F64, randn

K = randn(2, 3, 3, 3)
rng = np.random.default_rng(0)


def conv(dtype: torch.dtype = F64) -> unconv.ConvOperator:
    return unconv.ConvOperator(randn(2, 3, 3, 3, dtype=dtype), (5, 4), padding=1)


OPERATORS = {
    "A": conv,
    "adjoint": lambda dtype=F64: conv(dtype).H,
    "transpose": lambda dtype=F64: conv(dtype).T,
    "pinv": lambda dtype=F64: conv(dtype).pinv(),
    "tikhonov": lambda dtype=F64: conv(dtype).tikhonov(0.1),
    "gram": lambda dtype=F64: conv(dtype).gram,
    "projector": lambda dtype=F64: conv(dtype).null_projector(),
}


@pytest.mark.parametrize("dtype", [F64, C128])
@pytest.mark.parametrize("name", OPERATORS)
def test_products(name, dtype):
    op = OPERATORS[name](dtype)
    S, A = as_scipy(op), op.to_dense().numpy()
    m, n = op.shape
    X, Y = rng.standard_normal((n, 3)), rng.standard_normal((m, 3)) * (1 + 2j)
    assert S.shape == (m, n)
    assert S.dtype == A.dtype
    np.testing.assert_allclose(S @ X, A @ X, atol=1e-12)
    np.testing.assert_allclose(S.matvec(X[:, 0]), A @ X[:, 0], atol=1e-12)
    np.testing.assert_allclose(S.matvec(X[:, :1]), A @ X[:, :1], atol=1e-12)
    np.testing.assert_allclose(S.rmatvec(Y[:, 0]), A.conj().T @ Y[:, 0], atol=1e-12)
    np.testing.assert_allclose(S.rmatmat(Y), A.conj().T @ Y, atol=1e-12)
    np.testing.assert_allclose(S.H @ Y, A.conj().T @ Y, atol=1e-12)
    np.testing.assert_allclose(S.T @ Y, A.T @ Y, atol=1e-12)


def test_columns_go_through_as_one_batch(monkeypatch):
    op, sizes = conv(), []
    matvec = type(op)._matvec
    monkeypatch.setattr(
        type(op), "_matvec", lambda self, x: sizes.append(len(x)) or matvec(self, x)
    )
    _ = as_scipy(op) @ np.zeros((op.shape[1], 7))
    assert sizes == [7]


@pytest.mark.parametrize(
    ("own", "data", "expected"),
    [
        (torch.float32, "float32", "float32"),
        (torch.float32, "float64", "float64"),
        (torch.float32, "int64", "float64"),
        (torch.float32, "complex64", "complex64"),
        (torch.float64, "float32", "float64"),
        (torch.float64, "longdouble", "float64"),
        (torch.float64, "clongdouble", "complex128"),
        (torch.bfloat16, "float32", "float32"),
    ],
)
def test_dtypes(own, data, expected):
    op = conv(own)
    x = rng.integers(0, 9, op.shape[1]).astype(data)
    y = as_scipy(op) @ x
    assert y.dtype == expected
    np.testing.assert_allclose(y, op.double().to_dense().numpy() @ x, rtol=1e-5)


def test_read_only_vectors_and_gradients():
    op = unconv.ConvOperator(torch.nn.Parameter(K), (5, 4), padding=1)
    x = np.ones(op.shape[1])
    x.flags.writeable = False
    assert (as_scipy(op) @ x).shape == (40,)


@pytest.mark.parametrize("damp", [0.0, 0.5])
def test_iterations_find_the_solution_of_lstsq(damp):
    op = conv()
    y = randn(1, *op.range_shape)
    expected = op.lstsq(y, damp).solution.flatten().numpy()
    S, b = as_scipy(op), y.flatten().numpy()
    tight = {"damp": damp, "atol": 1e-14, "btol": 1e-14}
    np.testing.assert_allclose(sla.lsqr(S, b, **tight)[0], expected, atol=1e-9)
    np.testing.assert_allclose(sla.lsmr(S, b, maxiter=500, **tight)[0], expected, atol=1e-9)
    if damp:
        normal = S.H @ S + damp**2 * sla.aslinearoperator(np.eye(op.shape[1]))
        x, info = sla.cg(normal, S.rmatvec(b), rtol=1e-13)
        assert info == 0
        np.testing.assert_allclose(x, expected, atol=1e-9)


def test_largest_singular_value():
    op = conv()
    sigma = sla.svds(as_scipy(op), k=1, return_singular_vectors=False, random_state=0)
    assert sigma[0] == pytest.approx(float(op.norm()), rel=1e-9)


def test_pylops_accepts_it():
    pylops = pytest.importorskip("pylops")
    op = conv()
    Op = pylops.aslinearoperator(as_scipy(op))
    assert pylops.utils.dottest(Op, *op.shape, rtol=1e-10)
    x = rng.standard_normal(op.domain_shape)
    y = Op @ x
    assert y.shape == op.range_shape
    np.testing.assert_allclose(y, op(torch.from_numpy(x)[None])[0], atol=1e-12)
    np.testing.assert_allclose(Op.H @ y, op.H(torch.from_numpy(y)[None])[0], atol=1e-12)
    stacked = pylops.VStack([Op, 0.5 * pylops.Identity(op.shape[1])])
    b = np.concatenate([y.ravel(), np.zeros(op.shape[1])])
    found = pylops.optimization.basic.lsqr(stacked, b, niter=500, atol=1e-14, btol=1e-14)[0]
    expected = op.lstsq(torch.from_numpy(y)[None], 0.5).solution.flatten().numpy()
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_pylops_accepts_an_inverse():
    pylops = pytest.importorskip("pylops")
    inverse = conv().pinv()
    Op = pylops.LinearOperator(as_scipy(inverse))
    assert pylops.utils.dottest(Op, *inverse.shape, rtol=1e-10)


def test_refusals():
    with pytest.raises(ValueError, match="one kernel for each of 2 samples; adapt each one"):
        as_scipy(unconv.ConvOperator(randn(2, 1, 1, 3), (8,)))
    with pytest.raises(TypeError, match="needs an operator of unconv, got ndarray"):
        as_scipy(np.eye(2))
    with pytest.raises(ValueError, match="dimension mismatch"):
        as_scipy(conv()) @ np.ones(7)
