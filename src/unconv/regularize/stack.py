"""x ↦ [Ax; damp·Lx], of which a penalised problem is the plain least squares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from ..inverse.normal_equations import Params, real_dot
from ..numerics.linear_map import Parametric
from ..numerics.precision import in_precision
from ..operators.convolution import Convolution


class Layout(Protocol):
    """How the two rows of a stack lie in one tensor."""

    def join(self, first: Tensor, second: Tensor) -> Tensor:
        """[y₁; y₂]."""

    def split(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """y₁ and y₂."""


class Flat:
    """As vectors, one behind the other: for operators that share no grid."""

    def __init__(self, A: Convolution, L: Convolution) -> None:
        self.shapes = A.range_shape, L.range_shape
        self.sizes = [A.shape[0], L.shape[0]]

    def join(self, first: Tensor, second: Tensor) -> Tensor:
        """(N, ...) twice -> (N, m₁ + m₂)."""
        return torch.cat([first.flatten(1), second.flatten(1)], 1)

    def split(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """The inverse of `join`."""
        first, second = y.split(self.sizes, 1)
        return first.reshape(-1, *self.shapes[0]), second.reshape(-1, *self.shapes[1])


class Channels:
    """As channels of one convolution, those of A first in every group."""

    def __init__(self, first: Tensor, count: int) -> None:
        """`first` : which of `count` channels are those of A."""
        other = torch.ones(count, dtype=torch.bool, device=first.device)
        other[first] = False
        self.first, self.second = first, other.nonzero()[:, 0]

    def join(self, first: Tensor, second: Tensor) -> Tensor:
        """(N, c₁, *m) and (N, c₂, *m) -> (N, c₁ + c₂, *m)."""
        order = torch.cat([self.first, self.second]).argsort().to(first.device)
        return torch.cat([first, second], 1)[:, order]

    def split(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """The inverse of `join`."""
        return y[:, self.first.to(y.device)], y[:, self.second.to(y.device)]


class Stack:
    """[A; damp·L] with its adjoint and the gradients in both weights and damp."""

    per_sample = False

    def __init__(
        self, A: Convolution, L: Convolution, damp: float | Tensor, layout: Layout
    ) -> None:
        self.A, self.L, self.damp, self.layout = A, L, damp, layout
        self.domain_shape: tuple[int, ...] = A.domain_shape
        self.range_shape: tuple[int, ...] = (A.shape[0] + L.shape[0],)

    def matvec(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """[Ax; damp·Lx]."""
        return self.layout.join(self.A._matvec(x), self.damp * self.L._matvec(x))

    def rmatvec(self, y: Tensor, out: Tensor | None = None) -> Tensor:
        """Aᴴy₁ + damp·Lᴴy₂."""
        first, second = self.layout.split(y)
        return self.A._rmatvec(first) + self.damp * self.L._rmatvec(second)

    def gradients(self, x: Tensor, y: Tensor) -> list[Tensor]:
        """Of Re⟨y, [A; damp·L] x⟩."""
        first, second = self.layout.split(y)
        return [
            self.A.weight_gradient(x, first),
            self.damp * self.L.weight_gradient(x, second),
            real_dot(second, self.L._matvec(x)),
        ]


class StackModel:
    """A stack; its parameters are the weights of A and L, and damp."""

    def __init__(self, A: Convolution, L: Convolution, layout: Layout) -> None:
        self.A, self.L, self.layout = A, L, layout

    def at(self, params: Params, like: Tensor) -> Parametric:
        """The stack for these parameters."""
        A, L, damp = self._operators(params, like)
        return Stack(A, L, damp, self.layout)

    def tangent(
        self, params: Params, tangents: Sequence[Tensor | None], like: Tensor
    ) -> Parametric:
        """[dA; damp·dL + ddamp·L]."""
        dA, dL, ddamp = (
            torch.zeros_like(p) if t is None else t for p, t in zip(params, tangents, strict=True)
        )
        _, weight, damp = params
        one = torch.ones_like(damp)
        return self.at((dA, damp * dL + ddamp * weight, one), like)

    def _operators(self, params: Params, like: Tensor) -> tuple[Convolution, Convolution, Tensor]:
        weight, penalty, damp = (in_precision(p, like.dtype) for p in params)
        return self.A.with_weight(weight), self.L.with_weight(penalty), damp
