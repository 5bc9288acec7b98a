"""The unrolled network: steps of the method of multipliers, each with its own transform.

From the best linear restoration, with the estimate x, the dual variable L and A between them, one
cell is

    u = v − (mean of 5 × 5 of v),  v = x + L       brightness is no matter of the transform
    Z = T(u, M ⊙ u)                                two convolutions, 6 → 32 → 16
    Z ← U max(S − τ, 0) Vᴴ                         of each block of 8 × 8 pixels, a matrix of
                                                   16 features × 64 pixels; τ = sigmoid(c)·σ₁
    A = T̃(Z) + v                                   two more convolutions, 16 → 32 → 3
    x = y where sampled, else A − L                the data are free of noise: they are kept
    L ← L + max(η, 0)·(x − A)                      the dual step

with c, η and the convolutions learned.  These have no bias, so that black stays black: of an
all-zero patch every Z is the zero matrix, whose singular values are all tied.  Blocks of every
second cell are shifted by half of one.

A block whose features follow each other has a low rank (locally low rank, LLR); the published
network thresholds each channel as a matrix of rows and columns instead.  σ₁ only sets the scale of
τ; it is held constant when differentiating (the published network differentiates it), and it is
taken once, before the SVD, for every variant alike.

Source: Zhang & Hu, arXiv 2411.14141 (2024), for the cell; Zhang, Pauly & Levesque, "Accelerating
parameter mapping with a locally low rank constraint", Magn. Reson. Med. 73 (2015), for the blocks.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, pad

from benchmarks.svd_rivals import RIVALS, Factors
from unconv.linalg import svt

from .sampling import check_measurements

CELLS = 4
WIDTH = 32
FEATURES = 16
BLOCK = 8
_LOCAL = 5  # side of the mean that is taken off

Threshold = Callable[[Tensor, Tensor], Tensor]
"""A (..., m, n) and tau (...) -> U max(S − tau, 0) Vᴴ (..., m, n)."""


def by_factors(factorize: Callable[[Tensor], Factors]) -> Threshold:
    """Singular value thresholding differentiated by way of U, diag(S), V."""

    def threshold(A: Tensor, tau: Tensor) -> Tensor:
        U, S, V = factorize(A)
        kept = (S.diagonal(dim1=-2, dim2=-1) - tau[..., None]).relu()
        return (U * kept[..., None, :]) @ V.mH

    return threshold


VARIANTS: dict[str, Threshold | None] = {
    "unconv": svt,
    "plain": by_factors(RIVALS["plain"]),
    "zero-filled": by_factors(RIVALS["zero-filled (tf)"]),
    "clipped": by_factors(RIVALS["clipped"]),
    "taylor": by_factors(RIVALS["Taylor"]),
    "svd-inv": by_factors(RIVALS["SVD-inv"]),
    "none": None,  # the control: what the network does without any SVD
}


class UnrolledNetwork(nn.Module):
    """Restores pictures from a few of their elements and a first guess of the others.

    Parameters
    ----------
    variant : which derivative of the thresholding, a name in `VARIANTS`
    cells : steps that are unrolled

    Examples
    --------
    >>> network = UnrolledNetwork("unconv", cells=2)
    >>> mask = torch.rand(1, 3, 8, 9) < 0.5
    >>> network(torch.rand(1, 3, 8, 9), mask).shape
    torch.Size([1, 3, 8, 9])
    """

    def __init__(self, variant: str = "unconv", cells: int = CELLS) -> None:
        super().__init__()
        check_variant(variant)
        if cells < 1:
            raise ValueError(f"cells must be at least 1, got {cells}; by default it is {CELLS}.")
        self.cells = nn.ModuleList(
            Cell(VARIANTS[variant], shift=BLOCK // 2 * (number % 2)) for number in range(cells)
        )

    def forward(self, y: Tensor, mask: Tensor) -> Tensor:
        """The restored pictures.

        Parameters
        ----------
        y : (N, 3, H, W), the samples; what it holds elsewhere is the first guess, that of
            `linear.lmmse`; untrained, the network leaves it as it is
        mask : (N, 3, H, W), bool, True where y was sampled
        """
        check_measurements(y, mask)
        x, L = y, torch.zeros_like(y)
        for cell in self.cells:
            x, L = cell(x, L, y, mask)
        return x


def check_variant(variant: str) -> None:
    """Refuse a name that is not in `VARIANTS`."""
    if variant not in VARIANTS:
        raise ValueError(f"variant {variant!r} is not known; use one of {', '.join(VARIANTS)}.")


class Cell(nn.Module):
    """One step, in the letters of the module's docstring; without a threshold, Z stays as it is."""

    def __init__(self, threshold: Threshold | None, shift: int = 0) -> None:
        super().__init__()
        self.threshold, self.shift = threshold, shift
        self.transform = _convolutions(6, FEATURES)
        self.inverse = _convolutions(FEATURES, 3)
        nn.init.zeros_(self.inverse[-1].weight)
        self.c = nn.Parameter(torch.tensor(-3.0))  # sigmoid: τ starts as 0.05·σ₁
        self.eta = nn.Parameter(torch.tensor(1.0))

    def forward(self, x: Tensor, L: Tensor, y: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """X and L (N, 3, H, W) of the next step."""
        v = x + L
        u = v - avg_pool2d(v, _LOCAL, 1, _LOCAL // 2, count_include_pad=False)
        Z = self.transform(torch.cat([u, mask * u], 1))
        if self.threshold is not None:
            Z = in_blocks(Z, self.threshold, self.c.sigmoid(), self.shift)
        A = self.inverse(Z) + v
        x = torch.where(mask, y, A - L)
        return x, L + self.eta.relu() * (x - A)


def in_blocks(Z: Tensor, threshold: Threshold, factor: Tensor, shift: int = 0) -> Tensor:
    """Features (N, K, H, W), thresholded in blocks of K × 64 by factor·σ₁ of each.

    Blocks that reach over an edge are filled with zeros, which change no singular value.
    """
    height, width = Z.shape[2:]
    below, right = (-(side + shift) % BLOCK for side in (height, width))
    padded = pad(Z, (shift, right, shift, below))
    rows, columns = (side // BLOCK for side in padded.shape[2:])
    cut = padded.unflatten(3, (columns, BLOCK)).unflatten(2, (rows, BLOCK))
    matrices = cut.permute(0, 2, 4, 1, 3, 5).flatten(4)  # (N, rows, columns, K, 64)
    A = matrices.detach()
    largest = torch.linalg.eigvalsh(A @ A.mT)[..., -1].clamp(min=0).sqrt()
    kept = threshold(matrices, factor * largest).unflatten(4, (BLOCK, BLOCK))
    whole = kept.permute(0, 3, 1, 4, 2, 5).reshape(padded.shape)
    return whole[:, :, shift : shift + height, shift : shift + width]


def in_tiles(
    restore: Callable[[Tensor, Tensor], Tensor], y: Tensor, mask: Tensor, tile: int = 32
) -> Tensor:
    """Whole pictures, restored in overlapping tiles of the size that trained the network.

    The linear start factorises a matrix of as many rows as a tile has samples.  Where tiles
    overlap, by half, the mean is taken.

    y and mask (N, 3, H, W) -> (N, 3, H, W)
    """
    check_measurements(y, mask)
    total, count = torch.zeros_like(y), torch.zeros_like(y)
    for rows in _spans(y.shape[2], tile):
        parts = [(..., rows, columns) for columns in _spans(y.shape[3], tile)]
        strip = restore(torch.cat([y[p] for p in parts]), torch.cat([mask[p] for p in parts]))
        for part, restored in zip(parts, strip.split(len(y)), strict=True):
            total[part] += restored
            count[part] += 1
    return total / count


def _spans(side: int, tile: int) -> list[slice]:
    """Slices of length `tile` that cover the side, half of each shared with the next."""
    last = max(side - tile, 0)
    return [slice(start, start + tile) for start in [*range(0, last, max(tile // 2, 1)), last]]


def _convolutions(channels: int, filters: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, WIDTH, 3, padding=1, bias=False),
        nn.ReLU(),
        nn.Conv2d(WIDTH, filters, 3, padding=1, bias=False),
    )
