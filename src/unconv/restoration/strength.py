"""How strong a penalty should be: the least expected error of Ax, without knowing x.

For Gaussian noise of standard deviation s and the restored x̂(y) Stein's estimate of the risk

    E‖Ax̂ − Ax‖² = E[ ‖Ax̂ − y‖² − m s² + 2 s² tr ∂(Ax̂)/∂y ]

needs no truth.  The trace is probed by one random vector b of independent standard normal entries,
⟨b, Ax̂(y + hb) − Ax̂(y)⟩/h: a second restoration beside the first.  Both run warm from one strength
to the next, on a part of large data, and a parabola through the least three finds the minimum.
The risk is that of Ax, which hardly tells small strengths apart where A passes little on or the
scene is dark: of the strengths that are as good to a hundredth the strongest is taken.  That loses
0.1 dB for a disk, and wins 0.2 to 0.8 for a wide shake at low noise and for counts in the dark.

It scales with s² and with the unit of the picture.  On 24 photographs it loses 0.15 dB to the
strength that is best for each; the whitest residual loses 0.55 dB, one strength for all 0.6 dB.

*Counts* have the variance of their mean: residual and probe are divided by its square root, which
a first restoration tells.  *Outliers* of more than 3 s are left out of all sums.

Source: Stein, "Estimation of the mean of a multivariate normal distribution", Annals of Statistics
9 (1981); Ramani, Blu & Unser, "Monte-Carlo SURE", IEEE Trans. Image Processing 17 (2008).
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from .splitting import Splitting
from .variational import Image, Restorer

_CENTRE = 2.5  # s²/amplitude times it is where the search begins, for total variation of [0, 1]
_STEP_OF_STRENGTH, _MOST_STRENGTHS = 2.0, 12  # between strengths, and how many
_FIRST_ITERATIONS, _ITERATIONS = 50, 25  # at the first strength, and from one to the next
_AS_GOOD = 0.01  # of the least risk: what is no more above it is as good, the strongest is taken
_PROBE = 0.1  # of s: h
_KEEPS_FLAT = 0.1  # for constant data of order one: strong enough to stay constant
_OUTLIER = 3.0  # standard deviations
_DARK = 0.05  # of the mean of all counts: the least that a place may have for its variance


class _Risk:
    """Estimates of the risk for the data of one operator; it looks at a first strength at once."""

    def __init__(self, restorer: Restorer, image: Image, strength: float) -> None:
        self.restorer, self.image = restorer, image
        y, noise_std = image.y, image.noise_std
        self.std = (
            torch.full_like(y.real, noise_std) if noise_std else self._std_of_counts(strength)
        )
        generator = torch.Generator().manual_seed(0)
        b = torch.randn(y.shape, generator=generator, dtype=y.dtype).to(y)  # E|b|² = 1
        self.probe = torch.where(restorer.seen, b * self.std, 0)
        moved = y + _PROBE * self.probe
        self.moved = replace(image, y=moved if noise_std else moved.clamp(min=0))
        self.runs: list[Splitting] = []

    def at(self, strength: float) -> float:
        """The estimated risk, in units of the variance of the noise and of one datum."""
        y, A, ends = self.image.y, self.restorer.A, []
        for i, image in enumerate((self.image, self.moved)):
            if len(self.runs) == i:
                start = self.restorer.start(y)
                self.runs.append(self.restorer.splitting(image, strength, start))
            run = self.runs[i]
            run.carry_on(strength)
            for _ in range(_ITERATIONS if run.iterations else _FIRST_ITERATIONS):
                run.step()
            ends.append(A(self.restorer.grid.domain(run.v).to(y)))
        background = 0.0 if self.image.background is None else self.image.background
        r = (ends[0] + background - y) / self.std
        inside = self.restorer.seen.expand_as(r)
        if self.image.delta:
            inside = inside & (r.abs() <= _OUTLIER)
        pairs = (self.probe.conj() * (ends[1] - ends[0])).real / self.std.square() / _PROBE
        return (
            float(r[inside].abs().square().sum() + 2 * pairs[inside].sum()) / int(inside.sum()) - 1
        )

    def _std_of_counts(self, strength: float) -> Tensor:
        """The square root of the mean counts of a first restoration."""
        r, y = self.restorer, self.image.y
        pilot = r.splitting(self.image, strength, r.start(y))
        for _ in range(_FIRST_ITERATIONS):
            pilot.step()
        mean = r.A(r.grid.domain(pilot.v).to(y))
        if self.image.background is not None:
            mean = mean + self.image.background
        return mean.clamp(min=_DARK * float(y.mean())).sqrt()


def choose_strength(restorer: Restorer, image: Image) -> float:
    """The strength of the least estimated risk, for the data of an image or of a part of it."""
    amplitude, p = restorer.amplitude(image), restorer.problem.p
    # f of counts, of no noise_std, is curved by one over their mean, which is their variance
    variance = image.noise_std**2 or 1.0
    if not amplitude:
        return max(variance, _KEEPS_FLAT)
    centre = _CENTRE * variance * amplitude**-p
    return _least(_Risk(restorer, image, centre), centre)


def _least(risk: _Risk, centre: float) -> float:
    """Downhill in steps of a constant ratio from a centre, then by a parabola."""
    known: dict[int, float] = {}

    def at(k: int) -> float:
        if k not in known:
            known[k] = risk.at(centre * _STEP_OF_STRENGTH**k)
        return known[k]

    k = 0
    direction = -1 if at(0) >= at(-1) else 1
    while len(known) < _MOST_STRENGTHS and at(k + direction) < at(k):
        k += direction
    around = [known.get(k + i, math.inf) for i in (-1, 0, 1)]
    if math.inf in around:
        return centre * _STEP_OF_STRENGTH**k
    left, middle, right = around
    bend = left - 2 * middle + right
    if not bend > 0:
        return centre * _STEP_OF_STRENGTH**k
    shift = 0.5 * (left - right) / bend
    shift += math.sqrt(2 * _AS_GOOD * max(middle, 0.0) / bend)
    return float(centre * _STEP_OF_STRENGTH ** (k + max(-0.5, min(1.0, shift))))
