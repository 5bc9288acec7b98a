"""Whiteness of residuals."""

from __future__ import annotations

import pytest
import torch

from unconv.parameter_choice.residual_whiteness import whiteness

from ..helpers import assert_says, randn


def test_white_noise_passes_as_often_as_it_should():
    passed = sum(whiteness(randn(1, 32, 32, seed=s)).is_white for s in range(200))
    assert 180 <= passed <= 200


@pytest.mark.parametrize("shape", [(1, 64), (3, 32, 32), (1, 8, 9, 10)])
def test_smooth_and_rough_residuals_do_not(shape):
    noise = randn(*shape)
    assert not whiteness(noise.cumsum(-1)).is_white
    assert not whiteness(noise.diff(dim=-1)).is_white


def test_unit_and_mean_do_not_matter():
    noise = randn(1, 32, 32)
    assert whiteness(1e200 * noise).distance == pytest.approx(whiteness(noise).distance)
    assert whiteness(noise + 5).distance == pytest.approx(whiteness(noise).distance)


def test_nothing_left_is_white():
    assert whiteness(torch.zeros(1, 8, 8)).distance == 0


def test_errors():
    with pytest.raises(ValueError, match="residual") as error:
        whiteness(randn(5))
    assert_says(error, "(C, *spatial)", "residual[None]")
    with pytest.raises(ValueError, match="NaN"):
        whiteness(torch.full((1, 8), float("nan")))
    with pytest.raises(TypeError, match="floating"):
        whiteness(torch.ones(1, 8, dtype=torch.long))
