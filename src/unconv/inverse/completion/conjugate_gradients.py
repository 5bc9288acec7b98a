"""Preconditioned conjugate gradients for a batch of right-hand sides.

Source: Hestenes & Stiefel, "Methods of conjugate gradients for solving linear systems", 1952;
Golub & Van Loan, "Matrix Computations", 4th ed., §11.5.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ...numerics.norms import ratio


class ConjugateGradients:
    """The state of a batch, one set of scalars an image.

    Parameters
    ----------
    apply, precondition : Hermitian positive definite maps of (N, K)
    b : (N, K), whose memory the residual takes

    Attributes
    ----------
    u : (N, K) the solution
    steps : (N,) taken so far
    """

    def __init__(
        self, apply: Callable[[Tensor], Tensor], precondition: Callable[[Tensor], Tensor], b: Tensor
    ) -> None:
        self.apply, self.precondition = apply, precondition
        self.u, self.residual = torch.zeros_like(b), b
        self.steps = torch.zeros(len(b), dtype=torch.long, device=b.device)
        self._z = self.direction = precondition(b)
        self._product = inner(b, self.direction)  # of the residual and what is made of it

    def carry_on(self, residual: Tensor, scale: Tensor) -> None:
        """Go on from u = 0 with what is truly left, (N, K), and the last direction.

        The next direction stays conjugate to those before, which a start anew would lose; where
        what is left is much more than was thought, the last one is next to nothing beside it.

        scale : (N, 1) what the residual's unit is of the unit until now
        """
        self.residual, self.u = residual, torch.zeros_like(residual)
        z = self.precondition(residual)
        self.direction = (self.direction - self._z) / scale + z
        self._z, self._product = z, inner(residual, z)
        self.steps = torch.zeros_like(self.steps)

    def error(self) -> Tensor:
        """(N,) ‖u − u*‖ in the norm of A, as the preconditioner sees it."""
        return self._product.clamp(min=0).sqrt()

    def step(self, going: Tensor) -> None:
        """One step of the images that are `going`, (N,) bool; the others stay where they are."""
        along = self.apply(self.direction)
        alpha = ratio(self._product, inner(self.direction, along))
        every = bool(going.all())
        alpha = (alpha if every else alpha.where(going, 0)).to(self.u.dtype)[:, None]
        self.u.addcmul_(alpha, self.direction)
        self.residual.addcmul_(alpha, along, value=-1)
        z = self.precondition(self.residual)
        product = inner(self.residual, z)
        beta = ratio(product, self._product).to(self.u.dtype)[:, None]
        direction = torch.addcmul(z, beta, self.direction)
        if not every:
            z = z.where(going[:, None], self._z)
            direction = direction.where(going[:, None], self.direction)
            product = product.where(going, self._product)
        self._z, self.direction, self._product = z, direction, product
        self.steps = self.steps + going


def inner(a: Tensor, b: Tensor) -> Tensor:
    """Re⟨a, b⟩ image by image, (N,)."""
    a, b = (torch.view_as_real(t) if t.is_complex() else t for t in (a, b))
    return (a.flatten(1)[:, None] @ b.flatten(1)[..., None])[:, 0, 0]  # a third of a vecdot
