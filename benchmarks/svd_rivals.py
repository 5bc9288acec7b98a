"""The older differentiable SVDs, as published, to be compared with: not for use.

All share one backward, with F_ij = 1/(s_j² − s_i²), X = UᴴU̅ and Y = VᴴV̅,

    A̅ = U [ (F∘(X − Xᴴ)) S + T∘X + S (F∘(Y − Yᴴ)) + diag(S̅) ] Vᴴ + (projector terms),

and differ in what they put for F where it is infinite.  Only SVD-inv has a T, of 1/s at such pairs,
and takes X there as it is, for Y nothing: with a loss on V alone that is a gradient of zero.  The
squares, the (m, m) projectors I − UUᴴ and the missing phase term of complex matrices are theirs;
their assertions that the gradient is finite are left out.

Every function takes A (..., m, n) and returns U (..., m, k), diag(S) (..., k, k) and V (..., n, k).

Source: the public code of Zhang & Hu, arXiv 2411.14141 (svd-inv.py, svds.py of SVD-inv).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Factors = tuple[Tensor, Tensor, Tensor]

_CLIP = 1e30
_UNDERFLOW = 1e-30  # squares below it count as zero
_TERMS = 9


def svd_plain(A: Tensor) -> Factors:
    """F as it is: NaN at ties.

    Source: Ionescu, Vantzos & Sminchisescu, "Matrix backpropagation for deep networks with
    structured layers", ICCV 2015; Townsend, "Differentiating the singular value decomposition"
    (2016).
    """
    return _Rival.apply(A, _plain)


def svd_zero_filled(A: Tensor) -> Factors:
    """F = 0 where s_i = s_j to the last bit.

    Source: TensorFlow's gradient of `tf.linalg.svd`, after Seeger et al., "Auto-differentiating
    linear algebra", arXiv 1710.08717 (2017).
    """
    return _Rival.apply(A, _zero_filled)


def svd_clipped(A: Tensor) -> Factors:
    """F = 10³⁰ where s_i = s_j to the last bit.

    Source: `svd_clip` in the code of SVD-inv.
    """
    return _Rival.apply(A, _clipped)


def svd_taylor(A: Tensor) -> Factors:
    """F by ten terms of the geometric series of 1/(1 − s_i²/s_j²).

    Source: Wang, Dang, Hu, Fua & Salzmann, "Robust differentiable SVD", IEEE Trans. Pattern Anal.
    Mach. Intell. 44 (2022).
    """
    return _Rival.apply(A, _taylor)


def svd_inv(A: Tensor) -> Factors:
    """F = 0 and T = 1/s where s_i = s_j to the last bit.

    Source: Zhang & Hu, "Differentiable SVD based on Moore-Penrose pseudoinverse for inverse imaging
    problems", arXiv 2411.14141 (2024).

    Examples
    --------
    >>> A = torch.randn(5, 3, dtype=torch.float64)
    >>> U, S, V = svd_inv(A)
    >>> U.shape, S.shape, V.shape
    (torch.Size([5, 3]), torch.Size([3, 3]), torch.Size([3, 3]))
    >>> torch.allclose(A, U @ S @ V.mH)
    True
    """
    return _Rival.apply(A, _moore_penrose)


RIVALS: dict[str, Callable[[Tensor], Factors]] = {
    "plain": svd_plain,
    "zero-filled (tf)": svd_zero_filled,
    "clipped": svd_clipped,
    "Taylor": svd_taylor,
    "SVD-inv": svd_inv,
}

Kernel = Callable[[Tensor], tuple[Tensor, Tensor | None]]
"""S (..., k) -> F and T (..., k, k)."""


class _Rival(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, A: Tensor, kernel: Kernel) -> Factors:
        U, S, Vh = torch.linalg.svd(A, full_matrices=False)
        V, ctx.kernel = Vh.mH, kernel
        ctx.save_for_backward(U, S, V)
        return U, torch.diag_embed(S), V

    @staticmethod
    def backward(ctx: Any, gU: Tensor, gS: Tensor, gV: Tensor) -> tuple[Tensor, None]:
        U, S, V = ctx.saved_tensors
        F, T = ctx.kernel(S)
        X, Y, diagonal = U.mH @ gU, V.mH @ gV, torch.diag_embed(S).to(U.dtype)
        inverse = torch.diag_embed(torch.where(S > 0, 1 / S, 0.0)).to(U.dtype)
        left = (F * (X - X.mH)) @ diagonal
        if T is not None:
            left = left + T * X
        gA = (U @ left + (_eye(U) - U @ U.mH) @ gU @ inverse) @ V.mH
        gA = gA + U @ (_eye(S, S.shape[-1]) * gS).to(U.dtype) @ V.mH
        right = diagonal @ (F * (Y - Y.mH)) @ V.mH
        return gA + U @ (right + inverse @ gV.mH @ (_eye(V) - V @ V.mH)), None


def _plain(S: Tensor) -> tuple[Tensor, None]:
    row, column = _squares(S)
    return torch.where(_eye(S, S.shape[-1]) == 1, 0.0, 1 / (row - column)), None


def _zero_filled(S: Tensor) -> tuple[Tensor, None]:
    row, column = _squares(S)
    return _finite_or(0.0, 1 / (row - column)), None


def _clipped(S: Tensor) -> tuple[Tensor, None]:
    row, column = _squares(S)
    F = torch.where((_eye(S, S.shape[-1]) == 1) | ((row == 0) & (column == 0)), 0.0, _plain(S)[0])
    return _finite_or(_CLIP, F), None


def _taylor(S: Tensor) -> tuple[Tensor, None]:
    row, column = _squares(S, underflow=True)
    eye = _eye(S, S.shape[-1])
    ratio = _finite_or(0.0, column / row - eye)
    ratio = torch.where(ratio < 1, ratio, 1 / ratio)
    series, power = torch.ones_like(ratio), torch.ones_like(ratio)
    for _ in range(_TERMS):
        power = power * ratio
        series = series + power
    return _finite_or(0.0, (1 - eye) / torch.where(row >= column, row, -column)) * series, None


def _moore_penrose(S: Tensor) -> tuple[Tensor, Tensor]:
    row, column = _squares(S, underflow=True)
    own = (_eye(S, S.shape[-1]) == 1) | ((row == 0) & (column == 0))
    quotient = torch.where(own, 0.0, 1 / (row - column))
    tied = quotient.abs() > 1 / _UNDERFLOW
    return torch.where(tied, 0.0, quotient), torch.where(tied, 1 / row.sqrt(), 0.0)


def _squares(S: Tensor, underflow: bool = False) -> tuple[Tensor, Tensor]:
    """s_j² along the rows and s_i² along the columns, both (..., k, k)."""
    squares = S * S
    if underflow:
        squares = torch.where(squares < _UNDERFLOW, 0.0, squares)
    row = squares[..., None, :].expand(*S.shape, S.shape[-1])
    return row, row.mT


def _finite_or(value: float, F: Tensor) -> Tensor:
    return torch.where(F.isfinite(), F, value)


def _eye(like: Tensor, size: int | None = None) -> Tensor:
    return torch.eye(size or like.shape[-2], dtype=like.dtype, device=like.device)
