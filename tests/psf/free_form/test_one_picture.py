"""Psfs of any form from one picture: each stage by its equations, and pictures of a known blur."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from scipy.optimize import nnls

from unconv import psf
from unconv.pictures import blur, deblur
from unconv.psf.free_form import few_edges, one_picture, scale_mixture
from unconv.psf.free_form.few_edges import STARTS, centered, differences

from ...helpers import F64, assert_says, relative

HOOK = torch.tensor(
    [[0, 0, 0, 0, 1], [4, 1, 0, 0, 1], [1, 3, 0, 1, 2], [0, 2, 2, 3, 0], [0, 0, 1, 1, 0]],
    dtype=F64,
)
HOOK /= HOOK.sum()


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def disks(side: int, seed: int = 0) -> torch.Tensor:
    """(side, side), thirty even disks on each other, in [0, 1]."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:side, :side]
    scene = np.full((side, side), 0.5)
    for _ in range(30):
        r, c, radius = *rng.uniform(0, side, 2).tolist(), rng.uniform(4, side / 4)
        scene[(rows - r) ** 2 + (columns - c) ** 2 < radius**2] = rng.uniform(0.05, 0.95)
    return torch.from_numpy(scene)


def blurred(h: torch.Tensor, side: int = 120, std: float = 0.003, seed: int = 0) -> torch.Tensor:
    """(side, side), surroundings unknown, the pixels where those of `disks(side + …)` are."""
    wide = disks(side + len(h) - 1, seed)[None]
    return blur(wide, h, boundary="valid", noise_std=std, seed=seed)[0]


def embedded(h: torch.Tensor, size: int) -> torch.Tensor:
    room = (size - len(h)) // 2
    return torch.nn.functional.pad(h, (room,) * 4)


