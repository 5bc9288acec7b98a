"""Any denoiser as a prior: half-quadratic splitting with a noise level that falls.

For standard deviations σ_k that fall geometrically, and the noise s of the data,

    z = denoise(x, σ_k),      x = argmin ½‖Ax − y‖² + (ρ_k/2)‖x − z‖²,      ρ_k = λ (s/σ_k)²,

the second by data_step.py: unknown surroundings, missing pixels, strides and any padding are no
approximation.  In units in which the gain of A is one.  Counts have in place of ½‖Ax − y‖² minus
their log-likelihood, the mean count for s², and ρ_k = λ/σ_k².

The levels begin at two fifths of the standard deviation of the data and end at twice that of the
noise (σ = 2s: what the solve leaves is not white, and stronger than the noise where A transmits
little), or at a thousandth of the first where that is more.  Those of counts end at σ = s, which
wins 0.3 dB at a peak of 30 and is as good at 1000: most of a picture is darker than its mean.
λ below 0.2 lets noise grow from level to level where A transmits little.  With a fixed level it is
the fixed-point iteration of the same two maps.

No functional is known to be minimised, so there is no gap; a fixed-point residual is.

Source: Venkatakrishnan, Bouman & Wohlberg, "Plug-and-play priors for model based reconstruction",
GlobalSIP 2013; the falling levels, Zhang, Li, Zuo, Zhang, Van Gool & Timofte, "Plug-and-play image
restoration with deep denoiser prior", IEEE Trans. PAMI 44 (2022), §4.1; λ = 0.23 is theirs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from ..numerics.checks import check_count, check_number
from .certificate import Step
from .data_step import DataStep
from .splitting import Bounds

LAMBDA = 0.23
"""λ of the data term, dimensionless."""

STEPS = 16
"""Levels, if nothing else is said: 8 lose 0.9 dB at low noise, 24 win nothing."""

LAST_LEVEL, LAST_LEVEL_OF_COUNTS = 2.0, 1.0
"""The last σ, of the noise: white, or of counts of the mean count."""

_FIRST_LEVEL = 0.4  # of the standard deviation of the data
_LEAST = 1e-3  # of the first level: the last one where there is no noise

Denoiser = Callable[[Tensor, float], Tensor]


@dataclass(frozen=True)
class Schedule:
    """How the levels run.

    Attributes
    ----------
    steps : how many
    first, last : σ in the unit of x, or None for those above; equal ones for a fixed σ
    """

    steps: int = STEPS
    first: float | None = None
    last: float | None = None

    def __post_init__(self) -> None:
        check_count("steps", self.steps)
        for name in ("first", "last"):
            value = getattr(self, name)
            if value is not None:
                check_number(name, value, positive=True)

    def in_unit(self, unit: float) -> Schedule:
        """A schedule of as many levels, divided by a unit."""
        first, last = (None if v is None else v / unit for v in (self.first, self.last))
        return replace(self, first=first, last=last)

    def levels(self, amplitude: float, least_level: float) -> list[float]:
        """σ of each step, falling (or the same, where first and last are).

        amplitude : the standard deviation that x may have
        least_level : the last σ, if it is not told
        """
        least = _LEAST * (_FIRST_LEVEL * amplitude if self.first is None else self.first)
        last = max(least_level, least) if self.last is None else self.last
        first = max(_FIRST_LEVEL * amplitude, last) if self.first is None else self.first
        if self.steps == 1:
            return [last]
        ratio = (last / first) ** (1 / (self.steps - 1)) if first else 1.0
        return [first * ratio**k for k in range(self.steps)]


@dataclass(frozen=True)
class PlugAndPlay:
    """The iteration for one image.

    Attributes
    ----------
    put_back : argmin f(Ax) + (ρ/2)‖x − z‖²
    denoise : (N, c_in, *n), σ -> the same shape
    bounds : of x
    """

    put_back: DataStep
    denoise: Denoiser
    bounds: Bounds

    def restore(
        self,
        x: Tensor,
        levels: Sequence[float],
        strength: float,
        noise_std: float,
        report: Callable[[Step, Tensor], None],
    ) -> tuple[Tensor, float, list[Step]]:
        """(x, fixed-point residual, looks) from a start (1, c_in, *n).

        levels : σ of each step
        strength : λ
        noise_std : s
        """
        history: list[Step] = []
        residual, scale = math.inf, strength * noise_std**2 * self.put_back.weight
        for k, level in enumerate(levels):
            z = self._denoised(x, level)
            new = self.put_back(z, scale / level**2 if scale else 0.0)
            residual = float((new - x).norm() / new.norm().clamp(min=1e-300))
            x = new
            history.append(Step(k + 1, math.nan, math.nan, residual))
            report(history[-1], x)
        x = self._denoised(x, levels[-1])
        return (x.clamp(*self.bounds) if self.bounds.bind else x), residual, history

    def _denoised(self, x: Tensor, level: float) -> Tensor:
        x = x.clamp(*self.bounds) if self.bounds.bind else x
        return self.denoise(x, level).to(x.dtype)


def checked_image(denoise: Denoiser, x: Tensor, sigma: float) -> Tensor:
    """What a denoiser makes of an image; a sentence where it is none."""
    z = denoise(x, sigma)
    if not isinstance(z, Tensor) or z.shape != x.shape:
        got = f"shape {tuple(z.shape)}" if isinstance(z, Tensor) else f"a {type(z).__name__}"
        raise ValueError(
            f"the denoiser returned {got} for an image of shape {tuple(x.shape)}; it must take "
            "a tensor (N, C, *spatial) and a standard deviation and return the same shape."
        )
    if z.is_complex() and not x.is_complex():
        raise ValueError(
            f"the denoiser returned {z.dtype} for an image of {x.dtype}; return its real part."
        )
    if not bool(z.isfinite().all()):
        raise ValueError(
            f"the denoiser returned NaN or Inf at sigma={sigma:.3g}; check it on "
            "x + sigma*torch.randn_like(x)."
        )
    return z
