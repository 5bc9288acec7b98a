"""Products with Kronecker factors, and matrices that commute with reversal.

(M ⊗ A₁ ⊗ A₂) x is three contractions of one tensor, each a matrix product along one axis.

A matrix A = J A J (J reverses the samples) maps even vectors to even ones and odd to odd:

    Qᵀ A Q = A_even ⊕ A_odd,    Q_even = [I; J]/√2,  Q_odd = [I; −J]/√2,

with a middle sample, if there is one, among the even ones.  `split` and `merge` are √2·Qᵀ and √2·Q
without their factor 1/√2, which the rows of the singular vectors carry.

Source: Andrew, "Eigenvectors of certain matrices", Linear Algebra Appl. 7 (1973), §2.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor

from .threads import run_in_slices


class AxisSVD(NamedTuple):
    """SVDs of matrices along one axis, A = U diag(S) Vᴴ; U and V are None for the identity."""

    U: Tensor | None  # (B or 1, g or 1, m, at least r)
    S: Tensor  # (B or 1, g or 1, r), r = min(m, n)
    V: Tensor | None  # (B or 1, g or 1, n, at least r)


def matrix_svds(A: Tensor, *, full: bool = False) -> AxisSVD:  # (B, g, m, n)
    """SVDs of matrices; several at once are dealt to threads, one in each (threads.py).

    full : U is m × m and V is n × n; else both have min(m, n) columns
    """
    if A.shape[:2] == (1, 1):
        U, S, Vh = torch.linalg.svd(A, full_matrices=full)
        return AxisSVD(U, S, Vh.mH.resolve_conj())
    lead, (m, n) = A.shape[:2], A.shape[2:]
    flat, r = A.flatten(0, 1), min(m, n)
    U, V = (A.new_empty(len(flat), k, k if full else r) for k in (m, n))
    S = A.new_empty(len(flat), r, dtype=A.dtype.to_real())

    def work(part: slice) -> None:
        U[part], S[part], Vh = torch.linalg.svd(flat[part], full_matrices=full)
        V[part] = Vh.mH

    run_in_slices(work, len(flat), max(1, 2**14 // max(1, m * n)), A.device)
    return AxisSVD(*(t.unflatten(0, lead) for t in (U, S, V)))


def parity_svds(A: Tensor, *, full: bool = False) -> list[AxisSVD]:  # (B, g, m, n), A = J A J
    """The SVDs of A_even and A_odd, with the factors that `split` and `merge` leave out."""
    svds = []
    for parity, rows in enumerate(split(A, -2)):
        block = split(rows, -1)[parity]
        u, v = (_weights(size, parity, A) for size in A.shape[2:])
        found = matrix_svds(u[:, None] * block * v, full=full)
        assert found.U is not None
        assert found.V is not None
        svds.append(AxisSVD(u[:, None] * found.U, found.S, v[:, None] * found.V))
    return svds


def _weights(n: int, parity: int, like: Tensor) -> Tensor:
    """1/√2 for a pair of samples, 1 for the middle one."""
    weights = like.new_full(((n + 1 - parity) // 2,), math.sqrt(0.5))
    if n % 2 and not parity:
        weights[-1] = 1
    return weights


def split(x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Sums and differences of opposite samples; the middle one is the last of the sums.

    Examples
    --------
    >>> split(torch.tensor([1, 2, 3, 5, 9]), 0)
    (tensor([10,  7,  3]), tensor([-8, -3]))
    """
    n = x.shape[dim]
    half = n // 2
    head, tail = x.narrow(dim, 0, half), x.narrow(dim, n - half, half).flip(dim)
    even = head + tail
    if n % 2:
        even = torch.cat([even, x.narrow(dim, half, 1)], dim)
    return even, head - tail


