"""Psfs from pairs: the normal equations of all patches, NNLS of the dense matrix, known psfs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import nnls

from unconv import psf
from unconv.pictures import blur
from unconv.psf.free_form.patch_equations import gram, normal_equations

from ...helpers import F64, assert_says, relative


def scene(H: int, W: int, seed: int) -> torch.Tensor:
    return torch.rand(H, W, generator=torch.Generator().manual_seed(seed), dtype=F64)


def noise(H: int, W: int, seed: int) -> torch.Tensor:
    return torch.randn(H, W, generator=torch.Generator().manual_seed(seed), dtype=F64)


def dense(x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """All patches that fit in, one a row, from the definition."""
    (H, W), (k, m) = x.shape, size
    return torch.stack(
        [x[i : i + k, j : j + m].flatten() for i in range(H - k + 1) for j in range(W - m + 1)]
    )


@pytest.mark.parametrize(
    ("shape", "size"), [((9, 11), (3, 5)), ((12, 8), (5, 1)), ((7, 7), (7, 7)), ((20, 31), (9, 3))]
)
def test_normal_equations(shape, size):
    x = scene(*shape, 0)
    P = dense(x, size)
    inner = shape[0] - size[0] + 1, shape[1] - size[1] + 1
    y, w = scene(*inner, 1), scene(*inner, 2)
    w[w < 0.3], w[w > 0.6] = 0, 1
    assert relative(gram(x, size), P.T @ P) < 1e-13
    found = normal_equations(x, y, w, size)
    assert relative(found.G, P.T @ (w.flatten()[:, None] * P)) < 1e-12
    assert relative(found.b, P.T @ (w * y).flatten()) < 1e-12
    assert found.power == pytest.approx(float((w * y * y).sum()))
    assert found.pixels == int((w > 0).sum())


@pytest.mark.parametrize(("damp", "weighted"), [(0.0, False), (0.7, False), (0.3, True)])
def test_against_nnls_of_the_matrix(damp, weighted):
    size, h = (7, 5), psf.motion(6, 60)
    x = scene(40, 37, 3)
    y = blur(x[None], h, boundary="reflect")[0] + 0.05 * noise(40, 37, 4)
    weight = 1 + 3 * scene(40, 37, 5) if weighted else None
    found = psf.from_pair(x, y, size, damp=damp, weight=weight)
    P, inner = dense(x, size).flip(1), (slice(3, -3), slice(2, -2))
    root = (torch.ones_like(y) if weight is None else weight)[inner].flatten().sqrt()
    heavy = 1e5
    rows = [root[:, None] * P, damp * torch.eye(35, dtype=F64), torch.full((1, 35), heavy).double()]
    data = [root * y[inner].flatten(), torch.zeros(35).double(), torch.full((1,), heavy).double()]
    expected, _ = nnls(torch.cat(rows).numpy(), torch.cat(data).numpy(), maxiter=1000)
    assert relative(found.psf, torch.from_numpy(expected.reshape(size))) < 1e-6
    assert float(found.psf.min()) >= 0
    assert float(found.psf.sum()) == pytest.approx(1, abs=1e-12)
    rest = (P @ found.psf.flatten() - y[inner].flatten()) * root / root.max()
    assert found.residual == pytest.approx(float(rest.square().mean().sqrt()))


@pytest.mark.parametrize("h", [psf.gaussian(1.2), psf.disk(3), psf.motion(9, 20)])
def test_without_noise_it_is_exact(h):
    x = scene(60, 70, 1)
    found = psf.from_pair(x, blur(x[None], h, boundary="zeros")[0], (11, 11))
    expected = torch.zeros(11, 11, dtype=F64)
    top, left = (11 - h.shape[0]) // 2, (11 - h.shape[1]) // 2
    expected[top : top + h.shape[0], left : left + h.shape[1]] = h
    assert relative(found.psf, expected) < 1e-8
    assert found.doubts == {}


def test_standard_errors_are_those_of_repeats():
    h = torch.full((3, 3), 1 / 9, dtype=F64)  # inside, so that no bound is met
    x = scene(40, 40, 0)
    y = blur(x[None], h, boundary="zeros")[0]
    found = [psf.from_pair(x, y + 0.01 * noise(40, 40, 100 + s), 3) for s in range(200)]
    spread = torch.stack([f.psf for f in found]).std(0)
    std = torch.stack([f.std for f in found]).mean(0)
    assert ((spread / std - 1).abs() < 0.2).all()
    errors = np.array([relative(f.psf, h) for f in found])
    assert np.mean(errors**2) == pytest.approx(np.mean([f.error**2 for f in found]), rel=0.15)


def test_pixels_that_were_not_seen():
    h, x = psf.disk(2), scene(50, 50, 0)
    y = blur(x[None], h, boundary="zeros")[0]
    x, y = x.clone(), y.clone()
    y[::7, ::5] = torch.nan
    x[20, 20] = torch.inf
    found = psf.from_pair(x, y, 5)
    assert relative(found.psf, h) < 1e-8
    inner = torch.zeros(50, 50, dtype=torch.bool)
    inner[2:-2, 2:-2] = True
    inner[::7, ::5] = False
    inner[18:23, 18:23] = False
    assert found.pixels == int(inner.sum())


def test_doubts():
    x, h = scene(40, 40, 0), psf.gaussian(1.5)
    y = blur(x[None], h, boundary="reflect")[0]
    assert "larger size" in psf.from_pair(x, y, 5).doubts["size"]
    assert "sum to 1.100" in psf.from_pair(x, 1.1 * y, h.shape).doubts["brightness"]
    assert "uncertain" in psf.from_pair(x, y + 0.2 * noise(40, 40, 1), h.shape).doubts["noise"]
    flat = torch.outer(torch.linspace(0, 1, 40), torch.ones(40)).double()
    assert "lacks frequencies" in psf.from_pair(flat, flat, 5).doubts["content"]


X = scene(20, 20, 0)


@pytest.mark.parametrize(
    ("sharp", "blurred", "options", "words"),
    [
        (X, X[1:], {"size": 3}, ("(20, 20)", "(19, 20)", "one frame")),
        (X, X, {"size": 4}, ("size=4", "odd", "5")),
        (X, X, {"size": 21}, ("larger than the picture",)),
        (X[None], X, {"size": 3}, ("(H, W)",)),
        (X, X * torch.nan, {"size": 3}, ("no pixel is left", "smaller size")),
        (X, X, {"size": 3, "weight": -X}, ("weight", "negative")),
        (X, X, {"size": 3, "weight": X[1:]}, ("weight (19, 20)",)),
        (X, X, {"size": 3, "damp": -1.0}, ("damp",)),
    ],
)
def test_refused(sharp, blurred, options, words):
    with pytest.raises(ValueError, match=r"\.$") as error:
        psf.from_pair(sharp, blurred, **options)
    assert_says(error, *words)
