"""The damp of least expected error for pictures, whose power falls as a power of frequency.

For y = Ax + noise with A circular, transfer function F(ω), white noise of variance s² and a signal
of power S(ω), the damped solution x_λ, λ = damp², has the expected squared error

    R(λ) = Σ_ω (λ² S(ω) + s² |F(ω)|²) / (|F(ω)|² + λ)²          (bias² + variance)

and R is minimised over λ.  What it needs is read from the data themselves:

- s²: the spectrum of y at the sixteenth of the frequencies that A transmits least (noise.py);
- S(ω) = c·|ω|^(−p), the law that pictures follow with p ≈ 2: a straight line through the logarithms
  of (|Y|² − s²)/|F|² in rings of frequency where the signal stands above the noise.

Generalised cross-validation, which predicts y and not x, loses 0.5 to 3 dB on the same pictures
once the noise reaches 1 % (benchmarks/bench_damp.py).  Not for: signals that are not picture-like;
coloured noise.

Source: the risk is that of Tikhonov filtering, Vogel, "Computational Methods for Inverse Problems",
SIAM 2002, §7.1; the power law is Field, J. Opt. Soc. Am. A 4 (1987) 2379.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..inverse import Request
from ..inverse.diagonal import fourier
from ..numerics.checks import check_all_finite, check_number
from ..numerics.norms import in_unit
from ..operators.convolution import Convolution
from .noise import weakest_variance
from .picard import picard
from .search import grid

_SMALLEST, _LARGEST = 1e-8, 1e1  # damp / σ_max
_GRID = 55  # R can have more than one minimum: a coarse search first
_RINGS = 16  # of frequency, equally wide in its logarithm: enough for a straight line
_LOWEST = 0.01  # cycles per sample; below, boundary and exposure dominate the picture's own law


@dataclass(frozen=True)
class Risk:
    """R as a function of the damp, (g·F,) each.

    Attributes
    ----------
    squares : |F|², at most one
    signal, counts : S, and how often each frequency stands in the whole spectrum
    noise : s², as S in units of (unit)²
    top : σ_max, the unit of the damp
    unit : of the data
    """

    squares: Tensor
    signal: Tensor
    counts: Tensor
    noise: float
    top: float
    unit: float

    @property
    def damps(self) -> list[float]:
        """The grid on which to look."""
        return [self.top * damp for damp in grid(_SMALLEST, _LARGEST, _GRID)]

    @property
    def noise_std(self) -> float:
        """s in the unit of y."""
        return math.sqrt(max(self.noise, 0.0)) * self.unit

    def __call__(self, damp: float) -> float:
        """R(damp²), the sum over one image, in units of (unit/σ_max)²."""
        lam = (damp / self.top) ** 2
        error = (lam**2 * self.signal + self.noise * self.squares) / (self.squares + lam) ** 2
        return float((self.counts * error).sum())


def obstacle(op: Convolution) -> str | None:
    """Why the risk of `op` is not known, or None.

    Examples
    --------
    >>> import torch, unconv
    >>> obstacle(unconv.ConvOperator(torch.randn(1, 1, 3, 3), (8, 8), padding=1))
    "the boundary is 'zeros', not 'circular'"
    """
    why = fourier.obstacle(op, Request())
    if why is None and fourier.block_shape(op)[3:] != (1, 1):
        why = "its frequencies couple several channels or phases"
    if why is None and op.batch_size is not None:
        why = "every sample has its own kernel"
    return why


def check_data(op: Convolution, y: Tensor, noise_std: float | None) -> None:
    """One sentence for everything that is wrong with data and noise level."""
    op._check(y, op.range_shape)
    check_all_finite("y", y, "remove them first")
    check_all_finite("weight", op.weight.detach(), "no damp can be chosen for it")
    if noise_std is not None:
        check_number("noise_std", noise_std)
    if len(y) == 0:
        raise ValueError("y holds no picture: no damp can be chosen; give at least one.")
    if not op.weight.detach().any():
        raise ValueError("the kernel is zero everywhere: no damp can be chosen; check the psf.")


def risk_of(op: Convolution, y: Tensor, noise_std: float | None) -> Risk:
    """The expected error as a function of the damp, for data that were checked."""
    y, of_data = in_unit(y, 0)  # squares of very small or large data leave float64's range
    unit = float(of_data)
    with torch.no_grad():
        found = picard(op, y, "fourier")
    top = float(found.sigma.max())
    gain = found.sigma[0] / top
    power = found.power.mean(0)
    counts = found.counts.double()
    if noise_std is None:
        noise = float(weakest_variance(gain, power, found.parts * len(y)))
    else:
        noise = min(noise_std / unit, 1e150) ** 2
    signal = _power_law(gain, power - noise, _radius(op), counts, noise)
    return Risk(gain**2, signal, counts, noise, top, unit)


def _radius(op: Convolution) -> Tensor:  # (g·F,)
    """|ω| in cycles per sample, of the coefficients of every group in turn."""
    torus = fourier.torus_of(op)
    axes = [torch.fft.fftfreq(M, dtype=torch.float64, device=op.device) for M in torus.coarse]
    axes[-1] = axes[-1][: torus.spectrum_shape[-1]]
    squares = sum(f**2 for f in torch.meshgrid(*axes, indexing="ij"))
    return torch.as_tensor(squares).sqrt().flatten().repeat(op.geometry.groups)


def _power_law(
    gain: Tensor, excess: Tensor, radius: Tensor, counts: Tensor, noise: float
) -> Tensor:
    """c·|ω|^(−p) through rings where the transmitted signal exceeds half of the noise."""
    edges = torch.logspace(math.log10(_LOWEST), math.log10(0.5), _RINGS + 1, dtype=torch.float64)
    ring = torch.bucketize(radius, edges.to(radius.device))

    def per_ring(values: Tensor) -> Tensor:
        return values.new_zeros(_RINGS + 2).index_add(0, ring, values * counts)

    members, signal, squares = (per_ring(v) for v in (torch.ones_like(gain), excess, gain**2))
    usable = (members > 0) & (signal > 0.5 * noise * members) & (squares > 0)
    usable[0] = False
    if usable.sum() < 3:  # hardly any signal: the exponent of pictures, the energy there is
        usable = (members > 0) & (squares > 0)
    log_radius = (per_ring(radius.clamp(min=1e-6).log()) / members)[usable]
    log_signal = (signal[usable] / squares[usable]).clamp(min=1e-300).log()
    spread = log_radius - log_radius.mean()
    variance = (spread**2).sum()
    slope = -(spread * log_signal).sum() / torch.where(variance > 0, variance, 1.0)
    p = float(slope.clamp(0.5, 4.0)) if usable.sum() >= 3 else 2.0
    c = math.exp(min(float((log_signal + p * log_radius).mean()), 700.0))
    law = (
        c * radius.clamp(min=float(radius[radius > 0].min()) / 2 if (radius > 0).any() else 1) ** -p
    )
    return torch.where(radius > 0, law, 0.0)  # the mean is nobody's prior: see deblur
