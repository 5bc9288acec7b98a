"""The scale of a psf from the edges of a picture: steps of known width, and what is no step."""

from __future__ import annotations

import math
import random

import pytest
import skimage.data
import torch

from unconv import psf
from unconv.pictures import blur
from unconv.psf.estimation.coarse import COARSE
from unconv.psf.estimation.edges import OWN, Edges, Widths
from unconv.psf.estimation.scale import Scale, scale_of
from unconv.psf.estimation.steps import LineSpread, Points, Window, fitted_steps

F64 = torch.float64
GAUSSIAN, DISK = COARSE["gaussian"].profile, COARSE["disk"].profile
SEEN = torch.ones(160, 160, dtype=torch.bool)


def normal(z: torch.Tensor) -> torch.Tensor:
    return 0.5 * (1 + torch.erf(z / math.sqrt(2)))


def half_plane(width: float, angle: float, offset: float, side: int = 160) -> torch.Tensor:
    """A step of height 1 blurred by a Gaussian, exactly, (side, side)."""
    places = torch.arange(side, dtype=F64) - side // 2
    across = math.cos(angle) * places + math.sin(angle) * places[:, None] - offset
    return normal(across / width)


def polygons(width: float, seed: int) -> torch.Tensor:
    """Blurred half planes over each other: a picture of straight edges, and their corners."""
    rng = random.Random(seed)
    total = torch.zeros(160, 160, dtype=F64)
    for _ in range(5):
        angle, offset = rng.uniform(0, 2 * math.pi), rng.uniform(-60, 60)
        total += rng.uniform(0.1, 0.3) * half_plane(width, angle, offset)
    return total


