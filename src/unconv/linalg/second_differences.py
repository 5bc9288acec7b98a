"""The second derivative of U f(S) Vᴴ, which meets no factors either and is right at ties.

f extended as an odd function acts on the Hermitian H = [0 A; Aᴴ 0], whose eigenvalues are ±s and,
where A is not square, zeros.  There the second derivative is a sum of second divided differences,

    D²f(H)[E, F]_ik = Σ_j f[λ_i, λ_j, λ_k](E_ij F_jk + F_ij E_jk).

In the bases of A, P = UᴴGV and Q = UᴴCV for two directions G and C, with P₊ and P₋ the Hermitian
and the skew part and i for s_i, −i for −s_i, that is U Y Vᴴ with

    Y_ik = Σ_j  f[i, j, k] P₊Q₊ + f[i, j, −k] P₊Q₋ − f[i, −j, k] P₋Q₋ − f[i, −j, −k] P₋Q₊
           + the same with P and Q exchanged.

For tall A, W_G = (1 − UUᴴ)GV stands for the zeros that the range leaves.  It adds
½(f[i, 0, k] + f[i, 0, −k])(W_GᴴW_C + W_CᴴW_G)_ik to Y, and the rows

    W_G (f[0, j, k]∘Q₊ + f[0, j, −k]∘Q₋) Vᴴ + exchanged.

Every f[x, y, z] is the difference of two first ones over x − z, its outermost points, or where all
three are close what the integral of f″ says.  At a zero the odd extension of f decides: right if it
has two derivatives there, f(0) = 0 and f″(0) = 0; else the mean of both sides.

Cost: O(k³) with a constant of some tens, in slices over j.

Source: Noferini, "A formula for the Fréchet derivative of a generalized matrix function", SIAM J.
Matrix Anal. Appl. 38 (2017), for the first derivative by way of H; Higham, "Functions of Matrices"
(SIAM 2008), §3.2, and Bhatia, "Matrix Analysis" (Springer 1997), Theorem V.3.3, for the sum.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .divided_differences import Differences

Close = Callable[[Tensor, Tensor, Tensor], Tensor]
"""f[x, y, z] of the odd extension for x ≥ y ≥ z that are close, any shape (..., any)."""

_ENTRIES = 2**20  # of the triples at work
_LOST = 1e-12  # of D, what first differences may be off


def second_derivative(
    U: Tensor, S: Tensor, Vh: Tensor, kernels: Differences, close: Close, G: Tensor, C: Tensor
) -> Tensor:
    """D²f of the module's docstring in the directions G and C, (..., m, n); symmetric in them.

    S : (..., k) with zeros that are exact
    """
    if G.shape[-2] < G.shape[-1]:
        return second_derivative(Vh.mH, S, U.mH, kernels, close, G.mH, C.mH).mH
    W_G, W_C = G @ Vh.mH, C @ Vh.mH
    P, Q = U.mH @ W_G, U.mH @ W_C
    D, M, R = (t.to(S.dtype) for t in kernels)
    Y = _sum_over_triples(S, D, M, close, P, Q)
    if U.shape[-2] == U.shape[-1]:
        return U @ Y @ Vh
    W_G, W_C = W_G - U @ P, W_C - U @ Q
    row, column = _rows(S), _columns(S)
    large, small = torch.maximum(row, column), torch.minimum(row, column)
    rest = torch.where(row >= column, _columns(R), _rows(R))  # f[0, s] of the smaller
    same = _quotient((large, small, torch.zeros_like(large)), D, rest, close)  # f[0, j, k]
    opposed = _quotient((row, torch.zeros_like(row), -column), _rows(R), _columns(R), close)
    cross = W_G.mH @ W_C
    Y = Y + (same + opposed) / 2 * (cross + cross.mH)
    outside = W_G @ _filtered(Q, same, opposed) + W_C @ _filtered(P, same, opposed)
    return (U @ Y + outside) @ Vh


def _sum_over_triples(
    S: Tensor, D: Tensor, M: Tensor, close: Close, P: Tensor, Q: Tensor
) -> Tensor:
    """Y of the module's docstring."""
    k = S.shape[-1]
    (Pp, Pm), (Qp, Qm) = ((X + X.mH, X - X.mH) for X in (P / 2, Q / 2))
    Y = torch.zeros_like(P)
    step = max(1, _ENTRIES // max(1, S[..., 0].numel() * k * k))
    for j in torch.arange(k, device=S.device).split(step):
        plain, last, middle, first = _triples(S, D, M, close, j)
        for (Ap, Am), (Bp, Bm) in (((Pp, Pm), (Qp, Qm)), ((Qp, Qm), (Pp, Pm))):
            left, right = (Ap[..., j], Am[..., j]), (Bp[..., j, :], Bm[..., j, :])
            Y = Y + _contracted(plain, left[0], right[0]) + _contracted(last, left[0], right[1])
            Y = Y - _contracted(middle, left[1], right[1]) - _contracted(first, left[1], right[0])
    return Y


def _triples(
    S: Tensor, D: Tensor, M: Tensor, close: Close, j: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """f[i, j, k], f[i, j, −k], f[i, −j, k] and f[i, −j, −k], (..., k, j, k); S descends."""
    index = torch.arange(S.shape[-1], device=S.device)
    i, j, k = torch.meshgrid(index, j, index, indexing="ij")
    high, mid, low = torch.stack([i, j, k]).sort(0).values
    points = S[..., high], S[..., mid], S[..., low]
    plain = _quotient(points, D[..., high, mid], D[..., mid, low], close)

    def opposed(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        """f[a, b, −c]."""
        high, low = torch.minimum(a, b), torch.maximum(a, b)
        points = S[..., high], S[..., low], -S[..., c]
        return _quotient(points, D[..., a, b], M[..., low, c], close)

    return plain, opposed(i, j, k), opposed(i, k, j), -opposed(j, k, i)


def _quotient(
    points: tuple[Tensor, Tensor, Tensor], upper: Tensor, lower: Tensor, close: Close
) -> Tensor:
    """f[x, y, z] from f[x, y] and f[y, z], or the integral where both agree; 0 if all are 0."""
    x, y, z = torch.broadcast_tensors(*points)
    change, gap = upper - lower, x - z
    integral = close(x, y, z).to(x.dtype)
    integral = torch.where((gap == 0) & (x == 0), 0.0, integral)
    lost = _LOST * (upper.abs() + lower.abs())
    agree = ((integral * gap - change).abs() <= lost).detach() | (gap == 0)
    return torch.where(agree, integral, change / torch.where(agree, 1.0, gap))


def _contracted(T: Tensor, left: Tensor, right: Tensor) -> Tensor:
    return torch.einsum("...ijk,...ij,...jk->...ik", T.to(left.dtype), left, right)


def _filtered(X: Tensor, same: Tensor, opposed: Tensor) -> Tensor:
    """same∘X₊ + opposed∘X₋."""
    return same * (X + X.mH) / 2 + opposed * (X - X.mH) / 2


def _rows(t: Tensor) -> Tensor:
    return t[..., :, None]


def _columns(t: Tensor) -> Tensor:
    return t[..., None, :]
