"""What is known of the spectrum of a photograph before one looks at it, and its best fit.

    log S(ω) = c − p l + q l² − 4π²s²|ω|² + waves of θ + streaks + bumps of l,    l = log|ω|/ω₀

c is free.  p, the bend q, the softness s² that every picture has of its own (lens, pixels,
resizing), harmonics of the direction θ, the streaks −log(1 + (P ω_x)²) of edges along an axis,
and seven hat functions of l have Gaussian priors, wide enough for sharp photographs.  Without
priors a Gaussian blur would be a scene and a movement a scene with directions; with them a psf is
known by its zeros, and by more curvature than scenes have.

For each of many gains |F|² the mode of c, p, …, and of the logarithm of the noise, by Fisher's
scoring with the robust likelihood of parameter_choice/whittle.py.

Cost: some 50 products for each frequency and step, for all gains at once.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ...parameter_choice.whittle import NU, likelihood
from .cells import Cells

_MIDDLE = 0.1  # ω₀, cycles a sample
_FREE = 30.0  # deviation of a parameter of which nothing is known
_LAW = ((0.0, _FREE), (2.6, 0.7), (0.0, 0.1), (0.07, 0.06))  # c, p, q, s²: mean, deviation
_WAVES = ((2, 0.5), (4, 0.4), (6, 0.3), (8, 0.3))  # harmonics of θ and their deviation
_TURNING = ((2, 0.3), (4, 0.2))  # times log|ω|/ω₀
_STREAKS = ((40.0, 0.3), (10.0, 0.3))  # periods of edges along the axes, and the deviation
_BUMPS, _OF_BUMP = 7, 0.2  # in log|ω|, and their deviation
_LOWEST_SHARE = 0.2  # of the frequencies, from which a scene starts
_DARKEST_GAIN = 1e-2  # that counts there
_LONGEST_STEP = 2.0
_SCORING_STEPS = 14
_SETTLED_LOSS = 1e-3  # of a natural unit


class Scenes(NamedTuple):
    """The best scene and noise for each of n gains.

    Attributes
    ----------
    loss : (n,) minus the logarithm of likelihood and prior
    values : (n, q + 1) the parameters of the scene, and the logarithm of the noise's power
    precision : (n, q + 1, q + 1) of these, expected
    """

    loss: Tensor
    values: Tensor
    precision: Tensor

    @property
    def noise_std(self) -> float:
        """Standard deviation of the white noise of the first scene, in the unit of the cells."""
        return math.exp(float(self.values[0, -1]) / 2)


class SceneModel:
    """The scenes of one picture.

    Parameters
    ----------
    power, kept, error, share, fy, fx, degrees : as of `Cells`
    noise_std : of white noise under a faded window, if it is known
    """

    def __init__(
        self,
        power: Tensor,
        kept: Tensor,
        error: Tensor,
        share: Tensor,
        fy: Tensor,
        fx: Tensor,
        degrees: float,
        noise_std: float | None,
        *,
        rich: bool = True,
    ) -> None:
        self.power, self.kept, self.error, self.degrees = power, kept, error, degrees
        self.weight = share * degrees
        self.information = self.weight * NU / (degrees + NU + 1)  # Fisher's, of log v
        radius = torch.hypot(fy, fx)
        columns, prior = _columns(fy, fx, rich=rich)
        self.basis = torch.stack(columns, 1)  # (K, q)
        self._squares = None if rich else (self.basis[:, :, None] * self.basis[:, None]).flatten(1)
        mean, deviation = power.new_tensor(prior).unbind(1)
        level = power.quantile(0.05).clamp(min=1e-12).log()
        spread = 12.0
        if noise_std is not None:
            level, spread = power.new_tensor(2 * math.log(max(noise_std, 1e-9))), 1e-3
        self.prior_mean = torch.cat([mean, level[None]])
        self.prior = torch.cat([deviation, power.new_tensor([spread])]) ** -2
        self._low = radius <= radius.quantile(_LOWEST_SHARE)

    @classmethod
    def of(cls, cells: Cells, noise_std: float | None, some: Tensor | None = None) -> SceneModel:
        """A model of all cells with all that scenes have, or of some with what is fast."""
        values = [cells.power, cells.kept, cells.error, cells.share, cells.fy, cells.fx]
        if some is not None:
            values = [value[some].float() for value in values]
        power, kept, error, share, fy, fx = values
        return cls(power, kept, error, share, fy, fx, cells.degrees, noise_std, rich=some is None)

    def start(self, gains: Tensor) -> Tensor:
        """The scene that is expected, at the level of the lowest frequencies, (n, q + 1)."""
        low, x = self._low, self.prior_mean.expand(len(gains), -1).clone()
        expected = (
            self.basis[low] @ self.prior_mean[:-1] + gains[:, low].clamp(min=_DARKEST_GAIN).log()
        )
        x[:, 0] = (self.power[low].log() - expected).median(1).values
        return x

    def signal(self, values: Tensor) -> Tensor:
        """S of parameters (n, q + 1) as far as it is kept, (n, K)."""
        return (values[:, :-1] @ self.basis.mT).clamp(-60, 60).exp() * self.kept

    def noise(self, values: Tensor) -> Tensor:
        """The power of the white noise as far as it is kept, (n, K)."""
        return values[:, -1:].clamp(-80, 60).exp() * self.kept

    def fitted(
        self, gains: Tensor, start: Tensor | None = None, steps: int = _SCORING_STEPS
    ) -> Scenes:
        """The best scene for each gain, (n, K)."""
        x = self.start(gains) if start is None else start
        loss, downhill, precision = self._looked_at(x, gains)
        damping = torch.ones_like(loss)
        for _ in range(steps):
            scale = precision.diagonal(dim1=-2, dim2=-1)
            damped = precision + torch.diag_embed(1e-3 * damping[:, None] * scale)
            step = torch.linalg.solve(damped, downhill[..., None])[..., 0]
            step = step * (_LONGEST_STEP / step.abs().amax(1, keepdim=True)).clamp(max=1)
            other = self._looked_at(x + step, gains)
            better = other[0] < loss
            gained = torch.where(better, loss - other[0], 0.0)
            x = torch.where(better[:, None], x + step, x)
            loss = torch.where(better, other[0], loss)
            downhill = torch.where(better[:, None], other[1], downhill)
            precision = torch.where(better[:, None, None], other[2], precision)
            damping = torch.where(better, damping / 4, damping * 16).clamp(1e-2, 1e9)
            if float(gained.max()) < _SETTLED_LOSS and bool((better | (damping > 1e8)).all()):
                break
        return Scenes(loss, x, precision)

    def _looked_at(self, x: Tensor, gains: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(n,) loss, (n, q + 1) minus its gradient, (n, q + 1, q + 1) Fisher's information."""
        signal, noise = self.signal(x) * gains, self.noise(x)
        v = signal + noise + self.error
        each, slope = likelihood(self.power, v, self.degrees)
        off = x - self.prior_mean
        loss = (self.weight * each).sum(1) + 0.5 * (self.prior * off.square()).sum(1)
        own, rest = signal / v, noise / v
        pull = -self.weight * slope
        downhill = torch.cat([(pull * own) @ self.basis, (pull * rest).sum(1, True)], 1)
        information = self.information * own
        n, q = len(x), self.basis.shape[1]
        precision = torch.diag(self.prior).repeat(n, 1, 1)
        if self._squares is None:
            weighted = self.basis * (information * own)[..., None]
            precision[:, :q, :q] += weighted.mT @ self.basis
        else:
            precision[:, :q, :q] += ((information * own) @ self._squares).reshape(n, q, q)
        precision[:, -1, :-1] += (information * rest) @ self.basis
        precision[:, :-1, -1] = precision[:, -1, :-1]
        precision[:, -1, -1] += (self.information * rest.square()).sum(1)
        return loss, downhill - self.prior * off, precision

    def parts(self, signal: Tensor, noise: Tensor, v: Tensor) -> Tensor:
        """Derivatives of log v by all parameters, (n, K, q + 1)."""
        own = (signal / v)[..., None] * self.basis
        return torch.cat([own, (noise / v)[..., None]], -1)


