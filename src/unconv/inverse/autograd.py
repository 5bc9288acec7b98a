"""A factored inverse as one node of autograd's graph, in y and in what it was factored from.

The outputs of the node are x and the `Effort` that it took, of which x alone has a derivative.
What is to be judged of them needs plain values, and gets them by `look`, under the rules by which
the node itself meets torch.func: a mapped axis of the data is more images, one of the kernels is
the batch of an inverse that holds a factor for every kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import repeat
from typing import Any, Protocol

import torch
from torch import Tensor

from ..numerics.plain_values import is_watched
from ..numerics.precision import ieee_arithmetic, in_precision, real_working_dtype
from .derivative import Derivative, Solve
from .facts import Companions, Effort


class Factored(Protocol):
    """What a node needs of the inverse B that it applies."""

    batch_size: int | None
    params: tuple[Tensor, ...]
    derivative: Derivative

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the operator: a result has it, or that of the data if that holds more."""

    @property
    def each(self) -> Factored:
        """Under vmap over the weight, the inverses of all slices."""

    @property
    def slices(self) -> Sequence[Factored]:
        """Under vmap over damp, an inverse for each slice; else empty."""

    def evaluate(self, v: Tensor, *, adjoint: bool) -> Tensor:
        """B v or Bᴴ v as plain values, in the dtype of the factor."""

    def evaluate_with_companion(self, v: Tensor, *, adjoint: bool) -> tuple[Tensor, Tensor | None]:
        """B v or Bᴴ v as plain values, and what `companions` reads."""

    def companions(self, companion: Tensor | None, *, adjoint: bool) -> Companions:
        """What a solve has found beside its answer."""

    def evaluate_with_effort(self, y: Tensor) -> tuple[Tensor, Effort]:
        """B y as plain values, with the most care that the factor can take, and what it took."""

    def companions_of(self, effort: Effort) -> Companions:
        """What such a solve has found beside its answer."""


Look = Callable[[Any, Tensor, Tensor, Effort], None]
"""What shall be done with (inverse, x, y, effort) as plain values."""

_FIELDS = len(Effort._fields)
_Outputs = tuple[Tensor | None, ...]  # x, the fields of an Effort, and what was found beside x


def apply_inverse(inverse: Factored, v: Tensor, *, adjoint: bool = False) -> Tensor:
    """B v or Bᴴ v in the dtype of the factor, differentiable in v and `inverse.params`."""
    if not is_watched(
        v, *inverse.params
    ):  # a node that nobody reads takes longer than short solves
        with torch.no_grad():
            return _values(inverse, v, adjoint)
    x: Tensor = _Apply.apply(v, inverse, adjoint, False, *inverse.params)[0]
    return x


def solve_with_effort(inverse: Factored, y: Tensor) -> tuple[Tensor, Effort]:
    """B y with the most care, differentiable in y and `inverse.params`, and what it took."""
    x, *effort, _ = _Apply.apply(y, inverse, False, True, *inverse.params)
    return x, Effort(*effort)


def look(inverse: Factored, x: Tensor, y: Tensor, effort: Effort, then: Look) -> None:
    """Call then(inverse, x, y, effort) with plain values, outside autograd and torch.func.

    x, y, effort : of `solve_with_effort`.  Under a vmap over kernels `then` is called for one image
    after the other, each time with the inverses of all kernels.
    """
    _Look.apply(then, inverse, x, y, *effort, *inverse.params)


def _values(inverse: Factored, v: Tensor, adjoint: bool) -> Tensor:
    return _owned(inverse.evaluate(v, adjoint=adjoint))


def _owned(x: Tensor) -> Tensor:
    """x, or a copy: torch sets no tangent on a view."""
    return x.clone() if x._is_view() else x


