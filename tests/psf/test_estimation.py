"""Psfs read from pictures that were blurred by them, and pictures that tell none."""

from __future__ import annotations

import math
import random

import pytest
import skimage.data
import torch

from unconv import psf
from unconv.parameter_choice.noise_models import JpegRounding
from unconv.parameter_choice.whittle import Periodogram
from unconv.pictures import blur
from unconv.psf.estimation import NAMES
from unconv.psf.estimation.cells import Cells
from unconv.psf.estimation.coarse import COARSE
from unconv.psf.families import FAMILIES

F64 = torch.float64


def scene(name: str, side: int = 300) -> torch.Tensor:
    """(1, side, side), in [0, 1]."""
    image = torch.from_numpy(getattr(skimage.data, name)() / 255)
    image = image @ image.new_tensor([0.299, 0.587, 0.114]) if image.ndim == 3 else image
    top, left = ((n - side) // 2 for n in image.shape)
    return image[None, top : top + side, left : left + side]


def blurred(name: str, kernel: torch.Tensor, noise: float = 0.005, side: int = 300) -> torch.Tensor:
    y = blur(scene(name, side), kernel, boundary="valid", noise_std=noise)
    return (255 * y.clamp(0, 1)).round() / 255


@pytest.mark.parametrize("seed", range(4))
def test_what_blurred_a_photograph_is_found(seed: int):
    rng = random.Random(seed)
    name = ("astronaut", "camera", "coffee", "chelsea")[seed]
    radius, length, angle = rng.uniform(2, 6), rng.uniform(5, 21), rng.uniform(0, 180)
    disk = psf.estimate(blurred(name, psf.disk(radius)), "disk")
    assert abs(disk.parameters["radius"] - radius) < 0.15
    motion = psf.estimate(blurred(name, psf.motion(length, angle)), "motion")
    assert abs(motion.parameters["length"] - length) < 1
    assert abs((motion.parameters["angle"] - angle + 90) % 180 - 90) < 4
    for found in (disk, motion):
        assert found.evidence[found.family] > 20
        assert found.psf.dtype == F64
        assert math.isclose(float(found.psf.sum()), 1)


def test_a_gaussian_is_known_to_what_it_says():
    found = psf.estimate(blurred("astronaut", psf.gaussian(1.8)), "gaussian")
    assert abs(found.parameters["sigma"] - 1.8) < 3 * found.standard_errors["sigma"] < 0.5


@pytest.mark.parametrize(
    ("kernel", "family"),
    [
        (psf.disk(4.2), "disk"),
        (psf.motion(12.5, 70), "motion"),
        (torch.ones(1, 1, dtype=F64), "none"),
    ],
)
def test_the_family_by_evidence(kernel: torch.Tensor, family: str):
    found = psf.estimate(blurred("camera", kernel), "auto")
    assert found.family == family
    assert found.evidence["none"] == 0
    assert set(found.evidence) == {"none", *NAMES[1:]}
    assert str(found).startswith("no blur" if family == "none" else family)


def test_moffat_and_gaussian_disk_are_found_for_what_they_are():
    both = torch.nn.functional.conv2d(
        psf.disk(4)[None, None], psf.gaussian(0.8)[None, None], padding=3
    )[0, 0]
    found = psf.estimate(blurred("astronaut", both / both.sum(), 0.002), "gaussian-disk")
    assert abs(found.parameters["radius"] - 4) < 0.2
    assert abs(found.parameters["sigma"] - 0.8) < 0.3
    wings = FAMILIES["moffat"].kernel(3.0, 2.5)
    found = psf.estimate(blurred("astronaut", wings, 0.002), "moffat")
    assert abs(found.parameters["fwhm"] - 3) < 4 * found.standard_errors["fwhm"] + 0.1


@pytest.mark.parametrize("name", NAMES[1:])
def test_closed_forms_are_the_transforms_of_the_kernels(name: str):
    """Up to what sampling folds back, which the tails of these are too narrow for."""
    values = {
        "gaussian": (1.4,),
        "disk": (3.7,),
        "motion": (9.3, 28.0),
        "moffat": (4.0, 4.0),
        "gaussian-disk": (3.1, 0.9),
    }[name]
    kernel = FAMILIES[name].kernel(*values)
    fy, fx = (
        torch.rand(50, dtype=F64, generator=torch.Generator().manual_seed(i)) * 0.3 for i in (0, 1)
    )
    rows, columns = (torch.arange(n, dtype=F64) - n // 2 for n in kernel.shape)
    waves = torch.exp(
        -2j * math.pi * (fy[:, None, None] * rows[:, None] + fx[:, None, None] * columns)
    )
    exact = (waves * kernel).sum((1, 2)).abs()
    closed = COARSE[name].transfer(torch.tensor([values], dtype=F64), fy, fx)[0]
    assert float((closed - exact).abs().max()) < 0.03


@pytest.mark.parametrize(("side", "kernel"), [(64, psf.disk(3)), (201, psf.motion(11, 20))])
def test_a_cell_expects_what_the_window_leaves(side: int, kernel: torch.Tensor):
    """Against the exact mean of a faded periodogram, and that of the scene alone."""
    cells = Cells(torch.rand(side, side, dtype=F64, generator=torch.Generator().manual_seed(0)))
    data = Periodogram(torch.rand(1, side, side, dtype=F64), kernel)
    scene = cells.mean(data.mean_of(data.radius**-2.5))
    exact = cells.mean(data.of_signal(2.5)) / scene
    gain = cells.gain(kernel)
    assert float((gain - exact).abs().max()) < 0.01
    assert float((gain / exact).log()[exact > 0.01].abs().max()) < 0.1


def test_a_gain_is_the_power_of_any_psf():
    cells = Cells(torch.rand(64, 64, dtype=F64, generator=torch.Generator().manual_seed(0)))
    turned = torch.rand(5, 9, dtype=F64, generator=torch.Generator().manual_seed(1))
    law = cells.data.radius[::2, ::2] ** -2.5
    power = torch.fft.rfft2(turned, s=(64, 64)).abs().square()
    expected = cells.mean(cells._smeared(law * power)) / cells.mean(cells._smeared(law))
    assert float((cells.gain(turned) - expected).abs().max()) < 1e-10


def test_a_jpegs_dead_zone_is_what_rounding_does():
    """White normal noise rounded in 8×8 blocks: how much is left, and what of it is signal."""
    generator = torch.Generator().manual_seed(1)
    t = torch.arange(8, dtype=F64)
    waves = torch.cos(math.pi * (2 * t + 1) * t[:, None] / 16) / 2
    waves[0] /= math.sqrt(2)
    noise = 3.0 * torch.randn(64, 64, 8, 8, dtype=F64, generator=generator)
    step = 8.0
    rounded = step * torch.round(waves @ noise @ waves.mT / step)
    left = waves.mT @ rounded @ waves
    rounding = JpegRounding(torch.full((8, 8), step))
    after = left.permute(0, 2, 1, 3).reshape(512, 512) / 255
    f, half = torch.fft.fftfreq(512, dtype=F64), torch.fft.rfftfreq(512, dtype=F64)
    power = torch.fft.rfft2(after).abs().square() / 512**2
    kept, error = rounding.passed(power, torch.ones_like(power), f, half)
    a = float((left * noise).sum() / noise.square().sum())
    assert math.isclose(float(kept.mean()), a**2, rel_tol=0.05)
    expected = float((left - a * noise).square().mean() + 1 / 12) / 255**2
    assert math.isclose(float(error.mean()), expected, rel_tol=0.05)


any_side = pytest.mark.parametrize("side", [200, pytest.param(300, marks=pytest.mark.slow)])


@any_side
def test_colours_masks_and_frames(side):
    kernel = psf.disk(3.5)
    y = blurred("astronaut", kernel, side=side)
    colours = torch.cat([y, 0.8 * y, 0.5 * y + 0.1])
    assert abs(psf.estimate(colours, "disk").parameters["radius"] - 3.5) < 0.15
    assert abs(psf.estimate(y[0], "disk").parameters["radius"] - 3.5) < 0.15
    observed = torch.ones(y.shape[1:], dtype=torch.bool)
    observed[100:110, 50:70] = False
    hidden = torch.where(observed, y, math.nan)
    assert abs(psf.estimate(hidden, "disk", None, observed).parameters["radius"] - 3.5) < 0.15
    framed = torch.nn.functional.pad(y, (9, 4, 0, 12))
    assert abs(psf.estimate(framed, "disk").parameters["radius"] - 3.5) < 0.15


@any_side
def test_noise_that_is_known(side):
    y = blurred("camera", psf.disk(3), 0.01, side=side)
    assert math.isclose(psf.estimate(y, "disk", 0.01).noise_std, 0.01, rel_tol=0.01)
    assert math.isclose(psf.estimate(y, "disk").noise_std, 0.01, rel_tol=0.1)
    assert math.isclose(psf.estimate(1e6 * y, "disk").noise_std, 1e4, rel_tol=0.1)


def test_what_is_doubtful_is_said():
    sharp = blurred("camera", torch.ones(1, 1, dtype=F64))
    found = psf.estimate(sharp, "disk")
    assert not found.reliable
    assert any("may be none" in doubt or "no blur" in doubt for doubt in found.doubts)
    assert "doubt: " in str(found)
    loud = psf.estimate(blurred("coffee", psf.gaussian(2.5), 0.2), "gaussian")
    assert not loud.reliable


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"picture": torch.full((1, 40, 40), 0.5, dtype=F64)}, "even"),
        ({"picture": torch.ones(40, 40, dtype=F64)}, "even"),
        ({"picture": torch.rand(1, 20, 60, dtype=F64)}, "too small"),
        ({"picture": torch.rand(60, 60, 3, dtype=F64)}, "move the colours to the front"),
        ({"picture": torch.rand(40, 40, dtype=F64) / torch.eye(40)}, "observed="),
        ({"family": "disc"}, "the nearest is 'disk'."),
        ({"family": "none"}, "use one of"),
        ({"noise_std": -1.0}, "noise_std"),
        ({"noise_std": math.nan}, "noise_std"),
        ({"jpeg": ()}, "0 components"),
        ({"observed": torch.zeros(40, 40, dtype=torch.bool)}, "True where seen"),
    ],
)  # fmt: skip
def test_what_tells_no_psf_is_refused(change: dict, says: str):
    given = {"picture": torch.rand(1, 40, 40, dtype=F64), "family": "disk"} | change
    with pytest.raises(ValueError, match=r"\.$") as refused:
        psf.estimate(**given)
    assert says in str(refused.value)


