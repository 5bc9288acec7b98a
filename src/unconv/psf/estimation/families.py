"""Families of psfs that a picture may have been blurred by: their kernels, and where to look.

Each has its kernel (psf/models.py), which the refinement and the answer use, and the modulus of
its transfer function in closed form, a product of these, which the coarse search takes for
thousands of candidates at once:

    disk of radius r        2 J₁(2π r|ω|) / (2π r|ω|)
    motion (L, a)           sin(π L ω·u) / (π L ω·u),     u = (cos a, −sin a) in columns and rows
    Gaussian σ              exp(−2π² σ² |ω|²)
    Moffat (α, β)           2 (πα|ω|)^(β−1) K_(β−1)(2πα|ω|) / Γ(β−1)
    the square of a pixel   sinc(ω_x) sinc(ω_y),          of disk and motion

Source: Bracewell, "The Fourier transform and its applications", 3rd ed., ch. 13 (disk, Gaussian);
Trujillo, Aguerri, Cepa & Gutiérrez, Mon. Not. R. Astron. Soc. 328 (2001) 977, eq. 9 (Moffat).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import conv2d

from .. import models
from ..theory import moffat

_REACH_OF_SIDE = 0.16  # of the shorter side of the picture that a psf may reach from its centre
_FARTHEST_REACH = 26.0  # samples that it may reach at most
_LEAST_BETA, _LARGEST_BETA = 1.8, 6.0


@dataclass(frozen=True)
class Family:
    """Psfs of one kind.

    Attributes
    ----------
    name, parameters : in words; `parameters` in the order of the columns below
    units : of the parameters
    kernel : the psf (h, w) with sum 1, of values of the parameters
    transfer : |F| (n, K) in closed form, of values (n, k) and frequencies fy, fx (K,)
    candidates : values (n, k) to try, of how far a psf may reach in samples
    limits : least and largest value of each parameter, of the same
    apart : of each parameter, the difference at which two candidates are two
    """

    name: str
    parameters: tuple[str, ...]
    units: tuple[str, ...]
    kernel: Callable[..., Tensor]
    transfer: Callable[[Tensor, Tensor, Tensor], Tensor]
    candidates: Callable[[float], Tensor]
    limits: Callable[[float], list[tuple[float, float]]]
    apart: tuple[float, ...]

    @property
    def turns(self) -> tuple[bool, ...]:
        """Which parameters are angles, that come back after 180 degrees."""
        return tuple(unit == "°" for unit in self.units)


def reach_in(size: tuple[int, int]) -> float:
    """How far a psf may reach from its centre, in samples, in a picture of this size."""
    return min(_REACH_OF_SIDE * min(size), _FARTHEST_REACH)


def _pixel(fy: Tensor, fx: Tensor) -> Tensor:
    return torch.sinc(fy) * torch.sinc(fx)


def _disk(values: Tensor, fy: Tensor, fx: Tensor) -> Tensor:
    x = (2 * math.pi * values[:, :1] * torch.hypot(fy, fx)).clamp(min=1e-4)
    return (2 * torch.special.bessel_j1(x) / x * _pixel(fy, fx)).abs()


def _motion(values: Tensor, fy: Tensor, fx: Tensor) -> Tensor:
    turn = torch.deg2rad(values[:, 1:])
    along = turn.cos() * fx - turn.sin() * fy  # rows grow downwards
    return (torch.sinc(values[:, :1] * along) * _pixel(fy, fx)).abs()


def _gaussian(values: Tensor, fy: Tensor, fx: Tensor) -> Tensor:
    return torch.exp(-2 * math.pi**2 * values[:, :1].square() * (fy.square() + fx.square()))


def _moffat(values: Tensor, fy: Tensor, fx: Tensor) -> Tensor:
    from scipy.special import gamma, kv  # takes a while to load

    fwhm, beta = values[:, :1], values[:, 1:]
    x = (math.pi * fwhm / torch.sqrt(2 ** (1 / beta) - 1) * torch.hypot(fy, fx)).clamp(min=1e-4)
    t, nu = x.double().numpy(), beta.double().numpy() - 1
    bessel = 2 * (t / 2) ** nu * kv(nu, t) / gamma(nu)
    return torch.from_numpy(bessel).to(values)


def _gaussian_disk(values: Tensor, fy: Tensor, fx: Tensor) -> Tensor:
    return _disk(values, fy, fx) * _gaussian(values[:, 1:], fy, fx)


def _moffat_kernel(fwhm: float, beta: float) -> Tensor:
    return moffat(fwhm, beta, pixelated=False)


def _gaussian_disk_kernel(radius: float, sigma: float) -> Tensor:
    disk, spread = models.disk(radius), models.gaussian(sigma)
    margin = len(spread) - 1
    both = conv2d(disk[None, None], spread[None, None], padding=margin)[0, 0]
    return both / both.sum()


def _steps(low: float, high: float, most: float, ratio: float) -> Tensor:
    """From low to high, by a factor and by no more than `most` samples."""
    values = [low]
    while values[-1] < high:
        values.append(values[-1] + min(most, (ratio - 1) * values[-1]))
    return torch.tensor(values)


def _motions(reach: float) -> Tensor:
    """Lengths and angles, the finer the longer."""
    found = []
    for length in _steps(1.5, 2 * reach, 1.0, 1.3).tolist():
        count = max(10, math.ceil(math.pi * length / 1.1))
        angles = torch.arange(count) * (180 / count)
        found.append(torch.stack([torch.full_like(angles, length), angles], 1))
    return torch.cat(found)


def _product(first: Tensor, second: Tensor) -> Tensor:
    return torch.cartesian_prod(first, second)


_BETAS = (_LEAST_BETA, _LARGEST_BETA)

FAMILIES: Mapping[str, Family] = {
    family.name: family
    for family in (
        Family(
            "gaussian",
            ("sigma",),
            ("px",),
            models.gaussian,
            _gaussian,
            lambda reach: _steps(0.3, reach / 2.5, 0.5, 1.12)[:, None],
            lambda reach: [(0.25, reach / 2.5)],
            (0.5,),
        ),
        Family(
            "disk",
            ("radius",),
            ("px",),
            models.disk,
            _disk,
            lambda reach: _steps(0.6, reach, 0.25, 1.15)[:, None],
            lambda reach: [(0.55, reach)],
            (0.6,),
        ),
        Family(
            "motion",
            ("length", "angle"),
            ("px", "°"),
            models.motion,
            _motion,
            _motions,
            lambda reach: [(1.1, 2 * reach), (-math.inf, math.inf)],
            (1.5, 15.0),
        ),
        Family(
            "moffat",
            ("fwhm", "beta"),
            ("px", ""),
            _moffat_kernel,
            _moffat,
            lambda reach: _product(_steps(0.8, reach / 2, 1.0, 1.2), torch.tensor([1.9, 2.5, 4.0])),
            lambda reach: [(0.7, reach / 2), _BETAS],
            (1.0, 3.0),
        ),
        Family(
            "gaussian-disk",
            ("radius", "sigma"),
            ("px", "px"),
            _gaussian_disk_kernel,
            _gaussian_disk,
            lambda reach: _product(_steps(0.8, reach, 0.4, 1.2), _steps(0.4, reach / 4, 1.0, 1.5)),
            lambda reach: [(0.6, reach), (0.3, reach / 2.5)],
            (0.8, 1.0),
        ),
    )
}
"""By name."""
