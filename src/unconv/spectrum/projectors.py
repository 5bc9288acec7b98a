"""Orthogonal projectors onto range(A) and null(A), as operators.

    range   P = U_r U_rᴴ        null   P = I − V_r V_rᴴ

U_r, V_r the singular vectors with σ > max(atol, rtol·σ_max).  Where a rung diagonalises A they are
kept, and P is idempotent to round-off whatever the condition number; A⁺A would be so only to
eps·cond.  Elsewhere

    null    P = (I − A⁺A)²,     range   P = I − (I − (Aᴴ)⁺Aᴴ)².

Once, I − A⁺A leaves what the solve did not resolve and what the product with A rounded, eps·cond of
x along the small singular values.  The second time A sees that remainder and A⁺ takes it off; for
this to gain anything the product, which cancels down to eps, must itself be known to better
(accurate_product.py).

Cost: that of A⁺; two of its applies and ten products with A.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from ..inverse import factorize
from ..inverse.diagonal.protocol import Subspace
from ..inverse.operator import InverseOperator
from ..inverse.request import Request, default_rtol
from ..numerics.norms import in_unit
from ..numerics.precision import double_dtype
from ..operators.convolution import Convolution
from ..operators.linear_operator import LinearOperator, MemoryLimitError
from .accurate_product import AccurateProduct
from .values import exact_rung


class Projector(LinearOperator):
    """An orthogonal projector P = Pᴴ = P² on the domain or on the range of an operator.

    It computes in double precision and answers in the dtype of the operator and its argument.
    """

    def __init__(self, op: Convolution, *, on_range: bool, complement: bool) -> None:
        super().__init__()
        self.domain_shape = self.range_shape = op.range_shape if on_range else op.domain_shape
        self.batch_size = op.batch_size
        self.on_range, self.complement = on_range, complement
        self._dtype, self._device = op.dtype, op.device

    def _project(self, v: Tensor) -> Tensor:
        """V_r V_rᴴ v or U_r U_rᴴ v, in double precision."""
        raise NotImplementedError

    def _matvec(self, x: Tensor) -> Tensor:
        v = x.to(double_dtype(torch.promote_types(x.dtype, self.dtype)))
        if v.is_complex() and not self.dtype.is_complex:  # a real projector takes Re and Im apart
            projected = torch.complex(self._project(v.real), self._project(v.imag))
        else:
            projected = self._project(v)
        result = torch.promote_types(self.dtype, x.dtype)
        return (v - projected if self.complement else projected).to(result)

    def _rmatvec(self, y: Tensor) -> Tensor:
        return self._matvec(y)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Projector:
        """`.to`: the device moves all, a dtype only what is answered; all work stays double."""
        probe = fn(torch.empty(0, dtype=self._dtype.to_real(), device=self._device))
        real = probe.dtype.to_real()
        self._dtype = real.to_complex() if self._dtype.is_complex else real
        self._device = probe.device
        for name, buffer in self._buffers.items():
            self._buffers[name] = None if buffer is None else buffer.to(probe.device)
        for child in self.children():
            child.to(probe.device)
        return self

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the operator on whose range or null space the projector acts."""
        return self._dtype

    @property
    def device(self) -> torch.device:
        """Device of the operator on whose range or null space the projector acts."""
        return self._device

    @property
    def H(self) -> LinearOperator:
        """The adjoint, which is the projector itself."""
        return self


class BasisProjector(Projector):
    """A projector by kept singular vectors, where something diagonalises A."""

    def __init__(self, op: Convolution, subspace: Subspace, *, on_range: bool) -> None:
        super().__init__(op, on_range=on_range, complement=not on_range)
        self.subspace = subspace

        def keep(t: Tensor) -> Tensor:  # as a buffer, which is saved and moves
            self.register_buffer(f"factor{len(self._buffers)}", t)
            return t

        subspace.mapped(keep)

    def _project(self, v: Tensor) -> Tensor:
        stored = iter([t for t in self._buffers.values() if t is not None])
        return self.subspace.mapped(lambda _: next(stored)).project(v)


class FactorProjector(Projector):
    """A projector by the factor of A⁺, (I − A⁺A)² on null(A), I − (I − (Aᴴ)⁺Aᴴ)² on range(A)."""

    def __init__(
        self, op: Convolution, A: Convolution, inverse: InverseOperator, *, on_range: bool
    ) -> None:
        super().__init__(op, on_range=on_range, complement=not on_range)
        self.A, self.inverse, self.accurate = A, inverse, AccurateProduct(A)

    def _project(self, v: Tensor) -> Tensor:
        A, accurate, inverse = self.A, self.accurate, self.inverse
        apply = A._rmatvec if self.on_range else A._matvec
        again = accurate.rmatvec if self.on_range else accurate.matvec
        invert = inverse._rmatvec if self.on_range else inverse._matvec
        rest = v - invert(apply(v))
        # What A still sees of it is the error of the first pass, known to far better than eps.
        return v - (rest - invert(again(rest)))


class WholeSpace(Projector):
    """The projector on everything, where A has full rank on this side."""

    def _project(self, v: Tensor) -> Tensor:
        return v


def projector(op: Convolution, request: Request, *, on_range: bool) -> LinearOperator:
    """The orthogonal projector on range(A) in the data space, or on null(A) in the domain.

    request : its cut-off decides which singular values count as zero
    """
    rung = exact_rung(op, request.memory_limit, 1, request)
    if rung is None:
        return _by_factor(op, request, on_range=on_range)
    A, doubled = _doubled(op, request)
    found = rung.diagonalise(A)
    keep = doubled.cutoff(A, found.sigma.amax(1))[:, None] < found.sigma
    basis = found.data if on_range else found.domain
    return BasisProjector(op, basis.subspace(keep), on_range=on_range)


def _doubled(op: Convolution, request: Request) -> tuple[Convolution, Request]:
    """The operator in double precision, of order one, with the cut-off of its own precision.

    Projectors do not depend on the unit, and products with small weights do not underflow.
    """
    rtol = request.rtol
    if rtol is None and not request.atol:
        rtol = default_rtol(op)
    A = op.in_double()
    weight, unit = in_unit(A.weight, 0)
    A = A.with_weight(weight)
    return A, replace(request, rtol=rtol, atol=request.atol / float(unit), check_finite=False)


def _by_factor(op: Convolution, request: Request, *, on_range: bool) -> Projector:
    A, doubled = _doubled(op, request)
    inverse: InverseOperator = factorize(A, doubled)
    if inverse.iterates:
        raise MemoryLimitError(
            "a projector needs a factor of A, and none fits memory_limit; raise it."
        )
    m, n = op.shape
    full = not bool(inverse.summary.dropped.any())
    if full and (m <= n if on_range else n <= m):
        return WholeSpace(op, on_range=on_range, complement=not on_range)
    return FactorProjector(op, A, inverse, on_range=on_range)
