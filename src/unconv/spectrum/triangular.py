"""Determinants that taps alone decide: those of causal convolutions, and some that are 0.

    log |det A| = pixels · log |det W₀|

Order the pixels such that every tap but the one at offset 0 reads an earlier pixel; A is then block
triangular with the c × c matrix W₀ of that tap in every diagonal block.  Such an order is
lexicographic: along some axis all taps lie on one side, those at 0 of it on one side along a second
axis, and so on.  It exists for masked and causal convolutions, whose smallest singular values fall
exponentially with the size while the determinant is that of one tap.

Source: van den Oord et al., "Pixel recurrent neural networks", ICML 2016; Hoogeboom et al.,
"Emerging convolutions for generative normalizing flows", ICML 2019.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

from ..convolve import grouped
from ..numerics.precision import double_dtype
from ..operators.convolution import Convolution
from .exact_determinant import (
    INTEGER_LIMIT,
    ExactMatrix,
    log_abs_det,
    log_abs_det_in_integers,
)

_Offset = tuple[int, ...]
_ERROR = 1e-13  # of the logarithm of one tap's determinant


def triangular_log_det(op: Convolution) -> float | None:
    """log |det A| of one kernel whose taps lie on one side of their centre; else None.

    Such an A is a triangular matrix with the centre tap on its diagonal.
    """
    geometry = op.geometry
    same = all(
        a.m == a.n and a.stride == 1 and (a.mode == "zeros" or a.before == a.after == 0)
        for a in geometry.axes
    )
    if not same or geometry.c_in != geometry.c_out:
        return None
    weight = grouped(op.taps.detach(), geometry)[0]  # (g, r, c, *k)
    centre = torch.zeros(weight.shape[:3], dtype=weight.dtype, device=weight.device)
    others = set()
    for index, tap in enumerate(itertools.product(*(range(a.k) for a in geometry.axes))):
        offset = tuple(a.dilation * t - a.before for a, t in zip(geometry.axes, tap, strict=True))
        inside = all(abs(o) < a.n for a, o in zip(geometry.axes, offset, strict=True))
        matrices = weight.flatten(3)[..., index]
        if not any(offset):
            centre = matrices
        elif inside and bool(matrices.any()):
            others.add(offset)
    if not _are_on_one_side(others):
        return None
    pixels = math.prod(a.n for a in geometry.axes)
    blocks = [_log_abs_det(block) for block in centre.to(double_dtype(centre.dtype))]
    return None if any(map(math.isnan, blocks)) else pixels * math.fsum(blocks)


def annihilates_constants(op: Convolution) -> bool:
    """Whether A maps an image that is constant in every channel to 0, for taps that sum to 0.

    Padding that copies continues such an image as it is, so that A is singular whatever its size,
    if it is not wide.  The sums are exact.
    """
    g = op.geometry
    wide = math.prod(g.domain_shape) > math.prod(g.range_shape)
    if wide or g.c_in != g.c_out or any(a.mode == "zeros" for a in g.axes):
        return False
    weight = grouped(op.taps.detach(), g)[0].to(double_dtype(op.dtype)).flatten(3)
    for taps in weight:  # (r, c, taps) of a group
        parts = (taps.real, taps.imag) if taps.is_complex() else (taps,)
        high = [_sums(part) for part in parts]
        if len(high[0][0]) * len(parts) > INTEGER_LIMIT:
            continue
        M, delta = (
            torch.complex(high[0][i], high[1][i]) if taps.is_complex() else high[0][i]
            for i in range(2)
        )
        if log_abs_det_in_integers(ExactMatrix(M, delta)) == -math.inf:
            return True
    return False


def _sums(taps: Tensor) -> tuple[Tensor, Tensor]:
    """Σ over the last axis as a double and what it misses, (r, c) each."""
    first = [[math.fsum(t) for t in row] for row in taps.tolist()]
    rest = [
        [math.fsum([*t, -s]) for t, s in zip(row, sums, strict=True)]
        for row, sums in zip(taps.tolist(), first, strict=True)
    ]
    return torch.tensor(first, dtype=torch.float64), torch.tensor(rest, dtype=torch.float64)


def _are_on_one_side(offsets: set[_Offset]) -> bool:
    """Whether an order of the axes and a sign for each make every offset positive.

    An axis along which none of the offsets left has the other sign may always come next.

    Examples
    --------
    >>> _are_on_one_side({(0, 1), (-1, 0), (-1, 5)}), _are_on_one_side({(0, 1), (0, -1)})
    (True, False)
    """
    left = offsets
    while left:
        nd = len(next(iter(left)))
        one_sided = (
            a
            for a in range(nd)
            if any(o[a] for o in left)
            and not (any(o[a] > 0 for o in left) and any(o[a] < 0 for o in left))
        )
        axis = next(one_sided, None)
        if axis is None:
            return False
        left = {o for o in left if not o[axis]}
    return True


def _log_abs_det(block: Tensor) -> float:
    """log |det| of the matrix of one tap; nan where it is too large to be decided."""
    exact = ExactMatrix(block, torch.zeros_like(block))
    value, error = log_abs_det(exact)
    if error <= _ERROR * max(1.0, abs(value)):
        return value
    if len(exact.real.M) <= INTEGER_LIMIT:
        return log_abs_det_in_integers(exact)
    return math.nan
