"""Power spectra of the noise in pictures: white, low-passed, rounded by a JPEG.

    N(ω) = s² exp(−4π²ρ²|ω|²)  +  J(ω)

s² is the power of the noise where a low-pass of radius ρ leaves it alone (ρ = 0: white), such as
the interpolation of a sensor's colours or a change of size.  J is the error of a JPEG: a
coefficient of the discrete cosine transform of 8×8 blocks is rounded to a multiple of its step
q_uv, which leaves an error of variance q_uv²/12, spread over the frequencies of its wave b_u b_v,

    J(ω) = Σ_uv (q_uv²/12) |b_u(ω_y)|² |b_v(ω_x)|² / 64  +  the rounding to whole grey levels.

A coefficient that was rounded to zero has lost its noise with its signal; there J is larger than
what the picture holds, which is right: zero is what is known of it, to within q/2.

Source: the variance of a rounding error, Bennett, Bell System Technical Journal 27 (1948) 446; the
transform, ITU-T T.81, A.3.3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

_JPEG_BLOCK = 8
_GREY = 1 / 255  # a grey level, where white is 1
_DEEPEST = 1e-4  # of the largest power of noise: all is rounded, and nothing quite smooth


@dataclass(frozen=True, eq=False)
class JpegRounding:
    """The error of one component of a JPEG, luminance or chrominance.

    Attributes
    ----------
    steps : (8, 8) quantisation steps in grey levels, the row being the vertical frequency
    sampling : (down, right), by how much the component was sampled more coarsely than the picture
    """

    steps: Tensor
    sampling: tuple[int, int] = (1, 1)

    def psd(self, fy: Tensor, fx: Tensor) -> Tensor:
        """J at frequencies (h,) × (w,) in cycles per sample, (h, w), white being 1.

        Examples
        --------
        >>> import torch
        >>> flat = JpegRounding(torch.full((8, 8), 12.0))
        >>> f = torch.fft.fftfreq(16, dtype=torch.float64)
        >>> bool(torch.allclose(255**2 * flat.psd(f, f), torch.tensor(12 + 1 / 12).double()))
        True
        """
        down, right = self.sampling
        variance = self.steps.to(fy).square() / 12
        rows, columns = _of_waves(fy * down), _of_waves(fx * right)
        error = down * right * (rows @ variance @ columns.mT)
        # Beyond what a coarser component can hold nothing of it is known.
        lost = ((fy.abs() * down)[:, None] > 0.5) | ((fx.abs() * right)[None] > 0.5)
        error = torch.where(lost, down * right * variance.max(), error)
        return (error + 1 / 12) * _GREY**2

    def passed(
        self, power: Tensor, counts: Tensor, fy: Tensor, fx: Tensor
    ) -> tuple[Tensor, Tensor]:
        """How much of the power of a picture a JPEG has let through, and what it added.

        A coefficient of deviation σ < q/2 is rounded to zero as a rule: of x is left a·x + e, with
        e uncorrelated to x, a = E[Q'(x)] and the variance E[Q(x)²] − a²σ² (Bussgang, 1952); σ is
        that for which E[Q(x)²] is what is left.

        Parameters
        ----------
        power : (h, w//2 + 1) the periodogram of the luminance, white being 1
        counts : (h, w//2 + 1) how often each frequency stands in the whole spectrum
        fy, fx : (h,), (w//2 + 1,) in cycles per sample

        Returns
        -------
        a² and the power of e, (h, w//2 + 1)
        """
        rows, columns = _of_waves(fy), _of_waves(fx)
        step = self.steps.to(power) * _GREY
        left = (rows.mT @ (power * counts) @ columns) / (rows.mT @ counts @ columns)
        sigma, kept, after = _rounded(power.device)
        at = torch.searchsorted(after, (left / step.square()).clamp(max=float(after[-1])))
        at = at.clamp(max=len(after) - 1)
        gain = kept[at].square()
        error = (after[at] - gain * sigma[at].square()) * step.square()
        return rows @ gain @ columns.mT, rows @ error @ columns.mT + _GREY**2 / 12


def _rounded(device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """σ/q, a and E[Q(x)²]/q² of normal coefficients that are rounded to multiples of q."""
    sigma = torch.logspace(-1.3, 1.3, 600, dtype=torch.float64, device=device)
    edge = torch.arange(120, dtype=torch.float64, device=device)[:, None] + 0.5
    density = torch.exp(-0.5 * (edge / sigma).square()) / (sigma * math.sqrt(2 * math.pi))
    beyond = torch.erfc(edge / sigma / math.sqrt(2))
    return sigma, 2 * density.sum(0), (2 * edge * beyond).sum(0)


def _of_waves(f: Tensor) -> Tensor:
    """|b_u(ω)|²/8 of the 8 waves of a block, (n, 8); they sum to one."""
    t = torch.arange(_JPEG_BLOCK, dtype=torch.float64, device=f.device)
    waves = torch.cos(math.pi * (2 * t + 1) * t[:, None] / (2 * _JPEG_BLOCK)) * math.sqrt(
        2 / _JPEG_BLOCK
    )
    waves[0] /= math.sqrt(2)
    turns = torch.exp(-2j * math.pi * f[:, None] * t)  # (n, 8)
    return (turns @ waves.mT.to(turns.dtype)).abs().square() / _JPEG_BLOCK


@dataclass(frozen=True, eq=False)
class NoiseModel:
    """Noise of a picture.

    Attributes
    ----------
    std : s, where white is 1, or in the unit of the picture
    radius : ρ in samples, 0 for white noise
    rounding : of a JPEG, or None
    floor : what the power spectrum is at least
    """

    std: float
    radius: float = 0.0
    rounding: JpegRounding | None = None
    floor: float = 0.0

    @property
    def is_white(self) -> bool:
        """Whether the power is the same at all frequencies."""
        return self.rounding is None and (self.radius == 0 or self.std**2 <= self.floor)

    def psd(self, fy: Tensor, fx: Tensor) -> Tensor:
        """N at frequencies (h,) × (w,) in cycles per sample, (h, w)."""
        power = self.std**2 * low_pass(fy, fx, self.radius)
        if self.rounding is not None:
            power = power + self.rounding.psd(fy, fx)
        return power.clamp(min=max(self.floor, _DEEPEST * float(power.max())))

    def __str__(self) -> str:
        """One phrase for the user."""
        level = f"{self.std:.2g}"
        by = f"{self.radius:g} sample{'' if self.radius == 1 else 's'}"
        kind = "white noise" if self.radius == 0 else f"noise smoothed by {by}"
        if self.std**2 <= self.floor:
            kind, level = "noise too weak to be seen", f"taken as {math.sqrt(self.floor):.2g}"
        phrase = f"{kind}, {level}"
        if self.rounding is None:
            return phrase
        steps = self.rounding.steps
        rounding = f"a JPEG's rounding in steps of {steps.min():g} to {steps.max():g} grey levels"
        return rounding if self.std**2 <= self.floor else f"{rounding}, and {phrase}"


def low_pass(fy: Tensor, fx: Tensor, radius: float) -> Tensor:
    """The power that a Gaussian low-pass leaves, (h, w)."""
    squares = fy[:, None].square() + fx[None].square()
    return torch.exp(-4 * math.pi**2 * radius**2 * squares)
