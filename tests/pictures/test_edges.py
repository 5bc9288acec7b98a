"""Priors that keep edges, from what the Wiener filter found in a picture."""

from __future__ import annotations

import math
import re

import pytest
import torch
from skimage import data
from torch import Tensor

from unconv import AccuracyWarning, psf
from unconv.parameter_choice.noise_models import JpegRounding, NoiseModel
from unconv.parameter_choice.whittle import PictureSpectra
from unconv.pictures import blur, deblur
from unconv.pictures.edges import is_nearly_white, seen_noise

from ..helpers import F64, assert_says, relative

N = 80
K = psf.disk(2.5)
X = torch.from_numpy(data.camera()[100 : 100 + 2 * N : 2, 200 : 200 + 2 * N : 2].copy())[None]
X = X.to(F64) / 255.0


def noise(seed: int = 0) -> Tensor:
    return torch.randn(1, N, N, generator=torch.Generator().manual_seed(seed), dtype=F64)


Y = blur(X, K, boundary="circular") + 0.01 * noise()


def decibels(planes: Tensor, truth: Tensor = X) -> float:
    return -10 * math.log10(float((planes.clamp(0, 1) - truth).square().mean()))


def test_auto_is_the_sliding_cosine_transform_where_the_noise_is_as_its_model():
    found, linear = deblur(Y, K), deblur(Y, K, prior="wiener")
    assert (found.prior, linear.prior) == ("dct", "wiener")
    assert decibels(found.planes) > decibels(linear.planes) + 0.5
    assert found.data.sentence == linear.data.sentence
    assert not linear.sharpened
    assert found.sharpened[0].certificate.method == "plug-and-play"
    assert found.scene.planes[(slice(None), *found.scene.inside)].equal(found.planes)
    fitted = Y - found.residual
    assert 0.8 < float((Y - fitted).std()) / 0.01 < 1.3


def test_auto_stays_linear_where_the_model_of_the_noise_does_not_hold(monkeypatch):
    odd = Y + 0.03 * noise(1) * Y.gt(0.5)  # another noise where it is bright
    found = deblur(odd, K)
    assert found.prior == ("dct" if is_nearly_white(found.data.whiteness) else "wiener")
    assert decibels(found.planes) > decibels(odd) - 0.2
    monkeypatch.setattr("unconv.pictures.prior_choice.MOST_SAMPLES", N * N - 1)
    assert deblur(Y, K).prior == "wiener"


def test_what_stops_too_soon_is_advised_with_what_can_be_asked_for():
    """`deblur` takes neither iterations nor a gap, and its commands have no such options."""
    counts = 20.0
    y = torch.poisson(counts * Y.clamp(min=0), torch.Generator().manual_seed(0)) / counts
    asked = {"noise_model": "poisson", "counts": counts, "prior": "tv"}
    with pytest.warns(AccuracyWarning, match="a strength nearer to that of auto") as told:
        found = deblur(y, K, strength=1e-6, **asked)
    certificate = found.sharpened[0].certificate
    assert not bool(certificate.converged.all())
    assert str(told[0].message).startswith(certificate.advice)
    assert not re.search("maxiter|gap_tol|nonnegative=", certificate.advice)
    assert [w.category for w in told] == [AccuracyWarning]
    better = deblur(y, K, strength=0.1, nonnegative=True, **asked).sharpened[0].certificate
    assert bool(better.converged.all())


@pytest.mark.parametrize("prior", ["tv", "sparse", "hessian"])
def test_penalties(prior):
    found = deblur(Y, K, prior=prior)
    assert found.prior == prior
    certificate = found.sharpened[0].certificate
    assert bool(certificate.converged.all())
    assert bool((certificate.gap <= 1e-3).all()) == (prior != "sparse")
    assert decibels(found.planes) > decibels(Y) + 1
    stronger = deblur(Y, K, prior=prior, strength=10 * found.sharpened[0].strength)
    change = [(p.planes.diff(dim=-1)).abs().sum() for p in (found, stronger)]
    assert change[1] < change[0]


def test_colours_are_restored_together():
    colours = torch.cat([Y, 0.5 * Y + 0.2, 1 - Y])
    found = deblur(colours, K, prior="tv", noise_std=0.01)
    assert len(found.sharpened) == 1
    assert found.planes.shape == colours.shape
    assert decibels(found.planes[:1]) > decibels(Y) + 1


def test_missing_pixels_and_bounds():
    seen = torch.rand(N, N, generator=torch.Generator().manual_seed(3)) > 0.1
    y = torch.where(seen, Y - 0.02, torch.nan)
    found = deblur(y, K, prior="tv", nonnegative=True)
    assert float(found.planes.min()) >= 0
    assert bool(found.planes.isfinite().all())
    assert not bool(found.residual[:, ~seen].any())


@pytest.mark.parametrize("prior", ["tv", "dct"])
def test_colours_of_a_jpeg_keep_their_sign(prior):
    """Chrominances are negative in half of all pictures: they are light of no channel."""
    colours = torch.cat([Y, 0.6 * Y, 0.1 * Y])  # red
    jpeg = [JpegRounding(torch.full((8, 8), 1 / 255, dtype=F64))] * 3
    free = deblur(colours, K, prior=prior, jpeg=jpeg)
    bound = deblur(colours, K, prior=prior, jpeg=jpeg, nonnegative=True)
    assert float(bound.planes.min()) >= 0
    assert float(bound.scene.planes.min()) >= 0
    assert relative(bound.planes, free.planes) < 0.02