def _columns(
    fy: Tensor, fx: Tensor, *, rich: bool
) -> tuple[list[Tensor], list[tuple[float, float]]]:
    """What log S is a sum of, and the mean and deviation of each coefficient."""
    radius = torch.hypot(fy, fx)
    lr, theta = (radius / _MIDDLE).log(), torch.atan2(fy, fx)
    columns = [torch.ones_like(lr), -lr, lr.square(), -4 * math.pi**2 * radius.square()]
    prior = [*_LAW]
    for k, deviation in _WAVES if rich else _WAVES[:2]:
        columns += [torch.cos(k * theta), torch.sin(k * theta)]
        prior += [(0.0, deviation)] * 2
    for k, deviation in _TURNING:
        columns += [lr * torch.cos(k * theta), lr * torch.sin(k * theta)]
        prior += [(0.0, deviation)] * 2
    for period, deviation in _STREAKS:
        columns += [-torch.log1p((period * f).square()) for f in (fy, fx)]
        prior += [(0.0, deviation)] * 2
    if rich:
        low, high = float(lr.min()), float(lr.max())
        width = (high - low) / (_BUMPS - 1)
        for i in range(_BUMPS):
            columns.append((1 - ((lr - low) / width - i).abs()).clamp(min=0))
            prior.append((0.0, _OF_BUMP))
    return columns, prior
