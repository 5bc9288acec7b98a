"""Operators and inverses inside `torch.compile`: one opaque operation each, without a graph break.

How an operator is applied is decided by shape, in Python, and done by FFTs, LAPACK and iterations,
none of which a compiler could fuse.  So what is traced is a single custom operation, which finds
its operator again by a number and runs the same code as outside.  Its first derivatives are traced
too; second ones are not (torch.compile has none of its own), nor are transforms of torch.func
inside of compiled code.  The number is a constant of the graph: every operator has its own.

What makes operators and inverses, and what looks at values, breaks the graph (`outside_graphs`).
So does a call of one that compiled code has made itself: a graph would be compiled for each anew,
and could find none of them in its backward.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec, Protocol, TypeVar
from weakref import WeakValueDictionary

import torch
from torch import Tensor, nn


class Traceable(Protocol):
    """What an operation needs of the operator that it stands for."""

    domain_shape: tuple[int, ...]
    range_shape: tuple[int, ...]
    handle: int

    def value_dtype(self, data: torch.dtype) -> torch.dtype:
        """Dtype of what `value` returns."""

    def value(self, x: Tensor, params: Sequence[Tensor], adjoint: bool) -> Tensor:
        """A x or Aᴴ x as plain values."""

    def gradients(
        self, g: Tensor, w: Tensor, x: Tensor, y: Tensor, params: Sequence[Tensor], adjoint: bool
    ) -> list[Tensor]:
        """Gradients in the parameters, for a cotangent g of y = A x; w = Aᴴ g."""


_P = ParamSpec("_P")
_R = TypeVar("_R")


def outside_graphs(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Have compiled code call `function` as it is, with a graph break.

    For what branches on values: a factorisation, a choice of damp, a certificate.  As a decorator,
    `torch.compiler.disable` would import the compiler with the library, which takes seconds.
    """

    @wraps(function)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        if torch.compiler.is_compiling():
            return torch.compiler.disable(_outside)(function, *args, **kwargs)
        return function(*args, **kwargs)

    return run


def _outside(function: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs) -> _R:
    found = function(*args, **kwargs)
    made = args[0] if function.__name__ == "__init__" else found
    if isinstance(made, nn.Module):  # which may not outlive the call that made it
        for part in made.modules():
            vars(part)["made_in_passing"] = True
    return found


_numbers = itertools.count()
_operators: WeakValueDictionary[int, Any] = WeakValueDictionary()


def register(operator: object) -> int:
    """A number under which the traced operation finds the operator."""
    handle = next(_numbers)
    _operators[handle] = operator
    return handle


def _found(handle: int) -> Any:
    operator = _operators.get(handle)
    if operator is None:
        raise RuntimeError(
            "the operator or inverse of this compiled call exists no longer; keep a reference to "
            "it until the backward is done."
        )
    return operator


@contextmanager
def _lazy_views_resolved() -> Iterator[None]:
    """Let conj() and imag mean what they say.

    Compiled code runs operations with torch's handling of lazy conjugates and negatives switched
    off, for what it compiles has none; what runs in here has.
    """
    keys = [torch._C.DispatchKey.Conjugate, torch._C.DispatchKey.Negative]
    off = [k for k in keys if torch._C._dispatch_tls_is_dispatch_key_excluded(k)]
    for key in off:
        torch._C._dispatch_tls_set_dispatch_key_excluded(key, False)
    try:
        yield
    finally:
        for key in off:
            torch._C._dispatch_tls_set_dispatch_key_excluded(key, True)


def apply(operator: Traceable, x: Tensor, params: Sequence[Tensor], *, adjoint: bool) -> Tensor:
    """A x or Aᴴ x as one opaque operation, for code that is being compiled."""
    y: Tensor = _apply(x, list(params), operator.handle, adjoint)
    return y


@torch.library.custom_op(
    "unconv::apply",
    mutates_args=(),
    schema="(Tensor x, Tensor[] params, int handle, bool adjoint) -> Tensor",
)
def _apply(x: Tensor, params: list[Tensor], handle: int, adjoint: bool) -> Tensor:
    with _lazy_views_resolved():
        y: Tensor = _found(handle).value(x, params, adjoint)
    return _fresh(y) if y._is_view() or y is x else y.contiguous()


@_apply.register_fake
def _(x: Tensor, params: list[Tensor], handle: int, adjoint: bool) -> Tensor:
    operator = _found(handle)
    shape = operator.domain_shape if adjoint else operator.range_shape
    return x.new_empty(x.shape[0], *shape, dtype=operator.value_dtype(x.dtype))


@torch.library.custom_op(
    "unconv::gradients",
    mutates_args=(),
    schema="(Tensor g, Tensor w, Tensor x, Tensor y, Tensor[] params, int handle, bool adjoint)"
    " -> Tensor[]",
)
def _gradients(
    g: Tensor,
    w: Tensor,
    x: Tensor,
    y: Tensor,
    params: list[Tensor],
    handle: int,
    adjoint: bool,
) -> list[Tensor]:
    with _lazy_views_resolved():
        found = _found(handle).gradients(g, w, x, y, params, adjoint)
        return [_fresh(grad) for grad in found]


@_gradients.register_fake
def _(
    g: Tensor,
    w: Tensor,
    x: Tensor,
    y: Tensor,
    params: list[Tensor],
    handle: int,
    adjoint: bool,
) -> list[Tensor]:
    return [p.new_empty(p.shape) for p in params]


def _fresh(t: Tensor) -> Tensor:
    """Compiled code relies on the strides that were promised, and on no memory being shared."""
    return t.clone(memory_format=torch.contiguous_format)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, params, ctx.handle, ctx.adjoint = inputs
    ctx.live = any(p.requires_grad for p in params)
    ctx.save_for_backward(x, output, *params)


def _backward(ctx: Any, g: Tensor) -> tuple[Any, ...]:
    x, y, *params = ctx.saved_tensors
    w = _apply(g, params, ctx.handle, not ctx.adjoint)
    grads: list[Any] = [None] * len(params)
    if ctx.live:
        grads = list(_gradients(g, w, x, y, params, ctx.handle, ctx.adjoint))
    of_x = w if x.is_complex() or not w.is_complex() else w.real
    return of_x.to(x.dtype), grads, None, None


_apply.register_autograd(_backward, setup_context=_setup_context)
