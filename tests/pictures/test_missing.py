"""Pixels that nobody saw: which they are, what is put in their place, and how they come back."""

from __future__ import annotations

import math

import pytest
import torch
from skimage import data

from unconv import psf
from unconv.pictures import blur, blur_operator, deblur, find_missing, frame
from unconv.pictures.bad_pixels import filled
from unconv.pictures.saturated import lit_unseen
from unconv.testing import dense_twin

from ..helpers import F64, assert_says, randn, relative

CAMERA = torch.from_numpy(data.camera()[None, 200:360:1, 100:260] / 255.0)
DISK = psf.disk(3)


def decibels(planes: torch.Tensor, truth: torch.Tensor) -> float:
    return -10 * math.log10(float(((planes - truth).clamp(-1, 1) ** 2).mean()))


def holes(size: tuple[int, int], share: float, seed: int = 0) -> torch.Tensor:
    """True where something was seen."""
    return torch.rand(size, generator=torch.Generator().manual_seed(seed)) > share


# Which


def test_everything_was_seen():
    found = find_missing(randn(3, 8, 7))
    assert found == (None, None, {}, None, ())


def test_why_is_counted():
    planes = randn(3, 8, 7)
    planes[1, 2, 3], planes[0, 0, 0], planes[2, 0, 0] = math.nan, math.inf, -math.inf
    bad, clear = (torch.zeros(8, 7, dtype=torch.bool) for _ in range(2))
    bad[5], clear[:, 6], bad[0, 0] = True, True, True
    found = find_missing(planes, bad=bad, transparent=clear)
    assert found.counts == {"not finite": 2, "masked": 8, "transparent": 8}
    expected = bad | clear
    expected[2, 3] = True
    assert torch.equal(found.observed, ~expected)
    assert found.saturated is None


def clipped(share: float, channels: int = 1, level: float = 1.0) -> torch.Tensor:
    y = torch.rand(channels, 40, 50, generator=torch.Generator().manual_seed(1)).double()
    top = y.flatten(1).quantile(1 - share, dim=1)[:, None, None]
    return level * (y / top).clamp(max=1)


@pytest.mark.parametrize("white", [1.0, None])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_plateau_is_saturated(channels, white):
    y = clipped(0.01, channels)
    found = find_missing(y, white=white)
    assert found.level == 1.0
    assert torch.equal(found.saturated, y == 1)
    assert bool((~found.observed[(y == 1).any(0)]).all())
    alone = torch.nn.functional.max_pool2d((y == 1).double(), 3, 1, 1).amax(0) > 0
    assert torch.equal(~found.observed, alone)  # and the samples around
    assert found.counts == {"saturated": int(alone.sum())}


def test_a_sensor_that_is_full_below_white():
    assert find_missing(clipped(0.01, level=0.8), white=1.0).level == pytest.approx(0.8)
    stored = (255 * clipped(0.05, level=0.8)).round() / 255
    assert find_missing(stored, white=1.0).level == pytest.approx(0.8)


def test_channels_are_full_at_their_own_levels():
    y = torch.cat([clipped(0.01, level=0.8), clipped(0.02), 0.5 * clipped(0.0004)])
    found = find_missing(y, white=1.0)
    assert found.level == pytest.approx(0.8)
    assert [int(s.sum()) for s in found.saturated] == [20, 40, 0]


@pytest.mark.parametrize("white", [1.0, None])
def test_few_or_no_plateaus_are_none(white):
    for y in (clipped(0.0006), torch.rand(1, 40, 50), torch.zeros(1, 9, 9)):
        assert find_missing(y, white=white).saturated is None


def test_white_skies_and_drawings_are_left_alone():
    sky = find_missing(clipped(0.3), white=1.0)
    assert sky.saturated is None
    assert sky.observed is None
    assert "30 % of the picture" in sky.notes[0]
    drawing = torch.full((1, 40, 50), 0.3)
    drawing[0, 5:9, 5:20], drawing[0, 20:22, 3:40] = 0.7, 0.9
    drawing += 0.1 * torch.rand(drawing.shape) * (torch.rand(drawing.shape) < 0.3)
    assert find_missing(drawing, white=1.0).saturated is None


def test_black_clipped_too():
    y = clipped(0.01)
    y = torch.where(y < 0.2, 0.2, y)
    assert find_missing(y).level == 1.0


def test_a_mask_the_wrong_way_round_is_told():
    found = find_missing(randn(1, 8, 7), bad=holes((8, 7), 0.1))
    assert "% of the pixels were seen; check the mask" in found.notes[0]


def test_a_level_and_off():
    y = torch.linspace(0, 1, 400).reshape(1, 20, 20)
    found = find_missing(y, saturation=0.9)
    assert int(found.saturated.sum()) == int((y >= 0.9).sum()) == 40
    assert found.level == 0.9
    assert find_missing(clipped(0.01), saturation="off").observed is None


