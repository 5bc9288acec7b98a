"""Differences of an image on a periodic grid, those across the edges of the domain left out.

Two stacks of them, of spacing h along each axis:

    gradient   (x[i + 1] − x[i])/h along each axis
    hessian    second differences (x[i − 1] − 2x[i] + x[i + 1])/h², and for each pair of axes √2
               times the mixed one, so that the norm over the stack is the Frobenius norm

They are sums of few shifted images, and products per frequency.  A difference with a sample outside
of a domain that does not wrap is left out (counts as zero): edges are natural.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ..grid.torus import Torus
from ..operators.convolution import Convolution

KINDS = ("gradient", "hessian")

Stencil = tuple[tuple[tuple[int, ...], float], ...]
"""Pairs of an offset along each axis and a factor: Σ factor · x[i + offset]."""


@dataclass(frozen=True)
class Differences:
    """A stack of J differences on a grid.

    Attributes
    ----------
    stencils : J of them
    counted : (J, 1, *grid) bool, where they are a part of the problem
    torus : the grid
    """

    stencils: tuple[Stencil, ...]
    counted: Tensor
    torus: Torus

    def __call__(self, v: Tensor) -> Tensor:
        """All differences, the left-out ones too: (1, c, *grid) -> (J, c, *grid)."""
        out = v.new_empty(len(self.stencils), *v.shape[1:])
        for j, stencil in enumerate(self.stencils):
            self._sum_(out[j : j + 1], v, stencil, 1)
        return out

    def adjoint(self, p: Tensor) -> Tensor:
        """(J, c, *grid) -> (1, c, *grid)."""
        out = p.new_zeros(1, *p.shape[1:])
        for j, stencil in enumerate(self.stencils):
            self._add_(out, p[j : j + 1], stencil, -1)
        return out

    @cached_property
    def power(self) -> Tensor:
        """Σ_j |D_j|² at each stored frequency, (*spectrum) float64."""
        sizes = self.torus.coarse
        delta = torch.zeros(1, 1, *sizes, dtype=torch.float64, device=self.counted.device)
        delta[(0, 0, *[0] * len(sizes))] = 1
        return self.torus.transform(self(delta)).abs().square().sum((0, 1))

    def _sum_(self, out: Tensor, v: Tensor, stencil: Stencil, sign: int) -> None:
        offset, factor = stencil[0]
        torch.mul(_shifted(v, offset, sign), factor, out=out)
        self._add_(out, v, stencil[1:], sign)

    @staticmethod
    def _add_(out: Tensor, v: Tensor, stencil: Stencil, sign: int) -> None:
        for offset, factor in stencil:
            out.add_(_shifted(v, offset, sign), alpha=factor)


def _shifted(v: Tensor, offset: Sequence[int], sign: int) -> Tensor:
    """x[i + sign·offset], around the grid."""
    moved = [(-sign * o, 2 + d) for d, o in enumerate(offset) if o]
    if not moved:
        return v
    shifts, dims = zip(*moved, strict=True)
    return v.roll(shifts, dims)


def differences(kind: str, op: Convolution, torus: Torus, spacing: Sequence[float]) -> Differences:
    """The stack of a kind on the domain of an operator, a part of the grid.

    spacing : h of each axis
    """
    nd = len(spacing)
    stencils = _gradient(spacing) if kind == "gradient" else _hessian(spacing)
    wraps = [
        a.on_torus and (a.before > 0 or a.after > 0) and a.mode == "circular"
        for a in op.geometry.axes
    ]
    counted = torch.ones(len(stencils), 1, *torus.coarse, dtype=torch.bool, device=op.device)
    for j, stencil in enumerate(stencils):
        for d in range(nd):
            if wraps[d]:
                continue
            reach = [offset[d] for offset, _ in stencil]
            line = torch.arange(torus.coarse[d], device=op.device)
            n = op.domain_shape[1 + d]
            fits = (line + min(reach) >= 0) & (line + max(reach) < n)
            counted[j] &= fits.reshape(-1, *[1] * (nd - 1 - d))
    return Differences(stencils, counted, torus)


def _gradient(spacing: Sequence[float]) -> tuple[Stencil, ...]:
    nd = len(spacing)
    return tuple(
        ((_unit(nd, {d: 1}), 1 / h), (_unit(nd, {}), -1 / h)) for d, h in enumerate(spacing)
    )


def _hessian(spacing: Sequence[float]) -> tuple[Stencil, ...]:
    nd = len(spacing)
    found: list[Stencil] = []
    for d, h in enumerate(spacing):
        ends = [(_unit(nd, {d: i}), 1 / h**2) for i in (-1, 1)]
        found.append((ends[0], (_unit(nd, {}), -2 / h**2), ends[1]))
    for d, e in itertools.combinations(range(nd), 2):
        f = math.sqrt(2) / (spacing[d] * spacing[e])
        corners = [(a, b) for a in (0, 1) for b in (0, 1)]
        found.append(tuple((_unit(nd, {d: a, e: b}), f if a == b else -f) for a, b in corners))
    return tuple(found)


def _unit(nd: int, entries: dict[int, int]) -> tuple[int, ...]:
    return tuple(entries.get(d, 0) for d in range(nd))