def noisy(plane: torch.Tensor, std: float, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return plane + std * torch.randn(plane.shape, dtype=F64, generator=generator)


@pytest.mark.parametrize("softness", [0.0, 0.3])
def test_the_tables_are_the_closed_forms(softness: float):
    z = torch.linspace(-3, 3, 97, dtype=F64)
    integral, line = LineSpread(GAUSSIAN.line, softness)(z)
    wide = math.hypot(1, softness)
    assert float((integral - normal(z / wide)).abs().max()) < 1e-5
    density = torch.exp(-0.5 * (z / wide).square()) / (wide * math.sqrt(2 * math.pi))
    assert float((line - density).abs().max()) < 1e-4
    inner = z.clamp(-1, 1)
    half_moon = 0.5 + (inner * (1 - inner.square()).sqrt() + inner.asin()) / math.pi
    assert float((LineSpread(DISK.line, 0.0)(z)[0] - half_moon).abs().max()) < 1e-3


@pytest.mark.parametrize("seed", range(6))
def test_a_step_is_found_for_what_it_is(seed: int):
    rng = random.Random(seed)
    width, angle, offset = rng.uniform(0.7, 3), rng.uniform(0, math.pi), rng.uniform(-0.7, 0.7)
    plane = 0.3 + 0.2 * half_plane(width, angle, offset)
    middle = torch.tensor([80])
    start = torch.tensor([angle + rng.uniform(-0.2, 0.2)], dtype=F64)
    zero, one = torch.zeros(1, dtype=F64), torch.ones(1, dtype=F64)
    points = Points(middle, middle, start, zero, rng.uniform(0.7, 1.4) * width * one)
    window = Window(1.5 * width * one, 1.5 * width * one, math.ceil(4 * width), 1)
    found = fitted_steps(plane, points, LineSpread(GAUSSIAN.line, 0.0), window, 12)
    assert math.isclose(float(found.points.width), width, rel_tol=1e-3)
    assert abs(float(found.points.angle) - angle) < 1e-3
    assert abs(float(found.points.offset) - offset) < 1e-3
    assert math.isclose(float(found.height), 0.2, rel_tol=1e-3)
    assert float(found.misfit) < 1e-5


def test_the_error_of_a_width_is_what_noise_makes():
    width, std, count = 1.6, 0.01, 60
    many = torch.cat([noisy(half_plane(width, 0.6, 0.2, 33), std, i) for i in range(count)])
    rows, columns = 16 + 33 * torch.arange(count), torch.full((count,), 16)
    one = torch.ones(count, dtype=F64)
    points = Points(rows, columns, 0.6 * one, 0.0 * one, width * one)
    window = Window(2 * one, 2 * one, 7, 1)
    found = fitted_steps(many, points, LineSpread(GAUSSIAN.line, 0.0), window, 8)
    off = (found.points.width.log() - math.log(width)) / (std * found.error)
    assert 0.75 < float(off.square().mean().sqrt()) < 1.25


@pytest.mark.parametrize("seed", range(4))
def test_edges_tell_the_width_of_what_blurred_them(seed: int):
    sigma = random.Random(seed).uniform(0.8, 3)
    plane = noisy(polygons(math.hypot(sigma, OWN), seed), 0.002, seed)
    for start in (0.7 * sigma, sigma, 1.4 * sigma):
        scale = scale_of(Edges(plane, SEEN, 0.002), GAUSSIAN, start, 0.5 * start)
        assert scale is not None
        assert abs(scale.value / sigma - 1) < 0.08
        assert abs(scale.value - sigma) < 3 * scale.error


def test_lines_are_no_steps():
    """A grating has halves of lines, which look sharper than a step: none may count."""
    sigma = 2.0
    places = torch.arange(160, dtype=F64)
    lines = torch.stack([normal((places - c) / sigma) for c in range(0, 160, 7)])
    signs = torch.tensor([1.0, -1.0], dtype=F64).repeat(12)[: len(lines), None]
    plane = noisy((lines * signs).sum(0).expand(160, 160).clone(), 0.002, 0)
    widths = Edges(plane, SEEN, 0.002).widths(GAUSSIAN, sigma)
    sharper = widths.logarithms < math.log(0.9 * sigma)
    assert int(sharper.sum()) <= 0.02 * 300


def test_what_was_not_seen_tells_nothing():
    plane = polygons(2.0, 0) + half_plane(1.2, 0.0, 0.0)  # and a wall that is sharper
    hidden = torch.ones_like(SEEN)
    hidden[:, 75:86] = False
    with_wall = Edges(plane, SEEN, 0.002).widths(GAUSSIAN, 2.0).logarithms
    without = Edges(plane, hidden, 0.002).widths(GAUSSIAN, 2.0).logarithms
    assert float(with_wall.min()) < math.log(1.5) < float(without.min())


def test_noise_has_no_edges():
    plane = noisy(torch.full((160, 160), 0.5, dtype=F64), 0.01, 3)
    assert scale_of(Edges(plane, SEEN, 0.01), GAUSSIAN, 1.5, 0.3) is None
    tiny = Edges(plane[:20, :20], SEEN[:20, :20], 0.01)
    assert isinstance(tiny.widths(GAUSSIAN, 8.0), Widths)


def test_two_that_disagree_are_doubtful():
    plane = noisy(polygons(2.0, 1), 0.002, 1)
    edges = Edges(plane, SEEN, 0.002)
    agreed = scale_of(edges, GAUSSIAN, 2.0, 0.2)
    torn = scale_of(edges, GAUSSIAN, 1.2, 0.03)
    assert agreed is not None
    assert torn is not None
    assert agreed.disagreement(2.0, 0.2) == ()
    assert torn.error > 3 * agreed.error
    (sentence,) = torn.disagreement(1.2, 0.03)
    assert sentence.startswith("its spectrum says 1.2 px, its edges ")


def test_a_disagreement_counts_both_errors():
    assert Scale(2.0, 0.1, 2.0, 0.1).disagreement(1.5, 0.3) == ()
    assert len(Scale(2.0, 0.1, 2.0, 0.1).disagreement(1.5, 0.05)) == 1


@pytest.mark.parametrize(("name", "sigma"), [("coffee", 1.5), ("retina", 2.3), ("camera", 2.7)])
def test_gaussians_that_spectra_leave_open(name: str, sigma: float):
    image = torch.from_numpy(getattr(skimage.data, name)() / 255)
    image = image @ image.new_tensor([0.299, 0.587, 0.114]) if image.ndim == 3 else image
    if name == "retina":
        image = torch.nn.functional.avg_pool2d(image[None], 4)[0]
    y = blur(image[None, :330, :330], psf.gaussian(sigma), boundary="valid", noise_std=0.01)
    found = psf.estimate(y, "gaussian")
    assert abs(found.parameters["sigma"] / sigma - 1) < 0.1
