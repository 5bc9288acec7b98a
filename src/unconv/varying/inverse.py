"""(AᴴA + damp²)⁻¹Aᴴ of a blur that varies, by preconditioned conjugate gradients, with a proof.

    until ‖Aᴴ(y − Ax) − damp²x‖ ≤ tol·damp²‖x‖,      for  x* − x = (AᴴA + damp²)⁻¹ of that gradient

No transform diagonalises A, so that every y is iterated anew; some
0.1 to 0.2·σ_max/damp·ln(2/tol) steps.
All of it runs in double precision but the preconditioner, in units in which A is of order one.

Not for damp = 0, where nothing bounds the error and the noise is all that comes out.

Source: Hestenes & Stiefel, J. Res. Nat. Bur. Standards 49 (1952), §10; preconditioned, Björck,
"Numerical Methods for Least Squares Problems", SIAM 1996, algorithm 7.4.2.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..inverse import Certificate
from ..inverse.facts import Effort, warn_of_accuracy
from ..numerics.cgls import Cgls
from ..numerics.iteration import Outcome, iterate
from ..numerics.iteration import norms as row_norms
from ..numerics.iteration import ratio as row_ratio
from ..numerics.linear_map import Adjoint, LinearMap
from ..numerics.lsmr import largest_singular_value
from ..numerics.norms import in_unit, norms, ratio, unit_of
from ..operators.linear_operator import LinearOperator
from .blur import VaryingBlur
from .local_inverses import Preconditioner

TOL = 1e-6
"""Error bound to reach, if nothing else is said."""

_MOST_ITERATIONS = 20_000
_ULPS = 16 * torch.finfo(torch.float64).eps  # that a product with A loses at most, of ‖|A|‖‖x‖


class _Map:
    """A and Aᴴ as algorithms see them."""

    per_sample = False

    def __init__(self, A: VaryingBlur) -> None:
        self.domain_shape, self.range_shape = A.domain_shape, A.range_shape
        self._A = A

    def matvec(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        return self._A._matvec(x)

    def rmatvec(self, y: Tensor, out: Tensor | None = None) -> Tensor:
        return self._A._rmatvec(y)


class PreconditionedCgls(Cgls):
    """CGLS in the inner product of P ≈ (AᴴA + λ)⁻¹.

    energy : (N, 1) ⟨g, P g⟩ of the gradient g
    """

    energy: Tensor

    def __init__(
        self, A: LinearMap, y: Tensor, norm: Tensor, damp: Tensor, P: Callable[[Tensor], Tensor]
    ) -> None:
        self._P = P
        super().__init__(A, y, norm, damp, torch.ones_like(damp), math.inf)

    def start(self, index: Tensor, r: Tensor, g: Tensor) -> None:
        """p = P g."""
        z = self._preconditioned(g)
        energy = (g * z).sum(1, keepdim=True)
        self.put(index, r=r, p=z, energy=energy, residual=row_norms(r), gradient=row_norms(g))

    def step(self) -> None:
        """Algorithm 7.4.2 with s = g, the damped gradient."""
        q = self.matvec(self.p)
        α = row_ratio(self.energy, (q * q).sum(1, True) + self.damp**2 * (self.p**2).sum(1, True))
        self.x.addcmul_(α, self.p)
        self.r.addcmul_(α, q, value=-1)
        g = self.rmatvec(self.r).addcmul_(self.damp**2, self.x, value=-1)
        z = self._preconditioned(g)
        energy = (g * z).sum(1, keepdim=True)
        self.p.mul_(row_ratio(energy, self.energy)).add_(z)
        self.energy, self.gradient, self.residual = energy, row_norms(g), row_norms(self.r)

    def _preconditioned(self, g: Tensor) -> Tensor:
        """P g of images that P, in single precision, is given in units of order one."""
        g, unit = in_unit(g)
        z = self._P(g.reshape(-1, *self.A.domain_shape)).flatten(1).to(g.dtype)
        return z * unit[:, None]


class VaryingInverse(LinearOperator):
    """(AᴴA + damp²)⁻¹Aᴴ of a varying blur, iterated anew for every y; what `A.tikhonov` returns.

    Attributes
    ----------
    damp, tol : as asked for
    method : 'krylov'
    """

    method = "krylov"
    iterates = True

    def __init__(self, A: VaryingBlur, damp: float, tol: float, maxiter: int | None) -> None:
        super().__init__()
        self.domain_shape, self.range_shape = A.range_shape, A.domain_shape
        self.damp, self.tol, self._asked = damp, tol, maxiter
        self.op = A
        self._prepare()

    def _prepare(self) -> None:
        """In a unit in which the larger of A and damp is of order one."""
        with torch.no_grad():
            double = self.op.in_double()
            sizes = double.weight.abs().flatten(2).sum(2).amax()
            self.unit = max(float(unit_of(sizes)), float(unit_of(torch.tensor(self.damp))))
            self._scaled = (double.with_weight(double.weight / self.unit),)  # no part of the module
            A = self._scaled[0]
            self.norm = largest_singular_value(_Map(A), 1, A.weight)
            self.P = Preconditioner(A, self.damp / self.unit)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> VaryingInverse:
        super()._apply(fn, recurse)
        self._prepare()
        return self

    @property
    def maxiter(self) -> int:
        """Iterations that an image may take: as asked for, or four times what CGLS needs."""
        if self._asked is not None:
            return self._asked
        κ = float(self.norm) * self.unit / self.damp
        needed = math.ceil(max(1.0, κ / 2 * math.log(max(math.e, 2 / self.tol))))
        return min(4 * needed + 50, _MOST_ITERATIONS)

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the psfs."""
        return self.op.dtype

    @property
    def device(self) -> torch.device:
        """Device of the psfs."""
        return self.op.device

    def solution(self, y: Tensor) -> tuple[Tensor, Effort]:
        """The answer in double precision, and what it took; no gradient."""
        self._check(y, self.domain_shape)
        return self.iterated(self.op._masked(y), adjoint=False)

    def estimate(self, g: Tensor) -> Tensor:
        """Nearly (AᴴA + damp²)⁻¹g, without iterations."""
        return self.P(g).to(g.dtype) / self.unit**2

    def _matvec(self, x: Tensor) -> Tensor:
        dtype = torch.promote_types(self.dtype, x.dtype)
        return _Solve.apply(self.op._masked(x), self, False).to(dtype)

    def _rmatvec(self, y: Tensor) -> Tensor:
        dtype = torch.promote_types(self.dtype, y.dtype)
        return self.op._masked(_Solve.apply(y, self, True).to(dtype))

    def iterated(self, y: Tensor, *, adjoint: bool) -> tuple[Tensor, Effort]:
        """B y or Bᴴ y outside of autograd; the second without a preconditioner, which is for x."""
        if y.is_complex():
            x, effort = self.iterated(torch.cat([y.real, y.imag]), adjoint=adjoint)
            return torch.complex(*x.chunk(2)), effort.halved()
        A: LinearMap = _Map(self._scaled[0])
        if not len(y):
            count = torch.zeros(0, dtype=torch.long, device=y.device)
            return y.new_zeros(0, *(self.domain_shape if adjoint else self.range_shape)), Effort(
                count
            )
        A = Adjoint(A) if adjoint else A
        y, size = in_unit(y.detach().double())
        damp = torch.full((1, 1), self.damp / self.unit, dtype=y.dtype, device=y.device)
        norm = self.norm[:, None]
        run = (
            Cgls(A, y, norm, damp, torch.ones_like(damp), math.inf)
            if adjoint
            else PreconditionedCgls(A, y, norm, damp, self.P)
        )
        end: Outcome = iterate(run, self.tol, self.maxiter)
        x = (end.x * (size[:, None] / self.unit)).reshape(-1, *A.domain_shape)
        effort = Effort(iterations=end.iterations, evidence=end.evidence, met=end.met)
        advice = self.advice(effort)
        if advice:
            warn_of_accuracy(advice)
        return x, effort

    def advice(self, effort: Effort) -> str | None:
        """What is to be said of the image that is furthest from what was asked, if any is."""
        if effort.iterated is None:
            return None
        iterations, evidence, met = effort.iterated
        short = ~met & ~evidence.isnan()
        if not bool(short.any()):
            return None
        worst = int(torch.where(short, evidence, -1.0).argmax())
        return (
            f"stopped after {int(iterations[worst]):,} iterations with error_bound "
            f"{float(evidence[worst]):.1e}, above tol={self.tol:g}: use a larger damp, or raise "
            "tol or maxiter"
        )

    def extra_repr(self) -> str:
        """Shapes and damping for `print(inverse)`."""
        return f"{self.domain_shape} -> {self.range_shape}, damp={self.damp:g}"


