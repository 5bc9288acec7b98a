"""The unrolled network: proximal gradient steps with a learned correction in each.

From the best linear restoration x, one cell is

    G = Fᴴ(M F x − y)                     the gradient of ½‖M F x − y‖²
    Z = x − step·G
    Z ← Z + C(Z, G)                       convolutions in space, in time, in space twice
    x = Z + mix·(U max(S − τ, 0) Vᴴ − Z)  of the Casorati matrix of Z; τ = sigmoid(c)·σ₁(Z)

with step, C, mix and c learned; after the last cell, one more gradient step.  C has no bias and
starts as 0: black stays black, and the untrained network is proximal gradient.

The Casorati matrix has a row for each pixel and a column for each frame: tall and complex, for
which `svt` needs the small factor of V only in its gradient.  σ₁ only sets the scale of τ; it is
held constant when differentiating.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unconv.linalg import svt

from .kspace import check_measurements, residual

CELLS = 4
WIDTH = 20


class UnrolledNetwork(nn.Module):
    """Restores complex series from undersampled k-space and a first guess.

    Parameters
    ----------
    cells : steps that are unrolled
    low_rank : without it, the control: the same network with no thresholding

    Examples
    --------
    >>> mask = torch.rand(1, 4, 8, 1) < 2
    >>> y = torch.randn(1, 4, 8, 9, dtype=torch.complex64)
    >>> UnrolledNetwork(cells=2)(torch.zeros_like(y), y, mask).shape
    torch.Size([1, 4, 8, 9])
    """

    def __init__(self, cells: int = CELLS, low_rank: bool = True) -> None:
        super().__init__()
        if cells < 1:
            raise ValueError(f"cells must be at least 1, got {cells}; by default it is {CELLS}.")
        self.cells = nn.ModuleList(Cell(low_rank) for _ in range(cells))
        self.step = nn.Parameter(torch.tensor(1.0))

    def forward(self, x: Tensor, y: Tensor, mask: Tensor) -> Tensor:
        """The restored series (N, T, H, W), complex.

        Parameters
        ----------
        x : (N, T, H, W), complex, the first guess, that of `linear.lmmse`
        y : (N, T, H, W), complex; what it holds off the lines is ignored
        mask : (N, T, H, 1), bool, True for the lines that were sampled
        """
        check_measurements(y, mask)
        for cell in self.cells:
            x = cell(x, y, mask)
        return x - self.step * residual(x, y, mask)


class Cell(nn.Module):
    """One step, in the letters of the module's docstring."""

    def __init__(self, low_rank: bool = True) -> None:
        super().__init__()
        self.step = nn.Parameter(torch.tensor(1.0))
        self.correction = Correction()
        self.low_rank = low_rank
        if low_rank:
            self.c = nn.Parameter(torch.tensor(-5.0))  # sigmoid: τ starts as 0.007·σ₁
            self.mix = nn.Parameter(torch.tensor(0.5))

    def forward(self, x: Tensor, y: Tensor, mask: Tensor) -> Tensor:
        """X (N, T, H, W) of the next step."""
        G = residual(x, y, mask)
        Z = x - self.step * G
        Z = Z + self.correction(Z, G)
        if not self.low_rank:
            return Z
        return Z + self.mix * (threshold(Z, self.c.sigmoid()) - Z)


class Correction(nn.Module):
    """C: real and imaginary parts are channels, and frames follow each other in a circle.

    Kernels over space and time at once would have three times the weights, and the cost.
    """

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(4, WIDTH, 3, padding=1, bias=False)
        self.across = nn.Conv2d(3 * WIDTH, WIDTH, 1, bias=False)
        self.middle = nn.Conv2d(WIDTH, WIDTH, 3, padding=1, bias=False)
        self.last = nn.Conv2d(WIDTH, 2, 3, padding=1, bias=False)
        nn.init.zeros_(self.last.weight)

    def forward(self, Z: Tensor, G: Tensor) -> Tensor:
        """Z and G (N, T, H, W), complex -> (N, T, H, W), complex."""
        series = Z.shape[:2]
        parts = torch.view_as_real(torch.stack([Z, G], 2)).movedim(-1, 3).flatten(2, 3)
        features = self.first(parts.flatten(0, 1)).relu()
        frames = features.unflatten(0, series)
        neighbours = torch.cat([frames.roll(1, 1), frames, frames.roll(-1, 1)], 2)
        features = features + self.across(neighbours.flatten(0, 1)).relu()
        change = self.last(self.middle(features).relu()).unflatten(0, series)
        return torch.view_as_complex(change.movedim(2, -1).contiguous())


def threshold(x: Tensor, factor: Tensor | float) -> Tensor:
    """U max(S − τ, 0) Vᴴ of the Casorati matrix, τ = factor·σ₁, as a series (N, T, H, W)."""
    A = casorati(x)
    return svt(A, factor * largest_value(A)).mT.reshape(x.shape)


def casorati(x: Tensor) -> Tensor:
    """Series (N, T, H, W) as matrices (N, HW, T) with a column for each frame."""
    return x.flatten(2).mT


def largest_value(A: Tensor) -> Tensor:
    """σ₁ of tall matrices, without a gradient; the square root loses no digit of the largest."""
    A = A.detach()
    return torch.linalg.eigvalsh(A.mH @ A)[..., -1].clamp(min=0).sqrt()
