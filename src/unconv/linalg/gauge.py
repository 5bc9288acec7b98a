"""Losses on the factors of an SVD that have no derivative where singular values tie.

Let s_i = s_j.  A unitary W among the columns i and j of both U and V gives another SVD of the same
A, by dU = U W, dV = V W with W skew-Hermitian; a loss with the cotangents U̅, V̅ changes by ⟨X + Y,
W⟩, X = UᴴU̅ and Y = VᴴV̅.  Unless skew(X + Y)_ij = 0 its value depends on the choice that LAPACK
made. If it does not, the loss can still lose part of its gradient.  A change of A that splits the
tie turns the factors by sym(P)_ij/(s_j − s_i), which meets skew(X + Y)_ij → 0: a quotient 0/0, in
general finite, of which no cotangent at the tie knows.  Of U f(S) Vᴴ it is f′·sym(P̅)_ij, P̅ = UᴴG
V, whose diagonal is all that is in S̅.  So it cannot be excluded where

    S̅_i ≠ S̅_j,    or    sym(X + Y)_ij ≠ 0 and S̅_i ≠ 0 or S̅_j ≠ 0.

Of values that are zero U and V turn apart from each other, X and Y take the place of X + Y, and
nothing but zero leaves S̅ without doubt.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

_OF_COTANGENT = 1e-3  # of the size of a cotangent that is no round-off of single precision

_looking: ContextVar[bool] = ContextVar("looking for losses that depend on a gauge", default=False)


@contextmanager
def detect_gauge_dependence() -> Iterator[None]:
    """Within it, `svd` and `svdvals` refuse gradients that no choice of singular vectors defines.

    Where singular values tie, A = U diag(S) Vh holds for many U and Vh, and the derivative that
    `svd` takes there is a convention.  It is exact for some losses, such as those on U @ Vh, and
    wrong for others, such as those on U diag(S) Vh, for which `spectral_apply`, `svt` and `pinv`
    are right.  What was decomposed within this context looks for it in its backward, and raises
    where a loss depends on the choice of vectors, those that complete the range included, or may
    lose part of its gradient.  Near misses are refused too: from the cotangents at a tie
    (U @ Vh).sum() + S.sum(), whose gradient is right, cannot be told from (U diag(S) Vh).sum(),
    whose gradient is not.  Like `torch.autograd.set_detect_anomaly` it is for looking into a fault,
    for it takes time and waits for the device; under vmap, where nobody can look, the gradient is
    NaN.

    Raises
    ------
    RuntimeError
        In the backward, with the values that tie and the remedy.

    Examples
    --------
    >>> import torch
    >>> from unconv.linalg import detect_gauge_dependence, svd, svt
    >>> A = torch.tensor([[2.0, 4.0], [-4.0, 2.0]], requires_grad=True)    # a tie, s = 4.47 twice
    >>> with detect_gauge_dependence():
    ...     U, S, Vh = svd(A)
    ...     (U @ Vh).sum().backward()                                      # right
    ...     U, S, Vh = svd(A)
    >>> try:
    ...     (U @ torch.diag(S) @ Vh).sum().backward()                      # A.sum(), and all ones
    ... except RuntimeError as error:
    ...     print(str(error)[:72])
    singular values 0 and 1 tie (4.47214 and 4.47214), and the gradient of a
    """
    token = _looking.set(True)
    try:
        yield
    finally:
        _looking.reset(token)


def is_looking() -> bool:
    """Whether what is decomposed now is to look in its backward."""
    return _looking.get()


def refuse_dependence(
    S: Tensor,
    width: float,
    products: tuple[Tensor | None, Tensor | None],
    sizes: tuple[Tensor | None, Tensor | None],
    gS: Tensor | None,
) -> Tensor:
    """Raise where the module's docstring says so; under vmap the NaN to add, as (..., 1, 1).

    width : in units of s₁, what counts as a tie
    products : X and Y, (..., k, k), or None where U or V has no cotangent
    sizes : norms of the columns of both cotangents, (..., k)
    """
    found = _dependent(S, width * S[..., :1], products, sizes, gS)
    try:
        somewhere = bool(found.any())
    except RuntimeError:
        return torch.where(found.any(-1).any(-1), torch.nan, 0.0)[..., None, None]
    if somewhere:
        *matrix, i, j = (int(n) for n in found.nonzero()[0])
        values = S[tuple(matrix)]
        where = f" of matrix {tuple(matrix)}" if matrix else ""
        raise RuntimeError(
            f"singular values {i} and {j}{where} tie ({float(values[i]):g} and "
            f"{float(values[j]):g}), and the gradient of a loss on U, S and Vh that depends on "
            "their vectors one by one, or on how they split, is no more than a convention there; "
            "for U f(S) Vh use spectral_apply, svt or pinv, for values their sum over the tie."
        )
    return S.new_zeros(())


def refuse_rotation(basis: Tensor, g: Tensor) -> Tensor:
    """Raise where a loss depends on which columns complete the range; under vmap the NaN to add.

    basis, g : (..., m, j) and its cotangent
    """
    turns = _skew(basis.mH @ g).abs().amax((-2, -1))
    found = turns > _OF_COTANGENT * torch.linalg.vector_norm(g, dim=-2).amax(-1)
    try:
        somewhere = bool(found.any())
    except RuntimeError:
        return torch.where(found, torch.nan, 0.0)[..., None, None]
    if somewhere:
        raise RuntimeError(
            "the columns of U or Vh beyond the range are any basis of its complement, and the loss "
            "depends on which; use the projector on it, U⊥ U⊥ᴴ = I − U Uᴴ."
        )
    return turns.new_zeros(())


def _dependent(
    S: Tensor,
    tie: Tensor,
    products: tuple[Tensor | None, Tensor | None],
    sizes: tuple[Tensor | None, Tensor | None],
    gS: Tensor | None,
) -> Tensor:
    """Pairs i < j of a tie for which the gradient is a convention, (..., k, k) bool."""
    k = S.shape[-1]
    above = torch.ones(k, k, dtype=torch.bool, device=S.device).triu(1)
    tied = ((S[..., :, None] - S[..., None, :]) <= tie[..., None]) & above
    small = tie >= S
    zero = small[..., :, None] & small[..., None, :]
    found = torch.zeros_like(tied)
    uses = turns = found
    given = [Z for Z in products if Z is not None]
    if given:
        limit = _OF_COTANGENT * _pairs(torch.stack([n for n in sizes if n is not None]).sum(0))
        both = torch.stack(given).sum(0)
        apart = torch.stack([_skew(Z).abs() for Z in given]).amax(0)
        turns = torch.where(zero, apart, _skew(both).abs()) > limit
        uses = ((both + both.mH).abs() / 2 > limit) | zero
    if gS is None:
        return tied & turns
    limit = _OF_COTANGENT * gS.abs().amax(-1)[..., None, None]
    split = (gS[..., :, None] - gS[..., None, :]).abs() > limit
    return tied & (turns | split | (uses & (_pairs(gS.abs()) > limit)))


def _skew(Z: Tensor) -> Tensor:
    return (Z - Z.mH) / 2


def _pairs(values: Tensor) -> Tensor:
    """The larger of two, for each pair: (..., k) -> (..., k, k)."""
    return torch.maximum(values[..., :, None], values[..., None, :])