def test_counts():
    y = torch.poisson(200 * blur(X, K, boundary="circular"), torch.Generator().manual_seed(0)) / 200
    found = deblur(y, K, prior="tv", noise_model="poisson", counts=200, nonnegative=True)
    assert decibels(found.planes) > decibels(y) + 2
    cosines = deblur(y, K, noise_model="poisson", counts=200)
    assert cosines.prior == "dct"
    assert decibels(cosines.planes) > decibels(y) + 2


class _Interrupt:
    """Interrupts when a prior that keeps edges has told its second step."""

    def __init__(self) -> None:
        self.steps = 0

    def __call__(self, step: str, _) -> None:
        self.steps += step.startswith(("dct: step", "tv: step"))
        if self.steps == 2:
            raise KeyboardInterrupt


@pytest.mark.parametrize("prior", ["auto", "tv"])
def test_an_interrupt_gives_nothing_or_what_there_is(prior):
    with pytest.raises(KeyboardInterrupt):
        deblur(Y, K, prior=prior, progress=_Interrupt())
    found = deblur(Y, K, prior=prior, progress=_Interrupt(), keep_partial=True)
    assert found.sharpened[0].partial
    assert bool(found.planes.isfinite().all())
    assert decibels(found.planes) > decibels(Y)


def test_an_interrupt_ends_all_components():
    colours = torch.cat([Y, 0.5 * Y + 0.2, 1 - Y])
    steps = torch.full((8, 8), 3.0, dtype=F64)
    jpeg = [JpegRounding(steps)] * 3
    found = deblur(colours, K, prior="tv", jpeg=jpeg, progress=_Interrupt(), keep_partial=True)
    assert [one.partial for one in found.sharpened] == [True] * 3
    assert [one.certificate for one in found.sharpened] == [None] * 3


def test_one_level_for_noise_of_any_colour():
    white = PictureSpectra(1e-3, 2.0, NoiseModel(0.02, 0.0, None, 0.0), 0.0, 1.0)
    assert seen_noise(white, K, (N, N)) == pytest.approx(0.02)
    table = torch.full((8, 8), 8.0, dtype=F64)
    table[4:] = table[:, 4:] = 60.0
    rounded = PictureSpectra(1e-3, 2.0, NoiseModel(0.001, 0.0, JpegRounding(table), 0.0), 0.0, 1.0)
    everywhere = float(rounded.noise_psd((N, N)).mean()) ** 0.5
    assert 0.2 * everywhere < seen_noise(rounded, psf.disk(4), (N, N)) < 0.9 * everywhere


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"prior": "wiener", "strength": 1.0}, ("not for prior='wiener'", "use prior='tv'")),
        ({"boundary": "circular", "nonnegative": True}, ("'wiener', which auto takes here",)),
        ({"damp": 0.1, "strength": 1.0}, ("'damp', which auto takes here", "use prior='tv'")),
        ({"prior": "tv", "damp": 0.1}, ("takes no damp", "give one of the two")),
        ({"prior": "tv", "strength": -1.0}, ("strength=-1.0", "> 0")),
        ({"prior": "tv", "boundary": "reflect"}, ("does not serve", "use prior='damp'")),
        ({"noise_model": "laplace"}, ("'gaussian', 'poisson'",)),
        ({"counts": 0.0}, ("counts=0.0", "> 0")),
        (
            {"planes": Y - 0.3, "noise_model": "poisson", "counts": 200},
            ("counts must be >= 0", "got -", "add what was subtracted"),
        ),
        (
            {
                "planes": Y.expand(3, N, N),
                "noise_model": "poisson",
                "jpeg": [JpegRounding(torch.ones(8, 8))] * 3,
            },
            ("for counts, and a JPEG in colour", "chrominances", "'gaussian'"),
        ),
    ],
)
def test_refusals(options, says):
    with pytest.raises(ValueError, match=re.escape(says[0])) as error:
        deblur(**{"planes": Y, "psf": K} | options)
    assert_says(error, *says)


@pytest.mark.parametrize("prior", ["tv", "hessian", "dct"])
def test_progress_goes_from_the_first_look_to_the_end(prior):
    told: list[tuple[str, float | None]] = []
    found = deblur(Y, K, prior=prior, progress=lambda step, done: told.append((step, done)))
    looks = [(step, done) for step, done in told if step.startswith(f"{prior}: step")]
    others = [done for step, done in told if not step.startswith(f"{prior}: step")]
    assert set(others) == {None}
    done = [share for _, share in looks]
    assert done == sorted(done)
    assert done[-1] == 1
    assert all(0 <= share <= 1 for share in done)
    if prior == "dct":
        assert done == [k / 16 for k in range(1, 17)]
        return
    assert done[0] == 0
    assert 2 * len(set(done)) > len(done)
    assert told[-1 - len(looks)][0] == f"{prior}: choosing the strength"
    gap = float(found.sharpened[0].certificate.gap)
    assert looks[-1][0].endswith(f"gap {gap:.1e}")


def test_progress_of_counts_is_that_of_gap_or_residual():
    y = torch.poisson(200 * blur(X, K, boundary="circular"), torch.Generator().manual_seed(0)) / 200
    done: list[float] = []
    deblur(
        y,
        K,
        prior="tv",
        noise_model="poisson",
        counts=200,
        progress=lambda step, share: done.append(share) if share is not None else None,
    )
    assert done == sorted(done)
    assert done[0] < 0.2
    assert done[-1] == 1
