"""What it means that A is diagonal: bases of singular vectors that are applied, not stored.

    A = U Σ Vᴴ,     Uᴴ y and U c for any y and c, by transforms, small matrices or lines of an axis

Every rung of this folder (a rung is one way to invert A) gives U, Σ and V by its `diagonalise`.
With them a pseudo-inverse, a filter f(σ), a projector, a few singular vectors and the coefficients
Uᴴ y are written once, whatever it is that makes A diagonal.

*Real operators under the Fourier transform* have the same σ at ω and −ω, with conjugate vectors.
One of the two is stored, its coefficients are complex, and `counts` is 2: the real and imaginary
parts, times √2, are the coefficients of two real vectors, √2·Re u and −√2·Im u.  A stored frequency
that another one stands for has count 0.  For all other operators every count is 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol, Self

import torch
from torch import Tensor

from ...operators.convolution import Convolution
from ..facts import SpectrumSummary
from ..operator import InverseOperator
from ..request import Request

UNMATCHED = -1.0
"""In the place of σ: a vector of a complete basis that has no singular value."""


class Subspace(Protocol):
    """The span of some vectors of a basis."""

    def project(self, v: Tensor) -> Tensor:
        """The part of v in it, (N, *shape) -> (N, *shape)."""

    def mapped(self, fn: Callable[[Tensor], Tensor]) -> Subspace:
        """The subspace with its tensors passed through `fn`, to another device."""


@dataclass(frozen=True)
class Basis:
    """Orthonormal vectors, the columns of Q, of the data or of the domain of A.

    Attributes
    ----------
    sigma : (B, K) float64, in no order: what A multiplies each vector by, or UNMATCHED
    counts : (K,) integers, how many singular values an entry stands for
    """

    sigma: Tensor
    counts: Tensor

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of Q and of coefficients: complex too where an entry stands for ω and −ω."""
        raise NotImplementedError

    def analyse(self, v: Tensor) -> Tensor:
        """Qᴴ v, (N, *shape) -> (N, K); ‖QQᴴ v‖² = Σ counts·|Qᴴ v|²."""
        raise NotImplementedError

    def synthesise(self, c: Tensor) -> Tensor:
        """Q c, (N, K) -> (N, *shape); entries of count 0 are not looked at."""
        raise NotImplementedError

    def mapped(self, fn: Callable[[Tensor], Tensor]) -> Self:
        """The basis with Q passed through `fn`, to another device or precision."""
        raise NotImplementedError

    def subspace(self, keep: Tensor) -> Subspace:
        """The span of the entries where `keep` (B, K) is true."""
        return Span(self, keep)


@dataclass(frozen=True)
class Span:
    """Chosen vectors of a basis, by two products: Q·diag(keep)·Qᴴ; keep (B, K) are bools."""

    basis: Basis
    keep: Tensor

    def project(self, v: Tensor) -> Tensor:
        """The part of v that the kept vectors span, (N, *shape) -> (N, *shape)."""
        return self.basis.synthesise(self.keep * self.basis.analyse(v))

    def mapped(self, fn: Callable[[Tensor], Tensor]) -> Span:
        """The vectors passed through `fn`, to another device."""
        return Span(self.basis.mapped(fn), fn(self.keep))


@dataclass(frozen=True)
class Diagonal:
    """A = U Σ Vᴴ in double precision.

    Both bases have an entry for every singular value, the n-th of the one beside the n-th of the
    other.  Bases that were made complete have further entries among them, UNMATCHED: the n-th that
    is not so on the one side belongs to the n-th on the other.

    Attributes
    ----------
    data, domain : U and V
    filter
        (gains (B, K), request, summary) -> the operator V·diag(gains)·Uᴴ, in the precision of A;
        not of complete bases.

    Examples
    --------
    >>> import torch, unconv
    >>> from unconv.inverse.diagonal import fourier
    >>> K = torch.randn(3, 2, 3).double()
    >>> A = unconv.ConvOperator(K, (8,), padding=1, padding_mode="circular")
    >>> d, x = fourier.diagonalise(A), torch.randn(1, 2, 8).double()
    >>> y = d.data.synthesise(d.sigma * d.domain.analyse(x))
    >>> bool(torch.allclose(y, A(x)))
    True
    """

    data: Basis
    domain: Basis
    filter: Callable[[Tensor, Request, SpectrumSummary], InverseOperator]

    @property
    def sigma(self) -> Tensor:
        """(B, K) singular values, in no order."""
        return self.data.sigma

    @property
    def counts(self) -> Tensor:
        """(K,) how many singular values each entry stands for."""
        return self.data.counts


class Few(NamedTuple):
    """That no vectors will be asked for but those of the k largest or smallest values."""

    k: int
    largest: bool


class RungModule(Protocol):
    """The module of any rung: when it serves, at what price, and its factor.

    `Request` says which damp and cut-off an inverse shall have, and how much memory it may take.
    """

    @property
    def __name__(self) -> str: ...

    def obstacle(self, op: Convolution, request: Request) -> str | None:
        """Why the rung does not serve `op`, or None."""

    def memory(self, op: Convolution, request: Request) -> int:
        """Bytes at the peak of `factor` and of one solve with its proof."""

    def operations(self, op: Convolution, request: Request) -> tuple[float, float]:
        """Floating-point operations of (`factor`, one solve of one image)."""

    def factor(self, op: Convolution, request: Request) -> InverseOperator:
        """A⁺, or (AᴴA + damp²)⁻¹Aᴴ."""


class DiagonalRung(RungModule, Protocol):
    """A module of this folder, in whose way some operators are diagonal."""

    def singular_values(self, op: Convolution) -> Tensor:
        """All of them, (B, min(m, n)) descending, in double precision."""

    def values_memory(self, op: Convolution) -> int:
        """Bytes at the peak of `singular_values`."""

    def side(self, op: Convolution) -> int:
        """The longer side of the largest matrix that LAPACK is given, or the sum over axes."""

    def departure(self, op: Convolution) -> Tensor | None:
        """Structured kernel minus weight, (B, g, o, i, *k); None if the structure is exact."""

    def diagonalise(
        self, op: Convolution, *, complete: bool = False, few: Few | None = None
    ) -> Diagonal:
        """U, Σ and V; `complete`: V is n × n, and U has at least min(m, n) columns."""

    def complete_memory(self, op: Convolution) -> int:
        """Bytes at the peak of `diagonalise(op, complete=True)`."""
