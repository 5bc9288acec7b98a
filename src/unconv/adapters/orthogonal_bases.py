"""Real coordinates in a basis of singular vectors.

A real operator has C(−ω) = conj C(ω): of each pair ±ω one frequency is stored, and √2·Re and √2·Im
of a coefficient are two real coordinates.  A frequency that is its own conjugate has real vectors
and one coordinate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..inverse.diagonal.protocol import Basis

ABSENT = -math.inf
"""Label of an entry that is no coordinate."""


@dataclass(frozen=True)
class RealCoordinates:
    """Qᵀ and Q for a matrix Q with real orthonormal columns, and empty ones labelled ABSENT.

    Attributes
    ----------
    basis : of a real operator with one kernel
    labels : (K,) singular values, UNMATCHED where there is none, or ABSENT
    size : (K',) of the coordinate of a coefficient of one; None where coefficients are real
    """

    basis: Basis
    labels: Tensor
    size: Tensor | None

    def analyse(self, v: Tensor) -> Tensor:
        """Qᵀ v, (N, *shape) -> (N, K)."""
        c = self.basis.analyse(v)
        return c if self.size is None else torch.view_as_real(c * self.size).flatten(1)

    def synthesise(self, z: Tensor) -> Tensor:
        """Q z, (N, K) -> (N, *shape)."""
        if self.size is None:
            return self.basis.synthesise(z)
        return self.basis.synthesise(torch.view_as_complex(z.unflatten(1, (-1, 2))) / self.size)


def real_coordinates(basis: Basis, dtype: torch.dtype) -> RealCoordinates:
    """Coordinates of a real dtype in a basis of a real operator."""
    labels, counts = basis.sigma[0], basis.counts
    basis = basis.mapped(lambda Q: Q.to(dtype.to_complex() if Q.is_complex() else dtype))
    if not basis.dtype.is_complex:
        return RealCoordinates(basis, labels, None)
    present = torch.stack([counts > 0, counts > 1], 1)
    labels = torch.where(present, labels[:, None], ABSENT).flatten()
    return RealCoordinates(basis, labels, counts.clamp(min=1).to(dtype).sqrt())
