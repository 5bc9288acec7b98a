"""The data put back into an image z: argmin f(Ax) + (ρ/2)‖x − z‖², between two denoisings.

*Gaussian noise.*  One damped solve on whichever rung serves; bounds are left to the denoiser.  What
does not depend on ρ, such as the SVD of a small A, is computed once.

*Counts*, with mean Ax + b.  With C, P and E of grid_problem.py it is split into

    u = C v      f where something was seen, whose prox is a root: exact for counts of zero too
    w = v        (ρ/2)‖w − z‖², bounds, and what padding invents

and v per frequency.  Some iterations of two pairs of FFTs each, warm from one z to the next: ten
make the same pictures as thirty.

Source: the splitting of counts, Figueiredo & Bioucas-Dias, "Restoration of Poissonian images using
alternating direction optimization", IEEE Trans. Image Processing 19 (2010); of what was not seen,
Almeida & Figueiredo, IEEE Trans. Image Processing 22 (2013).
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

from ..inverse import InverseOperator
from ..regularize.damp_path import DampPath
from ..varying.inverse import VaryingInverse
from .data_terms import DataTerm
from .grid_problem import GridProblem
from .splitting import RELAXATION, Bounds
from .varying_grid import Blur, damped_inverse

_TOL = 1e-4  # of a solve: far below what a denoiser changes
_LEAST_RHO = 1e-12  # of the square of the gain
_STEP_ITERATIONS = 10  # for counts, from one z to the next


class DataStep(Protocol):
    """argmin f(Ax) + (ρ/2)‖x − z‖² for one image of data.

    Attributes
    ----------
    weight : of a squared residual in f, twice: 1, or for counts one over their mean
    """

    weight: float

    def __call__(self, z: Tensor, rho: float) -> Tensor:
        """(1, c_in, *n) -> (1, c_in, *n)."""
        ...


class GaussianStep:
    """f = ½‖Ax − y‖²; the factor is kept while ρ stays, and its parts for another ρ.

    Parameters
    ----------
    op : in double precision
    y : (1, c_out, *m)
    gain : the largest of op
    memory_limit : of a solve
    """

    weight = 1.0

    def __init__(self, op: Blur, y: Tensor, gain: float, memory_limit: float) -> None:
        self.op, self.y = op, y
        self._least, self._memory_limit = _LEAST_RHO * gain**2, memory_limit
        self._inverse: InverseOperator | VaryingInverse | None = None
        self._rho, self._path = math.nan, DampPath()

    def __call__(self, z: Tensor, rho: float) -> Tensor:
        """z + (AᴴA + ρ)⁻¹Aᴴ(y − Az)."""
        if self._inverse is None or rho != self._rho:
            damp = math.sqrt(max(rho, self._least))
            self._inverse = damped_inverse(self.op, damp, self._memory_limit, 1, _TOL, self._path)
            self._rho = rho
        return z + self._inverse.solution(self.y - self.op(z))[0]


class CountStep:
    """f = Σ μ − y log μ, μ = Ax + b, where something was seen.

    Parameters
    ----------
    problem : A on its grid
    term : f, of data on the grid
    noise_std : of the counts, the square root of their mean
    bounds : of x
    start : (1, c_in, *n)
    iterations : a call
    """

    def __init__(
        self,
        problem: GridProblem,
        term: DataTerm,
        noise_std: float,
        bounds: Bounds,
        start: Tensor,
        iterations: int = _STEP_ITERATIONS,
    ) -> None:
        self.problem, self.term, self.bounds = problem, term, bounds
        self.weight, self.iterations, self.r1 = noise_std**-2, iterations, term.pull
        v = problem.extended(start.to(problem.dtype))
        self._u = self._seen_prox(problem.blurred(problem.torus.transform(v)))
        self._d = torch.zeros_like(self._u)
        self._w, self._multiplier = v, torch.zeros_like(v)

    def __call__(self, z: Tensor, rho: float) -> Tensor:
        """Go on from the last call, for another z and ρ."""
        p, r1 = self.problem, self.r1
        r3 = p.gain * math.sqrt(r1 * rho)
        flat = torch.zeros(p.torus.spectrum_shape, dtype=torch.float64, device=z.device)
        normal = p.normal(flat)
        normal.weigh(r1, 0.0, r3)
        near, e = z.to(p.dtype), self._multiplier / r3
        for _ in range(self.iterations):
            V = p.adjoint_spectrum(self._u - self._d).mul_(r1)
            V = normal.solve(V.add_(p.torus.transform(r3 * (self._w - e))))
            c = torch.lerp(self._u, p.blurred(V), RELAXATION).add_(self._d)
            self._u = self._seen_prox(c)
            self._d = c.sub_(self._u)
            c = torch.lerp(self._w, p.torus.inverse_transform(V), RELAXATION).add_(e)
            self._w = p.nearest(c, *self.bounds, rho / r3, near)
            e = c.sub_(self._w)
        self._multiplier = e * r3
        return p.domain(self._w).to(z)

    def _seen_prox(self, c: Tensor) -> Tensor:
        return torch.where(self.problem.seen, self.term.prox(c, self.r1), c)