class _Apply(torch.autograd.Function):
    @staticmethod
    def forward(
        v: Tensor, inverse: Factored, adjoint: bool, careful: bool, *params: Tensor
    ) -> _Outputs:
        effort, companion = Effort(), None
        if careful:
            x, effort = inverse.evaluate_with_effort(v)
        elif any(p.requires_grad for p in params):  # whose gradient will ask for it
            x, companion = inverse.evaluate_with_companion(v, adjoint=adjoint)
        else:
            x = inverse.evaluate(v, adjoint=adjoint)
        return _owned(x), *effort, None if companion is None else _owned(companion)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: _Outputs) -> None:
        """What is saved guards itself: torch refuses a weight that has changed in place."""
        v, ctx.inverse, ctx.adjoint, _, *params = inputs
        x, *beside = output
        ctx.rounded_to = torch.promote_types(ctx.inverse.dtype, v.dtype)
        ctx.mark_non_differentiable(*(t for t in beside if t is not None))
        ctx.set_materialize_grads(False)
        if any(ctx.needs_input_grad[4:]):
            residual = ctx.inverse.companions_of(Effort(*beside[:-1])).found
            ctx.save_for_backward(v, x, residual, beside[-1], *params)
        else:  # the map alone is enough: it is linear, and its factor is its own
            ctx.constants, ctx.complex_data = params, v.is_complex()
        ctx.save_for_forward(v, x, *params)

    @staticmethod
    def backward(ctx: Any, g: Tensor | None, *_: None) -> tuple[Any, ...]:
        count = len(ctx.needs_input_grad) - 4
        if g is None:
            return (None,) * (4 + count)
        needed = ctx.needs_input_grad[4:]
        # The result was rounded after the node: its cotangent, in the dtype of x, is in that one.
        given = in_precision(g, real_working_dtype(ctx.rounded_to))
        if not any(needed):
            w = _Apply.apply(given, ctx.inverse, not ctx.adjoint, False, *ctx.constants)[0]
            return (w if ctx.complex_data else _real(w), None, None, None, *[None] * count)
        v, x, residual, companion, *params = ctx.saved_tensors
        known = of_g = Companions()
        if torch.is_grad_enabled() or torch._C._are_functorch_transforms_active():
            w = _Apply.apply(given, ctx.inverse, not ctx.adjoint, False, *params)[0]
        else:  # no derivative of this one is asked for: what solves have found serves as it is
            w, beside = ctx.inverse.evaluate_with_companion(given, adjoint=not ctx.adjoint)
            of_g = ctx.inverse.companions(beside, adjoint=not ctx.adjoint)
            known = ctx.inverse.companions(companion, adjoint=ctx.adjoint)
            if residual is not None:
                known = ctx.inverse.companions_of(Effort(residual=residual))
        grads = cotangents(ctx.inverse, g, w, v, x, params, ctx.adjoint, needed, known, of_g)
        return (_like(w, v), None, None, None, *grads)

    @staticmethod
    def jvp(
        ctx: Any, tangent: Tensor | None, _i: None, _a: None, _c: None, *tangents: Tensor | None
    ) -> _Outputs:
        v, x, *params = ctx.saved_for_forward
        wanted = [t is not None for t in tangents]
        at = _solve_at(ctx.inverse, v, x, params, ctx.adjoint, wanted)
        right = None if tangent is None else _joined(tangent, x)
        changes = [None if t is None else in_precision(t, x.dtype) for t in tangents]
        with ieee_arithmetic(x.device.type, x.dtype):
            dx = ctx.inverse.derivative.jvp(at, right, changes)
        return dx, *(None,) * (_FIELDS + 1)

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[int | None, ...],
        v: Tensor,
        inverse: Factored,
        adjoint: bool,
        careful: bool,
        *params: Tensor,
    ) -> tuple[_Outputs, _Dims]:
        """The mapped axis joins the batch; where it is that of the kernels, it is the batch."""
        v = _first(v, in_dims[0], info.batch_size)
        if inverse.slices and any(d is not None for d in in_dims[4:]):
            rows = zip(v, inverse.slices, _slices(params, in_dims[4:]), strict=True)
            return _stacked([_Apply.apply(i, B, adjoint, careful, *own) for i, B, own in rows], 0)
        if any(d is not None for d in in_dims[4:]):  # image after image, each for all kernels
            params = _all_first(params, in_dims[4:])
            each = inverse.each
            images = [_Apply.apply(i, each, adjoint, careful, *params) for i in v.unbind(1)]
            return _stacked(images, 1)
        if inverse.batch_size:  # one kernel per sample: the batch is taken
            return _stacked([_Apply.apply(p, inverse, adjoint, careful, *params) for p in v], 0)
        found = _Apply.apply(v.flatten(0, 1), inverse, adjoint, careful, *params)
        apart = tuple(None if t is None else t.unflatten(0, v.shape[:2]) for t in found)
        return apart, _dims(apart)


