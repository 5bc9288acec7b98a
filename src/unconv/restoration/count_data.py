"""Counts y, Poisson with mean A x + b, as Richardson–Lucy needs them: what A can explain of them.

    D(y, μ) = Σ y log(y/μ) − y + μ          minus the log-likelihood of μ, 0 where μ = y
    x ← x / (Aᴴ1) · Aᴴ(y / (A x + b))       expectation–maximisation: no step raises D

1 is one over the outputs that were seen, so that unknown surroundings, holes and strides weigh in
as what they are: a pixel of which the data hold only a part of the light is divided by that part.

Sources: Richardson (1972), Lucy (1974); Shepp & Vardi, "Maximum likelihood reconstruction for
emission tomography", IEEE Trans. Med. Imaging 1 (1982); Bertero & Boccacci, "A simple method for
the reduction of boundary effects in the Richardson–Lucy approach", A&A 437 (2005), for the weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any, Protocol

import torch
from torch import Tensor

from ..doors import ConvOperator
from ..varying.blur import VaryingBlur

LEAST_REACH = 1e-2
"""Share of the largest weight of its channel under which a pixel is outside of reach: dividing by
less would raise noise a hundredfold (Bertero & Boccacci's threshold)."""

_LEAST_EXPLAINED = 1e-5
"""Share of the largest row sum of its channel under which an output sees nothing within reach."""


class Maps(Protocol):
    """A and Aᴴ, all that steps need of an operator."""

    def __call__(self, x: Tensor, /) -> Tensor:
        """A x."""
        ...

    @property
    def H(self) -> Callable[[Tensor], Tensor]:
        """Aᴴ."""
        ...


class CountData:
    """The data of one restoration, and the two products with A that its steps are made of.

    Attributes
    ----------
    y : (N, c_out, *m), zero where nothing within reach can explain a count
    explained : bool, (N or 1, c_out, *m), outputs that were seen and see pixels within reach
    weights : (N or 1, c_in, *n), Aᴴ1 over these outputs, zero outside of reach
    reach : bool, of the shape of weights
    background : number or tensor b that broadcasts to y
    level : (N, 1, …), the constant x that has the light of the data
    """

    def __init__(self, A: ConvOperator | VaryingBlur, y: Tensor, background: Tensor) -> None:
        self.A: Maps = A
        self.background = background
        one = y.new_ones(A.batch_size or 1, *A.range_shape)
        weights = A.H(one)
        self.reach = weights > LEAST_REACH * _largest(weights)
        light = A(self.reach.to(y.dtype))
        self.explained = light > _LEAST_EXPLAINED * _largest(light)
        weights = A.H(self.explained.to(y.dtype)).where(self.reach, 0).clamp(min=0)
        self.reach = weights > 0
        self.weights = weights
        self.y = y.where(self.explained, 0)
        total = total_of(self.weights.expand(len(y), *A.domain_shape))
        level = (total_of(self.y) / total).nan_to_num(0, 0, 0)
        self.level = per_image(level, y)

    @classmethod
    def of_box(
        cls,
        A: Maps,
        y: Tensor,
        background: Tensor,
        *,
        weights: Tensor,
        reach: Tensor,
        explained: Tensor,
        level: Tensor,
    ) -> CountData:
        """A box of a larger problem; attributes as in the class, with what lies around counted."""
        box = cls.__new__(cls)
        box.A, box.y, box.background = A, y.where(explained, 0), background
        box.weights, box.reach, box.explained, box.level = weights, reach, explained, level
        return box

    def outputs(self, where: tuple[slice, ...]) -> CountData:
        """Only some of the outputs, slices of their axes, for what is summed over them."""
        box: tuple[Any, ...] = (..., *where)
        other = CountData.__new__(CountData)
        vars(other).update(vars(self))
        other.y, other.explained = self.y[box], self.explained[box]
        return other

    def part(self, y: Tensor, share: float) -> CountData:
        """The problem of counts y of which every one was kept with this probability."""
        other = CountData.__new__(CountData)
        vars(other).update(vars(self))
        other.y, other.background, other.level = y, share * self.background, share * self.level
        return other

    def mean(self, x: Tensor) -> Tensor:
        """A x + b, which no round-off of the FFT makes negative, nor so small that y/μ is noise."""
        mean = self.A(x).clamp(min=0) + self.background
        resolved = 4 * torch.finfo(mean.dtype).eps * mean.flatten(1).amax(1)
        floor = per_image(resolved.clamp(min=torch.finfo(mean.dtype).tiny), mean)
        return torch.maximum(mean, floor)

    def back(self, mean: Tensor) -> Tensor:
        """Aᴴ(y/μ), zero where y is, whatever μ."""
        return self.A.H(self.y / mean).clamp(min=0)

    def divergence(self, mean: Tensor) -> Tensor:
        """D(y, μ) of every image, (N,) in float64."""
        y, mean = self.y.double(), mean.double()
        return total_of((torch.xlogy(y, y / mean) - y + mean).where(self.explained, 0))

    def expected_divergence(self, mean: Tensor) -> Tensor:
        """What D(y, μ) is on average if μ is the true mean, (N,): about half of each output that
        counts, nothing of those that hardly ever do.
        """
        return total_of(expected_term(mean.double()).where(self.explained, 0))

    def scaled_to_mass(self, x: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
        """x and μ times the factor that makes D least; for b = 0 it brings Σμ to Σy."""
        total = total_of(mean.where(self.explained, 0))
        factor = per_image((total_of(self.y) / total).nan_to_num(0, 0, 0), mean)
        return x * factor, (mean * factor).clamp(min=torch.finfo(mean.dtype).tiny)


def total_of(t: Tensor) -> Tensor:
    """The sum of each image, (N,) in float64."""
    return t.flatten(1).sum(1, dtype=torch.float64)


def per_image(values: Tensor, like: Tensor) -> Tensor:
    """(N,) numbers, or bools, as (N, 1, …) for a batch."""
    values = values if values.dtype == torch.bool else values.to(like.dtype)
    return values.reshape(-1, *[1] * (like.ndim - 1))


def _largest(t: Tensor) -> Tensor:
    return t.flatten(2).amax(2).reshape(*t.shape[:2], *[1] * (t.ndim - 2))


# --- the expectation of one term of D
_LEAST_LOG, _LARGEST_MEAN, _NODES = -20.0, 100.0, 2500


def expected_term(mean: Tensor) -> Tensor:
    """E[Y log(Y/μ) − Y + μ] for Y Poisson with mean μ > 0; float64, to 2e-5 of itself.

    It is μ·(E log(1 + Y) − log μ), by Y·P(Y) = μ·P(Y − 1): about −μ log μ for small μ, ½ + 1/(12 μ)
    for large ones, and 0.58 at most, near μ = 1.3.
    """
    log = mean.log()
    place = (log - _LEAST_LOG) * ((_NODES - 1) / (math.log(_LARGEST_MEAN) - _LEAST_LOG))
    left = place.clamp(0, _NODES - 2).floor()
    table = _mean_logarithms().to(mean.device)
    i, share = left.long(), (place - left).clamp(0, 1)
    between = table[i] + share * (table[i + 1] - table[i])
    large = 0.5 + 1 / (12 * mean) + 1 / (12 * mean.square())
    return torch.where(mean < _LARGEST_MEAN, mean * (between - log), large)


@cache
def _mean_logarithms() -> Tensor:
    """E log(1 + Y) for means from e⁻²⁰ to 100, evenly spaced in log μ."""
    nodes = torch.linspace(_LEAST_LOG, math.log(_LARGEST_MEAN), _NODES, dtype=torch.float64)
    k = torch.arange(260, dtype=torch.float64)  # 16 standard deviations beyond the largest mean
    log_p = k * nodes[:, None] - nodes.exp()[:, None] - torch.lgamma(k + 1)
    return log_p.exp() @ torch.log1p(k)
