"""Penalties of operators that pad nothing, by completion, against dense matrices."""

from __future__ import annotations

import random
import warnings

import pytest
import torch
import torch.nn.functional as F

from unconv import AccuracyWarning, ConvOperator
from unconv.regularize import penalty_operator
from unconv.regularize.natural_edges.tile_bound import tile_bound
from unconv.testing import dense_twin

from ..helpers import C128, F64, assert_differentiable, data, randn, relative

WORST = 1e-8  # of λ_max: problems whose λ_min is smaller say nothing of the method


def drawn(seed: int):
    """(operator, penalty, damp) of any number of axes, channels, groups and holes."""
    g = random.Random(seed)
    nd = g.choice([1, 2, 2, 2, 3])
    k = [g.randint(1, 4 if nd < 3 else 3) for _ in range(nd)]
    n = [size + g.randint(2, {1: 40, 2: 12, 3: 4}[nd]) for size in k]
    c_out, c_in = g.choice([(1, 1), (1, 1), (2, 1), (2, 2), (3, 3)])
    groups = g.choice([1, c_in]) if c_out == c_in else 1
    dtype = g.choice([F64, F64, C128])
    weight = randn(c_out, c_in // groups, *k, dtype=dtype, seed=seed)
    circular = g.random() < 0.2
    options = {"padding": "same", "padding_mode": "circular"} if circular else {}
    op = ConvOperator(weight, n, groups=groups, flip=g.choice([False, True]), **options)
    seen = torch.rand(op.range_shape[1:], generator=torch.Generator().manual_seed(seed)) > 0.2
    if circular or (g.random() < 0.3 and bool(seen.any())):
        op = op.observed(seen | ~seen.any())
    penalty = "gradient"
    if g.random() < 0.3:
        sizes = [min(2, size) for size in n]
        penalty = ConvOperator(randn(2, c_in, *sizes, dtype=dtype, seed=seed + 1), n)
    return op, penalty, 10 ** g.uniform(-2, 1)


def agrees_with_the_matrix(seed: int) -> bool:
    """False if the problem is too ill-conditioned to ask."""
    op, penalty, damp = drawn(seed)
    A, L = dense_twin(op), dense_twin(penalty_operator(op, penalty))
    N = A.mH @ A + damp**2 * (L.mH @ L)
    eigenvalues = torch.linalg.eigvalsh(N)
    if eigenvalues[0] < WORST * eigenvalues[-1]:
        return False
    X = torch.linalg.solve(N, A.mH)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always", AccuracyWarning)
        y = data(op.range_shape, op, seed=seed)
        inverse = op.tikhonov(damp, penalty=penalty, method="completion")
        x, certificate = op.lstsq(y, damp, penalty=penalty, method="completion")
        v = data(op.domain_shape, op, seed=seed + 1)
        back = inverse.H(v)
    assert inverse.inner.floor**2 <= eigenvalues[0] * (1 + 1e-10)
    error = relative(x, (y.flatten(1) @ X.mT).reshape(x.shape))
    assert error <= float(certificate.error_bound.max())
    if heard:
        assert not certificate.converged.all() or not certificate.error_bound.isfinite().all()
    else:
        assert error < 2e-6
        assert relative(back, (v.flatten(1) @ X.conj()).reshape(back.shape)) < 2e-6
    return True


@pytest.mark.parametrize("first", range(0, 120, 20))
def test_drawn_problems(first):
    assert sum(agrees_with_the_matrix(seed) for seed in range(first, first + 20)) >= 12


@pytest.mark.slow
@pytest.mark.parametrize("first", range(1_000, 3_000, 100))
def test_many_drawn_problems(first):
    assert sum(agrees_with_the_matrix(seed) for seed in range(first, first + 100)) >= 60


@pytest.mark.parametrize("seed", range(40))
def test_tiles_bound_a_whole_scene_from_below(seed):
    g = random.Random(seed)
    k = g.randint(1, 4), g.randint(1, 4)
    n = k[0] + g.randint(1, 14), k[1] + g.randint(1, 14)
    weight = 10 ** g.uniform(-3, 0)
    kernel = randn(*k, dtype=F64, seed=seed)
    for axes in ([0], [1], [0, 1]):
        kernel = kernel + kernel.flip(axes) if g.random() < 0.4 else kernel
    unit = torch.eye(n[0] * n[1], dtype=F64).reshape(-1, 1, *n)
    A = F.conv2d(unit, kernel[None, None]).flatten(1).T
    L = torch.cat([unit.diff(dim=d).flatten(1).T for d in (2, 3)])
    true = float(torch.linalg.eigvalsh(A.T @ A + weight * L.T @ L)[0])
    difference = torch.tensor([-1.0, 1.0], dtype=F64) * weight**0.5
    rows = [kernel[None, None], *(difference.reshape(1, 1, *s) for s in ((2, 1), (1, 2)))]
    assert 0 < tile_bound(rows, n) <= true * (1 + 1e-10)


def test_a_picture_with_natural_edges_is_certified():
    """The bound is proven, and a ramp under a strong penalty keeps its slope at the edges."""
    op = ConvOperator(torch.ones(1, 1, 5, 5, dtype=F64) / 25, (61, 70))
    x = torch.rand(1, 1, 61, 70, dtype=F64, generator=torch.Generator().manual_seed(0))
    y = op(x)
    found, certificate = op.lstsq(y, 0.1, penalty="gradient")
    slow, _ = op.lstsq(y, 0.1, penalty="gradient", method="krylov")
    assert certificate.method == "completion"
    assert certificate.converged.all()
    assert relative(found, slow) <= float(certificate.error_bound) <= 1e-6
    assert "tiles" in certificate.advice


@pytest.mark.parametrize("unit", [1e-150, 1e150])
def test_units_do_not_matter(unit):
    K, size = randn(1, 1, 3, 3, dtype=F64).abs(), (12, 13)
    plain, scaled = ConvOperator(K, size), ConvOperator(K * unit, size)
    y = data(plain.range_shape, plain)
    x, certificate = scaled.lstsq(y, 0.1 * unit, penalty="gradient")
    assert certificate.converged.all()
    assert relative(x * unit, plain.lstsq(y, 0.1, penalty="gradient").solution) < 2e-6


def test_a_shared_null_vector_goes_to_the_iteration():
    op = ConvOperator(torch.tensor([1.0, -2.0, 1.0], dtype=F64)[None, None], (30,))
    assert op.tikhonov(0.1, penalty="gradient").method == "krylov"
    with pytest.raises(ValueError, match="null vector; use 'auto'"):
        op.tikhonov(0.1, penalty="gradient", method="completion")


def test_a_penalty_that_means_something_else_at_the_edge_is_iterated():
    op = ConvOperator(randn(1, 1, 3, 3, dtype=F64), (16, 17))
    assert op.tikhonov(0.1, penalty="laplacian").method == "krylov"
    with pytest.raises(ValueError, match="do not translate; use 'auto'"):
        op.tikhonov(0.1, penalty="laplacian", method="completion")


@pytest.mark.parametrize("adjoint", [False, True])
def test_gradients(adjoint):
    K, P, damp = randn(1, 1, 3, dtype=F64), randn(1, 1, 2, dtype=F64), torch.tensor(0.3).double()
    v = randn(2, 1, *((9,) if adjoint else (7,)), dtype=F64, seed=2)

    def solve(v, K, P, damp):
        L = ConvOperator(P, (9,))
        inverse = ConvOperator(K, (9,)).tikhonov(damp, penalty=L, tol=1e-11)
        assert inverse.method == "completion"
        return (inverse.H if adjoint else inverse)(v)

    inputs = tuple(t.requires_grad_() for t in (v, K, P, damp))
    assert_differentiable(solve, inputs, 1e-5)
