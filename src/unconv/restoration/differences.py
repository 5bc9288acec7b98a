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

from ..grid.modes import MODES
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
    counted : (J, 1, *grid) real, 1 where they are a part of the problem, else 0
    torus : the grid
    """

    stencils: tuple[Stencil, ...]
    counted: Tensor
    torus: Torus

    def __call__(self, v: Tensor) -> Tensor:
        """All differences, the left-out ones too: (1, c, *grid) -> (J, c, *grid)."""
        return self.add_(v.new_zeros(len(self.stencils), *v.shape[1:]), v)

    def adjoint(self, p: Tensor) -> Tensor:
        """(J, c, *grid) -> (1, c, *grid)."""
        return self.add_adjoint_(p.new_zeros(1, *p.shape[1:]), p, 1.0)

    def add_(self, out: Tensor, v: Tensor) -> Tensor:
        """out + D v, in the memory of out."""
        for j, stencil in enumerate(self.stencils):
            for offset, factor in stencil:
                _add_shifted_(out[j : j + 1], v, offset, factor)
        return out

    def add_adjoint_(self, out: Tensor, p: Tensor, scale: float) -> Tensor:
        """out + scale · Dᴴp, in the memory of out."""
        for j, stencil in enumerate(self.stencils):
            for offset, factor in stencil:
                _add_shifted_(out, p[j : j + 1], [-o for o in offset], scale * factor)
        return out

    @cached_property
    def power(self) -> Tensor:
        """Σ_j |D_j|² at each stored frequency, (*spectrum) float64."""
        sizes = self.torus.coarse
        delta = torch.zeros(1, 1, *sizes, dtype=torch.float64, device=self.counted.device)
        delta[(0, 0, *[0] * len(sizes))] = 1
        return self.torus.transform(self(delta)).abs().square().sum((0, 1))


def _add_shifted_(out: Tensor, v: Tensor, offset: Sequence[int], factor: float) -> None:
    """Add factor · v[i + offset], around the grid: slices, for `roll` would copy."""
    axes = []
    for N, o in zip(v.shape[2:], offset, strict=True):
        near, far = slice(0, N - o % N), slice(N - o % N, N)
        from_near, from_far = slice(o % N, N), slice(0, o % N)
        axes.append([(near, from_near), (far, from_far)][: 1 + (o % N > 0)])
    for pairs in itertools.product(*axes):
        to, of = zip(*pairs, strict=True)
        out[(..., *to)].add_(v[(..., *of)], alpha=factor)


def differences(
    kind: str, op: Convolution, torus: Torus, spacing: Sequence[float], dtype: torch.dtype
) -> Differences:
    """The stack of a kind on the domain of an operator, a part of the grid.

    spacing : h of each axis
    dtype : real, of `counted`: products with booleans are slow
    """
    nd = len(spacing)
    stencils = _gradient(spacing) if kind == "gradient" else _hessian(spacing)
    wraps = [
        a.on_torus and MODES[a.mode].periodic and (a.before > 0 or a.after > 0)
        for a in op.geometry.axes
    ]
    counted = torch.ones(len(stencils), 1, *torus.coarse, dtype=dtype, device=op.device)
    for j, stencil in enumerate(stencils):
        for d in range(nd):
            if wraps[d]:
                continue
            reach = [offset[d] for offset, _ in stencil]
            line = torch.arange(torus.coarse[d], device=op.device)
            n = op.domain_shape[1 + d]
            fits = (line + min(reach) >= 0) & (line + max(reach) < n)
            counted[j] *= fits.reshape(-1, *[1] * (nd - 1 - d))
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
