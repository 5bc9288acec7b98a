"""What is found outside autograd and stays constant in a derivative, also under torch.func.

A derivative of a spectral quantity is written as an expression in the weight whose value, gradient
and second derivative are right at the weight that it was made at; singular vectors, grids and
values stand in it as constants.  `constants` finds these from plain numbers; `change` leaves of an
expression its derivatives alone, so that the value is the one that was found with care.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

_Find = Callable[[Tensor], tuple[Tensor, ...]]


def constants(find: _Find, weight: Tensor) -> tuple[Tensor, ...]:
    """find(weight) on plain values; under `torch.func.vmap` slice by slice, then stacked.

    Examples
    --------
    >>> x = torch.tensor([1.0, 2.0])
    >>> torch.func.grad(lambda x: (x * constants(lambda w: (w.sort().values,), x)[0]).sum())(x)
    tensor([1., 2.])
    """
    found: tuple[Tensor, ...] = _Constants.apply(find, weight)
    return found


def change(x: Tensor) -> Tensor:
    """x less its value: zeros that have the derivatives of x.

    Examples
    --------
    >>> torch.func.grad(lambda x: (5 + change(x**2)) * x)(torch.tensor(3.0))  # 5 + 6·3
    tensor(23.)
    """
    found: Tensor = _Change.apply(x)
    return found


def without_derivative(value: Tensor, weight: Tensor, why: Exception) -> Tensor:
    """`value`, whose derivative in the weight does not exist or is out of reach: raises `why`."""
    found: Tensor = _Refused.apply(weight, value, why)
    return found


def at_most_twice(weight: Tensor) -> Tensor:
    """A zero whose third derivative in the weight says that it is not known."""
    zeros: Tensor = _Limited.apply(weight, 2)
    return zeros.real.sum()


class _Constants(torch.autograd.Function):
    @staticmethod
    def forward(find: _Find, weight: Tensor) -> tuple[Tensor, ...]:
        plain = weight.clone() if weight.is_inference() else weight.detach()
        with torch.inference_mode(False), torch.no_grad():
            return find(plain)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        """Keep nothing."""
        ctx.mark_non_differentiable(*output)
        ctx.outputs = len(output)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[None, None]:
        """Constants pass nothing on."""
        return None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> tuple[None, ...]:
        """Constants have no tangents."""
        return (None,) * ctx.outputs

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[Any, ...], find: _Find, weight: Tensor
    ) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
        found = [constants(find, w) for w in weight.movedim(in_dims[1], 0)]
        stacked = tuple(torch.stack(_padded(parts)) for parts in zip(*found, strict=True))
        return stacked, (0,) * len(stacked)


def _padded(parts: tuple[Tensor, ...]) -> list[Tensor]:
    """Tensors of unequal length along their first axis, with zeros behind the shorter ones."""
    if not parts[0].ndim:
        return list(parts)
    most = max(len(t) for t in parts)
    return [torch.cat([t, t.new_zeros(most - len(t), *t.shape[1:])]) for t in parts]


class _Change(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return torch.zeros_like(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Nothing is needed."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return g

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> Tensor:
        return tangent.clone()


class _Refused(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(weight: Tensor, value: Tensor, why: Exception) -> Tensor:
        return value.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keep the error."""
        ctx.why = inputs[2]

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[None, None, None]:
        raise ctx.why

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        raise ctx.why


class _Limited(torch.autograd.Function):
    """Zeros that may be differentiated so many times."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, times: int) -> Tensor:
        return torch.zeros_like(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keep x, on which the next derivative depends."""
        x, ctx.times = inputs
        ctx.save_for_backward(x)
        ctx.save_for_forward(x)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        return _change_of_zeros(ctx, g), None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, _: None) -> Tensor:
        return _change_of_zeros(ctx, tangent)


def _change_of_zeros(ctx: Any, along: Tensor) -> Tensor:
    if not ctx.times:
        raise NotImplementedError(
            "singular values are differentiable twice, and this asks for a third derivative; take "
            "it of the matrix, torch.linalg.svdvals(A.to_dense())."
        )
    zeros: Tensor = _Limited.apply(ctx.saved_tensors[0], ctx.times - 1)
    return along * zeros