class _Look(torch.autograd.Function):
    """Calls its first argument; its value is a zero that nobody reads."""

    @staticmethod
    def forward(then: Look, inverse: Factored, x: Tensor, y: Tensor, *rest: Tensor) -> Tensor:
        with torch.no_grad():
            then(inverse, x.detach(), y.detach(), Effort(*rest[:_FIELDS]))
        return x.new_zeros(())

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keep nothing: the value that autograd sees is a constant."""
        ctx.mark_non_differentiable(output)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> None:
        """The zero has no tangent."""

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[int | None, ...],
        then: Look,
        inverse: Factored,
        x: Tensor,
        y: Tensor,
        *rest: Tensor | None,
    ) -> tuple[Tensor, None]:
        """As for the node: more images, or image after image where the kernels are mapped."""
        found = [
            None if t is None else _first(t, d, info.batch_size)
            for t, d in zip((x, y, *rest[:_FIELDS]), in_dims[2 : 4 + _FIELDS], strict=True)
        ]
        params, dims = rest[_FIELDS:], in_dims[4 + _FIELDS :]
        if inverse.slices and any(d is not None for d in dims):
            each = zip(*(_apart(t, 0) for t in found), strict=False)
            for images, B, own in zip(each, inverse.slices, _slices(params, dims), strict=True):
                _Look.apply(then, B, *images, *own)
            return x.new_zeros(()), None
        if any(d is not None for d in dims):
            params, inverse = _all_first(params, dims), inverse.each
            parts: Iterable[Sequence[Tensor | None]] = zip(
                *(_apart(t, 1) for t in found), strict=False
            )
        elif inverse.batch_size:
            parts = zip(*(_apart(t, 0) for t in found), strict=False)
        else:
            parts = [[None if t is None else t.flatten(0, 1) for t in found]]
        for part in parts:
            _Look.apply(then, inverse, *part, *params)
        return x.new_zeros(()), None


_Dims = tuple[int | None, ...]


def _first(t: Tensor, dim: int | None, size: int) -> Tensor:
    """`t` with the mapped axis in front, the same for all where it is not mapped."""
    return t.expand(size, *t.shape) if dim is None else t.movedim(dim, 0)


def _apart(t: Tensor | None, dim: int) -> Iterable[Tensor | None]:
    """The slices of a tensor, or None as often as wanted."""
    return repeat(None) if t is None else t.unbind(dim)


def _all_first(params: Sequence[Any], dims: Sequence[int | None]) -> tuple[Any, ...]:
    """Parameters with the mapped axis in front, of those that have one."""
    return tuple(p if d is None else p.movedim(d, 0) for p, d in zip(params, dims, strict=True))


def _slices(params: Sequence[Any], dims: Sequence[int | None]) -> Iterable[tuple[Any, ...]]:
    """The parameters of each slice, of those that are not mapped the same."""
    parts = [repeat(p) if d is None else p.unbind(d) for p, d in zip(params, dims, strict=True)]
    return zip(*parts, strict=False)


def _stacked(outputs: Sequence[_Outputs], dim: int) -> tuple[_Outputs, _Dims]:
    """The outputs of several nodes as one; the mapped axis is the first."""
    rows = zip(*outputs, strict=True)
    found = tuple(None if row[0] is None else torch.stack(row, dim) for row in rows)
    return found, _dims(found)


def _dims(outputs: _Outputs) -> _Dims:
    return tuple(None if t is None else 0 for t in outputs)


def cotangents(
    inverse: Factored,
    g: Tensor,
    w: Tensor,
    v: Tensor,
    x: Tensor,
    params: Sequence[Tensor],
    adjoint: bool,
    wanted: Sequence[bool],
    known: Companions | None = None,
    of_g: Companions | None = None,
) -> list[Tensor | None]:
    """Gradients of the wanted parameters for a cotangent g of x = B v, w = Bᴴg.

    known, of_g : what these two solves have found beside x and w, where no derivative is asked for
    """
    at = _solve_at(inverse, v, x, params, adjoint, wanted)
    if known is not None and of_g is not None:
        at = at._replace(known=known, known_of_g=of_g)
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
        inverse=lambda t: _Apply.apply(t, inverse, adjoint, False, *params)[0],
        inverse_adjoint=lambda t: _Apply.apply(t, inverse, not adjoint, False, *params)[0],
        solve=lambda t, params, adjoint: _Apply.apply(t, inverse, adjoint, False, *params)[0],
    )


def _joined(t: Tensor, x: Tensor) -> Tensor:
    """Data in the dtype of the solution, which is complex if they are."""
    return t.to(x.dtype)


def _real(t: Tensor) -> Tensor:
    return t.real if t.is_complex() else t


def _like(grad: Tensor, input: Tensor) -> Tensor:
    """A cotangent in the dtype and shape of the input: a damp may be of shape (1,)."""
    return (grad if input.is_complex() else _real(grad)).to(input.dtype).reshape(input.shape)
