"""Normal equations of a psf: the correlations of a sharp picture with itself and a blurred one.

The samples q at which a psf of (k, m) samples sees nothing outside the picture make the equations
y(q) = Σ_s g(s) x(q + s), for g, the psf turned around, so that

    G(s, t) = Σ_q w(q) x(q + s) x(q + t),   b(s) = Σ_q w(q) x(q + s) y(q).

Where all weights are 1, G(s, t) is a sum over rows of what depends on s and t through their columns
and the difference of their rows alone: running sums over the rows of N/H matrices of (m, m) give
all of it, in 2·N·k·m² operations (N pixels, H rows) and not in 2·N·k²·m², nor in FFTs of the whole
picture, k·m of them.  Pixels with other weights are put right one by one.  All sums are those of
the definition: no boundary is made circular.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

_CHUNK = 2**24  # samples of patches at a time


class NormalEquations(NamedTuple):
    """Least squares in g, (n,) for n = k·m samples in rows.

    Attributes
    ----------
    G : (n, n)
    b : (n,)
    power : Σ w y², so that the sum of squares is gᵀG g − 2 bᵀg + power
    pixels : equations with a weight
    """

    G: Tensor
    b: Tensor
    power: float
    pixels: int


def normal_equations(
    x: Tensor, y: Tensor, weight: Tensor, size: tuple[int, int]
) -> NormalEquations:
    """Collect them from x (H, W), and y and weight (H−k+1, W−m+1); weights lie from 0 to 1."""
    k, m = size
    G = gram(x, size)
    b = torch.zeros(k, m, dtype=x.dtype)
    weighted = weight * y
    rows = len(y)
    for i in range(k):
        patches = x[i : i + rows].unfold(1, m, 1)  # (rows, columns, m)
        b[i] = torch.einsum("rc,rcj->j", weighted, patches)
    odd = (weight < 1).nonzero()
    for part in odd.split(max(1, _CHUNK // (k * m))):
        P = _patches(x, part, size)
        G -= P.T @ ((1 - weight[part[:, 0], part[:, 1]])[:, None] * P)
    power = float((weighted * y).sum())
    return NormalEquations(G, b.flatten(), power, int((weight > 0).sum()))


def gram(x: Tensor, size: tuple[int, int]) -> Tensor:
    """G of a picture (H, W) where all weights are 1, (k·m, k·m)."""
    k, m = size
    H = x.shape[0]
    rows = H - k + 1
    lines = x.unfold(1, m, 1)  # (H, W − m + 1, m)
    G = torch.empty(k, m, k, m, dtype=x.dtype)
    for d in range(k):
        product = lines[: H - d].mT @ lines[d:]  # (H − d, m, m), of rows r and r + d
        running = torch.nn.functional.pad(product.cumsum(0), (0, 0, 0, 0, 1, 0))
        for i in range(k - d):
            block = running[i + rows] - running[i]
            G[i, :, i + d, :] = block
            G[i + d, :, i, :] = block.T
    return G.reshape(k * m, k * m)


def _patches(x: Tensor, corners: Tensor, size: tuple[int, int]) -> Tensor:
    """What a psf sees from each of the corners (c, 2): (c, k·m)."""
    k, m = size
    i = corners[:, 0, None, None] + torch.arange(k)[:, None]
    j = corners[:, 1, None, None] + torch.arange(m)
    return x[i, j].reshape(len(corners), k * m)
