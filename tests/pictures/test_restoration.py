"""Pictures: blurred as SciPy blurs them, restored with their mean as the prior."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.signal import convolve2d
from scipy.sparse.linalg import LinearOperator, lsqr
from skimage import data

from unconv import MemoryLimitError, psf
from unconv.parameter_choice import estimate_spectra
from unconv.pictures import Series
from unconv.pictures.restoration import (
    BOUNDARIES,
    TOL,
    Restored,
    blur,
    blur_operator,
    deblur,
    faded_out,
    frame,
)
from unconv.testing import dense_twin

from ..helpers import F64, assert_says, every_pair, randn, relative

IN_SCIPY = {  # but for 'antireflective', which it has not
    "circular": "wrap",
    "zeros": "constant",
    "reflect": "mirror",
    "replicate": "nearest",
    "symmetric": "reflect",
}
assert {*IN_SCIPY, "antireflective", "valid"} == set(BOUNDARIES)
PSF_SIZES = [(1, 1), (3, 3), (5, 3), (1, 4), (2, 2), (4, 6), (5, 2)]
SMALL = psf.gaussian(0.5)  # its inverse is well-conditioned


def picture(*shape: int, seed: int = 0) -> torch.Tensor:
    """Squares of light on grey, (C, H, W) in [0, 1]."""
    rng = np.random.default_rng(seed)
    x = np.full(shape, 0.3)
    for plane in x:
        for _ in range(12):
            top, left = (int(rng.integers(n)) for n in shape[1:])
            plane[top : top + shape[1] // 3, left : left + shape[2] // 4] = rng.random()
    return torch.from_numpy(x)


def any_psf(h: int, w: int) -> torch.Tensor:
    return psf.measured(randn(h, w).abs())


# Blur


@pytest.mark.parametrize("size", PSF_SIZES)
@pytest.mark.parametrize("boundary", IN_SCIPY)
def test_blur_is_that_of_scipy(boundary, size):
    x, k = randn(2, 9, 8), any_psf(*size)
    found = blur(x, k, boundary=boundary)
    for plane, expected in zip(found, x, strict=True):
        same = ndimage.convolve(expected.numpy(), k.numpy(), mode=IN_SCIPY[boundary])
        assert relative(plane, torch.from_numpy(same)) < 1e-14


@pytest.mark.parametrize("size", PSF_SIZES)
def test_antireflective_blur_is_that_of_a_picture_with_its_slopes(size):
    x, k = randn(2, 9, 8), any_psf(*size)
    pairs = [(0, 0), *(((n - 1) // 2, n // 2) for n in size)]
    wide = torch.from_numpy(np.pad(x.numpy(), pairs, "reflect", reflect_type="odd"))
    expected = blur(wide, k, boundary="valid")
    assert relative(blur(x, k, boundary="antireflective"), expected) < 1e-14


@pytest.mark.parametrize("size", [*PSF_SIZES[:-3], (2, 2), (4, 4)])
def test_valid_blur_is_that_of_scipy(size):
    x, k = randn(2, 9, 8), any_psf(*size)
    found = blur(x, k, boundary="valid")
    for plane, expected in zip(found, x, strict=True):
        same = convolve2d(expected.numpy(), k.numpy(), mode="valid")
        assert relative(plane, torch.from_numpy(same)) < 1e-14


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("size", PSF_SIZES)
def test_a_point_of_light_becomes_the_psf(size, boundary):
    (h, w), k = size, any_psf(*size)
    x = torch.zeros(1, 20, 21, dtype=F64)
    x[0, 10, 11] = 1
    y = blur(x, k, boundary=boundary)[0]
    top, left = 10 - h // 2, 11 - w // 2  # the centre is the sample (h//2, w//2)
    if boundary == "valid":
        top, left = top - (h - 1) // 2, left - (w - 1) // 2
    expected = torch.zeros_like(y)
    expected[top : top + h, left : left + w] = k
    assert relative(y, expected) < 1e-14


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_a_point_psf_changes_nothing(boundary):
    x = randn(3, 8, 7)
    one = torch.ones(1, 1, dtype=F64)
    assert relative(blur(x, one, boundary=boundary), x) < 1e-15
    assert relative(deblur(x, one, damp=0.0, boundary=boundary).planes, x) < 1e-13
    if boundary != "valid":
        middle = torch.zeros(4, 3, dtype=F64)
        middle[2, 1] = 1
        assert relative(blur(x, middle, boundary=boundary), x) < 1e-14


def test_noise():
    x = torch.full((3, 60, 50), 0.5).double()
    clean = blur(x, SMALL, boundary="circular")
    noisy = blur(x, SMALL, noise_std=0.1, boundary="circular")
    assert torch.equal(blur(x, SMALL, noise_std=0.1, seed=0, boundary="circular"), noisy)
    assert not torch.equal(blur(x, SMALL, noise_std=0.1, seed=1, boundary="circular"), noisy)
    noise = noisy - clean
    assert float(noise.std()) == pytest.approx(0.1, rel=0.03)
    assert abs(float(noise.mean())) < 0.1 * 4 / math.sqrt(noise.numel())
    assert not torch.equal(noise[0], noise[1])
    torch.testing.assert_close(
        noise, blur(x, SMALL, noise_std=0.2, boundary="circular") / 2 - clean / 2
    )


@pytest.mark.parametrize("dtype", [torch.float32, F64, torch.float16])
def test_dtype_is_that_of_the_picture(dtype):
    x = picture(2, 12, 12).to(dtype)
    y = blur(x, SMALL, noise_std=0.01, boundary="circular")
    restored = deblur(y, SMALL)
    assert y.dtype == restored.planes.dtype == dtype
    assert restored.certificate.converged.all()


# Restore


@pytest.mark.parametrize("size", [(3, 3), (2, 4), (1, 3)])
@pytest.mark.parametrize("boundary", IN_SCIPY)
def test_restores_what_has_no_noise(boundary, size):
    x, k = picture(3, 12, 11), 0.2 * any_psf(*size)
    k[size[0] // 2, size[1] // 2] += 0.8
    y = blur(x, k, boundary=boundary)
    assert relative(y, x) > 0.01
    restored = deblur(y, k, damp=1e-9, boundary=boundary)
    assert isinstance(restored, Restored)
    assert relative(restored.planes, x) < 1e-9
    assert restored.certificate.converged.tolist() == [True] * 3
    assert restored.certificate.damp == restored.damp == 1e-9
    assert restored.plan.method == restored.certificate.method
    exact = "separable" if 1 in size else "dense"
    assert restored.plan.method == ("fourier" if boundary == "circular" else exact)
    assert restored.plan.expected_solves == 3


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_solves_its_formula(boundary):
    y, k, damp = randn(1, 7, 6), any_psf(3, 2), 0.3
    A = dense_twin(blur_operator(k, (7, 6), boundary))
    mean = y.mean() * torch.ones(A.shape[1], dtype=F64)
    tall = torch.cat([A, damp * torch.eye(A.shape[1], dtype=F64)])
    data = torch.cat([y.flatten(), damp * mean])
    expected = torch.linalg.lstsq(tall, data).solution
    found = deblur(y, k, damp=damp, boundary=boundary).planes
    if boundary == "valid":
        expected = expected.reshape(9, 7)[1:8, 0:6]
    assert relative(found.flatten(), expected.flatten()) < 1e-12


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_a_huge_damp_gives_the_mean_picture(boundary):
    y = picture(3, 12, 11)
    restored = deblur(y, psf.disk(1.5), damp=1e9, boundary=boundary).planes
    torch.testing.assert_close(restored, y.mean((1, 2), keepdim=True).expand_as(y))


@pytest.mark.parametrize("damp", [1e-6, 0.01, 0.3, 10.0, "risk"])
def test_damping_never_darkens(damp):
    y = blur(picture(3, 40, 33), psf.motion(6, 20), noise_std=0.02, boundary="circular")
    restored = deblur(y, psf.motion(6, 20), damp=damp, boundary="circular").planes
    torch.testing.assert_close(restored.mean((1, 2)), y.mean((1, 2)), rtol=1e-6, atol=0)


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_colours_are_a_batch_of_greys(boundary):
    y, k = picture(3, 12, 11), psf.disk(1.5)
    colour = deblur(y, k, damp=0.1, boundary=boundary)
    for i in range(3):
        grey = deblur(y[i : i + 1], k, damp=0.1, boundary=boundary)
        assert relative(colour.planes[i : i + 1], grey.planes) < 1e-13
        assert relative(colour.certificate.residual[i : i + 1], grey.certificate.residual) < 1e-9


def test_one_damp_is_chosen_for_all_colours():
    sharp = picture(1, 64, 64).expand(3, -1, -1)
    y = blur(sharp, psf.disk(2), noise_std=0.01, boundary="circular")
    options = {"prior": "damp", "boundary": "circular"}
    colour, grey = (deblur(p, psf.disk(2), **options) for p in (y, y[:1]))
    assert isinstance(colour.damp, float)
    assert colour.damp == pytest.approx(grey.damp, rel=0.3)
    for restored in (colour, grey):
        assert relative(restored.planes[:1], sharp[:1]) < 0.8 * relative(y[:1], sharp[:1])
    known = deblur(y, psf.disk(2), noise_std=0.01, **options)
    assert known.damp == pytest.approx(colour.damp, rel=0.1)
    louder = deblur(y, psf.disk(2), noise_std=0.1, **options)
    assert louder.damp > 2 * known.damp


def test_brightness_does_not_choose_the_damp():
    y = blur(picture(1, 64, 64), psf.disk(2), noise_std=0.01, boundary="circular")
    bright, dim = (deblur(p, psf.disk(2), prior="damp") for p in (y + 100, y))
    assert bright.damp == pytest.approx(dim.damp, rel=1e-3)
    assert relative(bright.planes - 100, dim.planes) < 1e-3


@pytest.mark.parametrize("size", [(5, 5), (4, 2)])
def test_valid_returns_the_frame(size):
    h, w = size
    scene, k = picture(1, 32, 30), any_psf(*size)
    y = blur(scene, k, boundary="valid", noise_std=1e-3)
    frame = scene[:, (h - 1) // 2 :, (w - 1) // 2 :][:, : y.shape[1], : y.shape[2]]
    assert y.shape == (1, 33 - h, 31 - w)
    found = deblur(y, k, damp=0.02, boundary="valid").planes
    wrapped = deblur(y, k, damp=0.02, boundary="circular").planes
    assert found.shape == wrapped.shape == y.shape
    border = torch.ones_like(y, dtype=torch.bool)
    border[:, 4:-4, 4:-4] = False
    assert relative(found[border], frame[border]) < 0.5 * relative(wrapped[border], frame[border])
    assert relative(found[~border], frame[~border]) < 0.1


@pytest.mark.parametrize("level", [100 / 255, 0.1, 1 / 3])
def test_an_even_picture_is_seen_to_be_even(level):
    """Its mean may differ from it by round-off, in which no rule finds a damp."""
    y = torch.full((1, 41, 37), level, dtype=torch.float64)
    restored = deblur(y, psf.disk(2))
    assert restored.prior == "damp"
    assert restored.choice is None
    torch.testing.assert_close(restored.planes, y)


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("damp", ["risk", "gcv", 0.0, 0.1])
def test_an_even_picture_stays(boundary, damp):
    y = torch.full((1, 9, 8), 0.3, dtype=F64)
    if boundary == "zeros":
        y = blur(y, SMALL, boundary=boundary)
    restored = deblur(y, SMALL, damp=damp, boundary=boundary)
    assert restored.certificate.converged.all()
    assert float((restored.planes - 0.3).abs().max()) < (0.05 if boundary == "zeros" else 1e-12)


def test_one_pixel():
    y = torch.full((1, 1, 1), 0.3, dtype=F64)
    assert deblur(y, psf.disk(0.3)).planes.item() == pytest.approx(0.3)


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_arguments_are_untouched(boundary):
    y, k = picture(2, 12, 11), any_psf(3, 3)
    before = y.clone(), k.clone()
    blur(y, k, boundary=boundary, noise_std=0.1)
    deblur(y, k, boundary=boundary)
    assert torch.equal(y, before[0])
    assert torch.equal(k, before[1])


# Refused

SENTENCE = r"^[^\n]+\.$"


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("size", [(9, 3), (3, 8), (20, 20)])
@pytest.mark.parametrize("function", [blur, deblur])
def test_psf_larger_than_the_picture(function, size, boundary):
    if function is deblur and boundary == "valid":  # nothing is known of what lies outside
        return
    with pytest.raises(ValueError, match=SENTENCE) as error:
        function(randn(1, 8, 7), torch.ones(*size).double(), boundary=boundary)
    assert_says(error, f"{size[0]} × {size[1]}", "8 × 7", "crop")


@pytest.mark.parametrize("size", [(9, 3), (3, 8), (20, 21)])
@pytest.mark.parametrize("damp", [0.3, "risk"])
def test_unknown_surroundings_allow_any_psf(size, damp):
    y, k = randn(2, 8, 7), any_psf(*size)
    restored = deblur(y, k, damp=damp)
    A = dense_twin(blur_operator(k, (8, 7), "valid"))
    mean = y.mean((1, 2))
    tall = torch.cat([A, restored.damp * torch.eye(A.shape[1], dtype=F64)])
    ones = torch.ones(A.shape[1], dtype=F64)
    data = torch.cat([y.flatten(1), restored.damp * mean[:, None] * ones], 1)
    expected = torch.linalg.lstsq(tall, data.T).solution.T.reshape(2, *(7 + size[0], 6 + size[1]))
    assert restored.planes.shape == y.shape
    assert relative(restored.planes, frame(expected, k)) < 1e-3


def test_a_larger_psf_is_wrapped_on_a_circle():
    y, k = randn(1, 8, 7), any_psf(11, 18)
    found = blur_operator(k, (8, 7), "circular")(y[:, None])[0, 0]
    tiled = torch.from_numpy(np.tile(y[0].numpy(), (5, 7)))
    full = convolve2d(tiled.numpy(), k.numpy(), mode="full")
    expected = full[16 + 11 // 2 :, 21 + 18 // 2 :][:8, :7]
    assert relative(found, torch.from_numpy(expected)) < 1e-12


@pytest.mark.parametrize("size", [(9, 3), (20, 20)])
def test_psf_larger_than_the_scene(size):
    with pytest.raises(ValueError, match="8 × 7"):
        blur(randn(1, 8, 7), torch.ones(*size).double(), boundary="valid")


@pytest.mark.parametrize("size", [(5, 5), (8, 7)])
def test_valid_blur_with_a_large_psf(size):
    x, k = randn(1, 8, 7), any_psf(*size)
    expected = convolve2d(x[0].numpy(), k.numpy(), mode="valid")
    assert relative(blur(x, k, boundary="valid")[0], torch.from_numpy(expected)) < 1e-14


@pytest.mark.parametrize("function", [blur, deblur])
def test_unknown_boundary(function):
    with pytest.raises(ValueError, match=SENTENCE) as error:
        function(randn(1, 8, 7), SMALL, boundary="mirror")
    assert_says(error, "'mirror'", *BOUNDARIES)


@pytest.mark.parametrize("function", [blur, deblur])
@pytest.mark.parametrize("shape", [(8, 7), (7,), (1, 1, 8, 7), (0, 8, 7), (1, 0, 7)])
def test_picture_of_another_shape(function, shape):
    with pytest.raises(ValueError, match=SENTENCE) as error:
        function(torch.zeros(shape, dtype=F64), SMALL)
    assert_says(error, "(C, H, W)", str(shape), "planes[None]")


@pytest.mark.parametrize("function", [blur, deblur])
@pytest.mark.parametrize("shape", [(3,), (1, 3, 3), ()])
def test_psf_of_another_shape(function, shape):
    with pytest.raises(ValueError, match=SENTENCE) as error:
        function(randn(1, 8, 7), torch.ones(shape, dtype=F64))
    assert_says(error, "2-D", str(shape))


@pytest.mark.parametrize("function", [blur, deblur])
@pytest.mark.parametrize("planes", [np.ones((1, 8, 7)), torch.ones(1, 8, 7, dtype=torch.uint8)])
def test_picture_of_another_kind(function, planes):
    with pytest.raises(TypeError, match=SENTENCE) as error:
        function(planes, SMALL)
    assert_says(error, "planes must be")


@pytest.mark.parametrize("function", [blur, deblur])
@pytest.mark.parametrize("bad", [np.ones((3, 3)), torch.ones(3, 3).double() * 1j], ids=type)
def test_psf_of_another_kind(function, bad):
    with pytest.raises(TypeError, match="psf"):
        function(randn(1, 8, 7), bad)


@pytest.mark.parametrize("shape", [(3,), ()])
def test_valid_blur_with_psf_of_another_shape(shape):
    with pytest.raises(ValueError, match="2-D"):
        blur(randn(1, 8, 7), torch.ones(shape, dtype=F64), boundary="valid")


@pytest.mark.parametrize("noise_std", [-0.1, math.nan, math.inf])
def test_noise_std(noise_std):
    for call in (blur, deblur):
        with pytest.raises(ValueError, match=SENTENCE) as error:
            call(randn(1, 8, 7), SMALL, noise_std=noise_std)
        assert_says(error, f"noise_std={noise_std}", "finite number >= 0")


@pytest.mark.parametrize("damp", [-1.0, math.nan, math.inf])
def test_damp(damp):
    with pytest.raises(ValueError, match=SENTENCE) as error:
        deblur(randn(1, 8, 7), SMALL, damp=damp)
    assert_says(error, f"damp={damp}", "finite number >= 0")


@every_pair(
    boundary=["valid", "circular", "reflect"], damp=[None, "risk", 0.1], bad=[math.nan, math.inf]
)
def test_pixels_that_are_no_numbers_are_missing(bad, damp, boundary):
    y = blur(picture(1, 24, 20), SMALL, noise_std=0.01, boundary="circular")
    holes, seen = y.clone(), torch.ones(24, 20, dtype=torch.bool)
    holes[0, 3, 2], holes[0, 12, 9], seen[3, 2], seen[12, 9] = bad, bad, False, False
    restored = deblur(holes, SMALL, damp=damp, boundary=boundary)
    masked = deblur(y, SMALL, damp=damp, boundary=boundary, observed=seen)
    assert torch.equal(restored.planes, masked.planes)
    assert bool(restored.planes.isfinite().all())
    assert not restored.residual[0, ~seen].any()


def test_a_picture_without_a_number():
    with pytest.raises(ValueError, match="no finite pixel"):
        deblur(torch.full((1, 8, 7), math.nan, dtype=F64), SMALL)


@pytest.mark.parametrize(
    ("observed", "says"),
    [
        (torch.ones(8, 8), "bool tensor of shape"),
        (torch.ones(8, 7, dtype=torch.bool), "bool tensor of shape"),
        (torch.zeros(8, 8, dtype=torch.bool), "excludes every"),
    ],
)
def test_wrong_masks(observed, says):
    with pytest.raises(ValueError, match=says):
        deblur(randn(1, 8, 8), SMALL, observed=observed)


def test_memory_limit():
    with pytest.raises(MemoryLimitError, match=SENTENCE) as error:
        deblur(torch.zeros(1, 100, 90, dtype=F64), psf.disk(2), memory_limit=1000)
    assert_says(error, "memory_limit=1 kB", "raise memory_limit")


@pytest.mark.parametrize("tol", [-1.0, math.nan, math.inf])
def test_tol(tol):
    with pytest.raises(ValueError, match=SENTENCE) as error:
        deblur(randn(1, 8, 7), SMALL, tol=tol)
    assert_says(error, f"tol={tol}", "finite number > 0")


# At any size


def by_lsqr(y: torch.Tensor, k: torch.Tensor, boundary: str, damp: float) -> torch.Tensor:
    """One plane restored by SciPy, (H, W)."""
    A = blur_operator(k, y.shape, boundary)
    scipys = LinearOperator(
        A.shape,
        matvec=lambda v: A(torch.from_numpy(v).reshape(1, *A.domain_shape)).flatten().numpy(),
        rmatvec=lambda v: A.H(torch.from_numpy(v).reshape(1, *A.range_shape)).flatten().numpy(),
        dtype=np.float64,
    )
    mean = torch.full((1, *A.domain_shape), float(y.mean()), dtype=F64)
    detail = lsqr(scipys, (y - A(mean)[0, 0]).flatten(), damp=damp, atol=1e-14, btol=1e-14)[0]
    x = (mean.flatten() + torch.from_numpy(detail)).reshape(A.domain_shape)
    return frame(x, k)[0] if boundary == "valid" else x[0]


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("k", [psf.motion(7, 30), psf.gaussian(1.5)], ids=["motion", "gaussian"])
def test_every_boundary_at_any_size(boundary, k):
    y = picture(2, 100, 93)
    restored = deblur(y, k, damp=0.1, boundary=boundary)
    assert restored.planes.shape == y.shape
    assert (restored.certificate.error_bound <= TOL).all()
    for found, plane in zip(restored.planes, y, strict=True):
        assert relative(found, by_lsqr(plane, k, boundary, 0.1)) < TOL


def test_tol_is_kept_and_saves_iterations():
    k = psf.disk(4)
    y = blur(picture(1, 160, 150), k, boundary="valid", noise_std=0.01)
    loose, default, tight = (  # too little memory for a factor
        deblur(y, k, damp=0.3, tol=tol, memory_limit=2e7) for tol in (1e-2, TOL, 1e-9)
    )
    for restored, tol in ((loose, 1e-2), (default, TOL), (tight, 1e-9)):
        assert restored.certificate.method == "completion"
        assert float(restored.certificate.error_bound) <= tol
    assert loose.certificate.iterations < default.certificate.iterations
    assert default.certificate.iterations < tight.certificate.iterations
    assert float((default.planes - tight.planes).abs().max()) < 0.1 / 255  # of a grey level


@pytest.mark.parametrize("rule", ["risk", "gcv", "discrepancy", "sure"])
def test_a_rule_chooses_the_damp(rule):
    y = blur(picture(1, 64, 60), psf.disk(2), boundary="valid", noise_std=0.02)
    restored = deblur(y, psf.disk(2), damp=rule)
    assert restored.choice is not None
    assert restored.choice.rule == rule
    assert restored.damp == restored.choice.damp
    assert deblur(y, psf.disk(2), damp=0.1).choice is None


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_the_residual_is_what_x_does_not_explain(boundary):
    y = blur(picture(3, 32, 30), psf.disk(2), noise_std=0.02, boundary="circular")
    restored = deblur(y, psf.disk(2), damp=0.1, boundary=boundary)
    assert restored.residual.shape == y.shape
    size = torch.linalg.vector_norm(restored.residual, dim=(1, 2))
    mean = y.mean((1, 2), keepdim=True)  # the certificate judges the deviation from it
    if boundary != "zeros":
        scale = torch.linalg.vector_norm(y - mean, dim=(1, 2))
        assert torch.allclose(size / scale, restored.certificate.residual, rtol=1e-6)


def test_a_series_makes_one_factor_for_a_size_and_a_damp():
    series, k = Series(), psf.disk(2)
    pictures = [picture(c, h, 60) for c, h in ((1, 64), (3, 64), (1, 64), (1, 50))]
    for y in pictures:
        found, alone = deblur(y, k, damp=0.1, series=series), deblur(y, k, damp=0.1)
        assert relative(found.planes, alone.planes) < 2 * TOL  # which may take another rung
        assert found.certificate.converged.all()
    assert series.made == 2
    deblur(pictures[0], k, damp=0.2, series=series)
    seen = torch.ones(64, 60, dtype=torch.bool)
    seen[3, 4] = False
    deblur(pictures[0], k, damp=0.2, observed=seen, series=series)
    deblur(pictures[2], k, damp=0.2, observed=seen, series=series)
    seen[7, 4] = False
    deblur(pictures[2], k, damp=0.2, observed=seen, series=series)
    assert series.made == 5


def test_progress_is_told():
    said: list[str] = []

    def hear(step: str, _) -> None:
        said.append(step)

    deblur(picture(1, 24, 20), SMALL, progress=hear)
    assert said[0] == "reading the spectra"
    said.clear()
    deblur(picture(1, 24, 20), SMALL, prior="damp", progress=hear)
    assert said[0] == "choosing the damp"
    assert said[1].startswith("restoring, damp ")
    said.clear()
    deblur(picture(1, 24, 20), SMALL, damp=0.1, progress=hear)
    assert [step.split(",")[1] for step in said] == [" damp 0.1"]


# Photographs, whose surroundings nobody knows

PHOTOGRAPHED = {"gaussian": psf.gaussian(2), "disk": psf.disk(4), "motion": psf.motion(15, 30)}


any_side = pytest.mark.parametrize("side", [200, pytest.param(300, marks=pytest.mark.slow)])


def photograph(k: torch.Tensor, noise_std: float, side: int) -> tuple[torch.Tensor, torch.Tensor]:
    """As the camera sees it, and as it was in the frame."""
    left = 100 if side == 200 else 60
    part = data.camera()[None, 100 : 100 + side, left : left + side]
    scene = torch.from_numpy(part / 255.0)
    return blur(scene, k, boundary="valid", noise_std=noise_std), frame(scene, k)


def test_the_surroundings_are_unknown_unless_told():
    y = blur(picture(1, 24, 20), SMALL, boundary="valid", noise_std=0.01)
    assert torch.equal(deblur(y, SMALL).planes, deblur(y, SMALL, boundary="valid").planes)


@pytest.mark.parametrize("name", PHOTOGRAPHED)
@any_side
def test_a_photograph_gets_better_up_to_its_edges(side, name):
    k = PHOTOGRAPHED[name]
    y, truth = photograph(k, 0.005, side)
    restored = deblur(y, k)
    default, circular = restored.planes, deblur(y, k, boundary="circular").planes
    assert relative(default, truth) < 0.8 * relative(y, truth)
    assert relative(default, truth) < 0.75 * relative(circular, truth)
    edges = torch.ones_like(truth, dtype=torch.bool)
    edges[:, k.shape[0] : -k.shape[0], k.shape[1] : -k.shape[1]] = False
    assert relative(default[edges], truth[edges]) < relative(y[edges], truth[edges])
    assert relative(default[edges], truth[edges]) < 0.5 * relative(circular[edges], truth[edges])


@pytest.mark.parametrize(
    ("name", "noise_std"), [("gaussian", 0.001), *product(PHOTOGRAPHED, (0.01, 0.05))]
)
@any_side
def test_the_chosen_damp_is_near_the_best(side, name, noise_std):
    """The jump where opposite edges meet must not be taken for noise (20 dB, once)."""
    k = PHOTOGRAPHED[name]
    y, truth = photograph(k, noise_std, side)
    chosen = deblur(y, k, prior="damp", tol=1e-2)
    nearby = [chosen.damp * factor for factor in (0.3, 0.6, 1.7, 3.0)]
    best = min(relative(deblur(y, k, damp=d, tol=1e-2).planes, truth) for d in nearby)
    assert 20 * math.log10(relative(chosen.planes, truth) / best) < 0.4  # dB


@any_side
def test_a_photograph_by_the_spectra_of_a_circular_operator(side):
    """Spectra from the faded picture, the scene by completion: better than any one damp."""
    k = psf.motion(15, 30)
    y, truth = photograph(k, 0.01, side)
    size = (y.shape[1], y.shape[2])
    scene = blur_operator(k, size, "valid")
    circular = blur_operator(k, size, boundary="circular")
    spectra = estimate_spectra(circular, faded_out(y[:, None]), sizes=scene.domain_shape[1:])
    mean = y.mean()
    wiener = scene.wiener(*spectra)
    assert wiener.method == "completion"
    restored = frame((wiener((y - mean)[:, None]) + mean)[:, 0], k)
    damped = deblur(y, k, prior="damp").planes
    assert (restored - truth).norm() < 0.9 * (damped - truth).norm()
