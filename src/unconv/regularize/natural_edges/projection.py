"""What complete rows of a least-squares problem would have, per frequency: residual and solution.

With B(ω) = Q₁(ω) R(ω), Q₁ of orthonormal columns,

    q = I − Q₁Q₁ᴴ   takes complete rows to the residual of their least-squares solution,
    e = R⁻¹Q₁ᴴ      to that solution.

It is the precision of complete data for a signal that nothing is known about: the limit S → ∞ of
q = (B S Bᴴ + I)⁻¹ (unconv.inverse.completion.precision).

Source: Björck, "Numerical Methods for Least Squares Problems", SIAM 1996, §1.3.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...grid.torus import Torus, multiply
from ...inverse.facts import CannotServeError
from ...numerics.threads import ENTRIES_A_SLICE, run_in_slices

_SHARED_NULL = 1e-12  # of the largest singular value: the stack does not see some direction


class Projection(nn.Module):
    """q and e on the frequencies of a grid, and what they make of images on it.

    Parameters
    ----------
    torus : the grid, stride 1
    blocks : (F, 1, g, r, c) complex128, B: what maps c components to r rows

    Attributes
    ----------
    basis, basis_single : (F, 1, g, r, c) Q₁, in double and in single precision
    solution : (F, 1, g, c, r) e
    least : λ_min of BᴴB, of its order
    """

    basis: Tensor
    basis_single: Tensor
    solution: Tensor
    blocks: Tensor
    kernels = 1

    def __init__(self, torus: Torus, blocks: Tensor) -> None:
        super().__init__()
        _, _, self.groups, self.channels, _ = blocks.shape
        self.torus = torus
        basis, solution, least = (
            _of_numbers(blocks) if blocks.shape[-1] == 1 else _of_blocks(blocks)
        )
        self.least = least**2
        self.register_buffer("blocks", blocks)
        self.register_buffer("basis", basis)
        self.register_buffer("basis_single", basis.to(torch.complex64))
        self.register_buffer("solution", solution)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape (g·r, *grid) of rows on the grid."""
        return (self.groups * self.channels, *self.torus.coarse)

    def between(self, b: int, g: int, o: int, i: int) -> Tensor:
        """q between two channels of a group, (*spectrum) complex."""
        q = -(self.basis[:, b, g, o] * self.basis[:, b, g, i].conj()).sum(-1)
        return (q + float(o == i)).reshape(self.torus.spectrum_shape)

    def times_q(self, grid: Tensor) -> Tensor:
        """q∗grid, (N, g·r, *grid), in the precision of the grid."""
        return self.torus.inverse_transform(self.residual(self.torus.transform(grid)))

    def residual(self, Y: Tensor) -> Tensor:
        """Q Y for spectra, whose memory it takes."""
        Q = self.basis if Y.dtype == torch.complex128 else self.basis_single
        if Q.shape[-1] > 1:
            return Y.sub_(multiply(Q, multiply(Q, Y, adjoint=True)))
        each = _beside(Q, Y)
        rows = Y.unflatten(1, (self.groups, -1))
        along = (each.conj() * rows).sum(2, keepdim=True)
        rows.sub_(each * along)
        return Y

    def estimated(self, Y: Tensor) -> Tensor:
        """e Y on the grid, from the spectrum of complete rows."""
        return self.torus.inverse_transform(multiply(self.solution, Y))

    def estimated_adjoint(self, x: Tensor) -> Tensor:
        """eᴴ x on the grid of the rows, from an image of the domain."""
        X = self.torus.transform(x)
        return self.torus.inverse_transform(multiply(self.solution, X, adjoint=True))

    def gradient(self, rows: Tensor) -> Tensor:
        """Bᴴ rows on the grid."""
        Y = self.torus.transform(rows)
        return self.torus.inverse_transform(multiply(self.blocks, Y, adjoint=True))


def _beside(Q: Tensor, Y: Tensor) -> Tensor:
    """(F, 1, g, r, 1) -> (g, r, *spectrum), as the spectra lie."""
    return Q[:, 0, :, :, 0].movedim(0, -1).unflatten(-1, Y.shape[2:])


def _of_numbers(blocks: Tensor) -> tuple[Tensor, Tensor, float]:
    """Q₁ and e for one component, frequency last in memory."""
    blocks = blocks.movedim(0, -1).contiguous().movedim(-1, 0)
    R = torch.linalg.vector_norm(blocks, dim=-2, keepdim=True)
    basis = blocks / R
    return basis, basis.mH / R, _least(R, R)


def _of_blocks(blocks: Tensor) -> tuple[Tensor, Tensor, float]:
    """Q₁ and e by a QR per frequency."""
    F, _, g, r, c = blocks.shape
    basis, solution = torch.empty_like(blocks), blocks.new_empty(F, 1, g, c, r)
    small, large = (blocks.new_empty(F, dtype=torch.float64) for _ in range(2))

    def work(part: slice) -> None:
        Q, R = torch.linalg.qr(blocks[part])
        size = R.diagonal(dim1=-2, dim2=-1).abs()
        small[part], large[part] = size.amin((1, 2, 3)), size.amax((1, 2, 3))
        basis[part] = Q
        solution[part] = torch.linalg.solve_triangular(R, Q.mH, upper=True)

    run_in_slices(work, F, max(1, ENTRIES_A_SLICE // (g * r * c)), blocks.device)
    return basis, solution, _least(small, large)


def _least(small: Tensor, large: Tensor) -> float:
    least = float(small.amin())
    if not least > _SHARED_NULL * float(large.amax()):
        raise CannotServeError("the operator and its penalty share a null vector")
    return least
