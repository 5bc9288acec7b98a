"""A padding mode is one entry of `MODES`: one that nobody has seen works on every door."""

from __future__ import annotations

import itertools
import math
import random

import numpy as np
import pytest
import torch
from torch import Tensor

import unconv
from unconv import ConvOperator, pictures
from unconv.convolve.bounds import extension_norm, extension_sums
from unconv.grid.modes import MODES, PaddingMode, Terms, pads_of
from unconv.inverse.boundary.ring_system import RingSystem

from ..helpers import C128, F64, assert_says, randn, relative

LINE, LEANING = "made-up line", "made-up leaning"


def line(i: int, n: int) -> Terms:
    """The straight line through the two samples at an end: x[−j] = (1 + j) x[0] − j x[1]."""
    edge, inner, j = (0, 1, -i) if i < 0 else (n - 1, n - 2, i - n + 1)
    return ((edge, 1.0 + j), (inner, -float(j)))


def leaning(i: int, n: int) -> Terms:
    """Fractions, another number of terms at each end, none at all from some place on."""
    if i >= n:
        return ((n - 1, 0.75), (0, 0.5), (n // 2, -0.25)) if i == n else ()
    return ((0, 0.5), (n - 1, 0.25))


@pytest.fixture(autouse=True)
def made_up(monkeypatch):
    """Two modes more: nothing but their entries."""
    monkeypatch.setitem(MODES, LINE, PaddingMode(line, most=lambda n: 8 if n > 1 else 0))
    monkeypatch.setitem(MODES, LEANING, PaddingMode(leaning, most=lambda n: 8 if n > 2 else 0))
    yield
    pads_of.cache_clear()


def extension(mode: str, n: int, before: int, after: int) -> np.ndarray:  # (padded, n)
    """E of one axis, by its definition and nothing of the library."""
    E = np.zeros((before + n + after, n))
    for place, row in zip(range(-before, n + after), E, strict=True):
        if 0 <= place < n:
            row[place] = 1
        elif mode == "antireflective":
            edge = 0 if place < 0 else n - 1
            row[edge] += 2
            row[2 * edge - place] -= 1
        elif mode in (LINE, LEANING):
            for j, c in (line if mode == LINE else leaning)(place, n):
                row[j] += c
        elif mode == "replicate":
            row[min(max(place, 0), n - 1)] = 1
    return E


def matrix(op: ConvOperator, mode: str) -> Tensor:
    """A by loops over outputs and taps of the padded picture, (m, n)."""
    axes, groups = op.geometry.axes, op.geometry.groups
    taps = op.weight.flip(tuple(range(2, op.weight.ndim))) if op.flip else op.weight
    lines = []
    for a in axes:
        E = extension(mode, a.n, a.before, a.after)
        rows = [[E[i * a.stride + t * a.dilation] for i in range(a.m)] for t in range(a.k)]
        lines.append(torch.tensor(np.array(rows), dtype=F64).to(taps.dtype))  # (k, m, n)
    total = torch.zeros((), dtype=taps.dtype)
    for t in np.ndindex(*(a.k for a in axes)):
        product = torch.block_diag(*taps[(..., *t)].chunk(groups))
        for own, i in zip(lines, t, strict=True):
            product = torch.kron(product, own[i])
        total = total + product
    return total.mT if op.transposed else total


def drawn(seed: int) -> tuple[ConvOperator, str]:
    """An operator and its mode; what is drawn anew has no output or too much padding."""
    for turn in itertools.count():
        try:
            return attempt(random.Random(1000 * turn + seed), seed)
        except ValueError:
            continue
    raise AssertionError


def attempt(r: random.Random, seed: int) -> tuple[ConvOperator, str]:
    """Sizes, kernels and options at random, small enough for an SVD."""
    mode = r.choice([LINE, LEANING, "antireflective", "antireflective", "replicate"])
    nd = r.choice([1, 1, 2, 2, 3])
    kernel = [r.randint(1, {1: 6, 2: 4, 3: 2}[nd]) for _ in range(nd)]
    sizes = [r.randint(5, {1: 14, 2: 8, 3: 5}[nd]) for _ in range(nd)]
    groups = r.choice([1, 1, 1, 2])
    channels = groups * r.randint(1, 2), r.randint(1, 2)
    op = ConvOperator(
        randn(*channels, *kernel, dtype=r.choice([F64, F64, C128]), seed=seed),
        sizes,
        stride=[r.choice([1, 1, 2]) for _ in range(nd)],
        dilation=[r.choice([1, 1, 2]) for _ in range(nd)] if nd == 1 else 1,
        padding=[(r.randint(0, 4), r.randint(0, 4)) for _ in range(nd)],
        padding_mode=mode,
        groups=groups,
        transposed=r.random() < 0.2,
        output_padding=0,
        flip=r.random() < 0.3,
    )
    return op, mode


@pytest.mark.parametrize("seed", range(40))
def test_products_matrices_and_gradients(seed):
    op, mode = drawn(seed)
    A = matrix(op, mode)
    x = randn(2, *op.domain_shape, dtype=op.dtype, seed=1)
    y = randn(2, *op.range_shape, dtype=op.dtype, seed=2)
    scale = float(torch.linalg.matrix_norm(A, 2) or op.weight.norm())
    assert relative(op(x).flatten(1), x.flatten(1) @ A.mT, scale * float(x.norm())) < 1e-14
    assert relative(op.H(y).flatten(1), y.flatten(1) @ A.conj(), scale * float(y.norm())) < 1e-14
    assert relative(op.to_dense(), A, scale) < 1e-14
    assert relative(op.to_sparse().to_dense(), A, scale) < 1e-14
    assert relative(unconv.testing.dense_twin(op), A, scale) < 1e-14
    w = op.weight.clone().requires_grad_()
    torch.vdot(y.flatten(), op.with_weight(w)(x).flatten()).real.backward()
    assert relative(op.weight_gradient(x, y), w.grad) < 1e-12
    norm = float(torch.linalg.matrix_norm(A, 2))
    assert norm <= float(op.norm(bracket=True).upper) * (1 + 1e-12)


@pytest.mark.parametrize("seed", range(25))
@pytest.mark.parametrize("method", ["dense", "boundary", "krylov", "auto"])
def test_inverses(seed, method):
    op, mode = drawn(seed)
    A = matrix(op, mode)
    y = randn(1, *op.range_shape, dtype=op.dtype, seed=2)
    damp = 0.2 * float(torch.linalg.matrix_norm(A, 2) or 1)
    eye = torch.eye(A.shape[1], dtype=A.dtype)
    expected = torch.linalg.solve(A.mH @ A + damp**2 * eye, A.mH @ y.flatten())
    found = op.lstsq(y, damp=damp, method=method)
    assert bool(found.certificate.converged.all())
    tolerance = 1e-5 if method == "krylov" else 1e-11
    assert relative(found.solution.flatten(), expected) < tolerance
    S = torch.linalg.svdvals(A)
    if method != "krylov" and float(S[-1]) > 1e-3 * float(S[0]):
        found = op.pinv(method=method)(y).flatten()
        assert relative(found, torch.linalg.pinv(A) @ y.flatten()) < 1e-9


@pytest.mark.parametrize("mode", [LINE, LEANING, "antireflective"])
def test_regularised_inverses(mode):
    """Wiener, cut-offs, filters and penalties, by operators, functions and layers."""
    sizes = torch.tensor([1.0, 0.05], dtype=F64).diag()  # between which there is a gap
    K = sizes[..., None] * torch.tensor([0.2, 1.0, 0.1]) + 0.005 * randn(2, 2, 3)
    op = ConvOperator(K, (9,), padding=1, padding_mode=mode)
    conv = {"padding": 1, "padding_mode": mode}
    A, y = matrix(op, mode), randn(2, *op.range_shape, seed=1)
    gram, b = A.mT @ A, y.flatten(1) @ A
    eye = torch.eye(len(A), dtype=F64)

    def assert_solves(found: Tensor, X: Tensor, data: Tensor = b) -> None:
        assert relative(found.flatten(1), data @ X.mT) < 1e-10

    damped = torch.linalg.inv(gram + 0.09 * eye)
    assert_solves(unconv.tikhonov(y, K, 0.3, **conv), damped)
    assert_solves(unconv.wiener(y, K, 0.09, 1.0, tol=1e-12, **conv), damped)
    assert_solves(unconv.lstsq(y, K, 0.3, **conv).solution, damped)
    layer = unconv.nn.TikhonovConv1d(2, 2, 3, bias=False, damp=0.3, dtype=F64, **conv)
    with torch.no_grad():
        layer.weight.copy_(K)
    assert_solves(layer(y), damped)
    found = unconv.conv1d_pinv(y, K, **conv)
    assert_solves(found, torch.linalg.pinv(A), y.flatten(1))

    U, S, Vh = torch.linalg.svd(A)
    rank = int((S[:-1] / S[1:]).argmax()) + 1
    cut = float((S[rank - 1] * S[rank]).sqrt() / S[0])
    few = (Vh[:rank].mT / S[:rank]) @ U[:, :rank].mT
    assert_solves(unconv.tsvd(y, K, cut, **conv), few, y.flatten(1))
    assert relative(op.svdvals().flatten(), S) < 1e-11
    assert relative(op.logabsdet(0.3), torch.logdet(gram + 0.09 * eye) / 2) < 1e-11

    stencil = torch.tensor([[[-1.0, 1.0]]], dtype=F64)
    L = matrix(
        ConvOperator(stencil.repeat(2, 1, 1), (9,), padding="same", padding_mode=mode, groups=2),
        mode,
    )
    penalised = torch.linalg.inv(gram + 0.09 * L.mT @ L)
    assert_solves(unconv.tikhonov(y, K, 0.3, penalty="gradient", **conv), penalised)


@pytest.mark.parametrize("mode", [LINE, LEANING, "antireflective"])
def test_norms_of_the_extension(mode):
    op = ConvOperator(randn(1, 1, 3, 3), (6, 9), padding=[(4, 1), (0, 3)], padding_mode=mode)
    E = [extension(mode, a.n, a.before, a.after) for a in op.geometry.axes]
    norm = math.prod(np.linalg.norm(e, 2) for e in E)
    sums = math.prod(max(np.linalg.norm(e, 1), np.linalg.norm(e, np.inf)) for e in E)
    assert norm <= extension_norm(op.geometry) <= norm * (1 + 1e-11)
    assert abs(extension_sums(op.geometry) - sums) < 1e-12 * sums


@pytest.mark.parametrize("mode", [LINE, LEANING, "antireflective"])
def test_rings_serve_it_too(mode):
    """A damped picture, large enough that the ghosts along one axis are eliminated."""
    op = ConvOperator(randn(1, 1, 9, 9) / 9, (40, 37), padding=4, padding_mode=mode)
    y = randn(1, 1, 40, 37, seed=1)
    found = op.lstsq(y, damp=0.3, method="boundary")
    A = op.to_dense()
    normal = A.mT @ A + 0.09 * torch.eye(A.shape[1], dtype=F64)
    expected = torch.linalg.solve(normal, A.mT @ y.flatten())
    assert isinstance(op.tikhonov(0.3, method="boundary").forms[0].system, RingSystem)
    assert relative(found.solution.flatten(), expected) < 1e-11


def test_traits_are_those_of_the_entry():
    for mode, copy, constants, integral in (
        ("replicate", True, True, True),
        ("antireflective", False, True, True),
        (LINE, False, True, True),
        (LEANING, False, False, False),
    ):
        pads = pads_of(mode, 6, 2, 2)
        assert (pads.copy, pads.keep_constants, pads.integral) == (copy, constants, integral)
        assert pads.reversible(2) == (mode != LEANING)
        assert pads.nonnegative == copy
        assert not pads.wrap
        assert not MODES[mode].periodic
    assert [name for name, mode in MODES.items() if mode.periodic] == ["circular"]


def test_slopes_go_on():
    ramp = torch.arange(6, dtype=F64).reshape(1, 1, 6)
    for mode in ("antireflective", LINE):
        A = ConvOperator(torch.ones(1, 1, 5, dtype=F64) / 5, (6,), padding=2, padding_mode=mode)
        torch.testing.assert_close(A(ramp), ramp, rtol=0, atol=1e-15)


def test_what_cannot_serve_says_so():
    A = ConvOperator(unconv.psf.gaussian(1.0)[None, None], (20, 20), padding="same")
    A = ConvOperator(A.weight, (20, 20), padding="same", padding_mode="antireflective")
    y = A(torch.rand(1, 1, 20, 20, dtype=F64))
    with pytest.raises(NotImplementedError) as refused:
        unconv.restore(A, y, prior="tv", strength=0.01)
    assert_says(refused, "'antireflective'", "sums over several", "'reflect'")
    with pytest.raises(ValueError, match="use padding_mode='reflect'"):
        unconv.richardson_lucy(A, y.clamp(min=0))
    reasons = dict(A.plan().rejected)
    assert "'antireflective', not 'circular'" in reasons["fourier"]
    assert "'antireflective', not 'symmetric'" in reasons["cosine"]
    with pytest.raises(ValueError, match="at most 4") as wide:
        ConvOperator(A.weight, (5, 20), padding=5, padding_mode="antireflective")
    assert_says(wide, "at most 4 samples", "padding (5, 5)", "less padding")


def test_pictures_are_blurred_and_restored_with_it():
    x = torch.rand(1, 30, 30, dtype=F64)
    psf = unconv.psf.gaussian(0.6)
    blurred = pictures.blur(x, psf, boundary="antireflective")
    restored = pictures.deblur(blurred, psf, damp=1e-9, boundary="antireflective").planes
    assert relative(restored, x) < 1e-6
