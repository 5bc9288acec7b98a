"""The singular vectors of A in the shapes of deepinv's `DecomposablePhysics`.

    A = U diag(mask) Vᵀ,    V n × n orthogonal,    U m × n, zero where there is no singular value

Coordinates of data have the length of those of pictures, as DDRM compares the two entry by entry.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from ..inverse.diagonal.rungs import RUNGS, diagonal_rung
from ..operators.convolution import Convolution
from .h_functions import HFunctions, as_h_functions


class SingularCoordinates:
    """U, V and singular values of an operator; computed when asked for, not copied with it."""

    def __init__(self, rtol: float | None, atol: float, memory_limit: float) -> None:
        self._options: dict[str, Any] = {"rtol": rtol, "atol": atol, "memory_limit": memory_limit}
        self._kept: tuple[Tensor, HFunctions] | None = None

    def _of(self, op: Convolution) -> HFunctions:
        weight = op.weight.detach()
        if self._kept is None or not _same(self._kept[0], weight):
            found = as_h_functions(op.with_weight(weight), **self._options)
            self._kept = weight.clone(), found
        return self._kept[1]

    def mask(self, op: Convolution) -> Tensor:
        """(1, n) singular values, descending, zeros behind."""
        found = self._of(op)
        return found.add_zeros(found.singulars()[None])

    def V(self, op: Convolution, z: Tensor) -> Tensor:
        """V z, (N, n) -> (N, *domain_shape)."""
        return self._of(op).V(z).reshape(-1, *op.domain_shape)

    def V_adjoint(self, op: Convolution, x: Tensor) -> Tensor:
        """Vᵀ x, (N, *domain_shape) -> (N, n)."""
        return self._of(op).Vt(x)

    def U(self, op: Convolution, z: Tensor) -> Tensor:
        """U z, (N, n) -> (N, *range_shape)."""
        return self._of(op).U(z[:, : min(op.shape)]).reshape(-1, *op.range_shape)

    def U_adjoint(self, op: Convolution, y: Tensor) -> Tensor:
        """Uᵀ y, (N, *range_shape) -> (N, n)."""
        m, n = op.shape
        return pad(self._of(op).Ut(y), (0, max(0, n - m)))

    def __deepcopy__(self, memo: dict[int, Any]) -> SingularCoordinates:
        return SingularCoordinates(**self._options)

    def __reduce__(self) -> tuple[type[SingularCoordinates], tuple[Any, ...]]:
        return SingularCoordinates, tuple(self._options.values())


def have_singular_vectors(op: Convolution, memory_limit: float) -> bool:
    """Whether a rung (way to invert A) has all of them, real ones, within the memory limit."""
    if op.dtype.is_complex:
        return False
    name = diagonal_rung(op, memory_limit)
    return name is not None and RUNGS[name].complete_memory(op) <= memory_limit


def _same(a: Tensor, b: Tensor) -> bool:
    return a.dtype == b.dtype and a.device == b.device and torch.equal(a, b)
