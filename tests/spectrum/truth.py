"""What the matrix says of a spectrum, and how answers are held to it."""

from __future__ import annotations

import torch
from hypothesis import strategies as st
from torch import Tensor

from unconv import ConvOperator
from unconv.spectrum import values
from unconv.testing import dense_twin

from ..helpers import (
    doubled,
    relative,
)
from ..inverse.diagonal.test_cosine import cosine_cases
from ..inverse.diagonal.test_separable import separable_cases
from ..strategies import cases, circulant_cases

ENDS = ("largest", "smallest")
EVERY = st.one_of(cases(), circulant_cases(), cosine_cases(), separable_cases())
ROUND_OFF = 1e-12  # of σ_max


def matrices(op: ConvOperator) -> Tensor:  # (B, m, n)
    A = dense_twin(op)
    return A if op.batch_size else A[None]


def batched(op: ConvOperator, t: Tensor) -> Tensor:
    return t if op.batch_size else t[None]


def ends(S: Tensor, k: int, which: str) -> Tensor:
    return S[:, :k] if which == "largest" else S[:, S.shape[1] - k :]


def assert_orthonormal(t: Tensor) -> None:
    t = t.flatten(1)
    assert relative(t.conj() @ t.mT, torch.eye(len(t), dtype=t.dtype), 1.0) <= ROUND_OFF


def assert_triples(op: ConvOperator, S: Tensor, k: int, which: str, tol: float) -> None:
    """A V = U S, Aᴴ U = V S, orthonormal on the shorter side, in the dtype of the operator."""
    U, s, V = (batched(op, t) for t in op.svd(k, which))
    expected = ends(S, k, which)
    assert s.shape == expected.shape
    for b in range(len(U)):
        A = op.of_sample(b)
        size = float(S[b, 0]) or 1.0
        assert U.dtype == V.dtype == doubled(op.weight).dtype
        assert float((s[b] - expected[b]).abs().max()) <= ROUND_OFF * size
        SU, SV = (s[b].reshape(-1, *[1] * (U.ndim - 2)) * t[b] for t in (U, V))
        assert relative(A(V[b]), SU, size) <= tol
        assert relative(A.H(U[b]), SV, size) <= tol
        assert_orthonormal(V[b] if op.shape[0] >= op.shape[1] else U[b])


def assert_bracket(found: values.Bracket, op: ConvOperator, truth: Tensor, size: Tensor) -> None:
    """The truth itself is known to round-off only."""
    lower, upper = batched(op, found.lower), batched(op, found.upper)
    assert (lower <= truth + 1e-13 * size).all(), found.how
    assert (upper >= truth - 1e-13 * size).all(), found.how