def test_refused_by_find_missing():
    y = randn(1, 8, 7)
    with pytest.raises(ValueError, match="no pixel of the picture") as error:
        find_missing(torch.full((1, 8, 7), math.nan))
    assert_says(error, "not finite")
    with pytest.raises(ValueError, match="use one of 'auto', 'off'; or give a number"):
        find_missing(y, saturation="hot")
    with pytest.raises(ValueError, match=r"\(7, 8\), the picture \(8, 7\)"):
        find_missing(y, bad=torch.zeros(7, 8, dtype=torch.bool))
    with pytest.raises(TypeError, match="masked must be a bool tensor"):
        find_missing(y, bad=torch.zeros(8, 7))
    with pytest.raises(ValueError, match=r"\(C, H, W\)"):
        find_missing(y[0])


# What stands there for estimates


def test_filled_keeps_what_was_seen_and_is_near_the_rest():
    seen = holes((160, 160), 0.05)
    y = CAMERA.where(seen, math.nan)
    found = filled(y, seen)
    assert torch.equal(found[:, seen], y[:, seen])
    assert float((found - CAMERA)[:, ~seen].square().mean().sqrt()) < 0.1
    assert torch.equal(filled(CAMERA, torch.ones(160, 160, dtype=torch.bool)), CAMERA)


# How they come back


@pytest.mark.parametrize("boundary", ["valid", "circular", "zeros", "reflect"])
def test_solves_its_formula_without_them(boundary):
    y, seen = randn(2, 7, 6), holes((7, 6), 0.2)
    k, damp = torch.rand(3, 2, dtype=F64), 0.3
    A = dense_twin(blur_operator(k, (7, 6), boundary))
    found = deblur(
        y.where(seen, math.nan), k, damp=damp, boundary=boundary, observed=seen, tol=1e-9
    )
    whole = filled(y.where(seen, math.nan), seen)
    for i in range(2):
        mean = whole[i].mean() * torch.ones(A.shape[1], dtype=F64)
        rows = seen.flatten()
        tall = torch.cat([A[rows], damp * torch.eye(A.shape[1], dtype=F64)])
        right = torch.cat([y[i].flatten()[rows], damp * mean])
        expected = torch.linalg.lstsq(tall, right).solution
        expected = expected.reshape(9, 7)[1:8, 0:6] if boundary == "valid" else expected
        assert relative(found.planes[i].flatten(), expected.flatten()) < 1e-8
    assert bool((found.residual[:, ~seen] == 0).all())


def test_what_stands_there_is_without_effect():
    seen = holes((64, 64), 0.03)
    y = blur(CAMERA[:, :68, :68], psf.disk(2), boundary="valid", noise_std=0.01)
    first, *others = (
        deblur(y.where(seen, value), psf.disk(2), observed=seen)
        for value in (math.nan, -math.inf, 7.0)
    )
    for other in others:
        assert torch.equal(first.planes, other.planes)
        assert first.damp == other.damp


@pytest.mark.parametrize("kind", ["scattered", "column", "blob"])
def test_missing_pixels_cost_little(kind):
    """Dead rows and columns took 17 dB, taken at their word."""
    y = blur(CAMERA, DISK, boundary="valid", noise_std=0.004)
    truth, size = frame(CAMERA, DISK), tuple(y.shape[1:])
    seen = holes(size, 0.02) if kind == "scattered" else torch.ones(size, dtype=torch.bool)
    if kind == "column":
        seen[:, 70] = False
    elif kind == "blob":
        seen[40:48, 60:70] = False
    whole = deblur(y, DISK, prior="damp")
    found = deblur(y.where(seen, 1.0), DISK, observed=seen, prior="damp")
    assert found.certificate.converged.all()
    assert 0.7 < found.damp / whole.damp < 1.4
    assert decibels(found.planes, truth) > decibels(whole.planes, truth) - 0.7
    naive = deblur(y.where(seen, 1.0), DISK, prior="damp", saturation="off").planes
    assert decibels(found.planes, truth) > decibels(naive, truth) + 2
    wiener = deblur(y.where(seen, 1.0), DISK, observed=seen).planes
    assert decibels(wiener, truth) > decibels(found.planes, truth) - 0.1


def exposed(scene: torch.Tensor, noise_std: float = 0.004) -> tuple[torch.Tensor, torch.Tensor]:
    """What a sensor with white = 1 sees of a scene, and the scene within its range."""
    y = blur(scene, DISK, boundary="valid", noise_std=noise_std).clamp(0, 1)
    return y, frame(scene, DISK).clamp(max=1)