def dense(h: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """True convolution of a scene (rows + k − 1, columns + m − 1), as far as it is seen."""
    k, m = h.shape
    A = torch.zeros(rows, columns, rows + k - 1, columns + m - 1, dtype=h.dtype)
    for i in range(rows):
        for j in range(columns):
            A[i, j, i : i + k, j : j + m] = h.flip(0, 1)
    return A.reshape(rows * columns, -1)


# --- the scale mixture, by dense matrices


@pytest.fixture
def turn(monkeypatch: pytest.MonkeyPatch) -> scale_mixture._Turn:
    monkeypatch.setattr(scale_mixture, "_STEPS_OF_MEAN", 300)
    y, seen = 0.2 * noise(2, 9, 11), random(9, 11, seed=1) > 0.2
    return scale_mixture._Turn(y, seen, STARTS[1], 0.05)


def test_the_scene_is_the_mean_of_its_posterior(turn: scale_mixture._Turn):
    gamma, A = turn.variance[:11, :13].flatten(), dense(turn.h, 9, 11)
    w, y, lam = turn._weight.flatten(), turn._y.flatten(1), turn._noise
    assert lam == pytest.approx(2 * 0.05**2)
    turn.look_at_scene()
    precision = A.T @ (w[:, None] * A) / lam + torch.diag(1 / gamma)
    mean = torch.linalg.solve(precision, A.T @ (w * y).T / lam).T
    assert relative(turn.x[:, :11, :13].flatten(1), mean) < 1e-9
    c = 1 / precision.diagonal()
    assert relative(turn.c[:11, :13].flatten(), c) < 1e-12
    assert relative(turn.variance[:11, :13].flatten(), mean.square().mean(0) + c) < 1e-9


def test_the_psf_is_that_of_least_expected_error(turn: scale_mixture._Turn):
    turn.look_at_scene()
    x, c = turn.x[:, :11, :13], turn.c[:11, :13].flatten()
    w, y = turn._weight.flatten(), turn._y.flatten(1)
    turn.look_at_psf()
    units = torch.eye(9, dtype=F64).reshape(9, 3, 3)
    S = torch.stack([dense(u, 9, 11) for u in units])  # A = Σ h S
    rows = [w.sqrt()[:, None] * (S @ one.flatten()).T for one in x]
    spread = torch.einsum("q,jqp,p->j", w, S.square(), c)  # Σ w(q) c(p) where h(j) leads
    rows += [torch.diag((2 * spread).sqrt()), torch.full((1, 9), 1e4, dtype=F64)]
    data = [w.sqrt() * one for one in y] + [torch.zeros(9, dtype=F64), torch.full((1,), 1e4)]
    expected, _ = nnls(torch.cat(rows).numpy(), torch.cat(data).numpy())
    assert relative(turn.h.flatten(), torch.from_numpy(expected)) < 1e-5


# --- pictures of few edges


def test_few_edges_keeps_steps_and_leaves_ripples_out():
    step = torch.zeros(40, 44, dtype=F64)
    step[:, 20:30] = 0.5
    x = few_edges._few_edges(step + 0.004 * noise(40, 44), STARTS[0] * 0 + _point(3), 2e-3)
    inner = x[2:-2, 2:-2]
    assert float((inner - step[2:-2, 2:-2]).abs().max()) < 0.01
    strength = differences(x).square().sum(0).sqrt()
    assert int((strength > 0.02).sum()) == 2 * 39


def test_the_psf_between_two_pictures_is_the_one():
    x = disks(60)
    y = blur(x[None], HOOK, boundary="reflect")[0]
    inner = torch.zeros(60, 60, dtype=torch.bool)
    inner[5:-5, 5:-5] = True
    there = few_edges.pixels_of_differences(inner)
    found = few_edges._psf_between(differences(x), differences(y), there, 7, 0.0)
    assert relative(found, embedded(HOOK, 7)) < 1e-6


def test_what_is_periodic_meets_its_other_end():
    y = random(21, 30)
    wide = few_edges._periodic(y, 6)
    assert torch.equal(wide[:21, :30], y)
    assert wide.shape[0] >= 27
    assert wide.shape[1] >= 36
    steps = (wide - wide.roll(1, 1))[:21, 31:]
    assert float(steps.std(1).max()) < 1e-12  # straight from end to end


def _point(size: int) -> torch.Tensor:
    h = torch.zeros(size, size, dtype=F64)
    h[size // 2, size // 2] = 1
    return h


def test_centered_and_difference():
    far = torch.zeros(11, 11, dtype=F64)
    far[5:10, 1:6] = HOOK
    near = centered(far)
    offsets = torch.arange(11, dtype=F64) - 5
    assert abs(float(offsets @ near.sum(1))) <= 0.5
    assert abs(float(offsets @ near.sum(0))) <= 0.5
    assert one_picture.difference(far, near) < 1e-6
    assert one_picture.difference(_point(3), torch.full((3, 3), 1 / 9, dtype=F64)) == pytest.approx(
        math.sqrt(1 + 1 / 9 - 2 / 9)
    )


def test_the_part_of_most_detail():
    plane = torch.zeros(200, 260, dtype=F64)
    plane[110:170, 30:90] = random(60, 60)
    rows, columns = one_picture._part_of_detail(plane, 96)
    assert (rows.stop - rows.start, columns.stop - columns.start) == (96, 96)
    assert rows.start <= 110
    assert rows.stop >= 170
    assert columns.start <= 30
    assert columns.stop >= 90
    whole = slice(0, 200), slice(0, 260)
    assert one_picture._part_of_detail(plane, 400) == whole


# --- all of it


@pytest.fixture(scope="module", autouse=True)
def without_rivals() -> Iterator[None]:
    """The families of psfs take half of the time, and have a test of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(one_picture, "_RIVALS", ())
        yield


@pytest.fixture(scope="module")
def hook(without_rivals: None) -> tuple[torch.Tensor, psf.PsfEstimate]:
    y = blurred(HOOK)
    return y, psf.blind(y, 7)


def test_a_known_psf_is_found(hook):
    _, found = hook
    assert found.family == "free-form"
    assert found.psf.shape == (7, 7)
    assert found.psf.dtype == F64
    assert float(found.psf.min()) >= 0
    assert float(found.psf.sum()) == pytest.approx(1, abs=1e-12)
    assert one_picture.difference(found.psf, embedded(HOOK, 7)) < 0.35
    assert found.evidence["free-form"] > 50
    assert found.evidence["none"] == 0
    assert found.reliable == (not found.doubts)
    assert found.noise_std == pytest.approx(0.003, rel=0.5)
    assert str(found).startswith("free-form, 7 x 7")
    assert found.typed == "blind:7"


def test_what_is_restored_is_better_than_the_picture(hook):
    y, found = hook
    sharp = disks(124)[2:-2, 2:-2]
    h = embedded(HOOK, 11)
    wide = embedded(found.psf, 11)
    shifts = [(i, j) for i in range(-2, 3) for j in range(-2, 3)]
    moved = max((wide.roll(by, (0, 1)) for by in shifts), key=lambda g: float((g * h).sum()))
    inner = slice(12, -12), slice(12, -12)
    before, after = (
        float((p - sharp)[inner].square().mean())
        for p in (y, deblur(y[None], moved, prior="wiener").planes[0])
    )
    assert after < 0.3 * before


def test_brightness_axes_and_colours_do_not_matter(hook):
    y, found = hook
    other = psf.blind(40 * y.mT.expand(3, -1, -1) + 7, 7)
    assert relative(other.psf.mT, found.psf) < 1e-3
    assert other.noise_std > 40 * found.noise_std  # of each plane, were their noise independent


def test_pixels_that_were_not_seen(hook):
    y, found = hook
    holes = y.clone()
    holes[30:47, 40:60] = math.nan
    holes[80:90, 20:64] = math.nan
    other = psf.blind(holes, 7, observed=holes.isfinite())
    assert one_picture.difference(other.psf, found.psf) < 0.35
    assert "5% of the pixels were not seen, or saturated" in other.doubts


def test_a_size_too_small_and_a_family_that_explains_more(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(one_picture, "_RIVALS", ("gaussian",))
    found = psf.blind(blurred(psf.gaussian(1.5)), 5)
    assert any("larger size" in doubt for doubt in found.doubts)
    assert any(doubt.startswith("gaussian:1.") and "explains" in doubt for doubt in found.doubts)
    assert set(found.evidence) == {"none", "free-form", "gaussian"}


def test_loud_noise_is_doubted():
    found = psf.blind(blurred(HOOK, std=0.03), 7)
    assert found.family == "none" or any("of the picture's deviation" in d for d in found.doubts)


@pytest.mark.parametrize("y", [disks(120) + 0.01 * noise(120, 120), noise(120, 120)])
def test_no_blur(y: torch.Tensor):
    found = psf.blind(y, 7)
    assert found.family == "none"
    assert torch.equal(found.psf, torch.ones(1, 1, dtype=F64))
    assert found.doubts
    assert not found.reliable


Y = random(60, 60)


@pytest.mark.parametrize(
    ("picture", "options", "words"),
    [
        (Y, {"size": 8}, ("size=8", "odd", "9")),
        (Y, {"size": 1}, ("size=1",)),
        (Y, {"size": 61}, ("size=61", "larger than the picture")),
        (Y, {"size": 21}, ("21 x 21", "63", "60 x 60")),
        (Y * 0 + 1, {"size": 5}, ("even",)),
        (Y, {"size": 5, "observed": Y < 0.3}, ("of the pixels are data",)),
        (Y, {"size": 5, "observed": Y < 0.6}, ("together with their neighbours", "fill")),
        (Y.where(Y < 0.9, math.nan), {"size": 5}, ("not finite", "observed=")),
        (Y[:20], {"size": 5}, ("20 x 60", "32")),
        (Y, {"size": 5, "noise_std": -1.0}, ("noise_std",)),
        (Y, {"size": 5, "observed": Y > 2}, ("observed",)),
    ],
)
def test_refused(picture: torch.Tensor, options: dict, words: tuple[str, ...]):
    with pytest.raises(ValueError, match=r"\.$") as error:
        psf.blind(picture, **options)
    assert_says(error, *words)


def test_refused_kinds():
    with pytest.raises(TypeError, match="complex"):
        psf.blind(Y + 0j, 5)
    with pytest.raises(TypeError, match="size"):
        psf.blind(Y, 5.0)
    with pytest.raises(TypeError, match="jpeg"):
        psf.blind(Y, 5, jpeg=[3])


def shaken(seed: int, size: int = 21) -> torch.Tensor:
    """The path of a hand that moves smoothly, its light spread over neighbouring samples."""
    rng = np.random.default_rng(seed)
    path = np.cumsum(np.cumsum(rng.standard_normal((400, 2)), 0), 0)
    path -= path.mean(0)
    path *= 0.4 * size / np.abs(path).max()
    h = torch.zeros(size, size, dtype=F64)
    for r, c in path + size // 2:
        i, j = int(r), int(c)
        for a, u in ((i, 1 - r + i), (i + 1, r - i)):
            for b, v in ((j, 1 - c + j), (j + 1, c - j)):
                h[a, b] += u * v
    return h / h.sum()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("h", "size", "most"),
    [
        (psf.disk(4), 13, 0.45),
        (psf.motion(15, 30), 19, 0.6),
        (psf.gaussian(2), 15, 0.45),
        (shaken(3), 25, 0.5),
    ],
    ids=["disk", "motion", "gaussian", "shake"],
)
def test_photographs(h: torch.Tensor, size: int, most: float):
    import skimage.data

    wide = torch.from_numpy(skimage.data.camera() / 255.0)[None, 80:380, 100:400]
    y = blur(wide, h, boundary="valid", noise_std=0.004)
    found = psf.blind(y, size)
    n = max(size, *h.shape)
    ends = (_padded(one, n) for one in (found.psf, h))
    assert found.family == "free-form"
    assert one_picture.difference(*ends) < most


def _padded(h: torch.Tensor, n: int) -> torch.Tensor:
    rows, columns = ((n - s) // 2 for s in h.shape)
    return torch.nn.functional.pad(h, (columns, columns, rows, rows))


# --- what it tells while it searches


def test_progress_goes_from_start_to_end_and_may_end_it():
    told: list[tuple[str, float]] = []
    y = blurred(HOOK, 72)
    found = psf.blind(y, 5, progress=lambda step, fraction: told.append((step, fraction)))
    fractions = [fraction for _, fraction in told]
    assert fractions == sorted(fractions)
    assert fractions[0] == 0.0
    assert 0.8 < fractions[-1] < 1.0
    assert told[0][0] == f"a first psf, 1 of {len(STARTS)}"
    assert torch.equal(found.psf, psf.blind(y, 5).psf)

    def stop(step: str, fraction: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        psf.blind(y, 5, progress=stop)
