"""The sliding cosine transform: less noise, any number of axes, any unit; wrong calls."""

from __future__ import annotations

import pytest
import torch

import unconv
from unconv import psf
from unconv.restoration import sliding_dct


@pytest.mark.parametrize("shape", [(2, 1, 200), (1, 2, 40, 33), (1, 1, 12, 10, 9), (1, 1, 40, 6)])
def test_noise_is_taken_off_a_ramp(shape):
    generator = torch.Generator().manual_seed(0)
    ramp = torch.linspace(0, 1, shape[-1], dtype=torch.float64).expand(shape)
    noise = 0.2 * torch.randn(shape, generator=generator, dtype=torch.float64)
    found = sliding_dct(ramp + noise, 0.2)
    assert found.shape == shape
    assert found.dtype == torch.float64
    assert (found - ramp).norm() < 0.8 * noise.norm()


@pytest.mark.parametrize("unit", [2.0**-700, 2.0**-20, 2.0**60, 2.0**900])
def test_the_unit_does_not_matter(unit):
    x = torch.randn(1, 1, 20, 20, generator=torch.Generator().manual_seed(0)).double()
    assert torch.equal(sliding_dct(unit * x, unit * 0.5) / unit, sliding_dct(x, 0.5))


def test_nothing_to_take_off():
    x = torch.rand(1, 1, 16, 16)
    assert torch.equal(sliding_dct(x, 0.0), x)
    assert sliding_dct(x[:0], 0.1).shape == (0, 1, 16, 16)
    assert torch.equal(sliding_dct(x[..., :1], 0.1), x[..., :1])


@pytest.mark.parametrize(
    ("x", "sigma", "error", "sentence"),
    [
        (torch.rand(4, 4), 0.1, ValueError, "1 to 3 spatial axes, got \\(4, 4\\)"),
        (torch.full((1, 1, 8, 8), torch.nan), 0.1, ValueError, "x holds 64 NaN"),
        (torch.rand(1, 1, 8, 8), -1.0, ValueError, "sigma=-1.0 must be a finite number >= 0"),
        (torch.rand(1, 1, 8, 8) + 0j, 0.1, TypeError, "x must be real"),
    ],
)
def test_wrong_calls(x, sigma, error, sentence):
    with pytest.raises(error, match=sentence):
        sliding_dct(x, sigma)


@pytest.mark.parametrize(
    ("options", "size", "sentence"),
    [
        ({}, 1e200, "y is of the size .*e\\+200.* of the size of one"),
        ({"spacing": 1e-40}, 1.0, "spacing=1e-40 must be a finite number >= 1e-30"),
        ({"spacing": (1.0, 1.0, 1.0)}, 1.0, "3 entries for 2 axes"),
        ({"x0": torch.rand(3, 3)}, 1.0, "one image for each of y, got \\(3, 3\\)"),
        ({"schedule": 8, "prior": "dct"}, 1.0, "schedule must be a Schedule, got 8"),
        ({"p": 2.0}, 1.0, "p=2.0 must be a finite number"),
    ],
)
def test_what_restore_refuses(options, size, sentence):
    A = unconv.ConvOperator(psf.gaussian(0.8)[None, None], (16, 16))
    y = size * torch.ones(1, *A.range_shape, dtype=torch.float64)
    with pytest.raises((ValueError, TypeError), match=sentence):
        unconv.restore(A, y, **options)
