"""C on the periodic grid: every frequency counted once, every block the one of its definition."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from unconv.grid.geometry import build_geometry
from unconv.grid.torus import Torus, multiply

from ..helpers import C128, F64, randn, relative

SIZES = [
    (1,),
    (2,),
    (3,),
    (8,),
    (1, 1),
    (2, 1),
    (1, 2),
    (5, 4),
    (4, 5),
    (2, 2),
    (3, 4, 1),
    (2, 3, 6),
]
STRIDES = [1, 2, 3]


def toruses(real: bool) -> list[Torus]:
    mixed = [Torus((4, 3), (1, 3), real), Torus((3, 2, 2), (2, 1, 3), real)]
    return [Torus(M, (s,) * len(M), real) for M in SIZES for s in STRIDES] + mixed


def whole_spectrum(torus: Torus, half: torch.Tensor) -> torch.Tensor:
    """(F, ...) stored frequencies as the (∏M, ...) of the whole grid, by conjugation."""
    if not torus.real:
        return half
    M = torus.coarse
    grid = half.unflatten(0, torus.spectrum_shape)
    rows = []
    for w in itertools.product(*map(range, M)):
        stored = w[-1] <= M[-1] // 2
        row = grid[w if stored else tuple(-i % m for i, m in zip(w, M, strict=True))]
        rows.append(row if stored else row.conj())
    return torch.stack(rows)


@pytest.mark.parametrize("torus", toruses(True) + toruses(False), ids=repr)
def test_round_trips(torus):
    nd = len(torus.coarse)
    dtype = F64 if torus.real else C128
    y, x = randn(2, 3, *torus.coarse, dtype=dtype), randn(2, 3, *torus.fine, dtype=dtype)
    Y = torus.transform(y)
    assert Y.shape[2:] == torus.spectrum_shape
    assert Y[0, 0].numel() == torus.frequencies
    assert relative(torus.inverse_transform(Y), y) < 1e-15
    assert relative(torus.inverse_transform(Y / math.prod(torus.coarse), scaled=True), y) < 1e-15
    phases = torus.to_phases(x)
    assert phases.shape == (2, 3 * torus.phases, *torus.coarse)
    assert torch.equal(torus.from_phases(phases), x)
    first = x[(..., *(slice(None, None, s) for s in torus.stride))]
    assert torch.equal(phases[:, :: torus.phases], first)
    assert nd == len(torus.fine)


def test_short_data_are_padded_behind():
    torus = Torus((4,), (2,), True)
    x = randn(1, 1, 5)
    padded = torch.cat([x, x.new_zeros(1, 1, 3)], -1)
    assert torch.equal(torus.to_phases(padded)[..., :3], torus.to_phases(x))
    assert relative(torus.transform(x[..., :3]), torch.fft.rfft(padded[..., :3], n=4)) < 1e-15


@pytest.mark.parametrize("torus", toruses(True) + toruses(False), ids=repr)
def test_multiplicity_counts_every_frequency_once(torus):
    counts = torus.multiplicity(torch.device("cpu"))
    assert counts.shape == (torus.frequencies,)
    assert not counts.is_floating_point()
    assert int(counts.sum()) == math.prod(torus.coarse)
    # the sum of anything real and even over the whole spectrum, ‖·‖² of data for instance
    Y = torus.transform(randn(1, 1, *torus.coarse, dtype=F64 if torus.real else C128)).flatten()
    whole = whole_spectrum(torus, Y)
    assert math.isclose(float((counts * Y.abs() ** 2).sum()), float((whole.abs() ** 2).sum()))


@pytest.mark.parametrize("torus", toruses(True), ids=repr)
def test_symmetrized_blocks_are_those_of_a_real_operator(torus):
    blocks = randn(torus.frequencies, 2, 1, dtype=C128)
    counts = torus.multiplicity(blocks.device)
    before = blocks.clone()
    torus.symmetrize_(blocks)
    M, shape = torus.coarse, torus.spectrum_shape
    grid, old = blocks.unflatten(0, shape), before.unflatten(0, shape)
    for w, times in zip(itertools.product(*map(range, shape)), counts.tolist(), strict=True):
        mirror = tuple(-i % m for i, m in zip(w, M, strict=True))
        if mirror[-1] < shape[-1]:
            assert torch.equal(grid[w], grid[mirror].conj())
        if times == 2:
            assert torch.equal(grid[w], old[w])
        if times == 1 and mirror == w:
            assert torch.equal(grid[w].real, old[w].real)
    once = blocks.clone()
    torus.symmetrize_(blocks)
    assert torch.equal(blocks, once)


def slow_spectrum(torus: Torus, weight: torch.Tensor, geometry) -> torch.Tensor:
    """Σ_t w[t] e^{2πi ω·q_t/M} for each phase, one tap, frequency and phase at a time."""
    B, g, r, c = weight.shape[:4]
    ranges = [range(f) for f in torus.spectrum_shape]
    phases = list(itertools.product(*(range(s) for s in torus.stride)))
    out = torch.zeros(torus.frequencies, B, g, r, c, len(phases), dtype=C128)
    for t in itertools.product(*(range(a.k) for a in geometry.axes)):
        at = [i * a.dilation - a.before for i, a in zip(t, geometry.axes, strict=True)]
        q, p = zip(*(divmod(o, s) for o, s in zip(at, torus.stride, strict=True)), strict=True)
        for f, w in enumerate(itertools.product(*ranges)):
            turns = sum(i * j / m for i, j, m in zip(w, q, torus.coarse, strict=True))
            phase = phases.index(tuple(p))
            wave = complex(math.cos(2 * math.pi * turns), math.sin(2 * math.pi * turns))
            out[f, ..., phase] += weight[(..., *t)] * wave
    return out.flatten(4)


@pytest.mark.parametrize("real", [True, False])
@pytest.mark.parametrize(
    ("coarse", "stride", "channels"),
    [
        ((5,), (1,), (1, 1)),
        ((4,), (1,), (1, 1)),
        ((2,), (3,), (1, 1)),
        ((1,), (1,), (2, 1)),
        ((4, 3), (1, 1), (1, 1)),
        ((4, 3), (1, 1), (2, 3)),
        ((3, 4), (2, 1), (2, 1)),
        ((2, 1, 2), (1, 2, 2), (1, 2)),
    ],
)
def test_spectrum_is_its_definition(coarse, stride, channels, real):
    nd, k = len(coarse), (4, 3, 2)[: len(coarse)]
    torus = Torus(coarse, stride, real)
    pairs = [(i + 1, 9) for i in range(nd)]
    geometry = build_geometry((1, 1, *k), torus.fine, stride=stride, padding=pairs, dilation=2)
    weight = randn(2, 3, *channels, *k, dtype=F64 if real else C128)
    found = torus.spectrum(weight, geometry)
    assert relative(found, slow_spectrum(torus, weight, geometry)) < 1e-14


@pytest.mark.parametrize(("B", "r", "c"), [(1, 1, 1), (2, 1, 1), (1, 3, 2), (2, 1, 3), (2, 2, 2)])
def test_multiply_is_one_product_a_frequency(B, r, c):
    blocks = randn(12, B, 2, r, c, dtype=C128)
    X, Y = (randn(2, 2 * n, 4, 3, dtype=C128, seed=n) for n in (c, r))
    each = blocks.expand(12, 2, 2, r, c)
    grouped = X.reshape(2, 2, c, 12)
    expected = torch.einsum("fngrc,ngcf->ngrf", each, grouped).reshape(Y.shape)
    assert relative(multiply(blocks, X), expected) < 1e-14
    grouped = Y.reshape(2, 2, r, 12)
    expected = torch.einsum("fngrc,ngrf->ngcf", each.conj(), grouped).reshape(X.shape)
    assert relative(multiply(blocks, Y, adjoint=True), expected) < 1e-14


@pytest.mark.parametrize("few", [False, True])
@pytest.mark.parametrize("torus", toruses(True) + toruses(False), ids=repr)
def test_taps_are_the_adjoint_of_the_spectrum(torus, few, monkeypatch):
    """Over the whole spectrum ⟨D, spectrum(w)⟩ is ∏M·⟨taps(D), w⟩, for blocks D of any kind."""
    if few:
        monkeypatch.setattr("unconv.grid.torus._MATRIX_TAPS", 1)
    nd = len(torus.coarse)
    pairs, k = [(i + 1, 9) for i in range(nd)], (4, 3, 2)[:nd]
    geometry = build_geometry(
        (1, 1, *k), torus.fine, stride=torus.stride, padding=pairs, dilation=2
    )
    dtype = F64 if torus.real else C128
    image = randn(2, 3 * torus.phases, *torus.coarse, dtype=dtype)
    D = torus.transform(image)
    weight = randn(1, 1, 2, 3, *(a.k for a in geometry.axes), dtype=dtype, seed=1)
    C = torus.spectrum(weight, geometry)[:, 0, 0].flatten(1)
    counts = torus.multiplicity(C.device)[:, None]
    product = (counts * (D.flatten(2).movedim(2, 0).flatten(1).conj() * C)).sum()
    found = torus.taps(D, geometry)
    assert found.dtype == dtype
    assert found.shape == weight.shape[2:]
    expected = math.prod(torus.coarse) * (found.conj() * weight[0, 0]).sum()
    assert abs(complex(expected).real - complex(product).real) < 1e-12 * float(D.norm() * C.norm())
