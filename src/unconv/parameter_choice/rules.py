"""The rules that choose a damp, each one number of one trial.

x solves min ‖Ax − y‖² + λ‖x‖², λ = damp², A_λ⁺ = (AᴴA + λ)⁻¹Aᴴ; m numbers in y, noise of variance
s².  A trial is what one damp gives (trials.py).

    gcv          V = m ‖Ax − y‖² / tr(I − A A_λ⁺)²                    least
    sure         ‖Ax − y‖² + 2 s² tr(A A_λ⁺) − m s²                   least
    lcurve       −κ of the curve (log ‖Ax − y‖, log ‖x‖)              least, at its sharpest bend
    discrepancy  ‖Ax − y‖² / (τ m s²)                                 equal to one

*gcv* (Golub, Heath & Wahba 1979) predicts each sample of y from all others and needs no noise
level.  *sure* (Stein 1981; Mallows' C_p) is the unbiased estimate of ‖A(x − x_true)‖².  Both mind
the blurred picture and not the sharp one, whose errors A hides: from 1 % noise on they damp too
little by 0.5 to 3 dB on pictures.  *lcurve* (Hansen 1992) wants a corner, which pictures with their
slowly falling coefficients hardly have.  *discrepancy* (Morozov 1966) asks for a residual as large
as the noise; it damps a little too much, which pictures bear well.

The curvature needs no second derivatives: with ρ = ‖Ax − y‖², η = ‖x‖² and d = damp,
ρ' = −d² η', so that

    κ = −2 (ρη/η') (d²η'ρ + 2dηρ + d⁴ηη') / (d⁴η² + ρ²)^{3/2}.

A batch is one problem, with one damp for all: residuals, norms and traces are sums over it.

Source: Golub, Heath & Wahba, Technometrics 21 (1979) 215; Stein, Ann. Statist. 9 (1981) 1135;
Hansen, SIAM Review 34 (1992) 561, and "The L-curve and its use in the numerical treatment of
inverse problems", 2001, eq. (18); Morozov, Soviet Math. Dokl. 7 (1966) 414.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple


class Trial(NamedTuple):
    """What one damp gives, summed over the batch.

    Attributes
    ----------
    damp : √λ
    residual, norm : ‖Ax − y‖², ‖x‖²
    slope : d‖x‖²/d damp; NaN where no rule needs it
    left : tr(I − A A_λ⁺); NaN where no rule needs it
    probes : estimates of `left`, one a random probe; empty where it is exact
    """

    damp: float
    residual: float
    norm: float
    slope: float = math.nan
    left: float = math.nan
    probes: tuple[float, ...] = ()


class Noise(NamedTuple):
    """What a rule may know of the noise in the data.

    Attributes
    ----------
    size : m, the numbers that the data are
    energy : m s², s² the variance of the noise; 0 where no rule needs it
    tau : factor on it, of which the discrepancy principle makes the residual
    """

    size: int
    energy: float
    tau: float


@dataclass(frozen=True)
class Rule:
    """One rule: the number that it looks at and what that takes.

    Attributes
    ----------
    value : the number, for a `Trial` of one damp and the `Noise`
    wants_noise, wants_trace, wants_slope : whether it reads `energy`, `left`, `slope`
    """

    value: Callable[[Trial, Noise], float]
    wants_noise: bool = False
    wants_trace: bool = False
    wants_slope: bool = False


def gcv(t: Trial, noise: Noise) -> float:
    """Generalised cross-validation, in units of a squared sample of y.

    Examples
    --------
    >>> gcv(Trial(damp=1.0, residual=2.0, norm=1.0, left=4.0), Noise(8, 0.0, 1.0))
    1.0
    """
    return noise.size * (t.residual / t.left / t.left) if t.left > 0 else math.inf


def sure(t: Trial, noise: Noise) -> float:
    """Stein's unbiased estimate of ‖A(x − x_true)‖², which is lowest at the damp to take."""
    return t.residual + noise.energy * (1 - 2 * t.left / noise.size)


def lcurve(t: Trial, noise: Noise) -> float:
    """Minus the curvature of the L-curve (log ‖Ax − y‖, log ‖x‖), lowest at its corner."""
    d, ρ, η, slope = t.damp, t.residual, t.norm, t.slope
    if not (ρ > 0 and η > 0 and slope < 0):
        return math.inf
    ρ, slope = ρ / η / d**2, slope * d / η  # in units of d²η: nothing overflows
    bend = -2 * (ρ / slope) * (slope * ρ + 2 * ρ + slope) / (1 + ρ**2) ** 1.5
    return -bend if math.isfinite(bend) else math.inf


def discrepancy(t: Trial, noise: Noise) -> float:
    """‖Ax − y‖² in units of τ·m·s², which grows with the damp and is 1 at the damp to take."""
    return t.residual / noise.tau / noise.energy if noise.energy else math.inf


RULES = {
    "gcv": Rule(gcv, wants_trace=True),
    "lcurve": Rule(lcurve, wants_slope=True),
    "discrepancy": Rule(discrepancy, wants_noise=True),
    "sure": Rule(sure, wants_noise=True, wants_trace=True),
}
"""The rules of one trial; 'risk' (minimum_risk.py) has a model of the picture instead."""
