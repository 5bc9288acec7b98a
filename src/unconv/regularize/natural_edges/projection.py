"""What complete rows of a least-squares problem would have, per frequency: residual and solution.

With B(ω) = Q₁(ω) R(ω), Q₁ of orthonormal columns,

    q = I − Q₁Q₁ᴴ   takes complete rows to the residual of their least-squares solution,
    e = R⁻¹Q₁ᴴ      to that solution.

It is the precision of complete data for a signal that nothing is known about: the limit S → ∞ of
q = (B S Bᴴ + I)⁻¹ (unconv.inverse.completion.precision).

Source: Björck, "Numerical Methods for Least Squares Problems", SIAM 1996, §1.3.
"""

from __future__ import annotations

from torch import Tensor, nn

from ...grid.torus import Torus
from ...inverse.facts import CannotServeError
from .thin_qr import OfBlocks, OfNumbers

_SHARED_NULL = 1e-12  # of the largest singular value: the stack does not see some direction


class Projection(nn.Module):
    """q and e on the frequencies of a grid, and what they make of images on it.

    Parameters
    ----------
    torus : the grid, stride 1
    blocks : (F, 1, g, r, c) complex128, B: what maps c components to r rows

    Attributes
    ----------
    factor : Q₁ and R
    least : λ_min of BᴴB, of its order
    """

    kernels = 1

    def __init__(self, torus: Torus, blocks: Tensor) -> None:
        super().__init__()
        _, _, self.groups, self.channels, c = blocks.shape
        self.torus = torus
        self.factor = OfNumbers(torus, blocks) if c == 1 else OfBlocks(blocks)
        self.least = self.factor.smallest**2
        if not self.factor.smallest > _SHARED_NULL * self.factor.largest:
            raise CannotServeError("the operator and its penalty share a null vector")

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape (g·r, *grid) of rows on the grid."""
        return (self.groups * self.channels, *self.torus.coarse)

    def between(self, b: int, g: int, o: int, i: int) -> Tensor:
        """q between two channels of a group, (*spectrum) complex."""
        return (float(o == i) - self.factor.between(g, o, i)).reshape(self.torus.spectrum_shape)

    def times_q(self, grid: Tensor) -> Tensor:
        """q∗grid, (N, g·r, *grid), in the precision of the grid."""
        return self.residual(self.torus.transform(grid))

    def residual(self, Y: Tensor) -> Tensor:
        """q∗y on the grid for the spectrum of y, whose memory it takes."""
        return self.torus.inverse_transform(self.factor.project_off_(Y))

    def estimated(self, Y: Tensor) -> Tensor:
        """e Y on the grid, from the spectrum of complete rows."""
        return self.torus.inverse_transform(self.factor.divide(self.factor.along(Y)))

    def estimated_adjoint(self, x: Tensor) -> Tensor:
        """eᴴ x on the grid of the rows, from an image of the domain."""
        X = self.factor.divide(self.torus.transform(x), adjoint=True)
        return self.torus.inverse_transform(self.factor.back(X))

    def gradient(self, Y: Tensor) -> Tensor:
        """Bᴴ y on the grid, from the spectrum of rows y."""
        X = self.factor.along(Y)
        return self.torus.inverse_transform(self.factor.times_adjoint(X))
