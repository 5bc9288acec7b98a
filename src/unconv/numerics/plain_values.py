"""Plain values under the transforms of torch.func and of autograd.

A factorisation branches on numbers, runs LAPACK and draws random vectors: it needs tensors that
hold values.  Under `torch.func.grad`, `jvp` and `vmap` a function is handed wrappers instead.
torch takes them off, level by level, for the forward of an `autograd.Function`; so that is where
factorisations run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.autograd.forward_ad import unpack_dual

_T = TypeVar("_T")


def is_watched(*tensors: Tensor) -> bool:
    """Whether autograd, in either mode, or a transform of torch.func follows one of the tensors.

    Examples
    --------
    >>> x = torch.tensor(2.0)
    >>> is_watched(x), is_watched(x.clone().requires_grad_())
    (False, True)
    """
    if torch._C._are_functorch_transforms_active():
        return True
    live = torch.is_grad_enabled()
    return any((live and t.requires_grad) or unpack_dual(t).tangent is not None for t in tensors)


class Values(NamedTuple):
    """Tensors without wrappers and gradients.

    Attributes
    ----------
    tensors : where `mapped`, with the mapped axis in front
    mapped : which of them torch.func.vmap maps over
    """

    tensors: tuple[Tensor, ...]
    mapped: tuple[bool, ...]


def with_values(function: Callable[[Values], _T], *tensors: Tensor) -> _T:
    """function(values of the tensors), called outside autograd and every transform.

    Examples
    --------
    >>> x = torch.tensor(2.0)
    >>> torch.func.grad(lambda x: x * with_values(lambda v: float(v.tensors[0]), x))(x)
    tensor(2.)
    """
    results: list[_T] = []

    def call(values: Values) -> None:
        with torch.inference_mode(False), torch.no_grad():
            results.append(function(values))

    _Plain.apply(call, (False,) * len(tensors), *tensors)
    return results[0]


class _Plain(torch.autograd.Function):
    """Calls its first argument; its value is a zero that nobody reads."""

    @staticmethod
    def forward(
        call: Callable[[Values], None], mapped: tuple[bool, ...], *tensors: Tensor
    ) -> Tensor:
        # What is made from a tensor of the inference mode could not be saved for a backward.
        plain = tuple(t.clone() if t.is_inference() else t.detach() for t in tensors)
        call(Values(plain, mapped))
        return tensors[0].new_zeros(())

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
        in_dims: tuple[Any, ...],
        call: Callable[[Values], None],
        mapped: tuple[bool, ...],
        *tensors: Tensor,
    ) -> tuple[Tensor, None]:
        if any(mapped):
            raise NotImplementedError(
                "one vmap inside another over a weight is not supported; give the weight a batch "
                "axis of its own (one kernel per sample) instead of the inner vmap."
            )
        dims = in_dims[2:]
        moved = [t if d is None else t.movedim(d, 0) for t, d in zip(tensors, dims, strict=True)]
        return _Plain.apply(call, tuple(d is not None for d in dims), *moved), None
