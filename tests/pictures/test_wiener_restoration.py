"""Pictures of the world, small: what `deblur` makes of each kind, and what it says."""

from __future__ import annotations

import math
from unittest import mock

import pytest
import torch
from skimage import data
from torch import Tensor

from benchmarks import bench_pictures
from unconv import MemoryLimitError, psf
from unconv.parameter_choice.noise_models import JpegRounding
from unconv.pictures import Restored, blur, jpeg_rounding, prior_choice, restoration

from ..helpers import F64, assert_says

N = 112
K = psf.disk(2.5)
STD = 0.005


def deblur(*arguments, **options) -> Restored:
    """By the linear estimate, as if the picture were too large for a prior that keeps edges."""
    with mock.patch.object(prior_choice, "MOST_SAMPLES", 0):
        return restoration.deblur(*arguments, **options)


def scene() -> Tensor:
    """(1, 112, 112), a part of a photograph with a sharp silhouette."""
    return torch.from_numpy(data.camera()[60:284:2, 170:394:2].copy())[None] / 255.0


def noise(seed: int = 0) -> Tensor:
    return torch.randn(1, N, N, generator=torch.Generator().manual_seed(seed), dtype=F64)


X = scene().double()
Y = blur(X, K, boundary="circular") + STD * noise()
CLEAN = deblur(Y, K)


def decibels(planes: Tensor, where: Tensor | None = None) -> float:
    squares = (planes.clamp(0, 1) - X).square()
    return -10 * math.log10(float((squares if where is None else squares[:, where]).mean()))


def best_damp(y: Tensor, k: Tensor = K) -> float:
    return max(decibels(deblur(y, k, damp=d, tol=1e-2).planes) for d in (0.02, 0.05, 0.1, 0.2))


def of_wiener(restored: Restored) -> Restored:
    """One that says what it must."""
    assert restored.prior == "wiener"
    assert restored.damp is restored.choice is restored.plan is None
    assert restored.data is not None
    assert bool(restored.certificate.converged.all())
    assert str(restored.spectra[0].noise) == restored.data.noise[0]
    assert restored.data.sentence.startswith(restored.data.noise[0])
    return restored


def test_the_scene_and_its_spectra_are_shown():
    rows, columns = CLEAN.scene.inside
    assert CLEAN.scene.planes.shape == (1, N + K.shape[0] - 1, N + K.shape[1] - 1)
    torch.testing.assert_close(CLEAN.scene.planes[:, rows, columns], CLEAN.planes)
    (profile,) = CLEAN.data.profiles
    assert float(profile.noise[-1]) == pytest.approx(STD**2, rel=0.3)
    assert float((profile.data / profile.fitted).log().abs().median()) < 0.3
    assert CLEAN.data.excluded == {}


def test_what_the_picture_shows_to_be_no_datum_is_counted():
    y = Y.clone()
    y[:, 50, 60] = 1.0
    y[:, :6], y[:, -6:], y[:, :, :6], y[:, :, -6:] = 0.0, 0.0, 0.0, 0.0
    restored = of_wiener(deblur(y, K))
    rows, columns = restored.scene.inside
    inner = N - 12
    assert (rows.stop - rows.start, columns.stop - columns.start) == (inner, inner)
    assert restored.data.excluded["in a constant frame"] == N**2 - inner**2
    assert sum(restored.data.excluded.values()) == int((~restored.data.observed).sum())
    assert restored.data.excluded["explained by no scene"] >= 1


def test_a_frame_around_too_few_samples_is_part_of_the_picture():
    y = torch.zeros(1, 14, 14, dtype=F64)
    y[:, 4:9, 4:9] = Y[:, :5, :5]
    restored = deblur(y, torch.ones(1, 1, dtype=F64))
    assert "frame" not in restored.data.sentence
    assert "in a constant frame" not in restored.data.excluded


def test_a_photograph():
    restored = of_wiener(CLEAN)
    assert decibels(restored.planes) > best_damp(Y)
    assert restored.spectra[0].noise.std == pytest.approx(STD, rel=0.1)
    assert restored.data.observed.all()
    assert restored.data.whiteness.is_white
    assert restored.data.psf_plausible
    assert not restored.data.doubts
    assert "residual white within the seen part; psf plausible" in restored.data.sentence


