"""The damp of least expected error for pictures, whose power falls as a power of frequency.

For y = Ax + noise with A circular, transfer function F(ω), white noise of variance s² and a signal
of power S(ω), the damped solution x_λ, λ = damp², has the expected squared error

    R(λ) = Σ_ω (λ² S(ω) + s² |F(ω)|²) / (|F(ω)|² + λ)²          (bias² + variance)

and R is minimised over λ.  What it needs is read from the data themselves:

- s²: the median of |Y|² over the quarter of the frequencies that A transmits least, divided by the
  median of its distribution for unit noise (exponential for one picture: ln 2; gamma for the mean
  over N of them);
- S(ω) = c·|ω|^(−p), the law that pictures follow with p ≈ 2: a straight line through the logarithms
  of (|Y|² − s²)/|F|² in rings of frequency where the signal stands above the noise.

Generalised cross-validation, which predicts y and not x, loses 1 to 6 dB on the same pictures once
the noise reaches 1 %.  Not for: signals that are not picture-like; coloured noise.

Source: the risk is that of Tikhonov filtering, Vogel, "Computational Methods for Inverse Problems",
SIAM 2002, §7.1; the power law is Field, J. Opt. Soc. Am. A 4 (1987) 2379.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from scipy.optimize import minimize_scalar
from scipy.special import gammaincinv
from torch import Tensor

from ..convolve import grouped
from ..inverse import Options, fourier
from ..linear_operator import check_all_finite
from ..operator import ConvOperator

_SMALLEST, _LARGEST = 1e-8, 1e1  # damp / σ_max
_GRID = 55  # R can have more than one minimum: a coarse search first
_RINGS = 16
_LOWEST = 0.01  # cycles a sample; below, boundary and exposure dominate the picture's own law


def minimum_risk_damp(op: ConvOperator, y: Tensor, noise_std: float | None = None) -> float:
    """The damp that minimises the expected error of min ‖Ax − y‖² + damp²‖x‖².

    Parameters
    ----------
    op : circular, with one channel a group and stride 1
    y : (N, *range_shape), pictures in any unit; their spectra are averaged
    noise_std : standard deviation of the noise in the unit of y, if it is known

    Returns
    -------
    damp between 1e-8·σ_max and 10·σ_max

    Raises
    ------
    NotImplementedError
        If `op` is not of that kind.
    ValueError
        If the kernel is zero, y has the wrong shape, or noise_std is not a number ≥ 0.

    Examples
    --------
    >>> import torch, unconv
    >>> from unconv import psf
    >>> generator = torch.Generator().manual_seed(0)
    >>> x = torch.zeros(1, 1, 64, 64).double()
    >>> x[..., 20:40, 10:50] = 1
    >>> K = psf.gaussian(1.5)[None, None]
    >>> A = unconv.ConvOperator(K, (64, 64), padding="same", padding_mode="circular")
    >>> y = A(x) + 0.01 * torch.randn(1, 1, 64, 64, dtype=torch.float64, generator=generator)
    >>> 0.02 < minimum_risk_damp(A, y) < 0.5
    True
    """
    _check_operator(op)
    op._check(y, op.range_shape)
    check_all_finite("y", y, "remove them first")
    if noise_std is not None and not (0 <= noise_std < math.inf):
        raise ValueError(f"noise_std={noise_std} must be a finite number >= 0.")
    if len(y) == 0:
        raise ValueError("y holds no picture: no damp can be chosen; give at least one.")
    unit = float(y.abs().max()) or 1.0  # squares of very small or large data leave float64's range
    gain, power, radius, counts, averaged = _spectra(op, y / unit)
    top = float(gain.max())
    if top == 0:
        raise ValueError("the kernel is zero everywhere: no damp can be chosen; check the psf.")
    gain = gain / top
    noise = (
        _noise_power(gain, power, averaged)
        if noise_std is None
        else min(noise_std / unit, 1e150) ** 2
    )
    signal = _power_law(gain, power - noise, radius, counts, noise)
    squares = gain**2

    def risk(log_damp: float) -> float:
        lam = math.exp(2 * log_damp)
        return float((counts * (lam**2 * signal + noise * squares) / (squares + lam) ** 2).sum())

    return top * min(max(math.exp(_minimise(risk)), _SMALLEST), _LARGEST)


def _check_operator(op: ConvOperator) -> None:
    why = fourier.obstacle(op, Options())
    if why is None and fourier.block_shape(op)[3:] != (1, 1):
        why = "its frequencies couple several channels or phases"
    if why is None and op.batch_size is not None:
        why = "every sample has its own kernel"
    if why is not None:
        raise NotImplementedError(
            f"damp can be chosen for circular operators with one channel a group so far ({why}); "
            "give a number."
        )


def _spectra(op: ConvOperator, y: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, int]:
    """|F|, mean |Y|² a sample (white noise: its variance), |ω| and multiplicity, all (g·F,).

    Last the number of spectra that the mean is of.
    """
    torus = fourier.torus_of(op)
    with torch.no_grad():
        wide = torch.complex128 if op.dtype.is_complex else torch.float64
        blocks = torus.spectrum(grouped(op.taps.detach().to(wide), op.geometry), op.geometry)
        gain = blocks[:, 0, :, 0, 0].abs().T  # (g, F)
        parts = [y.real, y.imag] if y.is_complex() and torus.real else [y]
        power = torch.zeros_like(gain)
        images = [image for part in parts for image in part.detach()]
        for image in images:  # one spectrum at a time
            Y = torus.transform(image[None].to(wide)).flatten(2)[0]
            power += Y.real**2 + Y.imag**2
        power /= len(images) * math.prod(torus.coarse)
    axes = [torch.fft.fftfreq(M, dtype=torch.float64, device=y.device) for M in torus.coarse]
    axes[-1] = axes[-1][: torus.spectrum_shape[-1]]
    squares = sum(f**2 for f in torch.meshgrid(*axes, indexing="ij"))
    radius = torch.as_tensor(squares).sqrt().flatten().expand_as(gain)
    counts = torus.multiplicity(gain.device).expand_as(gain).double()
    return gain.flatten(), power.flatten(), radius.flatten(), counts.flatten(), len(images)


def _noise_power(gain: Tensor, power: Tensor, averaged: int) -> float:
    weakest = gain.argsort()[: max(1, len(gain) // 4)]
    return float(power[weakest].median()) / float(gammaincinv(averaged, 0.5) / averaged)


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


def _minimise(risk: Callable[[float], float]) -> float:
    grid = torch.linspace(
        math.log(_SMALLEST), math.log(_LARGEST), _GRID, dtype=torch.float64
    ).tolist()
    values = [risk(v) for v in grid]
    best = min(range(_GRID), key=values.__getitem__)
    low, high = grid[max(best - 1, 0)], grid[min(best + 1, _GRID - 1)]
    found = minimize_scalar(risk, bounds=(low, high), method="bounded", options={"xatol": 1e-3})
    return float(found.x if found.fun <= values[best] else grid[best])