class _Solve(torch.autograd.Function):
    """B y or Bᴴ y, whose gradient is the adjoint of the same."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, inverse: VaryingInverse, adjoint: bool) -> Tensor:
        ctx.inverse, ctx.adjoint, ctx.dtype = inverse, adjoint, y.dtype
        return inverse.iterated(y, adjoint=adjoint)[0]

    @staticmethod
    def backward(ctx: Any, *g: Tensor) -> tuple[Any, ...]:
        return _Solve.apply(g[0], ctx.inverse, not ctx.adjoint).to(ctx.dtype), None, None


def certify(inverse: VaryingInverse, x: Tensor, y: Tensor, effort: Effort) -> Certificate:
    """Judge x in double precision, from A alone; `unconv.Certificate` says what each entry is.

    y : data with zeros where nothing was seen
    """
    A, unit, damp = inverse._scaled[0], inverse.unit, inverse.damp / inverse.unit
    y, size = in_unit(y.to(x.dtype))
    shape = (-1, *[1] * (x.ndim - 1))
    scaled = x / size.reshape(shape) * unit
    r = y - A._matvec(scaled)
    g = A._rmatvec(r) - damp**2 * scaled
    norm_x, norm_y, norm_r, norm_g = map(norms, (scaled, y, r, g))
    above = _bound(A)  # of ‖|A|‖
    # (AᴴA + λ)⁻¹ makes 1/λ of an error of g at most, (AᴴA + λ)⁻¹Aᴴ 1/(2·damp) of one of r
    of_r = _ULPS * (above * norm_x + norm_y).where(norm_x > 0, 0)  # y − A·0 is exact
    of_g = _ULPS * (above * norm_r + damp**2 * norm_x)
    error = (norm_g + of_g) / damp**2 + of_r / (2 * damp)
    error_bound = ratio(error, (norm_x - error).clamp(min=0))
    error_bound = torch.where(error_bound.isnan(), torch.inf, error_bound)
    tolerance = torch.full_like(error_bound, inverse.tol)
    converged = error_bound <= tolerance
    worst = float(error_bound.max()) if len(x) else 0.0
    fitting = f"the equations are solved to {worst:.1e}, within tol={inverse.tol:g}"
    missed = f"error_bound {worst:.1e} is above tol={inverse.tol:g}; use more damp or a larger tol"
    zero = torch.zeros_like(error_bound, dtype=torch.long)
    return Certificate(
        method=inverse.method,
        rank=None,
        rank_how="not needed: damp > 0",
        gap=torch.full_like(error_bound, math.inf),
        damp=inverse.damp,
        residual=ratio(norm_r, norm_y),
        optimality=ratio(norm_g, inverse.norm * (inverse.norm * norm_x + norm_y)),
        error_bound=error_bound,
        tolerance=tolerance,
        tolerance_how="an iteration's tol",
        iterations=zero if effort.iterations is None else effort.iterations,
        refinements=zero,
        dropped=zero,
        converged=converged,
        advice=inverse.advice(effort) or (fitting if bool(converged.all()) else missed),
    )


def _bound(A: VaryingBlur) -> float:
    """‖|A|‖ ≤ √(‖A‖₁‖A‖_∞), sums of rows and of columns."""
    positive = A.with_weight(A.weight.abs())
    one = A.weight.new_ones(1)
    rows = positive._matvec(one.expand(1, *A.domain_shape))
    columns = positive._rmatvec(one.expand(1, *A.range_shape))
    return math.sqrt(float(rows.amax()) * float(columns.amax()))