def test_the_error_is_bounded_by_the_certificate():
    exact = deblur(Y, K, tol=1e-9)
    assert float(exact.certificate.error_bound) <= 1e-9
    assert float((exact.planes - CLEAN.planes).abs().max()) < 1e-3
    circular = deblur(Y, K, boundary="circular")
    assert circular.certificate.method == "fourier"
    assert float(circular.certificate.error_bound) < 1e-10
    assert decibels(circular.planes) > decibels(CLEAN.planes)  # these data are circular


def test_units_do_not_matter():
    """Of the picture and of the psf, whose sum scales the scene."""
    counts = deblur(4000 * Y + 100, K)
    assert float((counts.planes - 100 - 4000 * CLEAN.planes).abs().max()) < 4000 * 1e-3
    brighter = deblur(2 * Y, 2 * K)
    assert decibels(brighter.planes) > decibels(CLEAN.planes) - 0.1


def test_a_psf_larger_than_the_picture():
    y = blur(
        torch.from_numpy(data.camera()[None, ::2, ::2] / 255.0), psf.disk(12), boundary="valid"
    )
    part = y[:, 100:122, 80:104] + 0.002 * noise()[:, :22, :24]
    restored = of_wiener(deblur(part, psf.disk(12)))
    assert restored.planes.shape == part.shape


def test_noise_that_is_known():
    known = of_wiener(deblur(Y, K, noise_std=STD))
    assert known.spectra[0].noise.std == pytest.approx(STD)
    assert decibels(known.planes) > decibels(CLEAN.planes) - 0.1


@pytest.mark.parametrize("quality", [95, 75])
@pytest.mark.parametrize("std", [0.01, 0.002])
def test_a_jpeg(quality, std):
    y, rounding = bench_pictures.stored(blur(X, K, boundary="circular") + std * noise(), quality)
    restored = deblur(y, K, jpeg=rounding)
    best = best_damp(y)
    assert decibels(restored.planes) > best - 1
    assert "a JPEG's rounding" in restored.data.noise[0]
    unknown = deblur(y, K)  # as a file of another kind would have it
    assert decibels(unknown.planes) > max(best - 1.5, decibels(y) - 0.2)


def test_a_jpeg_in_colour():
    """Luminance and chrominances have a noise of their own, and come together again."""
    colours = torch.cat([X, 0.8 * X + 0.1, 1 - X])
    y = blur(colours, K, boundary="circular") + STD * torch.cat([noise(s) for s in range(3)])
    fine = JpegRounding(torch.ones(8, 8, dtype=F64))
    restored = deblur(y, K, jpeg=[fine] * 3)
    assert len(restored.spectra) == len(restored.data.noise) == 3
    assert len(restored.certificate) == 3
    plain = deblur(y, K)
    assert float((restored.planes - plain.planes).square().mean().sqrt()) < 0.03
    metadata = {"jpeg": {"qtables": {0: [2] * 64, 1: [9] * 64}, "subsampling": 2}}
    luminance, blue, red = jpeg_rounding(metadata, 3)
    assert (luminance.sampling, blue.sampling, red.sampling) == ((1, 1), (2, 2), (2, 2))
    assert float(red.steps.max()) == 9


def test_smoothed_noise():
    f = torch.fft.fftfreq(N, dtype=F64)
    left = torch.exp(-2 * (math.pi * 0.6) ** 2 * (f[:, None] ** 2 + f**2))
    y = (
        blur(X, K, boundary="circular")
        + 0.01 * torch.fft.ifft2(torch.fft.fft2(noise()) * left).real
    )
    restored = of_wiener(deblur(y, K))
    assert "smoothed by 0.6 samples" in restored.data.noise[0]
    assert decibels(restored.planes) > best_damp(y)


@pytest.mark.parametrize("kind", ["column", "rows", "hot"])
def test_bad_pixels_are_found(kind):
    y, bad = Y.clone(), torch.zeros(N, N, dtype=torch.bool)
    if kind == "column":
        bad[:, 50] = True
        y[:, bad] = 0.9
    elif kind == "rows":
        bad[40:43] = True
        y[:, bad] = 0.0
    else:
        bad = torch.rand(N, N, generator=torch.Generator().manual_seed(1)) < 0.004
        y[:, bad] = y[:, bad] + 0.5
    restored = of_wiener(deblur(y, K))
    missed = restored.data.observed & bad & ((y - Y).abs()[0] > 0.1)
    assert not missed.any()
    assert int((~restored.data.observed & ~bad).sum()) < 0.01 * N * N
    assert "pixels that no scene explains" in restored.data.sentence
    assert decibels(restored.planes) > decibels(CLEAN.planes) - 1
    assert not restored.residual[:, ~restored.data.observed].any()


