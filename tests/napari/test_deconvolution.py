"""Images and stacks as napari has them, held against the library called by hand."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

import unconv
from unconv import psf
from unconv.napari.deconvolution import (
    Wanted,
    deconvolve,
    psf_of_array,
    psf_of_family,
)
from unconv.napari.memory import memory_needed
from unconv.operators.linear_operator import MemoryLimitError
from unconv.pictures import deblur


def scene(*shape: int, seed: int = 0) -> torch.Tensor:
    """Boxes of light on grey."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.full(shape, 0.2, dtype=torch.float64)
    for _ in range(8):
        corner = [int(torch.randint(n - 3, (1,), generator=generator)) for n in shape]
        box = tuple(slice(c, c + max(2, n // 4)) for c, n in zip(corner, shape, strict=True))
        x[box] = float(torch.rand(1, generator=generator)) + 0.2
    return x


def blurred(x: torch.Tensor, kernel: torch.Tensor, noise: float = 0.003) -> torch.Tensor:
    """The valid part of a true convolution, with noise."""
    A = unconv.ConvOperator(kernel[None, None], tuple(x.shape), padding="valid", flip=True)
    y = A(x[None, None])[0, 0]
    return y + noise * torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).double()


def seen_part(kernel: torch.Tensor, y: torch.Tensor) -> tuple[slice, ...]:
    """Of the scene, the part that y shows."""
    firsts = [(k - 1) // 2 for k in kernel.shape]
    return tuple(slice(a, a + n) for a, n in zip(firsts, y.shape, strict=True))


def nothing(step: str) -> None:
    assert step


KERNEL = psf.disk(1.5)


def plane(seed: int = 0) -> torch.Tensor:
    return blurred(scene(44, 40, seed=seed), KERNEL)


def test_a_plane_is_a_picture():
    y = 255 * plane()
    found, said = deconvolve(y.numpy(), Wanted(KERNEL, "wiener"), nothing)
    unit = float(y.max())
    expected = unit * deblur(y[None] / unit, KERNEL, prior="wiener").planes[0]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-6)
    assert said[0] == "prior wiener"
    assert "within the seen part" in said[1]


def test_axes_before_those_of_the_psf_are_a_series():
    series = np.stack([plane(seed).numpy() for seed in range(3)])[:, None]
    steps: list[str] = []
    found, _ = deconvolve(series, Wanted(KERNEL, "wiener"), steps.append)
    assert found.shape == series.shape
    assert steps[-1].startswith("3 of 3: ")
    for i in range(3):
        alone, _ = deconvolve(series[i, 0], Wanted(KERNEL, "wiener"), nothing)
        assert np.array_equal(found[i, 0], alone)


@pytest.mark.parametrize("series", [False, True])
def test_colours_lie_behind(series):
    planes = torch.stack([plane(seed) for seed in range(3)])
    data = planes.permute(1, 2, 0).numpy()
    data = data[None] if series else data
    found, _ = deconvolve(data, Wanted(KERNEL, "wiener"), nothing, rgb=True)
    assert found.shape == data.shape
    unit = float(planes.max())
    expected = unit * deblur(planes / unit, KERNEL, prior="wiener").planes.permute(1, 2, 0)
    np.testing.assert_allclose(found.reshape(expected.shape), expected.numpy(), rtol=1e-5)


VOLUME_PSF = psf_of_family("gaussian", (1.0,), 1.5)


@pytest.mark.parametrize("prior", ["auto", "tv", "dct"])
def test_a_volume(prior):
    x = scene(26, 24, 22)
    y = 1000 * blurred(x, VOLUME_PSF)
    wanted = Wanted(VOLUME_PSF, prior, spacing=(2.0, 1.0, 1.0))
    found, said = deconvolve(y.numpy(), wanted, nothing)
    assert found.shape == tuple(y.shape)
    assert said[0].startswith("dct" if prior == "dct" else "tv")
    true = 1000 * x[seen_part(VOLUME_PSF, y)].numpy()
    assert np.linalg.norm(found - true) < 0.8 * np.linalg.norm(y.numpy() - true)


@pytest.mark.parametrize("kernel", [KERNEL, VOLUME_PSF])
@pytest.mark.parametrize("prior", ["auto", "tv", "dct"])
def test_counts(kernel, prior):
    x = 200 * scene(*(30, 28, 26)[: kernel.ndim])
    mean = blurred(x, kernel, noise=0.0) + 10
    y = torch.poisson(mean, torch.Generator().manual_seed(0))
    wanted = Wanted(kernel, prior, "poisson", background=10.0, spacing=(1.0,) * kernel.ndim)
    found, said = deconvolve(y.numpy().astype(np.uint16), wanted, nothing)
    true = x[seen_part(kernel, y)].numpy()
    assert np.linalg.norm(found - true) < np.linalg.norm(y.numpy() - 10 - true)
    assert said[0].startswith("richardson-lucy" if prior == "auto" else prior)


def test_missing_samples_of_a_volume():
    y = blurred(scene(26, 24, 22), VOLUME_PSF).numpy()
    y[10:12, 10, 10] = np.nan
    wanted = Wanted(VOLUME_PSF, "tv", strength=1e-4, spacing=(1.0, 1.0, 1.0))
    found, _ = deconvolve(y, wanted, nothing)
    assert np.isfinite(found).all()


def test_a_volume_that_does_not_fit_is_refused_before_any_work():
    y, said = np.ones((20, 22, 24)), []
    for method in ("tv", "sparse", "hessian", "dct"):
        need = memory_needed(y.shape, VOLUME_PSF.shape, method)
        wanted = Wanted(VOLUME_PSF, method, spacing=(1.0, 1.0, 1.0), memory_limit=0.99 * need)
        with pytest.raises(MemoryLimitError, match=f"{method} takes .* crop the image, or raise"):
            deconvolve(y, wanted, said.append)
    assert not said
    large = Wanted(VOLUME_PSF, "tv", spacing=(1.0, 1.0, 1.0))
    with pytest.raises(MemoryLimitError, match="500 x 1000 x 1000 samples, the memory limit is"):
        deconvolve(np.broadcast_to(1.0, (500, 1000, 1000)), large, said.append)


def test_what_a_volume_takes_is_told_first():
    y, said = blurred(scene(26, 24, 22), VOLUME_PSF).numpy(), []
    wanted = Wanted(VOLUME_PSF, "auto", "poisson", spacing=(1.0, 1.0, 1.0))
    deconvolve(100 * np.maximum(y, 0), wanted, said.append)
    assert re.match(r"richardson-lucy, which takes about [\d.]+ [kMG]B$", said[0])


def test_memory_grows_with_the_grid_and_with_channels_that_are_in_work_at_once():
    sizes = [memory_needed((n, n, n), (5, 5, 5), "tv") for n in (28, 60, 124)]  # 32, 64, 128
    assert sizes[1] == 8 * sizes[0]
    assert sizes[2] == 64 * sizes[0]
    for method, times in (("tv", 1), ("richardson-lucy", 3)):
        one, three = (memory_needed((60, 60), (5, 5), method, c) for c in (1, 3))
        assert three == times * one


def test_a_step_may_end_it():
    def stop(step: str) -> None:
        raise KeyError(step)

    with pytest.raises(KeyError):
        deconvolve(plane().numpy(), Wanted(KERNEL), stop)


@pytest.mark.parametrize(
    ("shape", "wanted", "rgb", "says"),
    [
        ((40,), Wanted(KERNEL), False, "must not have more axes"),
        ((40, 0), Wanted(KERNEL), False, "must not have more axes"),
        ((9, 9, 3), Wanted(VOLUME_PSF), True, "a layer in colours has planes"),
        ((9, 9, 9), Wanted(VOLUME_PSF, "wiener"), False, "reads the spectrum of planes"),
        ((40, 40), Wanted(KERNEL, "richardson-lucy"), False, "is for counts"),
        ((40, 40), Wanted(KERNEL, "damp", "poisson"), False, "is for Gaussian noise"),
    ],
)
def test_what_cannot_be_done_is_refused_in_a_sentence(shape, wanted, rgb, says):
    with pytest.raises(ValueError, match=says):
        deconvolve(np.ones(shape), wanted, nothing, rgb=rgb)


def test_complex_images_are_refused():
    with pytest.raises(TypeError, match="complex"):
        deconvolve(np.ones((40, 40), complex), Wanted(KERNEL), nothing)


def test_psfs():
    assert torch.equal(psf_of_family("motion", (9.0, 30.0)), psf.motion(9, 30))
    assert torch.equal(psf_of_family("gaussian", (1.2,)), psf.gaussian(1.2))
    assert VOLUME_PSF.shape == (13, 9, 9)
    torch.testing.assert_close(VOLUME_PSF.sum(), torch.tensor(1.0).double())
    t = torch.arange(-6, 7).double()
    line = (-(t**2) / (2 * 1.5**2)).exp()
    torch.testing.assert_close(VOLUME_PSF.sum((1, 2)), line / line.sum())
    measured = psf_of_array(np.full((3, 4, 5), 7, np.uint8))
    torch.testing.assert_close(measured, torch.full((3, 4, 5), 1 / 60).double())


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (np.ones(5), "2-D grey array or a 3-D volume"),
        (np.ones((0, 3)), "2-D grey array or a 3-D volume"),
        (np.full((3, 3), np.nan), "NaN"),
        (np.zeros((3, 3)), "positive"),
        (-np.ones((3, 3)), "positive"),
    ],
)
def test_wrong_psfs(values, says):
    with pytest.raises(ValueError, match=says):
        psf_of_array(values)
