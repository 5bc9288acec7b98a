"""Sizes: norms that neither under- nor overflow, exact units of order one, quotients of sizes.

A weight of 1e-170 or data of 1e200 leave the range of float64 as soon as they are squared.  Divided
by their largest entry they do not, but every entry is rounded, by which an A of condition 1e7
changes its answers.  So a unit is the power of two at or under the largest entry: to divide by it
and to multiply by it again rounds nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor


def norms(t: Tensor) -> Tensor:
    """Euclidean norms, (N, ...) -> (N,), right where the squares leave the range of the dtype."""
    flat = t.flatten(1)
    plain = torch.linalg.vector_norm(flat, dim=1)
    info = torch.finfo(plain.dtype)
    safe = (plain > (info.tiny / info.eps) ** 0.5) & (plain < (info.max * info.eps) ** 0.5)
    if bool(safe.all()):
        return plain
    scaled, unit = in_unit(flat)
    return torch.linalg.vector_norm(scaled, dim=1) * unit.to(plain.dtype)


def ratio(a: Tensor, b: Tensor) -> Tensor:
    """a/b, with 0/0 = 0: a zero solution of a zero right-hand side is exact."""
    return torch.where(a == 0, 0.0, a / b)


def nonzero(t: Tensor) -> Tensor:
    """t to divide by: 1 where it is 0."""
    return torch.where(t > 0, t, 1.0)


def in_unit(t: Tensor, dims: int = 1) -> tuple[Tensor, Tensor]:
    """`t` in a unit for each index of its first `dims` dimensions, and these units.

    Parameters
    ----------
    t : real or complex; of a complex tensor real and imaginary parts count apart

    Returns
    -------
    t / unit : of the shape and dtype of t, its largest part in [1, 2)
    unit : t.shape[:dims], powers of two in float64; 1 where all is zero, or something not finite

    Examples
    --------
    >>> in_unit(torch.tensor([[0.75, 3.0], [0.0, 0.0]]))
    (tensor([[0.3750, 1.5000],
            [0.0000, 0.0000]]), tensor([2., 1.], dtype=torch.float64))
    """
    parts = torch.view_as_real(t.resolve_conj()) if t.is_complex() else t
    unit = unit_of(parts.abs().flatten(dims).amax(dims))
    divisor = unit.to(parts.dtype).reshape(*t.shape[:dims], *[1] * (parts.ndim - dims))
    parts = parts / divisor  # a complex division would overflow before its result does
    return torch.view_as_complex(parts) if t.is_complex() else parts, unit


def unit_of(size: Tensor) -> Tensor:
    """The power of two at or under each size, in float64; 1 where that is 0 or not finite.

    Examples
    --------
    >>> unit_of(torch.tensor([3.0, 0.0, torch.inf]))
    tensor([2., 1., 1.], dtype=torch.float64)
    """
    usable = (size > 0) & size.isfinite()
    exponent = torch.frexp(torch.where(usable, size, 1.0).double())[1] - 1
    return torch.where(usable, torch.ldexp(torch.ones_like(size).double(), exponent), 1.0)


def quotient_in_halves(up: Tensor, down: Tensor) -> tuple[Tensor, Tensor]:
    """Two factors whose product is up/down, for powers of two of which that may be 2^2000.

    Examples
    --------
    >>> a, b = quotient_in_halves(*torch.tensor([[1e300], [1e-300]], dtype=torch.float64))
    >>> float(a.log2()), float(b.log2())
    (996.0, 997.0)
    """
    power = torch.frexp(up)[1].long() - torch.frexp(down)[1].long()
    half = power // 2
    return torch.exp2(half.double()), torch.exp2((power - half).double())
