"""A psf on another grid: against Gaussians, whose samples on every grid are known."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate

from unconv import AccuracyWarning, psf

from ..helpers import F64, assert_says, relative


def gaussian(sizes: tuple[int, ...], sigmas: tuple[float, ...]) -> torch.Tensor:
    """Samples with sum 1, its centre the sample n//2."""
    found = torch.ones((), dtype=F64)
    for n, sigma in zip(sizes, sigmas, strict=True):
        t = torch.arange(n, dtype=F64) - n // 2
        found = found[..., None] * torch.exp(-0.5 * (t / sigma) ** 2)
    return found / found.sum()


def whole(draw, axes: int) -> list[int]:
    return [draw(st.integers(30, 50)) for _ in range(axes)]


@given(data=st.data(), axes=st.sampled_from([2, 3]))
def test_gaussians_come_out_as_gaussians(data, axes):
    """From any pitch to any other, each axis its own, even sizes too."""
    draw = data.draw
    voxel = [draw(st.floats(0.5, 2)) for _ in range(axes)]
    to = [v * draw(st.floats(0.5, 2)) for v in voxel]
    sigmas = [draw(st.floats(1.1, 1.4)) * max(1, b / a) for a, b in zip(voxel, to, strict=True)]
    sizes = [2 * math.ceil(7 * s) + draw(st.integers(1, 2)) for s in sigmas]
    values = gaussian(tuple(sizes), tuple(sigmas))
    found = psf.resample(values, voxel, to)
    scaled = tuple(s * a / b for s, a, b in zip(sigmas, voxel, to, strict=True))
    assert all(n % 2 for n in found.shape)
    assert float(found.sum()) == pytest.approx(float(values.sum()), rel=1e-12)
    # what a Gaussian of σ = 1.1 has above the Nyquist frequency, e^{-π²σ²/2} of it
    assert relative(found, gaussian(tuple(found.shape), scaled)) < 2 * math.exp(
        -((math.pi * min(*scaled, *sigmas)) ** 2) / 2
    )


@given(data=st.data())
def test_pixels_that_integrate_are_error_functions(data):
    voxel, to = data.draw(st.floats(0.1, 0.4)), data.draw(st.floats(0.5, 3))
    sigma = data.draw(st.floats(1.3, 2))
    values = gaussian((2 * math.ceil(8 * sigma) + 1,) * 2, (sigma, sigma))
    found = psf.resample(values, voxel, to, pixelated=True)
    n = found.shape[0]
    edges = (torch.arange(n + 1, dtype=F64) - n / 2) * to / (voxel * sigma * math.sqrt(2))
    line = torch.erf(edges).diff() / 2
    expected = torch.outer(line, line)
    assert relative(found, expected / expected.sum()) < 2 * math.exp(-((math.pi * sigma) ** 2) / 2)


def test_a_pixel_that_integrates_against_quadrature():
    """Of the band-limited function itself, whatever the samples."""
    values = torch.rand(1, 6, generator=torch.Generator().manual_seed(0), dtype=F64)
    found = psf.resample(values, 1.0, (1.0, 1.7), pixelated=True)[0]
    line = values[0] - 0

    def h(t: float) -> float:
        return float((line * torch.sinc(t - torch.arange(6, dtype=F64))).sum())

    n = len(found)
    middles = [1.7 * (i - n // 2) + 3 for i in range(n)]
    expected = torch.tensor(
        [integrate.quad(h, t - 0.85, t + 0.85, epsabs=1e-12)[0] for t in middles], dtype=F64
    )
    # the other axis is one sample wide, integrated like this one
    assert relative(found / found.sum(), expected / expected.sum()) < 1e-10


def test_the_same_pitch_changes_nothing():
    values = torch.rand(5, 7, 9, generator=torch.Generator().manual_seed(0), dtype=F64)
    assert relative(psf.resample(values, (2, 1, 1), (2, 1, 1)), values) < 1e-14
    even = torch.rand(6, 5, generator=torch.Generator().manual_seed(0), dtype=F64)
    found = psf.resample(even, 1, 1)
    assert relative(found[:6], even) < 1e-14
    assert float(found[6:].abs().max()) < 1e-15


def test_what_would_fold_is_refused():
    values = gaussian((31, 31), (1.5, 1.5))
    with pytest.raises(ValueError, match=r"^[^\n]+\.$") as error:
        psf.resample(values, 0.1, (0.1, 0.4))
    assert_says(error, "to=0.4 is too coarse", "axis 1", "pixelated=True")
    assert psf.resample(values, 0.1, (0.1, 0.4), pixelated=True).shape == (31, 9)


def test_what_was_too_coarse_is_doubted():
    with pytest.warns(AccuracyWarning, match="axis 0 the psf has .* sampled too coarsely"):
        psf.resample(gaussian((9, 31), (0.4, 1.5)), 1, (0.5, 0.5))


@pytest.mark.parametrize(
    ("voxel", "to", "parts"),
    [(0, 1, ("voxel=0",)), (1, (1, 1, 1), ("to=(1, 1, 1)", "3 numbers", "2 axes")),
     (1, 1e-6, ("4097", "one unit")), (1e300, 1e-300, ("4097",)), ((1, math.nan), 1, ("nan",))],
)  # fmt: skip
def test_pitches_that_are_none(voxel, to, parts):
    with pytest.raises(ValueError, match=r"^[^\n]+\.$") as error:
        psf.resample(psf.gaussian(1.5), voxel, to)
    assert_says(error, *parts)


# --- crop


@given(data=st.data(), axes=st.sampled_from([2, 3]), energy=st.floats(0.5, 1))
def test_the_crop_holds_its_energy_and_no_smaller_one_does(data, axes, energy):
    sizes = tuple(data.draw(st.integers(1, 24 if axes == 2 else 9)) for _ in range(axes))
    sigmas = tuple(data.draw(st.floats(0.5, 6)) for _ in range(axes))
    values = gaussian(sizes, sigmas)
    found = psf.crop(values, energy)
    assert all(n % 2 for n in found.shape)
    assert float(found.sum()) >= energy - 1e-12
    middle = tuple(n // 2 for n in found.shape)
    assert float(found[middle]) == float(values[tuple(n // 2 for n in sizes)])
    if max(found.shape) > 3:
        less = tuple(slice(1, -1) if n > 1 else slice(None) for n in found.shape)
        assert float(found[less].sum()) < energy


def test_a_crop_follows_the_shape():
    values = gaussian((41, 41), (1.0, 4.0))
    h, w = psf.crop(values, 0.99).shape
    assert 3 < w / h < 5
    assert torch.equal(psf.crop(torch.ones(4, 5), 1.0)[:4], torch.ones(4, 5, dtype=F64))


@pytest.mark.parametrize("energy", [0, -1, 1.1, math.nan])
def test_energies_that_are_none(energy):
    with pytest.raises(ValueError, match=r"^energy=[^\n]+\.$"):
        psf.crop(psf.gaussian(1), energy)
