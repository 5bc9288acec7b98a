"""Whether data are orthogonal to the range of A, Aᴴy = 0, decided in exact arithmetic.

Then x* = 0, and relative to that any round-off is infinite: a solution is to be zero exactly, and
its error bound with it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..convolve.bounds import extension_sums
from ..numerics.norms import in_unit, norms
from ..numerics.precision import double_dtype
from ..operators.convolution import Convolution

_EXACT_BITS, _DIGITS = 44, 4  # of a sum of products of digits; digits of a number


def zero_exactly_(op: Convolution, x: Tensor, y: Tensor) -> None:
    """Put 0 in the place of round-off, in place, where Aᴴy = 0 and x* = 0 with it.

    x : (N, *domain_shape), what A⁺ or a damped inverse made of y, (N, *range_shape)
    """
    small = norms(x).double() * op.weight.abs().amax() <= 1e-3 * norms(y).double()
    small &= (norms(x) > 0) & (norms(y) > 0)
    if bool(small.any()):
        A = op.in_double()
        A = A.with_weight(in_unit(A.weight, 0)[0])
        x[small & annihilated(A, in_unit(y.to(double_dtype(y.dtype)))[0])] = 0


def annihilated(A: Convolution, y: Tensor) -> Tensor:
    """Which y are in the null space of Aᴴ, (N,) bool, in exact arithmetic.

    Weight and data, at most 2 in size, are cut into digits of so few bits that sums of products of
    digits are integers that even an FFT computes to less than a half.

    Examples
    --------
    >>> A = Convolution(torch.full((2, 1, 1), 0.1, dtype=torch.float64), (1,))
    >>> annihilated(A, torch.tensor([[[0.3], [-0.3]], [[0.3], [0.1 - 0.4]]], dtype=torch.float64))
    tensor([ True, False])
    """
    g = A.geometry
    if not all(a.pads_zeros or a.pads.integral for a in g.axes):  # digits would not stay integers
        return torch.zeros(len(y), dtype=torch.bool, device=y.device)
    terms = 2 * math.prod(a.k for a in g.axes) * max(g.c_in, g.c_out) * extension_sums(g)
    bits = (_EXACT_BITS - math.ceil(math.log2(terms))) // 2
    of_weight, rest = _digits(A.weight.detach(), bits)
    of_data, rests = _digits(y, bits)
    exact = ~rests.flatten(1).any(1) & ~rest.any()
    sums: list[Tensor | int] = [0] * (2 * _DIGITS)
    for i, weight in enumerate(of_weight):
        part = A.with_weight(weight)
        for j, data in enumerate(of_data):
            product = part._rmatvec(data)
            product = torch.view_as_real(product) if product.is_complex() else product
            sums[i + j + 1] = sums[i + j + 1] + product.round().long()
    for k in range(len(sums) - 1, 0, -1):  # what a digit carries goes to the one before it
        carry = torch.as_tensor(sums[k])
        exact &= (carry % 2**bits == 0).flatten(1).all(1)
        sums[k - 1] = sums[k - 1] + (carry >> bits)
    return exact & (torch.as_tensor(sums[0]) == 0).flatten(1).all(1)


def _digits(t: Tensor, bits: int) -> tuple[list[Tensor], Tensor]:
    """Integers d₀, d₁, … with t = 2·Σ dᵢ·2^(−bits·(i+1)), and what they leave of t."""
    rest = torch.view_as_real(t.resolve_conj()) if t.is_complex() else t
    rest, found = rest / 2, []
    for _ in range(_DIGITS):
        rest = rest * 2.0**bits
        found.append(rest.round())
        rest = rest - found[-1]
    if t.is_complex():
        found = [torch.view_as_complex(d.contiguous()) for d in found]
    return found, rest
