"""(r CᴴC + s DᴴD + rest)⁻¹ on a periodic grid: what every step of a splitting solves with."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from ..grid.torus import multiply


class Normal(Protocol):
    """The inverse for weights that may change on the way."""

    def weigh(self, r: float, s: float, rest: float) -> None:
        """Take other weights."""
        ...

    def solve(self, V: Tensor) -> Tensor:
        """The inverse times a spectrum, which may be given back in its memory."""
        ...


class GridNormal:
    """That of a convolution, per frequency.

    Parameters
    ----------
    blocks : (F, 1, g, r, c) complex, C at each stored frequency
    power : DᴴD, (*spectrum) float64
    """

    def __init__(self, blocks: Tensor, power: Tensor) -> None:
        self.blocks, self.power, self.real = blocks, power, blocks.dtype.to_real()
        self.is_diagonal = self.blocks.shape[-1] == 1
        if self.is_diagonal:
            gram = self.blocks[..., 0].abs().square().sum(-1).movedim(0, -1).flatten(0, 1)
            self._gram = gram.double().unflatten(-1, power.shape)

    def weigh(self, r: float, s: float, rest: float) -> None:
        """Take other weights."""
        diagonal = s * self.power + rest
        if self.is_diagonal:
            inverse = torch.add(diagonal, self._gram, alpha=r).reciprocal_()
            self.inverse = inverse.to(self.real)[None]  # (1, c_in, *spectrum)
            return
        double = self.blocks.to(torch.complex128)
        whole = r * (double.mH @ double)
        whole.diagonal(dim1=-2, dim2=-1).add_(diagonal.flatten()[:, None, None, None])
        self.inverse = torch.linalg.inv(whole).to(self.blocks.dtype)

    def solve(self, V: Tensor) -> Tensor:
        """The inverse times a spectrum, in its memory where it is diagonal."""
        if self.is_diagonal:
            return V.mul_(self.inverse)
        return multiply(self.inverse, V)
