import pytest
import torch

from unconv import psf as library
from unconv.volumes.psfs import psf_for_volume

from .drawn import gaussian_psf


def test_another_pitch_is_resampled_and_told():
    fine = gaussian_psf(2.4, 2.6, 2.6)
    found, told = psf_for_volume(
        5 * fine, "zyx", spacing=(0.4, 0.13, 0.13), psf_spacing=(0.2, 0.1, 0.1)
    )
    wanted = gaussian_psf(1.2, 2.0, 2.0)
    both = [library.crop(p, 0.999) / library.crop(p, 0.999).sum() for p in (found, wanted)]
    assert both[0].shape == both[1].shape
    assert float((both[0] - both[1]).abs().max()) < 1e-3 * float(wanted.max())
    assert float(found.sum()) == pytest.approx(1.0)
    assert told[0] == (
        "the psf was sampled anew, from a pitch of 0.2 × 0.1 × 0.1 to the volume's 0.4 × 0.13 × "
        "0.13"
    )


def test_the_same_pitch_and_an_unknown_one_leave_it():
    psf = gaussian_psf(1.0, 1.0)
    for pitches in ((0.1, 0.1), (0.1004, 0.1)), ((0.1, 0.1), None):
        found, told = psf_for_volume(psf, "yx", spacing=pitches[0], psf_spacing=pitches[1])
        assert torch.allclose(found, psf, rtol=1e-14, atol=0)
        assert told == ()
    found, told = psf_for_volume(psf, "yx", psf_spacing=(0.1, 0.1))
    assert torch.allclose(found, psf, rtol=1e-14, atol=0)
    assert told[0].startswith("the voxels of the volume are not known")


@pytest.mark.parametrize(
    ("pitch", "sentence"),
    [((1.0,), "must have a size for each of the axes y, x"), ((1.0, -2.0), "-2.0 must be a")],
)
def test_a_pitch_is_refused_where_the_volume_has_none_too(pitch, sentence):
    with pytest.raises(ValueError, match=sentence):
        psf_for_volume(gaussian_psf(1.0, 1.0), "yx", psf_spacing=pitch)


def test_dark_rims_are_cut_around_the_centre():
    psf = torch.nn.functional.pad(gaussian_psf(1.0, 1.0), (6, 6, 3, 3))
    found, _ = psf_for_volume(psf, "yx")
    assert torch.allclose(found, gaussian_psf(1.0, 1.0), rtol=1e-14, atol=0)
    even = torch.zeros(4, 4, dtype=torch.float64)
    even[2, 2] = even[0, 1] = 1
    found, _ = psf_for_volume(even, "yx")
    assert found.shape == (5, 3)
    assert float(found[2, 1]) == float(found[0, 0]) == 0.5


def test_a_wide_one_is_told_of():
    psf = gaussian_psf(1.0, 1.0)
    wide = torch.nn.functional.pad(psf, (10, 10, 10, 10), value=1e-9)
    _, told = psf_for_volume(wide, "yx")
    assert told == (
        "99.9 % of the psf's light is in 7 × 7 of its 29 × 29 samples; cut to these it is much "
        "faster",
    )


@pytest.mark.parametrize(
    ("shape", "axes", "sentence"),
    [
        ((5, 5), "zyx", "the psf has 2 axes and the volume 3, z, y, x; blur planes"),
        ((3, 5, 5), "yx", "the psf has 3 axes and the volume 2, y, x; give the psf of a plane"),
    ],
)
def test_other_axes_are_refused(shape, axes, sentence):
    with pytest.raises(ValueError, match=sentence):
        psf_for_volume(torch.ones(shape), axes)