def test_clipped_lights_are_missing():
    lit = X.clone()
    lit[:, 20:25, 80:85] = 5
    y = (blur(lit, K, boundary="circular") + STD * noise()).clamp(max=1)
    restored = of_wiener(deblur(y, K))
    assert "clipped at the largest value" in restored.data.sentence
    away = torch.ones(N, N, dtype=torch.bool)
    away[10:35, 70:95] = False
    assert decibels(restored.planes, away) > decibels(CLEAN.planes, away) - 1


def test_a_constant_frame_stays():
    inside = torch.zeros(N, N, dtype=torch.bool)
    inside[10:-8, 12:-6] = True
    y = torch.where(inside, Y, 0.0)
    restored = of_wiener(deblur(y, K))
    assert not restored.planes[:, ~inside].any()
    assert torch.equal(restored.data.observed, inside)
    assert decibels(restored.planes, inside) > decibels(CLEAN.planes, inside) - 0.7
    assert "rows 10 above, 8 below, columns 12 left, 6 right" in restored.data.sentence


def test_a_wrong_psf_is_doubted():
    restored = deblur(Y, psf.motion(15, 30))
    assert not restored.data.psf_plausible
    assert any("check the psf" in doubt for doubt in restored.data.doubts)
    assert not restored.data.whiteness.is_white
    sharp = deblur(X + 0.01 * noise(), K)
    assert not sharp.data.psf_plausible


@pytest.mark.parametrize("k", [psf.gaussian(1.5), K], ids=["gaussian", "disk"])
def test_no_noise_at_all(k):
    y = blur(X, k, boundary="circular")
    restored = deblur(y, k)
    assert decibels(restored.planes) > decibels(y) + 2
    assert "too weak to be seen" in restored.data.noise[0]


def test_discrepancy_reads_the_noise_before_the_picture_is_faded():
    chosen = deblur(Y, K, damp="discrepancy").choice
    assert chosen is not None
    assert chosen.noise_std == pytest.approx(STD, rel=0.1)
    assert "periodogram" in chosen.noise_how


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"prior": "wiener", "damp": 0.1}, ("takes no damp",)),
        ({"prior": "wiener", "boundary": "zeros"}, ("'zeros' invents", "prior='damp'")),
        ({"prior": "total"}, ("'auto', 'wiener', 'damp', 'dct', 'tv', 'sparse', 'hessian'",)),
        ({"damp": "lcurve"}, ("no corner", "risk")),
        ({"psf": torch.zeros(3, 3)}, ("zero everywhere",)),
        ({"jpeg": [JpegRounding(torch.ones(8, 8))] * 3}, ("3 components", "1 planes")),
    ],
)
def test_refused(options, says):
    with pytest.raises(ValueError, match=r"\.$") as error:
        deblur(**{"planes": Y, "psf": K} | options)
    assert_says(error, *says)


def test_small_and_even_pictures_are_damped():
    assert deblur(Y[:, :11], K).prior == deblur(torch.ones_like(Y), K).prior == "damp"
    assert deblur(Y, K, boundary="reflect").prior == "damp"
    with pytest.raises(ValueError, match="12 samples"):
        deblur(Y[:, :11], K, prior="wiener")


def test_memory_limit():
    with pytest.raises(MemoryLimitError, match="raise memory_limit, or crop"):
        deblur(Y, K, memory_limit=1e4)


@pytest.mark.slow
def test_tables_of_pictures_of_the_world(monkeypatch):
    monkeypatch.setattr("sys.argv", ["benchmarks"])
    assert bench_pictures.main()


@pytest.mark.parametrize(("size", "kernel"), [((41, 41), psf.disk(30)), ((14, 60), psf.disk(3))])
def test_a_picture_that_is_small_beside_its_psf_is_doubted(size, kernel):
    H, W = (n + k - 1 for n, k in zip(size, kernel.shape, strict=True))
    scene = torch.from_numpy(data.camera()[100 : 100 + H, 150 : 150 + W] / 255.0)[None]
    found = deblur(blur(scene, kernel, boundary="valid", noise_std=0.004), kernel)
    assert found.data is not None
    said = " ".join(found.data.doubts)
    assert f"{size[1]} x {size[0]} samples" in said
    assert "compare both" in said
