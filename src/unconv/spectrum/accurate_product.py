"""A x beyond working precision, where it cancels: what is left of a vector that A annihilates.

Weight and vector are cut into three parts, W = W₁ + W₂ + W₃ and x = x₁ + x₂ + x₃, the first two of
them multiples of a common power of two with so few bits that a product of parts sums up without any
rounding.  What is rounded is of the size of the last parts, eps^(3/2) of the whole at most, and the
nine products are added with their rounding errors kept.

Cost: nine products with A.
Not for: kernels that the engine convolves by FFT, whose sums are rounded at eps; nothing is gained.

Source: Ozaki, Ogita, Oishi & Rump, "Error-free transformations of matrix multiplication by using
fast routines of matrix multiplication", Numer. Algorithms 59 (2012); Knuth, TAOCP 2, §4.2.2, for
the sum of two numbers and its error.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn

from ..convolve.bounds import extension_sums
from ..numerics.precision import DOUBLE_BITS
from ..operators.convolution import Convolution


class AccurateProduct(nn.Module):
    """x ↦ A x and y ↦ Aᴴ y of an operator in double precision."""

    def __init__(self, op: Convolution) -> None:
        super().__init__()
        g = op.geometry
        terms = max(g.c_in, g.c_out) // g.groups * math.prod(a.k for a in g.axes)
        terms *= 2 * math.ceil(extension_sums(g))  # a complex product has two, E and Eᴴ add
        self.bits = (DOUBLE_BITS - math.ceil(math.log2(terms))) // 2
        parts = _cut(op.weight.detach(), self.bits)
        self.parts = nn.ModuleList(op.with_weight(part) for part in parts)

    @property
    def _operators(self) -> list[Convolution]:
        return [cast(Convolution, A) for A in self.parts]

    def matvec(self, x: Tensor) -> Tensor:
        """(N, *domain_shape) -> A x (N, *range_shape), both in double precision."""
        return _sum([A._matvec(part) for A in self._operators for part in _cut(x, self.bits)])

    def rmatvec(self, y: Tensor) -> Tensor:
        """(N, *range_shape) -> Aᴴ y (N, *domain_shape), both in double precision."""
        return _sum([A._rmatvec(part) for A in self._operators for part in _cut(y, self.bits)])


def _cut(t: Tensor, bits: int) -> list[Tensor]:
    """Three parts of decreasing size with the sum t.

    Examples
    --------
    >>> [part.tolist() for part in _cut(torch.tensor([5.0625, 1.0]), 2)]
    [[6.0, 0.0], [-1.0, 1.0], [0.0625, 0.0]]
    """
    rest = torch.view_as_real(t) if t.is_complex() else t
    largest = float(rest.detach().abs().amax()) if rest.numel() else 0.0
    if not 0 < largest < math.inf:
        return [t]
    unit, parts = 2.0 ** math.frexp(largest)[1], []
    for _ in range(2):
        unit = math.ldexp(unit, -bits)
        parts.append((rest / unit).round() * unit)
        rest = rest - parts[-1]
    parts.append(rest)
    return [torch.view_as_complex(part.contiguous()) for part in parts] if t.is_complex() else parts


def _sum(terms: list[Tensor]) -> Tensor:
    """Σ terms, with the rounding error of every addition added at the end."""
    total, error = terms[0], torch.zeros_like(terms[0])
    for term in terms[1:]:
        before, total = total, total + term
        back = total - before
        error = error + ((before - (total - back)) + (term - back))
    return total + error
