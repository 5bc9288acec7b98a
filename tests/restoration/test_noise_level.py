"""The noise of data with holes and outliers, where nobody told it."""

from __future__ import annotations

import pytest
import torch

import unconv
from unconv import psf
from unconv.restoration.noise_level import noise_level

STD = 0.02


def data(dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    x = torch.full((1, 1, 76, 76), 0.2, dtype=dtype)
    x[..., 20:56, 24:34] = x[..., 34:42, 34:60] = 0.9
    A = unconv.ConvOperator(psf.disk(3.0).to(dtype)[None, None], (76, 76), flip=True)
    noise = torch.randn(1, 1, *A.range_shape[1:], generator=generator, dtype=dtype)
    return A, A(x) + STD * noise, generator


@pytest.mark.parametrize("missing", [0.0, 0.001, 0.05, 0.3])
def test_holes_are_no_noise(missing):
    A, y, generator = data()
    mask = torch.rand(y.shape[2:], generator=generator) >= missing
    assert noise_level(A.observed(mask), torch.where(mask, y, 7.0)) == pytest.approx(STD, rel=0.2)


def test_holes_in_complex_data():
    A, y, generator = data(torch.complex128)
    mask = torch.rand(y.shape[2:], generator=generator) >= 0.1
    assert noise_level(A.observed(mask), y) == pytest.approx(STD, rel=0.2)


@pytest.mark.parametrize("shape", [(1, 4), (2, 2), (5, 5)])
def test_a_few_data_have_a_number_too(shape):
    A = unconv.ConvOperator(torch.ones(1, 1, 1, 1).double(), shape)
    mask = torch.ones(shape, dtype=torch.bool)
    mask[..., 0] = False
    y = torch.rand(1, 1, *shape, dtype=torch.float64)
    assert 0 <= noise_level(A.observed(mask), y) < 1


def test_outliers_are_no_noise():
    A, y, generator = data()
    y = torch.where(torch.rand(y.shape, generator=generator) < 0.02, 1.5, y)
    assert noise_level(A, y, outliers=True) == pytest.approx(STD, rel=0.25)
    assert noise_level(A, y) > 4 * STD


def test_outliers_are_restored_without_being_told_the_noise():
    A, y, generator = data()
    bad = torch.where(torch.rand(y.shape, generator=generator) < 0.02, 1.5, y)
    clean, spoilt = (
        unconv.restore(A, z, noise_model=model, maxiter=100, gap_tol=0.1).solution
        for z, model in ((y, "gaussian"), (bad, "huber"))
    )
    assert (clean - spoilt).std() < 0.03
