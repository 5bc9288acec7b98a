"""How strong the noise is, read from the data.

Two places where a picture leaves next to nothing:

*The finest diagonal detail* of y.  The second difference along every axis in turn, its taps divided
by √6 so that white noise keeps its variance, removes whatever is linear along any axis; the median
of what is left does not see the few edges:

    s = median |D₁ D₂ … y| / 0.6745            (0.6745 the median of |N(0, 1)|)

*What A transmits least*, where the singular values are known: E|u_iᴴy|² = s² + σ_i²|v_iᴴx|², so the
median over the weakest sixteenth of them, divided by that of the distribution of noise, a gamma
distribution with half as many degrees as there are real numbers in its sum.

Signal can only add to either, so the smaller of the two is believed.

Measured on three blurred photographs of 256² with 0.1 to 5 % noise, as ratios to the truth.
Gaussian and disk: second differences 1.00 to 1.06 by the median and by the mean (Immerkær), Haar
wavelets 0.99 to 1.87, Daubechies' of 4 taps 1.00 to 1.10.  An oblique motion blur leaves diagonal
detail in place: at 0.1 % noise 2.3 to 3.2 by the median of any of them, 4 to 6 by the mean, 1.04 by
the weakest sixteenth, 1.2 to 1.3 by the weakest quarter; at 1 % noise 1.1 to 1.2 and 1.01.

Not for: coloured noise (JPEG, demosaicked sensors, averaged pixels), saturated pictures.

Source: the median and the finest band, Donoho & Johnstone, "Ideal spatial adaptation by wavelet
shrinkage", Biometrika 81 (1994), §2.3; the mask, Immerkær, "Fast noise variance estimation",
Computer Vision and Image Understanding 64 (1996).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..numerics.checks import check_all_finite, check_tensor

_MEDIAN = 0.6744897501960817  # of |N(0, 1)|
_SHARE, _LEAST_SHARE, _PLENTY = 16, 4, 1024  # a sixteenth if that is 1,024, at most a quarter


def estimate_noise_std(y: Tensor) -> Tensor:
    """Standard deviation of white noise in each image, from its finest diagonal detail.

    Parameters
    ----------
    y : (N, C, *spatial), with at least 2 samples along every spatial axis; the channels of an image
        share one noise.  Complex noise has the standard deviation √E|n|².

    Returns
    -------
    (N,) float64, in the unit of y

    Raises
    ------
    ValueError
        If there is no spatial axis, or one with a single sample.

    Examples
    --------
    >>> import torch
    >>> ramp = torch.arange(64.0).expand(1, 1, 64, 64)
    >>> s = estimate_noise_std(ramp + 0.5 * torch.randn(1, 1, 64, 64))
    >>> 0.45 < float(s) < 0.55
    True
    """
    check_all_finite("y", check_tensor("y", y), "remove them first")
    if y.ndim < 3 or min(y.shape[2:]) < 2:
        raise ValueError(
            f"noise is estimated from (N, C, *spatial) with at least 2 samples along every spatial "
            f"axis, got shape {tuple(y.shape)}; give noise_std."
        )
    if y.is_complex():
        return torch.hypot(estimate_noise_std(y.real), estimate_noise_std(y.imag))
    return std_of_detail(finest_detail(y))


def finest_detail(y: Tensor) -> Tensor:
    """Second differences along every spatial axis in turn, which keep the variance of white noise.

    Parameters
    ----------
    y : (N, C, *spatial), real; NaN where nothing was seen, and then around it too

    Returns
    -------
    float64, smaller by what differences take
    """
    detail = y.detach().double()
    for dim in range(2, y.ndim):
        taps = (1.0, -2.0, 1.0) if y.shape[dim] > 2 else (1.0, -1.0)
        size, left = math.hypot(*taps), y.shape[dim] - len(taps) + 1
        parts = [w / size * detail.narrow(dim, i, left) for i, w in enumerate(taps)]
        detail = torch.stack(parts).sum(0)
    return detail


def std_of_detail(detail: Tensor) -> Tensor:
    """Standard deviation of the noise in each image's detail, (N,), by the median of what is known.

    detail : (N, …), NaN where it is unknown
    """
    return detail.abs().flatten(1).nanmedian(1).values / _MEDIAN


def weakest_variance(sigma: Tensor, power: Tensor, degrees: float) -> Tensor:
    """Variance of white noise from the coefficients that A transmits least.

    Parameters
    ----------
    sigma : (K,)
    power : (..., K) |u_iᴴ y|², or its mean over images
    degrees : real numbers whose squares are in one entry of `power`

    Returns
    -------
    (...,)

    Examples
    --------
    >>> import torch
    >>> c = torch.randn(4096).double()
    >>> 0.8 < float(weakest_variance(torch.linspace(0, 1, 4096), c**2, degrees=1)) < 1.2
    True
    """
    from scipy.special import gammaincinv

    K = len(sigma)
    share = max(1, min(K // _LEAST_SHARE, max(K // _SHARE, _PLENTY)))
    weakest = sigma.argsort()[:share]
    return power[..., weakest].median(-1).values * (degrees / 2 / gammaincinv(degrees / 2, 0.5))
