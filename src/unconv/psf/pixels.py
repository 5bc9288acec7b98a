"""Pixels integrate light over their squares: the means of a continuous psf, to round-off.

    h[i, j] = ∫∫ h(y, x) dy dx over the square of side 1 around (i, j)

Gauss-Legendre quadrature of n × n nodes a pixel, n doubled until the integral stays: for a function
that is analytic around the pixel the error falls exponentially with n.  Only pixels that have not
settled are refined, as a rule the few under a peak.

Do not use it for densities with edges inside pixels (a disk has its own formula): it would refine
to the end and refuse.

Source: Golub & Welsch, "Calculation of Gauss quadrature rules", Math. Comp. 23 (1969).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ..numerics.checks import check_count, check_function, is_sequence, shown

LARGEST_SIDE = 4097
"""Samples along one side; more are a mistake in the units."""

_ORDERS = (4, 8, 16, 32, 64, 128, 256)  # nodes along a side of a pixel
_LEAST_CHANGE = 1e-13  # of the whole, by which an integral may still change
_NODES_AT_A_TIME = 2**21  # at a time

Density = Callable[[Tensor, Tensor], Tensor]


def pixelated(density: Density, size: int | tuple[int, int]) -> Tensor:
    """A continuous psf as a camera sees it, integrated over every pixel.

    Parameters
    ----------
    density
        Its brightness at positions (y, x) in pixels from the centre, y downwards: two float64
        tensors of one shape, to one of the same shape, ≥ 0.  Smooth inside pixels.
    size : odd, rows and columns, or one number for both

    Returns
    -------
    (h, w) float64 with sum 1; what the density has outside the array is cut off

    Raises
    ------
    ValueError, TypeError
        If a size is even or too large, the density is negative, not finite or nothing, or its
        integral does not settle with 256 × 256 nodes a pixel.

    Examples
    --------
    >>> import torch
    >>> from unconv import psf
    >>> turned = psf.pixelated(lambda y, x: torch.exp(-(y + x) ** 2 / 2 - (y - x) ** 2 / 9), 15)
    >>> turned.shape, bool(turned[5, 9] > 2 * turned[5, 5])
    (torch.Size([15, 15]), True)
    """
    check_function("density", density)
    sides = tuple(size) if is_sequence(size) else (size, size)
    if len(sides) != 2:
        raise ValueError(f"size={shown(size)} must be rows and columns, such as (15, 15).")
    for side in sides:
        if check_count("size", side, most=LARGEST_SIDE) % 2 == 0:
            raise ValueError(f"size={shown(size)} has no middle pixel; give odd sizes.")
    y, x = (torch.arange(n, dtype=torch.float64) - n // 2 for n in sides)
    rows, columns = y.repeat_interleave(len(x)), x.repeat(len(y))
    values = integrals(_checked(density), rows, columns).reshape(sides)
    return values / values.sum()


def round_pixels(profile: Callable[[Tensor], Tensor], half: int) -> Tensor:
    """Integrals of a density of r alone: those of one octant, (2·half + 1,) * 2, not scaled.

    Examples
    --------
    >>> round(float(round_pixels(lambda r: torch.exp(-(r**2)), 5).sum()), 9)  # π
    3.141592654
    """
    lower = torch.tril_indices(half + 1, half + 1)
    rows, columns = lower.to(torch.float64)
    found = integrals(lambda y, x: profile(torch.hypot(y, x)), rows, columns)
    return _mirrored(found, lower, half)


def round_samples(profile: Callable[[Tensor], Tensor], half: int) -> Tensor:
    """Values at the middles of pixels of a density of r alone, (2·half + 1,) * 2, not scaled.

    Examples
    --------
    >>> round_samples(lambda r: (r < 1.2).double(), 1).tolist()
    [[0.0, 1.0, 0.0], [1.0, 1.0, 1.0], [0.0, 1.0, 0.0]]
    """
    lower = torch.tril_indices(half + 1, half + 1)
    squares = lower.to(torch.float64).square().sum(0)
    return _mirrored(profile(squares.sqrt()), lower, half)


def integrals(density: Density, rows: Tensor, columns: Tensor) -> Tensor:
    """Over the unit squares around the positions (rows, columns), each (n,)."""
    found = _quadrature(density, rows, columns, _ORDERS[0])
    open_ = torch.arange(len(rows))
    for order in _ORDERS[1:]:
        finer = _quadrature(density, rows[open_], columns[open_], order)
        change = (finer - found[open_]).abs()
        found[open_] = finer
        open_ = open_[
            ~(change < _LEAST_CHANGE * found.abs().sum())
        ]  # nothing at all, and NaN, stay open
        if not len(open_):
            return found
    worst = int(open_[0])
    raise ValueError(
        f"the integral of the psf over the pixel at ({rows[worst]:g}, {columns[worst]:g}) does not "
        "settle: it has an edge there, or a peak far smaller than a pixel; look at the units."
    )


def _quadrature(density: Density, rows: Tensor, columns: Tensor, order: int) -> Tensor:
    nodes, weights = (torch.from_numpy(v / 2) for v in np.polynomial.legendre.leggauss(order))
    at, of = torch.meshgrid(nodes, nodes, indexing="ij")
    product = torch.outer(weights, weights).flatten()
    parts = []
    step = max(1, _NODES_AT_A_TIME // order**2)
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        y, x = rows[part, None] + at.flatten(), columns[part, None] + of.flatten()
        parts.append(density(y, x) @ product)
    return torch.cat(parts)


def _mirrored(octant: Tensor, lower: Tensor, half: int) -> Tensor:
    """The whole from the values at 0 ≤ column ≤ row."""
    quarter = octant.new_zeros(half + 1, half + 1)
    quarter[lower[0], lower[1]] = octant
    quarter[lower[1], lower[0]] = octant
    right = torch.cat([quarter.flip(1)[:, :-1], quarter], 1)
    return torch.cat([right.flip(0)[:-1], right])


def _checked(density: Density) -> Density:
    """A density of the user, whose values are looked at."""

    def look(y: Tensor, x: Tensor) -> Tensor:
        found = density(y, x)
        if not isinstance(found, Tensor) or found.shape != y.shape or found.is_complex():
            raise TypeError(
                f"density must return a real tensor of the shape {tuple(y.shape)} of its "
                f"arguments, got {shown(found)}."
            )
        found = found.to(torch.float64)
        if not bool((found >= 0).all()) or bool(found.isinf().any()):
            raise ValueError("density must be finite and >= 0 everywhere, for light adds up.")
        return found

    return look
