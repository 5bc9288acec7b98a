"""The gradient of Re⟨y, A x⟩ in the weight of A, differentiable in x and y.

A is trilinear with its weight w: Re⟨y, A(w) x⟩ = Re⟨W(x, y), w⟩ = Re⟨A(w)ᴴ y, x⟩.  So the
derivatives of W are convolutions again: along V, that of W in y is A(V) x and in x is A(V)ᴴ y.
"""

from __future__ import annotations

from typing import Any, Protocol, Self

import torch
from torch import Tensor

from .. import convolve
from ..grid.geometry import Geometry, extended
from ..grid.padding import extend
from ..numerics.plain_values import is_watched


class Trilinear(Protocol):
    """A convolution as a function of its weight."""

    geometry: Geometry
    batch_size: int | None
    transposed: bool
    flip: bool

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the weight."""

    def with_weight(self, weight: Tensor) -> Self:
        """The convolution with these options and another weight of the same shape."""

    def _masked(self, y: Tensor) -> Tensor:
        """y with zeros where nothing was seen."""

    def _matvec(self, x: Tensor) -> Tensor: ...

    def _rmatvec(self, y: Tensor) -> Tensor: ...


def weight_gradient(op: Trilinear, x: Tensor, y: Tensor) -> Tensor:
    """W(x, y) for the geometry of `op`, whose own weight does not matter but for its kind."""
    result = torch.promote_types(x.dtype, y.dtype)
    if op.dtype.is_complex:
        result = result.to_complex()
    x, y = x.to(result), op._masked(y.to(result))
    if x.is_complex() and not op.dtype.is_complex:  # Re and Im are samples more
        if op.batch_size is not None:
            return _gradient(x.real, y.real, op) + _gradient(x.imag, y.imag, op)
        x, y = (torch.cat([t.real, t.imag]) for t in (x, y))
    return _gradient(x, y, op)


def _gradient(x: Tensor, y: Tensor, op: Trilinear) -> Tensor:
    if not is_watched(x, y):  # a node that nobody reads takes as long as W of a small image
        return _value(op, x, y)
    out: Tensor = _Gradient.apply(x, y, op)
    return out


class _Gradient(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor, y: Tensor, op: Trilinear) -> Tensor:
        return _value(op, x, y)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keep x and y: each is needed for the gradient in the other."""
        x, y, ctx.op = inputs
        ctx.save_for_backward(x, y)
        ctx.save_for_forward(x, y)

    @staticmethod
    def backward(ctx: Any, V: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, y = ctx.saved_tensors
        A = ctx.op.with_weight(V)
        of_x, of_y, _ = ctx.needs_input_grad
        return A._rmatvec(y) if of_x else None, A._matvec(x) if of_y else None, None

    @staticmethod
    def jvp(ctx: Any, of_x: Tensor | None, of_y: Tensor | None, _: None) -> Tensor:
        x, y = ctx.saved_for_forward
        of_x = torch.zeros_like(x) if of_x is None else of_x
        of_y = torch.zeros_like(y) if of_y is None else of_y
        out: Tensor = _Gradient.apply(of_x, y, ctx.op) + _Gradient.apply(x, of_y, ctx.op)
        return out

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], x: Tensor, y: Tensor, op: Trilinear
    ) -> tuple[Tensor, int]:
        """One gradient after the other."""
        x, y = (
            t.movedim(d, 0) if d is not None else t.expand(info.batch_size, *t.shape)
            for t, d in zip((x, y), in_dims, strict=False)
        )
        return torch.stack([_Gradient.apply(a, b, op) for a, b in zip(x, y, strict=True)]), 0


def _value(op: Trilinear, x: Tensor, y: Tensor) -> Tensor:
    geometry, per_sample = op.geometry, op.batch_size is not None
    if op.transposed:  # Re⟨y, Cᵀ(w) x⟩ = Re⟨conj x, C(w) conj y⟩
        x, y = y.conj().resolve_conj(), x.conj().resolve_conj()
    inner = extended(geometry)
    if inner is not None:
        x, geometry = extend(x, geometry, y.dtype), inner
    W = convolve.kernel_gradient(x, y, geometry, per_sample=per_sample)
    return W.flip(tuple(range(-geometry.nd, 0))) if op.flip else W
