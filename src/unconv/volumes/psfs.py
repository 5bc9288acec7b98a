"""A psf made ready for a volume: on the volume's grid, with odd sizes and nothing dark around it.

Every sample that a psf is long costs halo, and work: a rim of zeros is cut off, and a wide one that
holds next to no light is told of.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..inverse import AccuracyWarning
from ..numerics.checks import check_number, shown
from ..psf import crop, measured, resample

_SAME_VOXELS = 0.01  # pitches that differ by less are one
_MOST_LIGHT = 0.999  # of the light, in a part that is much smaller than the array
_SMALLER = 0.2


def psf_for_volume(
    values: Tensor,
    axes: str,
    *,
    spacing: Sequence[float] | None = None,
    psf_spacing: Sequence[float] | None = None,
) -> tuple[Tensor, tuple[str, ...]]:
    """A psf on the grid of a volume, and what is to be said of it.

    Parameters
    ----------
    values : real, its centre the sample n//2 of each axis
    axes : of the volume, 'zyx' or 'yx'
    spacing : of the samples of the volume along each axis, where it is known
    psf_spacing : of those of the psf, in the same unit, where it is known

    Returns
    -------
    float64 of odd sizes, sum 1, and sentences

    Raises
    ------
    ValueError, TypeError
        If it has another number of axes, is no psf, or is sampled too coarsely for the grid of the
        volume.

    Examples
    --------
    >>> import torch
    >>> psf, told = psf_for_volume(torch.eye(3)[None].repeat(4, 1, 1), "zyx")
    >>> psf.shape, told
    (torch.Size([5, 3, 3]), ())
    """
    psf = measured(values)
    if psf.ndim != len(axes):
        remedy = (
            "blur planes one by one with `unconv deblur`, or give the psf of the volume"
            if psf.ndim < len(axes)
            else "give the psf of a plane"
        )
        raise ValueError(
            f"the psf has {psf.ndim} axes and the volume {len(axes)}, {', '.join(axes)}; {remedy}."
        )
    if psf_spacing is not None:
        psf_spacing = _checked_spacing(psf_spacing, axes)
    told: list[str] = []
    if psf_spacing is not None and spacing is None:
        told.append(
            "the voxels of the volume are not known, so those of the psf are taken to be the same; "
            "pass voxel if they are others"
        )
    if spacing is not None and psf_spacing is not None and not _same(spacing, psf_spacing):
        psf = _resampled(psf, psf_spacing, spacing, told)
    psf = crop(psf, 1.0)
    psf = psf / psf.sum()
    bright = crop(psf, _MOST_LIGHT)
    if bright.numel() < _SMALLER * psf.numel():
        told.append(
            f"{100 * _MOST_LIGHT:g} % of the psf's light is in {_times(bright.shape)} of its "
            f"{_times(psf.shape)} samples; cut to these it is much faster"
        )
    return psf, tuple(told)


def _checked_spacing(psf_spacing: Sequence[float], axes: str) -> tuple[float, ...]:
    if len(psf_spacing) != len(axes):
        raise ValueError(
            f"psf_voxel={shown(tuple(psf_spacing))} must have a size for each of the axes "
            f"{', '.join(axes)}."
        )
    return tuple(check_number("psf_voxel", size, positive=True) for size in psf_spacing)


def _same(a: Sequence[float], b: Sequence[float]) -> bool:
    return bool(np.allclose(a, b, rtol=_SAME_VOXELS, atol=0.0))


def _resampled(
    psf: Tensor, before: Sequence[float], after: Sequence[float], told: list[str]
) -> Tensor:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", AccuracyWarning)
        found = resample(psf, tuple(before), tuple(after))
    told.append(
        f"the psf was sampled anew, from a pitch of {_times(before)} to the volume's "
        f"{_times(after)}"
    )
    told += [str(w.message).removesuffix(".") for w in caught]
    return torch.as_tensor(found)


def _times(sizes: Sequence[float]) -> str:
    return " × ".join(f"{float(s):g}" for s in sizes)
