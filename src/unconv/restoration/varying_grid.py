"""A blur whose psf varies on the grid of `grid_problem.py`: what is not exact per frequency there.

The convolution with the mean psf has the same domain, range and boundary, and with them the same
grid, places of data and ghosts.  C alone is another: `Cells` on the grid, made periodic.  What a
splitting asks of it per frequency,

    (r CᴴC + diagonal) v = b,

is solved by few steps of conjugate gradients from the v before, preconditioned per frequency by
the mean of all |hᵢ|²; b hardly changes from one iteration to the next.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..inverse import InverseOperator, factorize, request_of
from ..operators.convolution import Convolution
from ..regularize.damp_path import DampPath
from ..varying.blur import VaryingBlur
from ..varying.inverse import VaryingInverse
from .grid_problem import GridProblem

Blur = Convolution | VaryingBlur
"""What is restored."""

_COLD_STEPS, _WARM_STEPS = 10, 3  # of CG: from nothing, and from the last solution
_BETWEEN_TRUTHS = 20  # solves in which rounding may gather


def of_mean_psf(op: VaryingBlur) -> Convolution:
    """The convolution with the mean psf and the boundary of a varying blur."""
    share = op.shares.mean().to(op.weight)
    taps = torch.einsum("t,ct...->c...", share, op.weight)[:, None]
    C = op.domain_shape[0]
    mean = Convolution(
        taps.expand(C, *taps.shape[1:]),
        op.domain_shape[1:],
        padding=op.padding,
        padding_mode=op.padding_mode,
        groups=C,
        flip=True,
    )
    return mean if op.seen is None else mean.observed(op.seen)


def convolution_of(op: Blur) -> Convolution:
    """The operator, or that of the mean psf: of the same shapes, boundary and mask."""
    return of_mean_psf(op) if isinstance(op, VaryingBlur) else op


def grid_of(op: Blur, dtype: torch.dtype) -> GridProblem:
    """The operator on its grid."""
    return VaryingGrid(op, dtype) if isinstance(op, VaryingBlur) else GridProblem(op, dtype)


def damped_inverse(
    op: Blur,
    damp: float,
    memory_limit: float,
    solves: int,
    tol: float,
    path: DampPath | None = None,
) -> InverseOperator | VaryingInverse:
    """(AᴴA + damp²)⁻¹Aᴴ, exact or to a proven tol.

    path : what other damps of this operator have left that this one can use
    """
    if isinstance(op, VaryingBlur):
        return VaryingInverse(op, damp, tol, None)
    request = request_of(damp, None, 0.0, memory_limit, solves, tol)
    return factorize(op, request) if path is None else path.at(op, request)


class VaryingGrid(GridProblem):
    """One varying blur on its grid."""

    def __init__(self, op: VaryingBlur, dtype: torch.dtype) -> None:
        super().__init__(of_mean_psf(op), dtype)
        self._op = op.on_torus(self.torus.coarse, dtype)
        axes = tuple(range(2 - op.weight.ndim, 0))
        self.power = torch.zeros((), dtype=torch.float64)  # (1, C or 1, *spectrum), mean of |h|²
        for i, share in enumerate(op.shares.mean().tolist()):
            H = torch.fft.rfftn(op.weight[:, i].double(), s=self.torus.coarse, dim=axes)
            self.power = self.power + share * (H.real.square() + H.imag.square())[None]

    def normal(self, power: Tensor) -> VaryingNormal:
        """(r CᴴC + s DᴴD + rest)⁻¹ by iterations, to be given its weights."""
        return VaryingNormal(self, power)

    def nearly_inverse(
        self, epsilon: float, solver: Callable[[], object]
    ) -> Callable[[Tensor], Tensor]:
        """Nearly (AᴴA + ε)⁻¹, with the right psf at every place, as the solver has it."""
        inverse = solver()
        assert isinstance(inverse, VaryingInverse)  # of such an operator
        return inverse.estimate

    def blurred(self, spectrum: Tensor) -> Tensor:
        """C v from the spectrum of v."""
        return self._op._matvec(self.torus.inverse_transform(spectrum))

    def adjoint_spectrum(self, z: Tensor) -> Tensor:
        """The spectrum of Cᴴ z."""
        return self.torus.transform(self._op._rmatvec(z))


class VaryingNormal:
    """(r CᴴC + s DᴴD + rest)⁻¹, nearly: from the solution before.

    power : DᴴD, (*spectrum) float64
    """

    r: float
    diagonal: Tensor  # s DᴴD + rest
    guess: Tensor  # the inverse, with the mean of |h|² in the place of CᴴC

    def __init__(self, grid: VaryingGrid, power: Tensor) -> None:
        self.grid, self.power = grid, power
        self._last: tuple[Tensor, Tensor] | None = None  # V and what the system makes of it
        self._solved = 0
        n = grid.torus.coarse[-1]
        twice = torch.full((n // 2 + 1,), 2.0, dtype=grid.dtype.to_real(), device=power.device)
        twice[0] = 1
        if n % 2 == 0:
            twice[-1] = 1
        self._twice = twice  # of a real image half of the spectrum is kept

    def weigh(self, r: float, s: float, rest: float) -> None:
        """Take other weights."""
        real, diagonal = self.grid.dtype.to_real(), s * self.power + rest
        self.r, self.diagonal = r, diagonal.to(real)
        self.guess = (1 / (r * self.grid.power + diagonal)).to(real)
        self._solved = 0

    def solve(self, B: Tensor) -> Tensor:
        """The spectrum of v for that of b."""
        V, steps = B * self.guess, _COLD_STEPS
        NV = None
        if self._last is not None:
            (V, NV), steps = self._last, _WARM_STEPS
        if NV is None or self._solved % _BETWEEN_TRUTHS == 0:
            NV = self._times(V)
        R = B - NV
        P = R * self.guess
        energy = self._dot(R, P)
        for k in range(steps):
            if not energy:
                break
            Q = self._times(P)
            length = energy / self._dot(P, Q)
            V, NV = V + length * P, NV + length * Q
            if k + 1 < steps:
                R = R - length * Q
                Z = R * self.guess
                energy, before = self._dot(R, Z), energy
                P = Z + (energy / before) * P
        self._last, self._solved = (V, NV), self._solved + 1
        return V

    def _times(self, V: Tensor) -> Tensor:
        grid = self.grid
        return grid.adjoint_spectrum(grid.blurred(V)).mul_(self.r).add_(V * self.diagonal)

    def _dot(self, A: Tensor, B: Tensor) -> float:
        return float(((A.real * B.real + A.imag * B.imag) * self._twice).sum(dtype=torch.float64))
