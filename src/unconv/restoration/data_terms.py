"""How far Ax may be from the data y, by the law of the noise: f(Ax), a sum over the outputs.

    gaussian   ½ (z − y)²
    huber      ½ r² for |r| ≤ δ, δ|r| − ½δ² beyond, r = z − y: outliers count with their size alone
    poisson    z + b − y log(z + b) − (y − y log y): minus the log-likelihood of counts y of mean
               z + b, zero where that is y; for y = 0 it is z + b

Each knows its prox, argmin f(z) + (r/2)(z − c)², and its conjugate f*(w) = sup_z wz − f(z).

Source: Poisson, Figueiredo & Bioucas-Dias, "Restoration of Poissonian images using alternating
direction optimization", IEEE Trans. Image Processing 19 (2010), eq. (31); Huber, "Robust estimation
of a location parameter", Annals of Mathematical Statistics 35 (1964).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

NOISE_MODELS = ("gaussian", "poisson", "huber")

_BELOW_NOTHING = 1e-12  # of the largest mean count

HUBER_IN_STD = 1.345
"""δ in standard deviations of the noise: 95 % as efficient as least squares for Gaussian noise."""


@dataclass(frozen=True)
class DataTerm(ABC):
    """f for the data y; everything is by place.

    Attributes
    ----------
    y : data
    """

    y: Tensor

    @abstractmethod
    def value(self, z: Tensor) -> Tensor:
        """f at each place."""

    @abstractmethod
    def prox(self, c: Tensor, r: float) -> Tensor:
        """argmin_z f(z) + (r/2)(z − c)² at each place."""

    @abstractmethod
    def conjugate(self, w: Tensor) -> Tensor:
        """f*(w) at each place, inf where w is not in its domain."""

    @property
    @abstractmethod
    def curvature(self) -> float:
        """The order of f″ at the data."""

    @property
    def pull(self) -> float:
        """r of a splitting that converges soon: a share of the curvature, as measured."""
        return 0.04 * self.curvature


class Gaussian(DataTerm):
    """½ (z − y)²."""

    def value(self, z: Tensor) -> Tensor:
        """½ |z − y|²."""
        return (z - self.y).abs().square() / 2

    def prox(self, c: Tensor, r: float) -> Tensor:
        """(y + r c)/(1 + r)."""
        return torch.lerp(self.y, c, r / (1 + r))

    def conjugate(self, w: Tensor) -> Tensor:
        """½|w|² + Re w̄ y."""
        return w.abs().square() / 2 + (w.conj() * self.y).real

    @property
    def curvature(self) -> float:
        """1."""
        return 1.0


@dataclass(frozen=True)
class Huber(DataTerm):
    """½ r² near, δ|r| − ½δ² far.

    delta : δ
    """

    delta: float

    def value(self, z: Tensor) -> Tensor:
        """Quadratic up to δ, linear beyond."""
        r = (z - self.y).abs()
        near = r.clamp(max=self.delta)
        return near * (r - near / 2)

    def prox(self, c: Tensor, r: float) -> Tensor:
        """y + a/(1 + 1/r) for a near residual a, else y + a ∓ δ/r."""
        a = c - self.y
        step = (a / (1 + r)).clamp(-self.delta / r, self.delta / r)
        return c - step

    def conjugate(self, w: Tensor) -> Tensor:
        """½w² + w y for |w| ≤ δ."""
        inside = w.abs() <= self.delta * (1 + 1e-9)
        return torch.where(inside, w.square() / 2 + w * self.y, math.inf)

    @property
    def curvature(self) -> float:
        """1."""
        return 1.0


@dataclass(frozen=True)
class Poisson(DataTerm):
    """Counts y of the mean z + b ≥ 0.

    background : b
    """

    background: Tensor

    def value(self, z: Tensor) -> Tensor:
        """The deviance, halved; inf where z + b < 0, or is 0 under a count."""
        mean = z + self.background
        rounding = _BELOW_NOTHING * max(float(mean.abs().amax()), 1.0) if mean.numel() else 0.0
        least = mean.clamp(min=0)  # an FFT leaves dark places at −1e-15
        plain = least - self.y - torch.xlogy(self.y, least) + torch.xlogy(self.y, self.y)
        return torch.where(mean < -rounding, math.inf, plain)

    def prox(self, c: Tensor, r: float) -> Tensor:
        """The positive root t = z + b of t² − (c + b − 1/r) t − y/r, without cancellation."""
        a = c + self.background - 1 / r
        root = (a.square() + 4 * self.y / r).sqrt()
        t = torch.where(a >= 0, (a + root) / 2, 2 * self.y / r / (root - a).clamp(min=1e-30))
        return t - self.background

    def conjugate(self, w: Tensor) -> Tensor:
        """y log(1/(1 − w)) − w b, for w < 1, or w ≤ 1 where y = 0."""
        inside = torch.where(self.y > 0, w < 1, w <= 1)
        plain = -torch.xlogy(self.y, 1 - w) - w * self.background
        return torch.where(inside, plain, math.inf)

    @property
    def curvature(self) -> float:
        """One over the mean count."""
        return 1 / max(float(self.y.mean()), 1.0)

    @property
    def pull(self) -> float:
        """More, for f is stiff where counts are few: 0.2 is the best for photographs."""
        return 0.1 * self.curvature
