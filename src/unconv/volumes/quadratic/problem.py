"""The quadratic problem that a volume is: one convolution, its prior, and their symbols.

    minimise  ½‖Ax − y‖² + ½λ(Σ_a w_a‖D_a x‖² + ε‖x − c‖²),
    N = AᵀA + λ(Σ_a w_a D_aᵀD_a + ε),        g(x) = Aᵀ(y − Ax) − λ(Σ_a w_a D_aᵀD_a x + ε(x − c)).

A is the `valid` convolution with the psf: data of n samples along an axis see a scene of n + k − 1,
and nothing is assumed of what lies around the data on any side.  D_a are differences between
neighbours, none of them across the border of the scene.  The minimiser x* solves g(x*) = 0, and
‖x − x*‖ ≤ ‖g(x)‖/μ for any x and any μ ≤ λ_min(N).

Which samples a row of A reads, tiling/scene.py tells.  On a periodic grid all is diagonal: A is
K̂ = conj(F taps), taps the psf turned round, N is |K̂|² + λ(Σ_a w_a·4 sin²(ω_a/2) + ε).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..tiling import blur
from ..tiling.scene import margins_of, scene_shape


@dataclass(frozen=True)
class Problem:
    """One psf, one prior, one shape of data.

    Attributes
    ----------
    psf : (*k) float64, on the CPU
    data_shape : n along each axis
    strength : λ > 0
    weights : w_a ≥ 0 of the differences along each axis; (finest spacing/spacing)² for voxels
    ridge : ε > 0, which holds what no other term sees

    Examples
    --------
    >>> problem = Problem(torch.ones(3, 3, dtype=torch.float64) / 9, (8, 6), 0.01, (1.0, 1.0))
    >>> problem.scene, problem.margins
    ((10, 8), ((1, 1), (1, 1)))
    """

    psf: Tensor
    data_shape: tuple[int, ...]
    strength: float
    weights: tuple[float, ...]
    ridge: float = 1e-3

    @property
    def taps(self) -> Tensor:
        """The psf turned round: what each row of A reads its samples with."""
        return self.psf.flip([*range(self.psf.ndim)])

    @property
    def reach(self) -> tuple[int, ...]:
        """k − 1 along each axis, and 1 where k = 1: how far N looks."""
        return tuple(max(1, k - 1) for k in self.psf.shape)

    @property
    def scene(self) -> tuple[int, ...]:
        """The shape of x."""
        return scene_shape(self.data_shape, self.psf.shape)

    @property
    def margins(self) -> tuple[tuple[int, int], ...]:
        """How many samples the scene has before and after the data, the psf centred at k // 2."""
        return margins_of(self.psf.shape)

    @property
    def largest(self) -> float:
        """A bound of the eigenvalues of N from above."""
        return float(self.psf.abs().sum()) ** 2 + self.strength * (
            4 * sum(self.weights) + self.ridge
        )

    @property
    def smallest(self) -> float:
        """λε, below which no eigenvalue of N can be, whatever the data."""
        return self.strength * self.ridge


def transfer(problem: Problem, sizes: Sequence[int], first: int = 0) -> Tensor:
    """K̂ on a periodic grid, complex128.

    first : the axis that comes first and keeps all its frequencies; the others follow in order,
        and of the last one half of them are kept, for what is real
    """
    order = _order(len(sizes), first)
    return blur.transfer(problem.psf.permute(order), [sizes[a] for a in order])


def symbol(problem: Problem, transferred: Tensor, sizes: Sequence[int], first: int = 0) -> Tensor:
    """N on the same grid in the same order, from its K̂; float64."""
    order = _order(len(sizes), first)
    found = transferred.real.square() + transferred.imag.square()
    for position, a in enumerate(order):
        angle = frequencies(sizes[a], half=position == len(order) - 1)
        shape = [-1 if i == position else 1 for i in range(len(order))]
        found += (
            problem.strength * problem.weights[a] * (2 * (angle / 2).sin()).square().view(shape)
        )
    return found.add_(problem.strength * problem.ridge)


def frequencies(n: int, *, half: bool) -> Tensor:
    """The angles ω of an axis of n samples, float64."""
    of = torch.fft.rfftfreq if half else torch.fft.fftfreq
    return 2 * math.pi * of(n, dtype=torch.float64)


def _order(nd: int, first: int) -> list[int]:
    return [first, *(a for a in range(nd) if a != first)]