def test_a_picture_that_is_mostly_saturated_is_refused():
    y = torch.rand(1, 64, 64, dtype=F64)
    observed = torch.zeros(64, 64, dtype=torch.bool)
    observed[:, :20] = True
    with pytest.raises(ValueError, match="only 31% of the pixels are data"):
        psf.estimate(y, "disk", None, observed)


@pytest.mark.parametrize("kernel", [psf.gaussian(2.5), torch.ones(1, 1, dtype=F64)])
def test_no_blur_is_not_said_of_what_tells_none(kernel: torch.Tensor):
    """A smooth scene under noise looks alike, blurred or not."""
    ramp = torch.linspace(0.2, 0.5, 200, dtype=F64)
    smooth = (ramp[:, None] + ramp)[None]
    found = psf.estimate(blur(smooth, kernel, boundary="valid", noise_std=0.05))
    assert found.family == "none"
    assert any("too little detail is seen" in doubt for doubt in found.doubts)


def test_a_jpeg_that_is_nearly_even_has_a_clear_answer():
    """With a few cells left, and with none."""
    rough = torch.rand(64, 64, dtype=F64, generator=torch.Generator().manual_seed(0))
    waves = torch.cos(math.pi * (2 * torch.arange(64, dtype=F64) + 1) / 16)
    y = 0.5 + 0.05 * waves + 1e-4 * rough
    found = psf.estimate(y, jpeg=(JpegRounding(torch.full((8, 8), 10.0, dtype=F64)),))
    assert not found.reliable
    with pytest.raises(ValueError, match="the rounding of the JPEG has left no frequency"):
        psf.estimate(rough, jpeg=(JpegRounding(torch.full((8, 8), 1e6, dtype=F64)),))


