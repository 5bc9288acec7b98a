"""The unrolled network: ten steps of the method of multipliers, each with its own transform.

With the estimate x, the dual variable L and A between them, one cell is

    Z = T(x + L)                          three convolutions, 3 → 16 → 16 → 3
    Z ← U max(S − τ, 0) Vᴴ                of each channel, an H × W matrix; τ = sigmoid(c)·σ₁(Z)
    A = T̃(Z) + x + L                      three more convolutions, and the residual connection
    x = y where sampled, else A − L       the data are free of noise: they are kept as they are
    L ← L + max(η, 0)·(x − A)             the dual step

with c, η and the convolutions learned.  These have no bias, so that black stays black: of an
all-zero patch every Z is the zero matrix, whose singular values are all tied.

σ₁ only sets the scale of τ; it is held constant when differentiating (the published network
differentiates it), and it is taken once, before the SVD, for every variant alike.

Source: Zhang & Hu, arXiv 2411.14141 (2024).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.svd_rivals import RIVALS, Factors
from unconv.linalg import svt

from .sampling import check_measurements

CELLS = 10
WIDTH = 16

Threshold = Callable[[Tensor, Tensor], Tensor]
"""A (..., m, n) and tau (...) -> U max(S − tau, 0) Vᴴ (..., m, n)."""


def by_factors(factorize: Callable[[Tensor], Factors]) -> Threshold:
    """Singular value thresholding differentiated by way of U, diag(S), V."""

    def threshold(A: Tensor, tau: Tensor) -> Tensor:
        U, S, V = factorize(A)
        kept = (S.diagonal(dim1=-2, dim2=-1) - tau[..., None]).relu()
        return (U * kept[..., None, :]) @ V.mH

    return threshold


VARIANTS: dict[str, Threshold] = {
    "unconv": svt,
    "plain": by_factors(RIVALS["plain"]),
    "zero-filled": by_factors(RIVALS["zero-filled (tf)"]),
    "clipped": by_factors(RIVALS["clipped"]),
    "taylor": by_factors(RIVALS["Taylor"]),
    "svd-inv": by_factors(RIVALS["SVD-inv"]),
    "none": lambda A, tau: A,  # the control: what the network does without any SVD
}


class UnrolledNetwork(nn.Module):
    """Restores pictures from a few of their elements.

    Parameters
    ----------
    variant : which derivative of the thresholding, a name in `VARIANTS`
    cells : steps that are unrolled

    Examples
    --------
    >>> network = UnrolledNetwork("unconv", cells=2)
    >>> mask = torch.rand(1, 3, 8, 9) < 0.5
    >>> network(torch.rand(1, 3, 8, 9) * mask, mask).shape
    torch.Size([1, 3, 8, 9])
    """

    def __init__(self, variant: str = "unconv", cells: int = CELLS) -> None:
        super().__init__()
        check_variant(variant)
        if cells < 1:
            raise ValueError(
                f"cells must be at least 1, got {cells}; the published network has 10."
            )
        self.cells = nn.ModuleList(Cell(VARIANTS[variant]) for _ in range(cells))

    def forward(self, y: Tensor, mask: Tensor) -> Tensor:
        """The restored pictures.

        Parameters
        ----------
        y : (N, 3, H, W), the samples; what it holds elsewhere is the first guess, usually 0
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
    """One step, in the letters of the module's docstring."""

    def __init__(self, threshold: Threshold) -> None:
        super().__init__()
        self.threshold = threshold
        self.transform, self.inverse = _transform(), _transform()
        self.c = nn.Parameter(torch.tensor(-2.0))  # sigmoid: τ starts as 0.12·σ₁
        self.eta = nn.Parameter(torch.tensor(1.0))

    def forward(self, x: Tensor, L: Tensor, y: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """X and L (N, 3, H, W) of the next step."""
        Z = self.transform(x + L)
        largest = torch.linalg.svdvals(Z.detach())[..., 0]
        A = self.inverse(self.threshold(Z, self.c.sigmoid() * largest)) + x + L
        x = torch.where(mask, y, A - L)
        return x, L + self.eta.relu() * (x - A)


def in_tiles(network: nn.Module, y: Tensor, mask: Tensor, tile: int = 32) -> Tensor:
    """Whole pictures, restored in overlapping tiles of the size that trained the network.

    σ₁ grows faster with the size of a matrix than the singular values that follow it: a threshold
    that was learned on patches cuts more of a whole picture.  Where tiles overlap, by half, the
    mean is taken.

    y and mask (N, 3, H, W) -> (N, 3, H, W)
    """
    check_measurements(y, mask)
    total, count = torch.zeros_like(y), torch.zeros_like(y)
    for rows in _spans(y.shape[2], tile):
        parts = [(..., rows, columns) for columns in _spans(y.shape[3], tile)]
        strip = network(torch.cat([y[p] for p in parts]), torch.cat([mask[p] for p in parts]))
        for part, restored in zip(parts, strip.split(len(y)), strict=True):
            total[part] += restored
            count[part] += 1
    return total / count


def _spans(side: int, tile: int) -> list[slice]:
    """Slices of length `tile` that cover the side, half of each shared with the next."""
    last = max(side - tile, 0)
    return [slice(start, start + tile) for start in [*range(0, last, max(tile // 2, 1)), last]]


def _transform() -> nn.Sequential:
    def conv(channels: int, filters: int) -> nn.Conv2d:
        return nn.Conv2d(channels, filters, 3, padding=1, bias=False)

    return nn.Sequential(conv(3, WIDTH), nn.ReLU(), conv(WIDTH, WIDTH), nn.ReLU(), conv(WIDTH, 3))
