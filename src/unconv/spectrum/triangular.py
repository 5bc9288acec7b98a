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
from typing import NamedTuple

import torch
from torch import Tensor

from ..convolve import grouped
from ..grid.geometry import Axis
from ..numerics.precision import double_dtype
from ..operators.convolution import Convolution
from .exact_determinant import (
    INTEGER_LIMIT,
    ExactMatrix,
    log_abs_det,
    log_abs_det_in_integers,
)

_Offset = tuple[int, ...]
_OF_CENTRE = 0.25  # of the smallest singular value of the centre tap, for the others together
_MOST_POWER = 100
_ERROR = 1e-13  # of the logarithm of one tap's determinant


class CausalTaps(NamedTuple):
    """The taps of a kernel by their offsets, of an A with as many outputs as inputs.

    Attributes
    ----------
    centre : (g, c, c) the matrices of the tap at offset 0
    others : (g, c, c) of every offset that is not zero and leads to a pixel
    order : axes and the side on which their taps lie, the first decides first
    """

    centre: Tensor
    others: dict[_Offset, Tensor]
    order: list[tuple[int, int]]


def causal_taps(op: Convolution) -> CausalTaps | None:
    """The taps of one kernel, if they lie on one side of their centre; else None."""
    geometry = op.geometry
    same = all(a.m == a.n and a.stride == 1 and a.pads_zeros for a in geometry.axes)
    if not same or geometry.c_in != geometry.c_out:
        return None
    weight = grouped(op.taps.detach(), geometry)[0]  # (g, r, c, *k)
    centre = torch.zeros(weight.shape[:3], dtype=weight.dtype, device=weight.device)
    others = {}
    for index, tap in enumerate(itertools.product(*(range(a.k) for a in geometry.axes))):
        offset = tuple(a.dilation * t - a.before for a, t in zip(geometry.axes, tap, strict=True))
        inside = all(abs(o) < a.n for a, o in zip(geometry.axes, offset, strict=True))
        matrices = weight.flatten(3)[..., index]
        if not any(offset):
            centre = matrices
        elif inside and bool(matrices.any()):
            others[offset] = matrices
    order = _order_of(set(others))
    return None if order is None else CausalTaps(centre, others, order)


def triangular_log_det(op: Convolution) -> float | None:
    """log |det A| of one kernel whose taps lie on one side of their centre; else None.

    Such an A is a triangular matrix with the centre tap on its diagonal.
    """
    taps = causal_taps(op)
    if taps is None:
        return None
    pixels = math.prod(a.n for a in op.geometry.axes)
    wide = double_dtype(taps.centre.dtype)
    blocks = [_log_abs_det(block) for block in taps.centre.to(wide)]
    return None if any(map(math.isnan, blocks)) else pixels * math.fsum(blocks)


def dominating_powers(op: Convolution) -> list[int] | None:
    """Powers of two, one per axis, with which the centre of a causal kernel outweighs all else.

    The tap at offset o times ∏ 2^(power·o) is D A D⁻¹ with a diagonal D: the same determinant, and
    where A is as good as singular, this is not.  None where the kernel is not causal, or its centre
    singular.
    """
    taps = causal_taps(op)
    if taps is None:
        return None
    room = _OF_CENTRE * float(torch.linalg.svdvals(taps.centre)[..., -1].amin())
    size = {o: float(torch.linalg.matrix_norm(t, 2).amax()) for o, t in taps.others.items()}
    powers = [0] * op.geometry.nd
    for n in reversed(range(len(taps.order))):
        (axis, side), outer = taps.order[n], [a for a, _ in taps.order[:n]]
        mine = [o for o in size if o[axis] and not any(o[a] for a in outer)]
        while _weighed(size, mine, powers) > room:
            powers[axis] -= side
            if abs(powers[axis]) > _MOST_POWER:
                return None
    return powers


def _weighed(size: dict[_Offset, float], offsets: list[_Offset], powers: list[int]) -> float:
    shifts = (sum(p * x for p, x in zip(powers, o, strict=True)) for o in offsets)
    return math.fsum(size[o] * 2.0 ** min(x, 999) for o, x in zip(offsets, shifts, strict=True))


def annihilates_constants(op: Convolution) -> bool:
    """Whether A maps an image that is constant in every channel to 0, for taps that sum to 0.

    Padding that does not invent zeros continues such an image as it is, so that A is singular
    whatever its size, if it is not wide.  The sums are exact.
    """
    g = op.geometry
    wide = math.prod(g.domain_shape) > math.prod(g.range_shape)
    if wide or g.c_in != g.c_out or not all(map(_continues, g.axes)):
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


def _continues(axis: Axis) -> bool:
    """Whether the padded samples of a constant are that constant."""
    if not (axis.before or axis.after):
        return True
    return not axis.pads_zeros and axis.pads.keep_constants


def _sums(taps: Tensor) -> tuple[Tensor, Tensor]:
    """Σ over the last axis as a double and what it misses, (r, c) each."""
    first = [[math.fsum(t) for t in row] for row in taps.tolist()]
    rest = [
        [math.fsum([*t, -s]) for t, s in zip(row, sums, strict=True)]
        for row, sums in zip(taps.tolist(), first, strict=True)
    ]
    return torch.tensor(first, dtype=torch.float64), torch.tensor(rest, dtype=torch.float64)


def _order_of(offsets: set[_Offset]) -> list[tuple[int, int]] | None:
    """Axes and a sign for each such that every offset is positive in that order, or None.

    An axis along which none of the offsets left has the other sign may always come next.

    Examples
    --------
    >>> _order_of({(0, 1), (-1, 0), (-1, 5)}), _order_of({(0, 1), (0, -1)})
    ([(0, -1), (1, 1)], None)
    """
    left, order = offsets, []
    while left:
        nd = len(next(iter(left)))
        one_sided = (
            (a, 1 if any(o[a] > 0 for o in left) else -1)
            for a in range(nd)
            if any(o[a] for o in left)
            and not (any(o[a] > 0 for o in left) and any(o[a] < 0 for o in left))
        )
        found = next(one_sided, None)
        if found is None:
            return None
        order.append(found)
        left = {o for o in left if not o[found[0]]}
    return order


def _log_abs_det(block: Tensor) -> float:
    """log |det| of the matrix of one tap; nan where it is too large to be decided."""
    exact = ExactMatrix(block, torch.zeros_like(block))
    value, error = log_abs_det(exact)
    if error <= _ERROR * max(1.0, abs(value)):
        return value
    if len(exact.real.M) <= INTEGER_LIMIT:
        return log_abs_det_in_integers(exact)
    return math.nan
