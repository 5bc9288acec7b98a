"""What one set of data says about the damp: trials, noise level, risk, and the rules' searches.

Everything is computed once, when it is first asked for, and serves every rule: a rule that fails
has paid for the trials of the one that answers in its place.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from ..inverse.diagonal.rungs import RUNGS, diagonal_rung
from ..numerics.norms import in_unit
from ..numerics.precision import double_dtype
from ..operators.convolution import Convolution
from .minimum_risk import Risk, risk_of
from .noise import estimate_noise_std, weakest_variance
from .picard import Picard, picard
from .rules import RULES, Noise, Trial
from .search import Found, crossing, lowest
from .trials import (
    Asked,
    PicardTrials,
    SolvedTrials,
    Trials,
)

_HUGE = 1e150  # a noise level whose square is still a number


class Evidence:
    """Evidence for one call, in units in which the largest weight and the largest datum are one.

    Parameters
    ----------
    rule : that is asked; only what it needs is computed with every solve
    noise_std : if it is known
    """

    def __init__(
        self,
        op: Convolution,
        y: Tensor,
        rule: str,
        noise_std: float | None,
        tau: float,
        asked: Asked,
    ) -> None:
        wide = double_dtype(op.dtype)
        weight, y = op.weight.detach().to(wide), y.detach()
        weight, of_weight = in_unit(weight, 0)
        self.y, of_data = in_unit(y.to(torch.promote_types(wide, y.dtype)), 0)
        self.op, self.of_weight, self.of_data = (
            op.with_weight(weight),
            float(of_weight),
            float(of_data),
        )
        self.rule, self.asked, self.tau = rule, asked, tau
        self.given = None if noise_std is None else min(noise_std / self.of_data, _HUGE)
        self.tried: dict[float, Trial] = {}
        self.remark: str | None = None

    def search(self, rule: str) -> tuple[Found, dict[float, float]]:
        """Where a rule is decided, and its values at all damps that were tried."""
        values: dict[float, float] = {}
        if rule == "risk":
            return lowest(_kept(self.risk, values), self.risk.damps), values
        noise, look, trials = self.noise(rule), RULES[rule].value, self.trials
        function = _kept(lambda damp: look(self.trial(damp), noise), values)
        if rule == "discrepancy":
            found = crossing(function, trials.damps, refine=trials.refine)
        else:
            found = lowest(function, trials.damps, patience=trials.patience, refine=trials.refine)
        self.remark = trials.advice
        return found, values

    def trial(self, damp: float) -> Trial:
        """What this damp gives; kept, for another rule may ask for the same damp."""
        if damp not in self.tried:
            self.tried[damp] = self.trials(damp)
        return self.tried[damp]

    def noise(self, rule: str) -> Noise:
        """What a rule asks of the noise."""
        energy = self.y.numel() * self.variance[0] if RULES[rule].wants_noise else 0.0
        return Noise(self.y.numel(), energy, self.tau)

    @cached_property
    def variance(self) -> tuple[float, str]:
        """s², the mean over the images, and how it is known."""
        if self.given is not None:
            return self.given**2, "given"
        p = self.picard
        if p is None:
            return float(estimate_noise_std(self.y).square().mean()), "finest diagonal detail of y"
        keep = p.counts > 0
        weakest = [
            weakest_variance(p.sigma[i % len(p.sigma), keep], p.power[i, keep], p.parts)
            for i in range(len(self.y))
        ]
        estimates, how = torch.stack(weakest), "coefficients of y that A transmits least"
        if min(self.y.shape[2:]) > 1:
            estimates = torch.minimum(estimates, estimate_noise_std(self.y).square())
            how += ", or its finest diagonal detail if that is less"
        return float(estimates.mean()), how

    @cached_property
    def picard(self) -> Picard | None:
        """Picard coefficients, where a rung (a way to invert A) diagonalises A; else None."""
        method = self.asked.method
        name = diagonal_rung(self.op, self.asked.memory_limit) if method == "auto" else method
        return picard(self.op, self.y, name) if name in RUNGS else None

    @cached_property
    def trials(self) -> Trials:
        """A trial for any damp, by sums over singular values or by solves."""
        if self.picard is not None:
            return PicardTrials(self.picard)
        return SolvedTrials(self.op, self.y, RULES.get(self.rule, RULES["discrepancy"]), self.asked)

    @cached_property
    def risk(self) -> Risk:
        """The expected error as a function of the damp."""
        return risk_of(self.op, self.y, self.given)

    def unit_of(self, rule: str) -> float:
        """The unit of the values of a rule; infinite rather than an OverflowError."""
        size = self.of_data if rule in ("gcv", "sure") else 1.0
        if rule == "risk":
            size = self.of_data / self.of_weight * (self.risk.unit / self.risk.top)
        return size * size

    def errors(self, damp: float) -> tuple[float, float]:
        """Standard errors of the trace, and of a damp where the rule asked for is lowest.

        The second is the jackknife's: the vertex of the values without one probe after the other.
        """
        if self.rule == "risk" or not (probes := self.trial(damp).probes):
            return 0.0, 0.0
        n = len(probes)
        if n < 2:
            return math.inf, math.inf
        mean = math.fsum(probes) / n
        error = math.sqrt(math.fsum((p - mean) ** 2 for p in probes) / (n - 1) / n)
        trials = sorted(self.tried.values(), key=lambda t: abs(math.log(t.damp / damp)))[:5]
        noise, value = self.noise(self.rule), RULES[self.rule].value
        feet = []
        for i in range(n):
            left = [t._replace(left=(n * t.left - t.probes[i]) / (n - 1)) for t in trials]
            feet.append(_vertex([t.damp for t in left], [value(t, noise) for t in left]))
        centre = math.fsum(feet) / n
        spread = math.sqrt((n - 1) / n * math.fsum((f - centre) ** 2 for f in feet))
        return error, damp * spread


def _kept(
    function: Callable[[float], float], values: dict[float, float]
) -> Callable[[float], float]:
    """A function that leaves what it was asked and what it said."""

    def call(damp: float) -> float:
        values[damp] = function(damp)
        return values[damp]

    return call


def _vertex(damps: list[float], values: list[float]) -> float:
    """log damp at the vertex of the parabola through five points, by least squares."""
    v = torch.tensor(damps, dtype=torch.float64).log()
    f = torch.tensor(values, dtype=torch.float64)
    centre, size = v.mean(), (v.max() - v.min()).clamp(min=1e-12)
    t = (v - centre) / size
    _, b, a = torch.linalg.lstsq(torch.stack([t**0, t, t**2], 1), f[:, None]).solution[:, 0]
    return float(centre - size * (b / (2 * a)).clamp(-1, 1))