def merge(even: Tensor, odd: Tensor, dim: int) -> Tensor:
    """The transpose of `split`.

    Examples
    --------
    >>> merge(torch.tensor([4, 3]), torch.tensor([1]), 0)
    tensor([5, 3, 3])
    """
    half = odd.shape[dim]
    pairs, middle = even.split([half, even.shape[dim] - half], dim)
    return torch.cat([pairs + odd, middle, (pairs - odd).flip(dim)], dim)


def split_axes(x: Tensor, dims: Iterable[int]) -> list[Tensor]:
    """All combinations of parities along `dims`, the last of them fastest."""
    parts = [x]
    for dim in dims:
        parts = [half for part in parts for half in split(part, dim)]
    return parts


def merge_axes(parts: list[Tensor], dims: Iterable[int]) -> Tensor:
    """The transpose of `split_axes` for the same `dims` in reverse."""
    for dim in dims:
        parts = [merge(*pair, dim) for pair in zip(parts[::2], parts[1::2], strict=True)]
    return parts[0]


def contract(X: Tensor, F: Tensor | None, dim: int) -> Tensor:
    """F along one axis: Y[…, i, …] = Σ_j F[i, j] X[…, j, …].

    Parameters
    ----------
    X : (N, g, c, *spatial)
    F : (B or 1, g or 1, i, j), None for the identity
    dim : axis of X, 2 or more
    """
    if F is None:
        return X
    if dim == X.ndim - 1:  # all other axes are rows of one product
        if F.shape[:2] == (1, 1):
            return X @ F[0, 0].mT
        return (X.flatten(2, -2) @ F.mT).unflatten(2, X.shape[2:-1])
    lead, trail = X.shape[2:dim], X.shape[dim + 1 :]
    Y = F[:, :, None] @ X.reshape(*X.shape[:2], lead.numel(), X.shape[dim], trail.numel())
    return Y.reshape(*X.shape[:2], *lead, F.shape[2], *trail)


@dataclass(frozen=True)
class Products:
    """Q = Q_c ⊗ Q₁ ⊗ Q₂ ⊗ …: orthonormal columns, applied one axis after the other.

    Attributes
    ----------
    groups : g, which the channels of a tensor are divided into
    channels : (B or 1, g, c, k), None for the identity
    axes
        For every axis (B or 1, g or 1, n, k), or one for either parity as `parity_svds` gives them;
        None for the identity.
    """

    groups: int
    channels: Tensor | None
    axes: tuple[tuple[Tensor | None, ...], ...]

    @property
    def _split_dims(self) -> list[int]:
        return [3 + a for a, parities in enumerate(self.axes) if len(parities) == 2]

    def analyse(self, v: Tensor) -> list[Tensor]:
        """Qᴴ v: (N, channels, *spatial) -> (N, g, k, k₁, k₂, …) a combination of parities."""
        X = contract(v.unflatten(1, (self.groups, -1)), _adjoint(self.channels), 2)
        parts = []
        for Z, factors in zip(split_axes(X, self._split_dims), product(*self.axes), strict=True):
            for dim, Q in reversed(list(enumerate(factors, start=3))):
                Z = contract(Z, _adjoint(Q), dim)
            parts.append(Z)
        return parts

    def synthesise(self, parts: list[Tensor]) -> Tensor:
        """Q c: coefficients as `analyse` returns them -> (N, channels, *spatial)."""
        done = []
        for Z, factors in zip(parts, product(*self.axes), strict=True):
            for dim, Q in enumerate(factors, start=3):
                Z = contract(Z, Q, dim)
            done.append(Z)
        X = merge_axes(done, reversed(self._split_dims))
        return contract(X, self.channels, 2).flatten(1, 2)

    def mapped(self, fn: Callable[[Tensor], Tensor]) -> Products:
        """The product of the matrices passed through `fn`."""
        axes = tuple(tuple(None if Q is None else fn(Q) for Q in axis) for axis in self.axes)
        return Products(self.groups, None if self.channels is None else fn(self.channels), axes)


def _adjoint(Q: Tensor | None) -> Tensor | None:
    return None if Q is None else Q.mH
