"""A factored inverse as one node of autograd's graph, in y and in what it was factored from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from ..numerics.precision import ieee_arithmetic, in_precision
from .derivative import Derivative, Solve
from .facts import Effort


class Factored(Protocol):
    """What a node needs of the inverse that it applies."""

    batch_size: int | None
    params: tuple[Tensor, ...]
    derivative: Derivative

    @property
    def each(self) -> Factored:
        """Under vmap over the weight, the inverses of all slices."""

    def evaluate(self, v: Tensor, *, adjoint: bool, record: Record | None = None) -> Tensor:
        """B v or Bᴴ v as plain values."""


Record = Callable[[Any, Tensor, Tensor, Effort], None]
"""What shall be done with (inverse, y, x, effort) as plain values."""


def apply_inverse(
    inverse: Factored, v: Tensor, *, adjoint: bool = False, record: Record | None = None
) -> Tensor:
    """B v or Bᴴ v in the dtype of the factor, differentiable in v and `inverse.params`.

    `record` is called while the values are at hand, also under the transforms of torch.func.
    """
    out: Tensor = _Apply.apply(v, inverse, adjoint, record, *inverse.params)
    return out


class _Apply(torch.autograd.Function):
    @staticmethod
    def forward(
        v: Tensor, inverse: Factored, adjoint: bool, record: Record | None, *params: Tensor
    ) -> Tensor:
        x = inverse.evaluate(v, adjoint=adjoint, record=record)
        return x.clone() if x._is_view() else x  # torch sets no tangent on a view

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """What is saved guards itself: torch refuses a weight that has changed in place."""
        v, ctx.inverse, ctx.adjoint, _, *params = inputs
        ctx.set_materialize_grads(False)
        if any(ctx.needs_input_grad[4:]):
            ctx.save_for_backward(v, output, *params)
        else:  # the map alone is enough: it is linear, and its factor is its own
            ctx.constants, ctx.complex_data = params, v.is_complex()
        ctx.save_for_forward(v, output, *params)

    @staticmethod
    def backward(ctx: Any, g: Tensor | None) -> tuple[Any, ...]:
        count = len(ctx.needs_input_grad) - 4
        if g is None:
            return (None,) * (4 + count)
        needed = ctx.needs_input_grad[4:]
        if not any(needed):
            w = _Apply.apply(g, ctx.inverse, not ctx.adjoint, None, *ctx.constants)
            return (w if ctx.complex_data else _real(w), None, None, None, *[None] * count)
        v, x, *params = ctx.saved_tensors
        w = _Apply.apply(g, ctx.inverse, not ctx.adjoint, None, *params)
        grads = cotangents(ctx.inverse, g, w, v, x, params, ctx.adjoint, needed)
        return (_like(w, v), None, None, None, *grads)

    @staticmethod
    def jvp(
        ctx: Any, tangent: Tensor | None, _i: None, _a: None, _r: None, *tangents: Tensor | None
    ) -> Tensor:
        v, x, *params = ctx.saved_for_forward
        wanted = [t is not None for t in tangents]
        at = _solve_at(ctx.inverse, v, x, params, ctx.adjoint, wanted)
        right = None if tangent is None else _joined(tangent, x)
        changes = [None if t is None else in_precision(t, x.dtype) for t in tangents]
        with ieee_arithmetic(x.device.type, x.dtype):
            return ctx.inverse.derivative.jvp(at, right, changes)

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[int | None, ...],
        v: Tensor,
        inverse: Factored,
        adjoint: bool,
        record: Record | None,
        *params: Tensor,
    ) -> tuple[Tensor, int]:
        """The mapped axis joins the batch; where it is that of the kernels, it is the batch."""
        if any(d is not None for d in in_dims[4:]):
            return _of_mapped_kernels(info, in_dims, v, inverse, adjoint, record, params)
        v = v.movedim(in_dims[0] or 0, 0)
        if inverse.batch_size:  # one kernel a sample: the batch is taken
            parts = [_Apply.apply(part, inverse, adjoint, record, *params) for part in v]
            return torch.stack(parts), 0
        x = _Apply.apply(v.flatten(0, 1), inverse, adjoint, record, *params)
        return x.unflatten(0, v.shape[:2]), 0


def _of_mapped_kernels(
    info: Any,
    in_dims: tuple[int | None, ...],
    v: Tensor,
    inverse: Factored,
    adjoint: bool,
    record: Record | None,
    params: tuple[Tensor, ...],
) -> tuple[Tensor, int]:
    """Image after image, each for all kernels at once."""
    v = v.expand(info.batch_size, *v.shape) if in_dims[0] is None else v.movedim(in_dims[0], 0)
    moved = [p if d is None else p.movedim(d, 0) for p, d in zip(params, in_dims[4:], strict=True)]
    each = inverse.each
    found = [_Apply.apply(v[:, i], each, adjoint, record, *moved) for i in range(v.shape[1])]
    return torch.stack(found, 1), 0


def cotangents(
    inverse: Factored,
    g: Tensor,
    w: Tensor,
    v: Tensor,
    x: Tensor,
    params: Sequence[Tensor],
    adjoint: bool,
    wanted: Sequence[bool],
) -> list[Tensor | None]:
    """Gradients of the wanted parameters for a cotangent g of x = B v, w = Bᴴg."""
    at = _solve_at(inverse, v, x, params, adjoint, wanted)
    with ieee_arithmetic(x.device.type, x.dtype):
        found = inverse.derivative.vjp(at, g, w)
    return [
        _like(grad, param) if wish and grad is not None else None
        for grad, param, wish in zip(found, params, wanted, strict=True)
    ]


def _solve_at(
    inverse: Factored,
    v: Tensor,
    x: Tensor,
    params: Sequence[Tensor],
    adjoint: bool,
    wanted: Sequence[bool],
) -> Solve:
    return Solve(
        v=_joined(v, x),
        x=x,
        params=[in_precision(p, x.dtype) for p in params],
        adjoint=adjoint,
        wanted=wanted,
        inverse=lambda t: _Apply.apply(t, inverse, adjoint, None, *params),
        inverse_adjoint=lambda t: _Apply.apply(t, inverse, not adjoint, None, *params),
        solve=lambda t, params, adjoint: _Apply.apply(t, inverse, adjoint, None, *params),
    )


def _joined(t: Tensor, x: Tensor) -> Tensor:
    """Data in the dtype of the solution, which is complex if they are."""
    return t.to(x.dtype)


def _real(t: Tensor) -> Tensor:
    return t.real if t.is_complex() else t


def _like(grad: Tensor, input: Tensor) -> Tensor:
    """A cotangent in the dtype and shape of the input: a damp may be of shape (1,)."""
    return (grad if input.is_complex() else _real(grad)).to(input.dtype).reshape(input.shape)
