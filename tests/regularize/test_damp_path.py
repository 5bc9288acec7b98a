"""Damped inverses for many damps against the dense ones, whatever is kept between them."""

import copy
import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import unconv
from unconv.inverse import request_of
from unconv.regularize.damp_path import DampPath
from unconv.regularize.shifted import ShiftedInverse

from ..helpers import C128, F64, randn, relative

SIZES = {1: (11,), 2: (8, 7), 3: (5, 4, 5)}


def asked(damp, method="auto", tol=1e-10):
    return request_of(damp, None, 0.0, 1e9, 10, tol, method=method)


def dense_inverse(A, damp):
    """(AᴴA + damp²)⁻¹Aᴴ, with rows of zeros where nothing was seen."""
    matrix = A.to_dense().detach()
    gram = matrix.mH @ matrix + damp**2 * torch.eye(matrix.shape[1], dtype=matrix.dtype)
    return torch.linalg.solve(gram, matrix.mH)


def drawn(draw):
    """An operator of any boundary, stride, channels, holes and dtype."""
    nd = draw(st.sampled_from((1, 2, 2, 2, 3)))
    mode = draw(st.sampled_from(("valid", "zeros", "circular", "reflect", "replicate")))
    padding = {"padding": 1, "padding_mode": mode} if mode != "valid" else {}
    groups, c_in, c_out = draw(st.sampled_from(((1, 1, 1), (1, 2, 3), (1, 3, 2), (2, 2, 2))))
    dtype = draw(st.sampled_from((F64, F64, C128)))
    seed = draw(st.integers(0, 999))
    A = unconv.ConvOperator(
        randn(c_out, c_in // groups, *[3] * nd, dtype=dtype, seed=seed),
        SIZES[nd],
        stride=draw(st.sampled_from((1, 1, 2))),
        groups=groups,
        **padding,
    )
    if draw(st.booleans()):
        A = A.observed(randn(*A.range_shape[1:], seed=seed) > -1)
    return A, seed


@given(st.data())
def test_every_damp_has_the_dense_inverse(data):
    A, seed = drawn(data.draw)
    methods = ["auto"]
    if A.seen is None:
        methods.append("boundary")
    method = data.draw(st.sampled_from(methods))
    path = DampPath()
    y = randn(2, *A.range_shape, dtype=A.dtype, seed=seed + 1)
    x = randn(2, *A.domain_shape, dtype=A.dtype, seed=seed + 2)
    for damp in data.draw(st.lists(st.sampled_from((2.0, 1.2, 0.7, 0.5, 0.1, 0.07)), max_size=4)):
        inverse = path.at(A, asked(damp, method))
        matrix = dense_inverse(A, damp)
        expected = (y.flatten(1) @ matrix.mT).reshape(x.shape)
        assert relative(inverse(y), expected) < 1e-8
        expected = (x.flatten(1) @ matrix.conj()).reshape(y.shape)
        seen = 1 if A.seen is None else A.seen
        assert relative(inverse.H(x) * seen, expected * seen) < 1e-8


def strips(k=5, n=12):
    """An operator that the boundary rung alone serves directly."""
    return unconv.ConvOperator(randn(1, 1, k, k), (n, n), padding=k // 2)


@pytest.mark.parametrize("tol", [1e-3, 1e-6, 1e-10])
@pytest.mark.parametrize("damp", [0.34, 0.4, 0.6, 0.74])
def test_what_is_iterated_from_another_damp_proves_its_error(damp, tol):
    A, path = strips(), DampPath()
    path.at(A, asked(0.5, "boundary", tol))
    inverse = path.at(A, asked(damp, "boundary", tol))
    assert isinstance(inverse, ShiftedInverse)
    y = randn(3, *A.range_shape, seed=1)
    y[1] *= 1e-30
    y[2] = 0
    x, effort = inverse.solution(y)
    exact = (y.flatten(1) @ dense_inverse(A, damp).mT).reshape(x.shape)
    for i in range(2):
        error = relative(x[i], exact[i])
        assert error <= float(effort.evidence[i]) + 1e-13
        assert float(effort.evidence[i]) <= tol
        assert relative(effort.residual[i], (y - A(exact))[i]) < max(10 * tol, 1e-10)
    assert not x[2].any()
    assert int(effort.iterations.max()) <= 16


def test_too_few_steps_are_said():
    A, path = strips(), DampPath()
    path.at(A, request_of(0.5, None, 0.0, 1e9, 10, 1e-12, 1, method="boundary"))
    inverse = path.at(A, request_of(0.4, None, 0.0, 1e9, 10, 1e-12, 1, method="boundary"))
    with pytest.warns(unconv.AccuracyWarning, match=r"error_bound .* above tol=1e-12"):
        inverse(randn(1, *A.range_shape))


def test_gradients_through_another_damps_factor():
    w = randn(1, 1, 3, 3).requires_grad_()
    path = DampPath()
    y = randn(1, 1, 4, 4, seed=1).requires_grad_()
    damp = torch.tensor(0.6, dtype=F64, requires_grad=True)

    def of(w, y, damp):
        A = unconv.ConvOperator(w, (4, 4), padding=1)
        path.at(A, asked(0.5, "boundary", 1e-13))
        return path.at(A, asked(damp.item(), "boundary", 1e-13)).bound_to(w, damp)(y)

    assert torch.autograd.gradcheck(of, (w, y, damp), fast_mode=True)


def test_copies_are_without_factors():
    A, path = strips(), DampPath()
    path.at(A, asked(0.5))
    for other in (copy.deepcopy(path), pickle.loads(pickle.dumps(path))):
        assert not other._ready
        assert relative(other.at(A, asked(0.5)).to_dense(), dense_inverse(A, 0.5)) < 1e-10


def test_float32_images_of_an_unknown_surrounding_keep_what_is_asked():
    A = unconv.ConvOperator(torch.rand(1, 1, 5, 5) / 25, (24, 24))
    path, y = DampPath(), torch.rand(2, 1, 20, 20)
    wide = A.with_weight(A.weight.double())
    for damp in (0.3, 0.28, 0.1, 0.03):
        inverse = path.at(A, asked(damp, "completion", 1e-4))
        assert inverse.method == "completion"
        found = inverse(y)
        assert found.dtype == torch.float32
        expected = (y.double().flatten(1) @ dense_inverse(wide, damp).mT).reshape(found.shape)
        assert relative(found, expected) < 1e-4
