"""Evidence for a solution, recomputed from A itself and never taken from the solver.

With g = Aᴴ(y − Ax) − λx, λ = damp², and σ_r the smallest singular value that counts:

    residual    = ‖Ax − y‖ / ‖y‖
    optimality  = ‖g‖ / (‖A‖ (‖A‖‖x‖ + ‖y‖))              backward error of the normal equations
    error_bound = ‖g‖ / ((λ + σ_r²) ‖x‖) ≥ ‖x − x*‖ / ‖x‖  forward error, as x* − x = (AᴴA + λ)⁻¹g

A small optimality alone proves little: 400 LSMR steps reach 1e-6 with x 2.5 % wrong.  Low-precision
solutions are judged in float64.  Where singular values were dropped, g is projected on the kept
directions, the only ones in which the truncated problem has an optimum.

Source: Björck, "Numerical Methods for Least Squares Problems", SIAM 1996, §1.4 and §2.9.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from ..operator import ConvOperator
from .base import InverseOperator


@dataclass(frozen=True)
class Certificate:
    """What was solved and how well, one entry an image of the batch.

    `certificate[i]` is the certificate of image i with plain numbers; `len` is the batch size.

    Attributes
    ----------
    method : the rung that answered
    rank : (N,) number of singular values that count, or None where damp > 0 made it moot
    rank_how : how the rank is known
    gap : (N,) lower bound of σ_r/σ_{r+1}; under 10 the cut-off, not the data, decides x
    damp : the damping that was used
    residual : (N,) ‖Ax − y‖/‖y‖
    optimality : (N,) ‖g‖/(‖A‖(‖A‖‖x‖ + ‖y‖)) with g = Aᴴ(y − Ax) − damp²x
    error_bound : (N,) ‖g‖/((damp² + σ_r²)‖x‖) ≥ ‖x − x*‖/‖x‖, σ_r the least σ that counts
    iterations, refinements : numbers of iterations and of refinement steps
    dropped : (N,) number of singular values that were cut
    converged : (N,) whether optimality is at most 100·eps of the solution's dtype
    advice : one sentence
    """

    method: str
    rank: Any
    rank_how: str
    gap: Any
    damp: float
    residual: Any
    optimality: Any
    error_bound: Any
    iterations: int
    refinements: int
    dropped: Any
    converged: Any
    advice: str

    def __len__(self) -> int:
        """Number of images."""
        return 1 if not isinstance(self.residual, Tensor) else len(self.residual)

    def __getitem__(self, i: int) -> Certificate:
        """The certificate of image i, with plain numbers."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        plain: dict[str, Any] = {
            k: v[i].item() if isinstance(v, Tensor) else v for k, v in values.items()
        }
        return Certificate(**plain)

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers and lists."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {k: v.tolist() if isinstance(v, Tensor) else v for k, v in values.items()}


def certify(op: ConvOperator, inverse: InverseOperator, x: Tensor, y: Tensor) -> Certificate:
    """Judge x as the solution of min ‖Ax − y‖² + damp²‖x‖²."""
    facts = inverse.summary
    with torch.no_grad():
        residual, optimality, error_bound = _evidence(op, inverse, x.detach(), y.detach())
        converged = optimality <= 100 * torch.finfo(x.dtype).eps
    N = len(x)
    return Certificate(
        method=inverse.method,
        rank=None if facts.rank is None else facts.rank.expand(N),
        rank_how=facts.rank_how,
        gap=facts.gap.expand(N),
        damp=inverse.damp,
        residual=residual,
        optimality=optimality,
        error_bound=error_bound,
        iterations=0,
        refinements=0,
        dropped=facts.dropped.expand(N),
        converged=converged,
        advice=_advice(converged, error_bound, facts.gap),
    )


def _evidence(
    op: ConvOperator, inverse: InverseOperator, x: Tensor, y: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """(residual, optimality, error_bound), in units in which A and every y are of order one.

    Weights of 1e-170 or data of 1e200 must neither pass nor fail for their unit: no norm may
    underflow to a perfect zero.
    """
    facts = inverse.summary
    A = op.with_weight(_doubled(op.weight.detach()))
    unit_A = _unit(A.weight.abs().amax())
    A = A.with_weight(A.weight / unit_A)
    yd = _doubled(y)
    unit_y = _unit(_largest(yd)).reshape(-1, *[1] * (y.ndim - 1))
    yd = yd / unit_y
    xd = _doubled(x) / unit_y * unit_A
    damp, norm_A, floor = (v / unit_A for v in (inverse.damp, facts.norm, facts.floor))
    r = yd - A(xd)
    g = A.H(r) - damp * (damp * xd)
    norm_r, norm_y, norm_x, norm_g = (_norms(t) for t in (r, yd, xd, g))
    if bool(facts.dropped.any()):
        # Rounding of g itself is part of the evidence, so the projection only ever removes.
        kept = inverse((A(g) * unit_A).to(y.dtype))
        norm_g = torch.minimum(norm_g, _norms(_doubled(kept)))
    optimality = _ratio(_ratio(norm_g, norm_A), norm_A * norm_x + norm_y)
    return _ratio(norm_r, norm_y), optimality, _ratio(_ratio(_ratio(norm_g, floor), floor), norm_x)


def _doubled(t: Tensor) -> Tensor:
    return t.to(torch.complex128 if t.is_complex() else torch.float64)


def _largest(t: Tensor) -> Tensor:  # (N, ...) -> (N,)
    return t.abs().flatten(1).amax(1) if len(t) else t.new_ones(0, dtype=torch.float64)


def _unit(size: Tensor) -> Tensor:
    return torch.where((size > 0) & size.isfinite(), size, 1.0)


def _norms(t: Tensor) -> Tensor:
    """Euclidean norms of (N, ...), safe from under- and overflow of squares."""
    size = _unit(_largest(t))
    scaled = t / size.reshape(-1, *[1] * (t.ndim - 1))
    return torch.linalg.vector_norm(scaled.flatten(1), dim=1) * size


def _ratio(a: Tensor, b: Tensor) -> Tensor:
    """a/b, with 0/0 = 0: a zero solution of a zero right-hand side is exact."""
    return torch.where(a == 0, 0.0, a / b)


def _advice(converged: Tensor, error_bound: Tensor, gap: Tensor) -> str:
    if not bool(converged.all()):
        return "the optimality is above round-off: use float64 data or damp > 0"
    if bool((gap < 10).any()):
        return (
            f"x is decided by the cut-off (σ_r/σ_r+1 = {float(gap.min()):.2g}): "
            "choose rtol or damp yourself"
        )
    worst = float(error_bound.max()) if len(error_bound) else 0.0
    if worst > 1e-3:
        return "the operator is ill-conditioned: x may be far off, consider damp > 0"
    return "exact to round-off" if worst <= 1e-8 else f"x is known to {worst:.1e} of its norm"