@pytest.mark.parametrize("hole", [False, True])
def test_what_was_not_seen_leaves_the_psf_as_it_is(hole: bool):
    """Steps where a hole is filled, or where a plateau ends, would say that nothing is blurred."""
    y = blurred("astronaut", psf.disk(2.6), 0.001)
    observed = None
    if hole:
        observed = torch.ones(y.shape[1:], dtype=torch.bool)
        observed[80:120, 60:90] = False
        y = torch.where(observed, y, math.nan)
    else:
        y = y.clamp(max=float(y.quantile(0.97)))
    found = psf.estimate(y, "disk", None, observed)
    assert abs(found.parameters["radius"] - 2.6) < 0.1
    assert found.evidence["disk"] > 100


def test_edges_that_are_sharper_than_the_psf_are_doubted():
    """A chequered board has a spectrum of lines that a large disk explains."""
    x = torch.from_numpy(skimage.data.checkerboard()[None] / 255.0)
    y = blur(x, psf.disk(2.6), boundary="valid", noise_std=0.01)
    found = psf.estimate(y, "disk")
    assert abs(found.parameters["radius"] - 2.6) < 0.2 or not found.reliable


def test_soft_edges_are_no_sharp_picture():
    """A movement in steps is of no family, and the picture is not sharp for that."""
    h = torch.zeros(13, 13, dtype=F64)
    h[[1, 3, 6, 9, 10, 6, 2], [2, 8, 6, 1, 10, 11, 12]] = 1
    y = blurred("chelsea", h / h.sum(), 0.002)
    found = psf.estimate(y)
    assert found.family != "none" or not found.reliable
