"""Small singular values as ghost sources, against the SVD of the matrix."""

from __future__ import annotations

import pytest
import torch

from unconv import ConvOperator
from unconv.inverse import AccuracyWarning
from unconv.inverse.boundary.embedding import Embedding
from unconv.inverse.boundary.truncation import (
    TruncatedForm,
    _inverse_factor,
    core_of,
    cut_sources,
)
from unconv.inverse.facts import CannotServeError
from unconv.testing import dense_twin

from ...helpers import (
    DOUBLES,
    F64,
    data,
    randn,
    relative,
)
from .ghost_parts import parts_of

OPTIONS = {"zeros": {"padding": 1}, "groups": {"padding": 1, "groups": 2}}


def edge_heavy(name: str, dtype: torch.dtype, n: int = 12) -> ConvOperator:
    """A kernel far from singular on the grid whose edges hide small singular values."""
    options = OPTIONS[name]
    groups = options.get("groups", 1)
    weight = randn(2, 2 // groups, 3, 3, dtype=dtype, seed=3)
    return ConvOperator(weight, (n, n - 1), **options)


def truncated(op: ConvOperator, tau: float):
    op, torus, blocks, ghosts = parts_of(op, all_pixels=True)
    inverse = torch.linalg.inv(blocks)
    core = core_of(torus, inverse, ghosts)
    embedding = Embedding(op.geometry, torus)
    sources, norm = cut_sources(core, tau), float(op.norm())
    form = TruncatedForm(op, embedding, torus, inverse, ghosts, sources, norm)
    floor = float(1 / torch.linalg.matrix_norm(inverse, 2).amax())
    return core, form, floor


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("dtype", DOUBLES)
def test_the_core_has_the_singular_values_far_below_the_grids(name, dtype):
    op = edge_heavy(name, dtype)
    S = torch.linalg.svdvals(dense_twin(op)).flip(0)
    core, _, floor = truncated(op, 1e-6)
    own = core.S.flatten().sort().values
    far = 5e-2 * floor > S
    assert bool(far.any())
    found, expected = own[: len(S)][far[: len(own)]], S[far]
    errors = (found - expected).abs() / expected
    assert (errors <= 10 * (expected / floor) ** 2 + 1e-9 * S[-1] / expected).all()


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("dtype", DOUBLES)
def test_the_truncated_inverse_is_that_of_the_matrix(name, dtype):
    op = edge_heavy(name, dtype)
    A = dense_twin(op)
    S = torch.linalg.svdvals(A)
    _, _, floor = truncated(op, 1e-6)
    small = S[1e-2 * floor > S]
    if len(small) < 2:
        pytest.skip("nothing far below the grid's own values")
    ratios = small[:-1] / small[1:]
    k = int(ratios.argmax())
    tau = float((small[k] * small[k + 1]).sqrt())
    core, form, _ = truncated(op, tau)
    assert int((tau >= core.S).sum()) == int((tau >= S).sum())
    X = torch.linalg.pinv(A, atol=tau)
    scale = 1e-15 * float(S[0]) / float(small[k])
    y = data(op.range_shape, op, N=3)
    found = form.pinv(y).value
    assert relative(found.flatten(1), y.flatten(1) @ X.mT) < 1e-10 + 100 * scale
    x = data(op.domain_shape, op, N=3)
    turned = form.pinv_adjoint(x).value
    assert relative(turned.flatten(1), x.flatten(1) @ X.conj()) < 1e-10 + 100 * scale


def test_dependent_ghosts_are_left_to_singular_vectors_as_images():
    singular = torch.ones(1, 3, 3, dtype=F64)
    with pytest.raises(CannotServeError, match="numerically dependent"):
        _inverse_factor(singular - 4 * torch.eye(3, dtype=F64))


def test_the_inverse_factor_is_one():
    B = randn(2, 4, 4)
    M = B.mH @ B
    R = _inverse_factor(M)
    assert relative(R.mH @ M @ R, torch.eye(4, dtype=F64).expand(2, 4, 4)) < 1e-12


def test_a_cut_through_hundreds_warns_and_is_projected():
    op = ConvOperator(randn(1, 1, 3, 3, seed=1), (48, 48), padding=1)
    with pytest.warns(AccuracyWarning, match="the rank is ambiguous"):
        inverse = op.pinv(method="boundary", rtol=1e-6)
    assert int(inverse.summary.dropped) + int(inverse.summary.rank) == 48 * 48
    y = randn(2, 1, 48, 48)
    x = inverse(y)
    assert relative(inverse(op(x)), x) < 1e-8
