"""Psfs by formula: the diffraction of a round aperture, and the seeing of the air.

With s = λN, the wavelength times the f-number in pixels, v = πr/s and α the radius of Moffat,

    Airy      h(r) = π/(4s²)·[2J₁(v)/v]²             within r: 1 − J₀(v)² − J₁(v)²
              first zero at 1.2197 s, full width at half maximum 1.0290 s
    Moffat    h(r) = (β − 1)/(πα²)·(1 + r²/α²)^−β    within r: 1 − (1 + r²/α²)^(1 − β)
              full width at half maximum 2α·√(2^(1/β) − 1)

Both have tails like powers of r, which no array holds: its size is chosen by the energy within the
circle that it holds, and what is outside (at most 1 − energy) is cut off, so that scaling to sum 1
makes everything inside larger by as much.

Sources: Airy, Trans. Cambridge Phil. Soc. 5 (1835); Born & Wolf, "Principles of Optics", §8.5.2,
for the encircled energy; Moffat, A&A 3 (1969).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ..numerics.checks import check_flag, check_number
from .pixels import LARGEST_SIDE, round_pixels, round_samples

FIRST_DARK_RING = 1.2196698912665045
"""Radius of the first zero of the Airy pattern in units of λN: the first zero of J₁ by π."""

_ARCSEC = math.pi / 180 / 3600


def airy(
    *,
    wavelength_nm: float,
    f_number: float | None = None,
    numerical_aperture: float | None = None,
    pixel_um: float | None = None,
    aperture_m: float | None = None,
    pixel_arcsec: float | None = None,
    energy: float = 0.99,
    pixelated: bool = True,
) -> Tensor:
    """The diffraction pattern of a round aperture in focus, incoherent light.

    Parameters
    ----------
    wavelength_nm : of the light, nm
    f_number
        Focal length by diameter, with `pixel_um`, the pitch of the sensor in µm.
    numerical_aperture
        Of an objective, with `pixel_um`, the pitch in the specimen (of the sensor by the
        magnification) in µm.
    aperture_m : diameter of a telescope in m, with `pixel_arcsec`, the pitch on the sky in arcsec
    energy
        Of the light, within the circle that the array holds, < 1; outside are 1 − energy at most.
        The tail falls slowly: 0.99 is a radius of 20 λN, 0.999 one of 200.
    pixelated : integrals over pixels, as of a camera; False for values at their middles

    Returns
    -------
    (k, k) float64, k odd, ≥ 0, with sum 1

    Raises
    ------
    ValueError, TypeError
        If not one of the three descriptions is given whole, a number is not positive, or the array
        would be too large.

    Examples
    --------
    >>> from unconv import psf
    >>> lens = psf.airy(wavelength_nm=550, f_number=8, pixel_um=2.2)
    >>> lens.shape, round(float(lens.max()), 4)
    (torch.Size([83, 83]), 0.1789)
    >>> sky = psf.airy(wavelength_nm=2200, aperture_m=8.2, pixel_arcsec=0.013, energy=0.95)
    >>> sky.shape
    torch.Size([35, 35])

    References
    ----------
    Born & Wolf, "Principles of Optics", §8.5.2.
    """
    check_number("wavelength_nm", wavelength_nm, positive=True)
    check_number("energy", energy, positive=True, below=1)
    scale = wavelength_nm * _f_number_by_pixel(
        {
            ("f_number", "pixel_um"): (f_number, pixel_um),
            ("numerical_aperture", "pixel_um"): (numerical_aperture, pixel_um),
            ("aperture_m", "pixel_arcsec"): (aperture_m, pixel_arcsec),
        }
    )

    def profile(r: Tensor) -> Tensor:  # 1 in the middle: it is scaled in the end
        v = (math.pi * r / scale).clamp(min=1e-8)
        return (2 * _bessel(1, v) / v) ** 2

    def outside(v: float) -> float:
        at = torch.tensor([v], dtype=torch.float64)
        return float(_bessel(0, at) ** 2 + _bessel(1, at) ** 2)

    radius = scale / math.pi * _bisected(outside, 1 - energy, 2 / (1 - energy) + 10)
    return _round("Airy", profile, radius, pixelated)


def moffat(fwhm: float, beta: float, *, energy: float = 0.99, pixelated: bool = True) -> Tensor:
    """A star seen through the air: a core of a Gaussian with wings that fall like r^(−2β).

    Parameters
    ----------
    fwhm : full width at half maximum, pixels, > 0
    beta : > 1; 4.765 is the theory of turbulence, 2.5 to 4 what telescopes see
    energy
        Of the light, within the circle that the array holds, < 1; outside are 1 − energy at most.
    pixelated : integrals over pixels, as of a camera; False for values at their middles

    Returns
    -------
    (k, k) float64, k odd, ≥ 0, with sum 1

    Raises
    ------
    ValueError, TypeError
        If a number is out of range, or the array would be too large: wings of β near 1 hold most of
        the light.

    Examples
    --------
    >>> from unconv import psf
    >>> star = psf.moffat(3.0, 2.5)
    >>> star.shape, round(float(star.max()), 4)
    (torch.Size([25, 25]), 0.0644)

    References
    ----------
    Moffat, "A theoretical investigation of focal stellar images", A&A 3 (1969).
    """
    check_number("fwhm", fwhm, positive=True)
    check_number("energy", energy, positive=True, below=1)
    if check_number("beta", beta, why="; 2.5 to 5 are usual") <= 1:
        raise ValueError(f"beta={beta:g} must be > 1, for else the light is infinite.")
    alpha = fwhm / (2 * math.sqrt(math.expm1(math.log(2) / beta)))

    def profile(r: Tensor) -> Tensor:
        return (1 + (r / alpha) ** 2) ** -beta

    exponent = -math.log1p(-energy) / (beta - 1)  # (1 + r²/α²)^(1 − β) = 1 − energy
    radius = alpha * math.sqrt(math.expm1(exponent)) if exponent < 500 else math.inf
    return _round("Moffat", profile, radius, pixelated)


def _f_number_by_pixel(
    given: dict[tuple[str, str], tuple[float | None, float | None]],
) -> float:
    """N/pixel in 1/nm, from the one description that is whole."""
    named = {name for pair, values in given.items() for name, v in zip(pair, values, strict=True)
             if v is not None}  # fmt: skip
    whole = [pair for pair in given if named == set(pair)]
    if len(whole) != 1:
        raise ValueError(
            f"an aperture is f_number or numerical_aperture with pixel_um, or aperture_m with "
            f"pixel_arcsec, got {', '.join(sorted(named)) or 'none of them'}; give one such pair."
        )
    (pair,) = whole
    aperture, pixel = (
        check_number(name, v, positive=True) for name, v in zip(pair, given[pair], strict=True)
    )
    if pair[0] == "f_number":
        return aperture / (1000 * pixel)
    if pair[0] == "numerical_aperture":
        return 1 / (2 * aperture * 1000 * pixel)
    return 1 / (aperture * 1e9 * pixel * _ARCSEC)


def _bessel(order: int, v: Tensor) -> Tensor:
    """J₀ or J₁ by SciPy: those of torch 2.13 are wrong by 5e-7 beyond 5."""
    from scipy.special import j0, j1

    return torch.from_numpy((j0, j1)[order](v.numpy()))


def _bisected(falling: Callable[[float], float], value: float, high: float) -> float:
    """Where a falling function of a positive number takes a value, from above."""
    low = 0.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if falling(middle) > value else (low, middle)
    return high


def _round(
    name: str, profile: Callable[[Tensor], Tensor], radius: float, pixelated: bool
) -> Tensor:
    """The array that holds the circle, scaled to sum 1."""
    check_flag("pixelated", pixelated)
    if not radius < LARGEST_SIDE / 2:
        raise ValueError(
            f"the {name} psf would have more than {LARGEST_SIDE} samples along a side; give a "
            "smaller energy, and look at the units."
        )
    half = max(0, math.ceil(radius - 0.5))
    values = (round_pixels if pixelated else round_samples)(profile, half)
    return values / values.sum()
