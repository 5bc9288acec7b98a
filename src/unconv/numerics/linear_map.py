"""A linear map and its adjoint, as algorithms see them.

A `LinearOperator` is what a user holds: a module that checks its input.  What iterates with A, or
differentiates a solve, needs the two products alone, on tensors that were checked.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class LinearMap(Protocol):
    """A and Aᴴ on batches of tensors, without checks.

    Attributes
    ----------
    domain_shape, range_shape : of one x and of one y, without the batch axis
    per_sample : whether every sample of a batch has an A of its own
    """

    domain_shape: tuple[int, ...]
    range_shape: tuple[int, ...]
    per_sample: bool

    def matvec(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """A x: (N, *domain_shape) -> (N, *range_shape), into `out` where that helps."""

    def rmatvec(self, y: Tensor, out: Tensor | None = None) -> Tensor:
        """Aᴴ y: (N, *range_shape) -> (N, *domain_shape), into `out` where that helps."""


class Parametric(LinearMap, Protocol):
    """A linear map that depends on parameters, such as a convolution on its kernel."""

    def gradients(self, x: Tensor, y: Tensor) -> list[Tensor]:
        """The gradient of Re⟨y, A x⟩ in each parameter, for x and y of as many samples."""


class Adjoint:
    """Aᴴ in the place of A."""

    def __init__(self, A: LinearMap) -> None:
        self.per_sample = A.per_sample
        self.domain_shape, self.range_shape = A.range_shape, A.domain_shape
        self.matvec, self.rmatvec = A.rmatvec, A.matvec


class ParametricAdjoint(Adjoint):
    """Aᴴ in the place of an A that depends on parameters: Re⟨y, Aᴴx⟩ = Re⟨x, Ay⟩."""

    def __init__(self, A: Parametric) -> None:
        super().__init__(A)
        self._gradients = A.gradients

    def gradients(self, x: Tensor, y: Tensor) -> list[Tensor]:
        """The gradient of Re⟨y, Aᴴx⟩ in each parameter of A."""
        return self._gradients(y, x)