@pytest.mark.parametrize("prior", ["wiener", "damp"])
@pytest.mark.parametrize("kind", ["lamps", "window"])
def test_clipped_lights(kind, prior):
    """At their word they ring; taken for missing altogether, a window becomes grey."""
    scene = CAMERA.clone()
    if kind == "lamps":
        for row, column in ((20, 30), (60, 90), (100, 40), (120, 120), (80, 20)):
            scene[0, row : row + 3, column : column + 3] = 8.0
    else:
        scene[0, 40:70, 60:100] = 3.0
    y, truth = exposed(scene)
    assert find_missing(y, white=1.0).level == 1.0
    naive = deblur(y, DISK, prior=prior, saturation="off").planes
    restored = deblur(y, DISK, prior=prior)
    score = decibels(restored.planes.clamp(0, 1), truth)
    # robust against what no scene explains, the Wiener filter finds most of them by itself
    gain = 1 if prior == "damp" else -0.1
    assert score > decibels(naive.clamp(0, 1), truth) + gain
    assert score > decibels(y, truth)
    inside = (truth == 1) & frame((scene > 1).double(), DISK).bool()
    if prior == "damp":  # a Wiener filter takes them for missing, which rings less
        assert float(restored.planes[inside].mean()) > 0.9


@pytest.mark.parametrize("kernel", [DISK, psf.motion(15, 30), psf.gaussian(2)])
def test_no_lamp_comes_out_dark(kernel):
    """All that they lit is full, so that nothing that was seen knows of them."""
    scene, centre = 0.5 * CAMERA, torch.zeros_like(CAMERA, dtype=torch.bool)
    for row, column in ((40, 30), (60, 90), (100, 40), (110, 110), (80, 60)):
        scene[0, row : row + 3, column : column + 3] = 40.0
        centre[0, row + 1, column + 1] = True
    y = blur(scene, kernel, boundary="valid", noise_std=0.004).clamp(0, 1)
    restored, truth = deblur(y, kernel), frame(scene, kernel).clamp(max=1)
    assert float(restored.planes[frame(centre.double(), kernel) > 0].min()) > 0.99
    assert decibels(restored.planes.clamp(0, 1), truth) > decibels(y, truth) + 1


def test_light_of_a_place_falls_as_the_psf_says():
    """A true convolution with an asymmetric psf, inside and across the edges."""
    kernel = torch.zeros(3, 4).double()
    kernel[0, 0] = kernel[1, 2] = kernel[2, 3] = 1 / 3
    for circular, place in ((True, (0, 9)), (False, (5, 5)), (False, (0, 9))):
        scene = torch.zeros(1, 12, 10).double()
        scene[0, place[0], place[1]] = 9.0
        lit = blur(scene, kernel, boundary="circular" if circular else "zeros") > 1
        x = lit_unseen(torch.zeros_like(scene), lit.double(), lit, kernel, circular=circular)
        assert torch.equal(x, (scene > 0).double())


def test_saturated_is_a_lower_bound_and_solved_for():
    """The conditions of min ½‖(Ax − y)_O‖² + ½‖max(0, (y − Ax)_S)‖² + ½damp²‖x − mean‖²."""
    scene = CAMERA[:, :40, :40].clone()
    scene[0, 15:22, 12:22] = 2.0
    y, _ = exposed(scene)
    found, damp = find_missing(y, white=1.0), 0.1
    restored = deblur(y, DISK, damp=damp, boundary="circular", tol=1e-9)
    A = blur_operator(DISK, tuple(y.shape[1:]), "circular")
    x, Ax = restored.planes[:, None], A(restored.planes[:, None])
    left = (y[:, None] - Ax) * found.observed
    short = (y[:, None] - Ax).clamp(min=0) * found.saturated
    mean = filled(y, found.observed).mean()
    gradient = A.H(left + short) - damp**2 * (x - mean)
    assert float(gradient.norm()) < 0.02 * float(A.H(left + short).norm())
    assert bool((restored.residual[:, ~found.observed & ~found.saturated.any(0)] == 0).all())


def test_refused_by_deblur():
    y, seen, k = randn(1, 8, 7), torch.ones(8, 7, dtype=torch.bool), DISK[1:6, 1:6]
    for bad in (torch.ones(7, 8, dtype=torch.bool), torch.ones(8, 7)):
        with pytest.raises(ValueError, match=r"observed must be a bool tensor of shape \(8, 7\)"):
            deblur(y, k, damp=0.1, observed=bad)
    with pytest.raises(ValueError, match="excludes every finite pixel"):
        deblur(y, k, damp=0.1, observed=~seen)
    for bad in ("hot", None, math.nan):
        with pytest.raises((ValueError, TypeError), match="saturation"):
            deblur(y, k, damp=0.1, saturation=bad)
    with pytest.raises(TypeError, match="series must be a Series"):
        deblur(y, k, damp=0.1, series=1)


def test_bad_pixels_are_no_plateau():
    """A dead column at white is masked, and says nothing of the others."""
    y = clipped(0.0004)
    y[:, :, 7] = 1.0
    bad = torch.zeros(40, 50, dtype=torch.bool)
    bad[:, 7] = True
    found = find_missing(y, white=1.0, bad=bad)
    assert found.counts == {"masked": 40}
