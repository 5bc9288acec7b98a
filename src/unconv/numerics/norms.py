"""Norms of a batch of images, which neither under- nor overflow, and quotients of them."""

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
    size = unit_of(largest_of(t)).to(plain.dtype)
    return torch.linalg.vector_norm(flat / size[:, None], dim=1) * size


def ratio(a: Tensor, b: Tensor) -> Tensor:
    """a/b, with 0/0 = 0: a zero solution of a zero right-hand side is exact."""
    return torch.where(a == 0, 0.0, a / b)


def nonzero(t: Tensor) -> Tensor:
    """t to divide by: 1 where it is 0."""
    return torch.where(t > 0, t, 1.0)


def largest_of(t: Tensor) -> Tensor:
    """(N, ...) -> (N,): the largest absolute value of each image."""
    return t.abs().flatten(1).amax(1) if len(t) else t.new_ones(0, dtype=torch.float64)


def unit_of(size: Tensor) -> Tensor:
    """The power of two at or under each size, so that dividing by it rounds nothing; else 1."""
    usable = (size > 0) & size.isfinite()
    exponent = torch.frexp(torch.where(usable, size, 1.0).double())[1] - 1
    return torch.where(usable, torch.ldexp(torch.ones_like(size).double(), exponent), 1.0)
