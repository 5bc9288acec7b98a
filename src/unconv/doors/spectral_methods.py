"""What a `ConvOperator` tells about its spectrum: doors to `unconv.spectrum`, one line each."""

from __future__ import annotations

from typing import Literal, overload

from torch import Tensor

from .. import spectrum
from ..operators.convolution import Convolution
from ..operators.linear_operator import DEFAULT_MEMORY_LIMIT, LinearOperator
from ..spectrum import SVD, Bracket

_End = Literal["largest", "smallest"]


class SpectralMethods(Convolution):
    """Singular values, rank, determinant and projectors of an operator.

    Everything is computed and answered in double precision.  One kernel per sample puts a batch
    axis in front of every result.  `svdvals`, `norm`, `cond` and `logabsdet` are differentiable in
    the weight, twice; of values that repeat each has the mean of their derivatives.  Brackets,
    ranks, singular vectors and projectors carry no gradient.

    Circular operators, outer products, symmetric kernels under symmetric boundaries and small
    operators are known whole; of all others a few values at either end are found by Lanczos, the
    small end with the factor of `pinv`.

    bracket=True
        Instead of the number a `Bracket` (value, lower, upper, how) whose bounds are proven.
    memory_limit
        Bytes that any one step may take.
    """

    @overload
    def svdvals(self, k: int | None = ..., which: _End = ..., *, bracket: Literal[True],
                memory_limit: float = ...) -> Bracket: ...  # fmt: skip

    @overload
    def svdvals(self, k: int | None = ..., which: _End = ..., *, bracket: Literal[False] = ...,
                memory_limit: float = ...) -> Tensor: ...  # fmt: skip

    def svdvals(
        self,
        k: int | None = None,
        which: _End = "largest",
        *,
        bracket: bool = False,
        memory_limit: float = DEFAULT_MEMORY_LIMIT,
    ) -> Tensor | Bracket:
        """Singular values, descending: all min(m, n), or the k largest or smallest.

        A is cut at nothing: what `pinv` calls zero is shown as it was computed, to about
        eps·σ_max.  Where Lanczos finds a few, values that others surround within 1e-11 of their
        size are known to that.

        The derivative of σ_i along dA is Re u_iᴴ dA v_i, and where values repeat the mean of that
        over all of them (over some 64, of which a large operator has more).

        Raises
        ------
        MemoryLimitError
            If all are asked for and nothing diagonalises A; in a backward, if the vectors of so
            many do not fit; ask for k.

        Examples
        --------
        >>> import torch, unconv
        >>> K = torch.tensor([[[1.0, 2.0, 1.0]]])
        >>> A = unconv.ConvOperator(K, (4,), padding=1, padding_mode="circular")
        >>> A.svdvals()
        tensor([4., 2., 2., 0.], dtype=torch.float64)
        >>> A.with_weight(K.requires_grad_()).svdvals(1).backward()
        >>> K.grad
        tensor([[[1., 1., 1.]]])
        """
        return spectrum.svdvals(self, k, which, bracket, memory_limit)

    @overload
    def norm(self, *, bracket: Literal[True], memory_limit: float = ...) -> Bracket: ...

    @overload
    def norm(self, *, bracket: Literal[False] = ..., memory_limit: float = ...) -> Tensor: ...

    def norm(
        self, *, bracket: bool = False, memory_limit: float = DEFAULT_MEMORY_LIMIT
    ) -> Tensor | Bracket:
        """‖A‖₂ = σ_max, to a relative 5e-9 or better.

        Examples
        --------
        >>> import torch, unconv
        >>> A = unconv.ConvOperator(torch.ones(1, 1, 3, 3), (16, 16), padding=1)
        >>> A.norm(bracket=True).upper < 9
        tensor(True)
        """
        return spectrum.norm(self, bracket, memory_limit)

    @overload
    def cond(self, *, bracket: Literal[True], memory_limit: float = ...) -> Bracket: ...

    @overload
    def cond(self, *, bracket: Literal[False] = ..., memory_limit: float = ...) -> Tensor: ...

    def cond(
        self, *, bracket: bool = False, memory_limit: float = DEFAULT_MEMORY_LIMIT
    ) -> Tensor | Bracket:
        """σ_max/σ_min, σ_min the last of the min(m, n) values; inf where that is round-off.

        Round-off is what `pinv` drops by default.  An infinite condition number has no derivative,
        which a backward says.

        Examples
        --------
        >>> import torch, unconv
        >>> K = torch.tensor([[[1.0, 3.0, 1.0]]])
        >>> unconv.ConvOperator(K, (4,), padding=1, padding_mode="circular").cond()
        tensor(5., dtype=torch.float64)
        """
        return spectrum.cond(self, bracket, memory_limit)

    @overload
    def matrix_rank(self, *, bracket: Literal[True], rtol: float | None = ..., atol: float = ...,
                    memory_limit: float = ...) -> Bracket: ...  # fmt: skip

    @overload
    def matrix_rank(self, *, bracket: Literal[False] = ..., rtol: float | None = ...,
                    atol: float = ..., memory_limit: float = ...) -> Tensor: ...  # fmt: skip

    def matrix_rank(
        self,
        *,
        rtol: float | None = None,
        atol: float = 0.0,
        bracket: bool = False,
        memory_limit: float = DEFAULT_MEMORY_LIMIT,
    ) -> Tensor | Bracket:
        """Number of singular values above max(atol, rtol·σ_max), the cut-off of `pinv`.

        Examples
        --------
        >>> import torch, unconv
        >>> K = torch.tensor([[0.0, 1, 0], [1, 1, 1], [0, 1, 0]])[None, None]
        >>> unconv.ConvOperator(K, (11, 11), padding=1).matrix_rank()
        tensor(119)
        """
        return spectrum.matrix_rank(self, rtol, atol, bracket, memory_limit)

    def logabsdet(self, damp: float = 0.0, *, memory_limit: float = DEFAULT_MEMORY_LIMIT) -> Tensor:
        """½ log det(AᴴA + damp²), over the n dimensions of the domain.

        damp = 0: the sum of the logarithms of all min(m, n) singular values, which is log |det A|
        for square A, ½ log det AᴴA for tall and ½ log det AAᴴ for wide A.  Of causal and masked
        kernels under zero padding it is that of one tap times the number of pixels, exactly.

        An answer is known to 1e-6 relatively and 1e-3 absolutely, whatever the condition; −inf only
        where A is proven singular, and then without a derivative.  Elsewhere that is Re tr(A⁺ dA),
        or Re tr((AᴴA + damp²)⁻¹Aᴴ dA).

        Raises
        ------
        NotImplementedError
            Where round-off of the large singular values would decide; in a backward, where double
            precision or memory_limit do not reach the derivative.
        ValueError
            In a backward, if A is singular and damp = 0.

        Examples
        --------
        >>> import torch, unconv
        >>> K = torch.tensor([[[1.0, 3.0, 1.0]]])
        >>> unconv.ConvOperator(K, (4,), padding=1, padding_mode="circular").logabsdet().exp()
        tensor(45.0000, dtype=torch.float64)
        """
        return spectrum.logabsdet(self, damp, memory_limit)

    def svd(
        self,
        k: int,
        which: _End = "largest",
        *,
        memory_limit: float = DEFAULT_MEMORY_LIMIT,
    ) -> SVD:
        """k singular triples at one end: U (k, *range), S (k,) descending, V (k, *domain).

        A V_i = S_i U_i and Aᴴ U_i = S_i V_i.  Where S_i is zero up to round-off, the vector on the
        shorter side is one of its null space; the other one is not determined by it, and is a null
        vector too, or zero for an outer product.

        Examples
        --------
        >>> import torch, unconv
        >>> A = unconv.ConvOperator(torch.randn(4, 3, 3, 3).double(), (8, 9), padding=1)
        >>> U, S, V = A.svd(2)
        >>> bool(torch.allclose(A(V), S[:, None, None, None] * U))
        True
        """
        return spectrum.svd(self, k, which, memory_limit)

    def range_projector(
        self,
        *,
        rtol: float | None = None,
        atol: float = 0.0,
        memory_limit: float = DEFAULT_MEMORY_LIMIT,
    ) -> LinearOperator:
        """The orthogonal projector onto range(A), A A⁺, as an operator.

        rtol, atol, memory_limit as in `pinv`: singular values σ ≤ max(atol, rtol·σ_max) count as
        zero.

        Examples
        --------
        >>> import torch, unconv
        >>> A = unconv.ConvOperator(torch.randn(3, 2, 3, 3).double(), (8, 8), padding=1)
        >>> P, x = A.range_projector(), torch.randn(1, 2, 8, 8).double()
        >>> bool(torch.allclose(P(A(x)), A(x)))
        True
        """
        return spectrum.project(self, True, rtol, atol, memory_limit)

    def null_projector(
        self,
        *,
        rtol: float | None = None,
        atol: float = 0.0,
        memory_limit: float = DEFAULT_MEMORY_LIMIT,
    ) -> LinearOperator:
        """The orthogonal projector onto null(A), I − A⁺A, as an operator.

        rtol, atol, memory_limit as in `pinv`: singular values σ ≤ max(atol, rtol·σ_max) count as
        zero.

        Examples
        --------
        >>> import torch, unconv
        >>> A = unconv.ConvOperator(torch.randn(2, 3, 3, 3).double(), (8, 8), padding=1)
        >>> P = A.null_projector()
        >>> x = torch.randn(1, 3, 8, 8).double()
        >>> bool(torch.allclose(P(P(x)), P(x))), float(A(P(x)).norm()) < 1e-12
        (True, True)
        """
        return spectrum.project(self, False, rtol, atol, memory_limit)
