"""Linear light and back, against the standard's own numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage import color

from unconv.pictures import linear_from_srgb, srgb_from_linear

from ..helpers import relative


def test_as_scikit_image_has_it():
    s = np.linspace(0, 1, 1001)
    xyz = color.rgb2xyz(np.repeat(s[:, None, None], 3, 2))[:, 0, 1]  # Y of grey is its light
    found = linear_from_srgb(torch.from_numpy(s))
    np.testing.assert_allclose(found.numpy(), xyz, atol=2e-6)


def test_there_and_back_beyond_the_range_too():
    s = torch.linspace(-0.5, 3, 1001, dtype=torch.float64)
    assert relative(srgb_from_linear(linear_from_srgb(s)), s) < 1e-12
    assert bool((linear_from_srgb(s).diff() > 0).all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shape_dtype_and_nan(dtype):
    s = torch.tensor([[0.0, 1.0, torch.nan]], dtype=dtype)
    for function in (linear_from_srgb, srgb_from_linear):
        found = function(s)
        assert found.dtype == dtype
        torch.testing.assert_close(found, s, equal_nan=True)


def test_refused():
    for function in (linear_from_srgb, srgb_from_linear):
        with pytest.raises(TypeError, match="must be real"):
            function(torch.ones(3) * 1j)
