"""Where to look for psfs of each family (psf/families.py), and their transfer functions.

Refinement and answer use the sampled kernel.  The coarse search takes the modulus of the transfer
function in closed form, a product of these, for thousands of candidates at once:

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

_REACH_OF_SIDE = 0.16  # of the shorter side of the picture that a psf may reach from its centre
_FARTHEST_REACH = 26.0  # samples that it may reach at most


@dataclass(frozen=True)
class LineProfile:
    """A psf that looks alike from all sides, summed along lines.

    Attributes
    ----------
    line : that sum across the lines, for a psf of scale 1 (its first parameter), up to a factor
    deviation : its standard deviation
    """

    line: Callable[[Tensor], Tensor]
    deviation: float


@dataclass(frozen=True)
class Coarse:
    """How psfs of one family are tried by the thousand, and by the edges of a picture.

    Attributes
    ----------
    transfer : |F| (n, K) in closed form, of values (n, k) and frequencies fy, fx (K,)
    candidates : values (n, k) to try, of how far a psf may reach in samples
    apart : of each parameter, the difference at which two candidates are two
    starts : how many of the best candidates are refined at most: one where all lead to one psf
    known
        What two standard errors of a size that is well known are at most: a share of the first
        parameter, and samples where that is less
    profile : of a psf that has no parameter beside its scale, and looks alike from all sides
    """

    transfer: Callable[[Tensor, Tensor, Tensor], Tensor]
    candidates: Callable[[float], Tensor]
    apart: tuple[float, ...]
    starts: int = 3
    known: tuple[float, float] = (0.1, 0.15)
    profile: LineProfile | None = None


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


GAUSSIAN_LINE = LineProfile(lambda z: torch.exp(-z.square() / 2), 1.0)

COARSE: Mapping[str, Coarse] = {
    "gaussian": Coarse(
        _gaussian,
        lambda reach: _steps(0.3, reach / 2.5, 0.5, 1.12)[:, None],
        (0.5,),
        starts=1,
        known=(0.1, 0.0),
        profile=GAUSSIAN_LINE,
    ),
    "disk": Coarse(
        _disk,
        lambda reach: _steps(0.6, reach, 0.25, 1.15)[:, None],
        (0.6,),
        known=(0.05, 0.15),
        profile=LineProfile(lambda z: (1 - z.square()).clamp(min=0).sqrt(), 0.5),
    ),
    "motion": Coarse(_motion, _motions, (1.5, 15.0)),
    "moffat": Coarse(
        _moffat,
        lambda reach: _product(_steps(0.8, reach / 2, 1.0, 1.2), torch.tensor([1.9, 2.5, 4.0])),
        (1.0, 3.0),
        starts=1,
    ),
    "gaussian-disk": Coarse(
        _gaussian_disk,
        lambda reach: _product(_steps(0.8, reach, 0.4, 1.2), _steps(0.4, reach / 4, 1.0, 1.5)),
        (0.8, 1.0),
        starts=2,
    ),
}
"""By the name of the family: of all that `..families` says are estimated."""
