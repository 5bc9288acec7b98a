"""The unrolled network: proximal gradient steps with a learned correction in each.

From x = Fᴴy, one cell is

    Z = x − step·Fᴴ(M F x − y)            the gradient step on the data
    Z ← Z + C(Z)                          convolutions in space, in time, in space
    x = Z + mix·(U max(S − τ, 0) Vᴴ − Z)  of the Casorati matrix of Z; τ = sigmoid(c)·σ₁(Z)

with step, C, mix and c learned; after the last cell, a gradient step of 1, after which x agrees
with all samples.  C has no bias and starts as 0: black stays black, and the untrained network is
proximal gradient with a falling threshold.

The Casorati matrix has a row for each pixel and a column for each frame: tall and complex, for
which `svt` needs the small factor of V only in its gradient.  σ₁ only sets the scale of τ; it is
held constant when differentiating.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unconv.linalg import svt

from .kspace import backproject, check_measurements, residual

CELLS = 5
WIDTH = 16


class UnrolledNetwork(nn.Module):
    """Restores complex series from undersampled k-space.

    Parameters
    ----------
    cells : steps that are unrolled
    low_rank : without it, the control: the same network with no thresholding

    Examples
    --------
    >>> mask = torch.rand(1, 4, 8, 1) < 2
    >>> y = torch.randn(1, 4, 8, 9, dtype=torch.complex64)
    >>> UnrolledNetwork(cells=2)(y, mask).shape
    torch.Size([1, 4, 8, 9])
    """

    def __init__(self, cells: int = CELLS, low_rank: bool = True) -> None:
        super().__init__()
        if cells < 1:
            raise ValueError(f"cells must be at least 1, got {cells}; by default it is {CELLS}.")
        self.cells = nn.ModuleList(Cell(low_rank) for _ in range(cells))

    def forward(self, y: Tensor, mask: Tensor) -> Tensor:
        """The restored series (N, T, H, W), complex.

        Parameters
        ----------
        y : (N, T, H, W), complex; what it holds off the lines is ignored
        mask : (N, T, H, 1), bool, True for the lines that were sampled
        """
        check_measurements(y, mask)
        x = backproject(y, mask)
        for cell in self.cells:
            x = cell(x, y, mask)
        return x - residual(x, y, mask)


class Cell(nn.Module):
    """One step, in the letters of the module's docstring."""

    def __init__(self, low_rank: bool = True) -> None:
        super().__init__()
        self.step = nn.Parameter(torch.tensor(1.0))
        self.correction = Correction()
        self.low_rank = low_rank
        if low_rank:
            self.c = nn.Parameter(torch.tensor(-6.0))  # sigmoid: τ starts as 0.0025·σ₁
            self.mix = nn.Parameter(torch.tensor(1.0))

    def forward(self, x: Tensor, y: Tensor, mask: Tensor) -> Tensor:
        """X (N, T, H, W) of the next step."""
        Z = x - self.step * residual(x, y, mask)
        Z = Z + self.correction(Z)
        if not self.low_rank:
            return Z
        return Z + self.mix * (threshold(Z, self.c.sigmoid()) - Z)


class Correction(nn.Module):
    """C: real and imaginary part are two channels, and frames follow each other in a circle.

    Three kernels over space and time at once would have six times the weights, and the cost.
    """

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, WIDTH, 3, padding=1, bias=False)
        self.across = nn.Conv2d(3 * WIDTH, WIDTH, 1, bias=False)
        self.last = nn.Conv2d(WIDTH, 2, 3, padding=1, bias=False)
        nn.init.zeros_(self.last.weight)

    def forward(self, Z: Tensor) -> Tensor:
        """(N, T, H, W) complex -> (N, T, H, W) complex."""
        series = Z.shape[:2]
        features = self.first(torch.view_as_real(Z).movedim(-1, 2).flatten(0, 1)).relu()
        frames = features.unflatten(0, series)
        neighbours = torch.cat([frames.roll(1, 1), frames, frames.roll(-1, 1)], 2)
        features = features + self.across(neighbours.flatten(0, 1)).relu()
        change = self.last(features).unflatten(0, series)
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
