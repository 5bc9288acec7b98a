"""The kernel that makes pictures of one psf comparable with pictures of another.

    g = argmin ‖a ∗ g − b‖² + damp²‖g‖²        so that g ∗ (a ∗ x) ≈ b ∗ x

The least squares of `unconv.fir.matching`, for psfs: looked at, scaled to sum 1 and on one grid, so
that Σ g ≈ 1 and photometry is kept.  damp is the noise of a sample by the standard deviation of the
scene: for a white scene and white noise it gives the picture of least expected error.

Sources: Alard & Lupton, "A method for optimal image subtraction", ApJ 503 (1998); Boucaud et al.,
"Convolution kernels for multi-wavelength imaging", A&A 596 (2016).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from torch import Tensor

from ..fir import (
    MatchingKernel,
    matching_damp,
    matching_kernel,
    smallest_matching_kernel,
)
from ..inverse import AccuracyWarning
from ..numerics.checks import is_sequence, shown
from ..operators.linear_operator import DEFAULT_MEMORY_LIMIT
from .arrays import psf_with_light
from .checks import check, measured
from .grids import Voxel, pitches, resample

DAMP = 1e-3
"""Noise of a thousandth of the scene: what smooth psfs leave undetermined is then left at zero."""


def match(
    a: Tensor,
    b: Tensor,
    size: int | Sequence[int] | None = None,
    *,
    damp: float = DAMP,
    voxel_a: Voxel | None = None,
    voxel_b: Voxel | None = None,
    memory_limit: float = DEFAULT_MEMORY_LIMIT,
) -> MatchingKernel:
    """The kernel g of a given size with a ∗ g ≈ b: it makes pictures of psf a as if of psf b.

    Parameters
    ----------
    a, b : (h, w) or (d, h, w), real, of any sizes; the centre is the sample n//2 of each axis
    size : odd, of g, one number or one per axis; by default the larger of a and b
    damp
        The standard deviation of the noise by that of the scene; 0 for the least ‖a ∗ g − b‖.
    voxel_a, voxel_b
        The pitch of the samples of a and of b in one unit, a number or one per axis.  Where they
        differ b is sampled anew on the grid of a, on which g works.  Left out: the same.
    memory_limit : bytes that a factor may take

    Returns
    -------
    MatchingKernel
        g, ‖a ∗ g − b‖ alone and as a part of ‖b‖, the noise gain ‖g‖ and Σ g.

    Raises
    ------
    MemoryLimitError
        If no direct method fits `memory_limit`.
    ValueError, TypeError
        If a psf is none, its sum not positive, a size even, or one pitch given alone.

    Examples
    --------
    >>> from unconv import psf
    >>> found = psf.match(psf.gaussian(1.2), psf.gaussian(2.0), 21)
    >>> f"{found.error:.1e} {found.noise_gain:.3f} {found.sum:.6f}"
    '2.0e-05 0.176 1.000003'
    """
    a, b = _pair(a, b, voxel_a, voxel_b)
    return matching_kernel(a, b, _size(size, a, b), damp=damp, memory_limit=memory_limit)


def smallest_match(
    a: Tensor,
    b: Tensor,
    error: float = 0.01,
    *,
    damp: float = DAMP,
    max_size: int | None = None,
    voxel_a: Voxel | None = None,
    voxel_b: Voxel | None = None,
    memory_limit: float = DEFAULT_MEMORY_LIMIT,
) -> MatchingKernel:
    """The smallest g, of one odd size along all axes, with ‖a ∗ g − b‖ ≤ error·‖b‖.

    Parameters
    ----------
    a, b : (h, w) or (d, h, w), real; the centre is the sample n//2 of each axis
    error : of ‖b‖, > 0
    damp : the standard deviation of the noise by that of the scene, ≥ 0
    max_size : where to stop, by default twice the longest axis of a and b
    voxel_a, voxel_b : the pitch of their samples in one unit; left out: the same
    memory_limit : bytes that a factor may take

    Returns
    -------
    MatchingKernel

    Raises
    ------
    ValueError, TypeError
        If no size up to `max_size` reaches the error, or a psf is none.

    Examples
    --------
    >>> from unconv import psf
    >>> psf.smallest_match(psf.gaussian(1.2), psf.gaussian(2.0), 0.01).size
    (7, 7)
    """
    a, b = _pair(a, b, voxel_a, voxel_b)
    return smallest_matching_kernel(
        a, b, error, damp=damp, max_size=max_size, memory_limit=memory_limit
    )


def match_damp(
    a: Tensor,
    b: Tensor,
    size: int | Sequence[int] | None = None,
    *,
    noise_psd: float | Tensor,
    signal_psd: float | Tensor,
    voxel_a: Voxel | None = None,
    voxel_b: Voxel | None = None,
    memory_limit: float = DEFAULT_MEMORY_LIMIT,
) -> float:
    """The damp of `match` whose picture has the least expected error.

    Parameters
    ----------
    a, b : (h, w) or (d, h, w), real; the centre is the sample n//2 of each axis
    size : odd, of g, one number or one per axis; by default the larger of a and b
    noise_psd, signal_psd
        Power spectra of the noise in the picture and of the scene: numbers (white: the variances),
        or arrays of as many axes in the order of `torch.fft.fftn`, |FFT|²/n of n samples.
    voxel_a, voxel_b : the pitch of their samples in one unit; left out: the same
    memory_limit : bytes that a factor may take

    Returns
    -------
    float, √(noise/signal) where both are white; else found by a search, some 35 factors

    Raises
    ------
    ValueError, TypeError
        If a spectrum is negative or on another grid, or a psf is none.

    Examples
    --------
    >>> from unconv import psf
    >>> damp = psf.match_damp(psf.gaussian(1.2), psf.gaussian(2), noise_psd=0.01, signal_psd=4)
    >>> round(damp, 9)
    0.05
    """
    a, b = _pair(a, b, voxel_a, voxel_b)
    return matching_damp(
        a,
        b,
        _size(size, a, b),
        noise_psd=noise_psd,
        signal_psd=signal_psd,
        memory_limit=memory_limit,
    )


def _pair(
    a: Tensor, b: Tensor, voxel_a: Voxel | None, voxel_b: Voxel | None
) -> tuple[Tensor, Tensor]:
    """Both with sum 1 on the grid of a; what is doubtful about them is warned of."""
    if (voxel_a is None) != (voxel_b is None):
        alone = "voxel_a" if voxel_b is None else "voxel_b"
        raise ValueError(f"{alone} alone says nothing; give voxel_a and voxel_b, or neither.")
    a, b = psf_with_light(a, "a"), psf_with_light(b, "b")
    if a.ndim != b.ndim:
        raise ValueError(
            f"a has {a.ndim} axes and b {b.ndim}; match a plane with a plane, a volume with a "
            "volume."
        )
    if a.device != b.device:
        raise ValueError(f"a is on {a.device}, b on {b.device}; move one with .to(device).")
    for name, values in (("a", a), ("b", b)):
        for doubt in check(values).doubts.values():
            warnings.warn(f"psf {name}: {doubt}", AccuracyWarning, stacklevel=3)
    if voxel_a is not None and voxel_b is not None:
        before, after = pitches("voxel_b", voxel_b, b.ndim), pitches("voxel_a", voxel_a, a.ndim)
        b = b if before == after else resample(b, before, after)
    return measured(a), measured(b)


def _size(size: int | Sequence[int] | None, a: Tensor, b: Tensor) -> int | tuple[int, ...]:
    """Odd sizes, whose centre is one sample."""
    if size is None:
        return tuple(max(n, m) | 1 for n, m in zip(a.shape, b.shape, strict=True))
    each = tuple(size) if is_sequence(size) else (size,)
    if any(isinstance(n, int) and n % 2 == 0 for n in each):
        raise ValueError(
            f"size={shown(size)} has no middle sample; give odd sizes, such as 31 or (31, 25)."
        )
    return size if isinstance(size, int) else each
