"""(AAᴴ + r)⁻¹ of data, for one r after the other.

That is the precision (inverse covariance) of data y = Ax + noise, where x is white with variance 1
and the noise has variance r.  A damped solve x = (AᴴA + r)⁻¹Aᴴu has it in its residual,

    w = (AAᴴ + r)⁻¹ u = (u − A x)/r,

which loses (σ/√r)² of all digits where σ² is above r.  So it is not formed like that: where A is
diagonal, w = U (σ² + r)⁻¹ Uᴴu + (u − U Uᴴu)/r, and the other solvers work with w, and know it, or
the residual r·w, better than x.  For r = 0, where A has full row rank, w = (A⁺)ᴴA⁺u.

Derivative, for a cotangent h of w:

    s = (AAᴴ + r)⁻¹h,   ∂u = s,   ∂weight = −W(Aᴴw, s) − W(Aᴴs, w),   ∂r = −Re⟨s, w⟩

where W(x, g) is the gradient of Re⟨g, A x⟩ in the weight.

Source: Song et al., "Pseudoinverse-guided diffusion models for inverse problems", ICLR 2023, eq. 7,
for what asks for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..inverse import InverseOperator, Request
from ..inverse.diagonal.protocol import Diagonal
from ..numerics.precision import ieee_arithmetic
from ..operators.convolution import Convolution
from .damp_path import DampPath

Values = Callable[[Tensor], Tensor]


def data_precision(
    op: Convolution, path: DampPath, u: Tensor, r: Tensor, request: Request
) -> Tensor:
    """(AAᴴ + r)⁻¹u, differentiable in u, r and the weight.

    u : (N, *range_shape);  r : () float64, > 0
    """
    asked = replace(request.undamped(), damp=float(r.detach()) ** 0.5)

    def values(v: Tensor) -> Tensor:
        v, diagonal = op._masked(v), path.vectors(op, asked)
        if diagonal is None:
            return _by_residual(path.at(op, asked), v)
        if v.is_complex() and not op.dtype.is_complex:
            return torch.complex(values(v.real), values(v.imag))
        return _by_vectors(diagonal, v.to(torch.promote_types(v.dtype, op.dtype)), asked.damp)

    found: Tensor = _Precision.apply(u, op.weight, r, op, values)
    return found


def undamped_precision(op: Convolution, pinv: InverseOperator, u: Tensor) -> Tensor:
    """(AAᴴ)⁻¹u by A⁺, where A has full row rank.

    Raises
    ------
    ValueError
        If A has not, or nothing is known of its rank.
    """
    rank = pinv.summary.rank
    m = op.shape[0] if op.seen is None else int(op.seen.expand(op.range_shape).sum())
    if rank is None or bool((rank < m).any()):
        known = "is not known to have full rank" if rank is None else f"has rank {int(rank.min())}"
        raise ValueError(
            f"r=0 asks for the inverse of AAᴴ, which is singular: A {known} for {m} outputs; give "
            "r > 0, such as the variance of the noise, or use A_dagger."
        )
    return pinv.H(pinv(u))


class _Precision(torch.autograd.Function):
    """The node w = (AAᴴ + r)⁻¹u of autograd's graph."""

    @staticmethod
    def forward(u: Tensor, weight: Tensor, r: Tensor, op: Convolution, values: Values) -> Tensor:
        return values(u)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """What the formulas of the module read."""
        _, weight, r, ctx.op, ctx.values = inputs
        ctx.save_for_backward(output, weight, r)

    @staticmethod
    def backward(ctx: Any, h: Tensor) -> tuple[Tensor | None, ...]:
        w, weight, r = ctx.saved_tensors
        s = _Precision.apply(h, weight, r, ctx.op, ctx.values)
        of_weight, of_r = None, None
        with ieee_arithmetic(h.device.type, h.dtype):
            if ctx.needs_input_grad[1]:
                A = ctx.op.with_weight(weight)
                x, g = torch.cat([A.H(w), A.H(s)]), torch.cat([s, w])
                of_weight = -A.weight_gradient(x, g)
            if ctx.needs_input_grad[2]:
                of_r = -(s.conj() * w).real.sum().to(r.dtype)
        return s, of_weight, of_r, None, None


def _by_vectors(diagonal: Diagonal, u: Tensor, damp: float) -> Tensor:
    """By singular vectors: what they leave of u is divided by r."""
    U = diagonal.data
    wide = u.to(torch.promote_types(u.dtype, torch.float64))
    c = U.analyse(wide)
    w = U.synthesise(c / (U.sigma**2 + damp**2))
    if int(U.counts.sum()) < u[0].numel():
        w = w + (wide - U.synthesise(c)) / damp**2
    return w.to(u.dtype)


def _by_residual(inverse: InverseOperator, u: Tensor) -> Tensor:
    """By what a damped solve leaves of u, as the solver knows it."""
    x, effort = inverse.evaluate_with_effort(u)
    residual = effort.residual
    if residual is None:
        wide = u.to(x.dtype)
        residual = wide - inverse.source[0].in_double()._matvec(x)
    return (residual / inverse.damp**2).to(u.dtype)
