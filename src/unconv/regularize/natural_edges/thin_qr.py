"""B(ω) = Q₁(ω) R(ω) per frequency, Q₁ of orthonormal columns, for one component and for several.

Of one component Q₁ is B over its length, and its products are those of images: spectra of rows
(N, g·r, *spectrum), of components (N, g·c, *spectrum).
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn

from ...grid.torus import Torus, multiply
from ...numerics.threads import ENTRIES_A_SLICE, run_in_slices


class ThinQR(nn.Module):
    """Q₁ in both precisions and R in double.

    Attributes
    ----------
    smallest : over all frequencies, of |R|'s diagonal
    largest : over all frequencies and groups, an upper bound of ‖B‖
    """

    smallest: float
    largest: float

    @abstractmethod
    def along(self, Y: Tensor) -> Tensor:
        """Q₁ᴴ Y, from rows to components, in the precision of Y."""

    @abstractmethod
    def back(self, X: Tensor) -> Tensor:
        """Q₁ X, from components to rows, in double precision."""

    @abstractmethod
    def project_off_(self, Y: Tensor) -> Tensor:
        """Y − Q₁Q₁ᴴ Y, in the memory of Y."""

    @abstractmethod
    def divide(self, X: Tensor, *, adjoint: bool = False) -> Tensor:
        """R⁻¹ X or R⁻ᴴ X."""

    @abstractmethod
    def times_adjoint(self, X: Tensor) -> Tensor:
        """Rᴴ X."""

    @abstractmethod
    def between(self, g: int, o: int, i: int) -> Tensor:
        """The entries of Q₁Q₁ᴴ between two rows of a group, (*spectrum) or laid flat."""


class OfNumbers(ThinQR):
    """For one component; buffers: Q (g, r, *spectrum) and its conjugate, R (g, *spectrum)."""

    Q: Tensor
    single: Tensor
    turned: Tensor
    R: Tensor

    def __init__(self, torus: Torus, blocks: Tensor) -> None:
        super().__init__()
        B = blocks[:, 0, :, :, 0].movedim(0, -1).unflatten(-1, torus.spectrum_shape).contiguous()
        power = torch.view_as_real(B).square().sum((1, -1))
        self.register_buffer("R", power.sqrt())
        self.register_buffer("Q", B / self.R[:, None])
        single = self.Q.to(torch.complex64)
        self.register_buffer("single", single)
        self.register_buffer(
            "turned", single.conj().resolve_conj()
        )  # `mul` would copy it each time
        self.smallest, self.largest = float(self.R.amin()), float(self.R.amax())

    def along(self, Y: Tensor) -> Tensor:
        """Q₁ᴴ Y."""
        Q = self.Q.conj().resolve_conj() if Y.dtype == torch.complex128 else self.turned
        rows = Y.unflatten(1, Q.shape[:2])
        found = rows[:, :, 0] * Q[:, 0]
        for i in range(1, Q.shape[1]):
            found.addcmul_(rows[:, :, i], Q[:, i])
        return found

    def back(self, X: Tensor) -> Tensor:
        """Q₁ X."""
        return (self.Q * X[:, :, None]).flatten(1, 2)

    def project_off_(self, Y: Tensor) -> Tensor:
        """Y − Q₁Q₁ᴴ Y."""
        Q = self.Q if Y.dtype == torch.complex128 else self.single
        along, rows = self.along(Y), Y.unflatten(1, Q.shape[:2])
        for i in range(Q.shape[1]):
            rows[:, :, i].addcmul_(Q[:, i], along, value=-1)
        return Y

    def divide(self, X: Tensor, *, adjoint: bool = False) -> Tensor:
        """X/R."""
        return X * self.R.reciprocal()  # ten times faster than a quotient

    def times_adjoint(self, X: Tensor) -> Tensor:
        """R X."""
        return X * self.R

    def between(self, g: int, o: int, i: int) -> Tensor:
        """Q_o Q̄_i."""
        return self.Q[g, o] * self.Q[g, i].conj()


class OfBlocks(ThinQR):
    """For several components; buffers: Q (F, 1, g, r, c), R and its inverse (F, 1, g, c, c)."""

    Q: Tensor
    single: Tensor
    R: Tensor
    inverse: Tensor

    def __init__(self, blocks: Tensor) -> None:
        super().__init__()
        F, _, g, r, c = blocks.shape
        Q, R = torch.empty_like(blocks), blocks.new_empty(F, 1, g, c, c)
        inverse = torch.empty_like(R)
        eye = torch.eye(c, dtype=R.dtype, device=R.device)

        def work(part: slice) -> None:
            Q[part], R[part] = torch.linalg.qr(blocks[part])
            inverse[part] = torch.linalg.solve_triangular(
                R[part], eye.expand_as(R[part]), upper=True
            )

        run_in_slices(work, F, max(1, ENTRIES_A_SLICE // (g * r * c)), blocks.device)
        self.register_buffer("Q", Q)
        self.register_buffer("single", Q.to(torch.complex64))
        self.register_buffer("R", R)
        self.register_buffer("inverse", inverse)
        self.smallest = float(R.diagonal(dim1=-2, dim2=-1).abs().amin())
        self.largest = float(torch.view_as_real(R).square().sum((-3, -2, -1)).amax().sqrt())

    def along(self, Y: Tensor) -> Tensor:
        """Q₁ᴴ Y."""
        Q = self.Q if Y.dtype == torch.complex128 else self.single
        return multiply(Q, Y, adjoint=True)

    def back(self, X: Tensor) -> Tensor:
        """Q₁ X."""
        return multiply(self.Q, X)

    def project_off_(self, Y: Tensor) -> Tensor:
        """Y − Q₁Q₁ᴴ Y."""
        Q = self.Q if Y.dtype == torch.complex128 else self.single
        return Y.sub_(multiply(Q, self.along(Y)))

    def divide(self, X: Tensor, *, adjoint: bool = False) -> Tensor:
        """R⁻¹ X or R⁻ᴴ X."""
        return multiply(self.inverse, X, adjoint=adjoint)

    def times_adjoint(self, X: Tensor) -> Tensor:
        """Rᴴ X."""
        return multiply(self.R, X, adjoint=True)

    def between(self, g: int, o: int, i: int) -> Tensor:
        """Σ Q_o Q̄_i over the columns, laid flat."""
        return (self.Q[:, 0, g, o] * self.Q[:, 0, g, i].conj()).sum(-1)
