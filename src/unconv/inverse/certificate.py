"""Evidence for a solution, recomputed from A itself and never taken from the solver.

With g = Aᴴ(y − Ax) − λx, λ = damp², and σ_r the smallest singular value that counts:

    residual    = ‖Ax − y‖ / ‖y‖
    optimality  = ‖g‖ / (‖A‖ (‖A‖‖x‖ + ‖y‖))              backward error of the normal equations
    error_bound = e / (‖x‖ − e) ≥ ‖x − x*‖ / ‖x*‖,  e = ‖g‖ / (λ + σ_r²) ≥ ‖x − x*‖   forward error,
                  as x* − x = (AᴴA + λ)⁻¹g; inf where e ≥ ‖x‖: nothing of x is proven then

A small optimality alone proves little: 400 LSMR steps reach 1e-6 with x 2.5 % wrong.  Low-precision
solutions are judged in float64.  Where singular values were dropped, g is projected on the kept
directions, the only ones in which the truncated problem has an optimum.

Source: Björck, "Numerical Methods for Least Squares Problems", SIAM 1996, §1.4 and §2.9.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from ..operator import ConvOperator
from ..precision import double_dtype
from .base import Effort, InverseOperator


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
    error_bound : (N,) at least ‖x − x*‖/‖x*‖, from σ_r, the least σ that counts; see certificate.py
    iterations, refinements : (N,) numbers of iterations and of refinement steps
    dropped : (N,) number of singular values that were cut
    converged : (N,) whether optimality is round-off (100·eps of the computation's dtype) and the
        error_bound met the `tol` that was asked for; of an iteration, the latter alone
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
    iterations: Any
    refinements: Any
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


_LEAST_PROVEN = 0.1
"""An error_bound above it proves not even the first digit, and nothing has converged."""


def certify(
    op: ConvOperator,
    inverse: InverseOperator,
    x: Tensor,
    y: Tensor,
    effort: Effort | None = None,
    tol: float = math.inf,
    result: torch.dtype | None = None,
) -> Certificate:
    """Judge x as the solution of min ‖Ax − y‖² + damp²‖x‖².

    Parameters
    ----------
    x : (N, *domain_shape), as computed, before it is rounded to the dtype of the result
    effort : what the solve took
    tol : error_bound above which the answer does not count as converged; the rounding of
        low-precision data, which no solver can undo, is reported on top
    result : dtype to which x will be rounded; by default that of the operator and the data
    """
    effort = Effort() if effort is None else effort
    facts = inverse.summary
    with torch.no_grad():
        residual, optimality, error_bound = _evidence(
            op, inverse, x.detach(), y.detach(), effort.residual
        )
        settled = optimality <= 100 * torch.finfo(x.dtype).eps
        settled |= inverse.iterates  # an iteration stops when its bound holds, not at round-off
        converged = settled & (error_bound <= min(tol, _LEAST_PROVEN))
        result = torch.promote_types(op.dtype, y.dtype) if result is None else result
        of_x, of_y = _rounding(inverse, x.detach(), y.detach(), result)
        converged &= of_x.isfinite()
        # All in units of ‖x*‖: a relative e of it is e/(1 + e) of ‖x‖.
        error_bound = _relative(
            error_bound / (1 + error_bound) + of_x + of_y, torch.ones_like(of_x)
        )
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
        iterations=_each(effort.iterations, residual),
        refinements=_each(effort.refinements, residual),
        dropped=facts.dropped.expand(N),
        converged=converged,
        advice=effort.advice or _advice(settled, converged, error_bound, facts.gap),
    )


def _evidence(
    op: ConvOperator, inverse: InverseOperator, x: Tensor, y: Tensor, witness: Tensor | None
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
    error = _ratio(_ratio(norm_g, floor), floor)
    if not inverse.damp:  # w = 0: the sharper bound where the data are consistent
        error = torch.minimum(error, _amplified(norm_r, floor, damp))
    if witness is not None:
        w = _doubled(witness.detach()) / unit_y
        rest = _norms(A.H(w) - damp * (damp * xd))
        error = torch.minimum(
            error, _amplified(_norms(r - w), floor, damp) + _ratio(_ratio(rest, floor), floor)
        )
    return _ratio(norm_r, norm_y), optimality, _relative(error, norm_x)


def _rounding(
    inverse: InverseOperator, x: Tensor, y: Tensor, result: torch.dtype
) -> tuple[Tensor, Tensor]:
    """What rounding alone may have cost: of x to the dtype of the result, of y before it came."""
    size = _norms(_doubled(x))
    of_x = _ratio(_norms(_doubled(x.to(result)) - _doubled(x)), size)
    of_x = torch.where(of_x.isfinite(), of_x, torch.inf)  # x overflows its dtype
    if y.dtype.to_real() == torch.float64:
        return of_x, torch.zeros_like(of_x)
    info = torch.finfo(y.dtype)
    of_y = _norms(_doubled(y)) * (info.eps / 2)
    of_y = of_y + (of_y > 0) * info.smallest_normal * info.eps / 2 * math.sqrt(y[:1].numel())
    damp = torch.full_like(inverse.summary.floor, inverse.damp)
    return of_x, _ratio(_amplified(of_y, inverse.summary.floor, damp), size)


def _relative(error: Tensor, size: Tensor) -> Tensor:
    """error/‖x*‖ from ‖x*‖ ≥ ‖x‖ − error: inf where nothing of x is proven."""
    bound = torch.where(error == 0, 0.0, error / (size - error).clamp(min=0))
    return torch.where(bound.isnan(), torch.inf, bound)


def _amplified(size: Tensor, floor: Tensor, damp: Tensor) -> Tensor:
    """At most what A⁺ or (AᴴA + damp²)⁻¹Aᴴ makes of a vector: σ/(σ² + damp²) times its size."""
    return torch.minimum(_ratio(size, floor), _ratio(0.5 * size, damp))


def _each(count: Tensor | int, like: Tensor) -> Tensor:
    """One integer an image."""
    return torch.as_tensor(count, device=like.device).expand(len(like))


def _doubled(t: Tensor) -> Tensor:
    return t.to(double_dtype(t.dtype))


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


def _advice(settled: Tensor, converged: Tensor, error_bound: Tensor, gap: Tensor) -> str:
    if not bool(settled.all()):
        return "the optimality is above round-off: use float64 data, or more damp"
    if not bool(converged.all()):
        worst = float(error_bound.max())
        return (
            f"error_bound {worst:.1e} is above what was asked for: x may be far off, use more damp"
        )
    if bool((gap < 10).any()):
        return (
            f"x is decided by the cut-off (σ_r/σ_r+1 = {float(gap.min()):.2g}): "
            "choose rtol or damp yourself"
        )
    worst = float(error_bound.max()) if len(error_bound) else 0.0
    if worst > 1e-3:
        return "the operator is ill-conditioned: x may be far off, consider damp > 0"
    return "exact to round-off" if worst <= 1e-8 else f"x is known to {worst:.1e} of its norm"
