"""log |det M| of one matrix that survives its condition number, and proofs that M is singular.

    LU with correction   P M = L U + R,     |det M| = ∏ |U_ii| · |det(I + L⁻¹ R U⁻¹)|

R, the backward error of the factorisation, is summed up without rounding (L and U are cut into
parts whose products are exact), so that an error of eps·cond, that of det L · det U, is itself
known to several digits.  What that leaves in doubt is decided, at small orders, by Bareiss'
elimination in integers; at larger ones elimination modulo random primes tells whether M is
singular: det M ≠ 0 has few prime divisors, so that it is 0 modulo four primes of 23 bits by chance
about once in 10⁷ for 1,000 unknowns.

M is given as M + δ, without rounding: entries that sum up several taps need not be doubles.

Cost: for N unknowns an LU and seven products of its factors, 15 N³ flops; N³ operations with
integers of 60·N bits; N³ modulo each prime.

Sources: Ogita, "Accurate matrix factorization: inverse LU and inverse QR factorizations", SIAM J.
Matrix Anal. Appl. 31 (2010); Bareiss, "Sylvester's identity and multistep integer-preserving
Gaussian elimination", Math. Comp. 22 (1968).
"""

from __future__ import annotations

import math
import random
from fractions import Fraction
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from ..numerics.precision import DOUBLE_BITS

INTEGER_LIMIT = 128
"""Largest order of a real matrix that is eliminated in integers (seconds)."""

_LARGE = 0.5  # a correction that is not small
_PANEL = 64  # columns eliminated at once: 64 products of 23-bit numbers sum up below 2⁵³
_PRIMES = 4  # modulo which a matrix must be singular: by chance once in 10⁷, see above


class ExactMatrix(NamedTuple):
    """A matrix as M plus small corrections δ: (N, N), or (m, n) where its rank is asked for."""

    M: Tensor
    delta: Tensor

    @property
    def real(self) -> ExactMatrix:
        """A real matrix as it is, a complex one as [Re −Im; Im Re], of determinant |det|²."""
        if not self.M.is_complex():
            return self
        return ExactMatrix(*(
            torch.cat([torch.cat([t.real, -t.imag], 1), torch.cat([t.imag, t.real], 1)])
            for t in self
        ))  # fmt: skip


# --- LU with correction


def log_abs_det(A: ExactMatrix) -> tuple[float, float]:
    """log |det(M + δ)| by an LU in floating point, and an estimate of its error.

    (nan, inf) where nothing is known.

    The error is what two orders of the triangular solves differ by.
    """
    if not A.M.shape[-1]:
        return 0.0, 0.0
    factor, pivots, info = torch.linalg.lu_factor_ex(A.M)
    if int(info):
        return math.nan, math.inf
    P, L, U = torch.lu_unpack(factor, pivots)
    rows = P.real.mT.argmax(1)
    R = _minus_product(A.M[rows], L, U) + A.delta[rows]
    by_lower = partial(torch.linalg.solve_triangular, L, upper=False, unitriangular=True)
    by_upper = partial(torch.linalg.solve_triangular, U, upper=True, left=False)
    F, other = by_upper(by_lower(R)), by_lower(by_upper(R))
    size = float(F.norm())
    if not size < _LARGE:
        return math.nan, math.inf
    for correction in (F, other):
        correction.diagonal().add_(1)
    logs = U.diagonal().abs().log()
    corrections = [float(torch.linalg.slogdet(correction)[1]) for correction in (F, other)]
    doubt = abs(corrections[0] - corrections[1]) + 1e-4 * size**2
    rounding = torch.finfo(torch.float64).eps * float(logs.abs().sum())
    return float(logs.sum()) + corrections[0], rounding + 10 * doubt


def _minus_product(M: Tensor, L: Tensor, U: Tensor) -> Tensor:
    """M − L U with a rounding of eps^(3/2) |L| |U|."""
    bits = (DOUBLE_BITS - math.ceil(math.log2(2 * len(M)))) // 2
    L1, L2, L3 = _cut(L, bits, 1)
    U1, U2, U3 = _cut(U, bits, 0)
    R = M - L1 @ U1  # products of the large parts first: each difference cancels
    for left, right in ((L1, U2), (L2, U1), (L2, U2), (L1, U3), (L2, U3), (L3, U)):
        R = R - left @ right
    return R


def _cut(t: Tensor, bits: int, dim: int) -> list[Tensor]:
    """Three parts with the sum t, two of them of `bits` bits below the largest entry along dim."""
    size = torch.view_as_real(t).abs().amax(-1) if t.is_complex() else t.abs()
    unit = torch.exp2(torch.frexp(size.amax(dim, keepdim=True)).exponent.to(size.dtype))
    rest, parts = t, []
    for _ in range(2):
        unit = unit * 2.0**-bits
        scaled = rest / unit
        if t.is_complex():
            part = torch.complex(scaled.real.round(), scaled.imag.round()) * unit
        else:
            part = scaled.round() * unit
        parts.append(part)
        rest = rest - part
    return [*parts, rest]


# --- integers


def log_abs_det_in_integers(A: ExactMatrix) -> float:
    """log |det(M + δ)| exactly, −inf where M + δ is singular."""
    half = 0.5 if A.M.is_complex() else 1.0
    rows, shift = _integers(A.real)
    N, before = len(rows), 1
    for k in range(N):
        pivot = next((i for i in range(k, N) if rows[i][k]), None)
        if pivot is None:
            return -math.inf
        rows[k], rows[pivot] = rows[pivot], rows[k]
        top = rows[k]
        for i in range(k + 1, N):
            row = rows[i]
            first = row[k]
            row[k + 1 :] = [
                (top[k] * row[j] - first * top[j]) // before for j in range(k + 1, N)
            ]  # divides
        before = top[k]
    return half * (math.log(abs(before)) - N * shift * math.log(2)) if N else 0.0


def _integers(A: ExactMatrix) -> tuple[list[list[int]], int]:
    """M + δ times a power of two as integers, and that power."""
    values = [
        [Fraction(a) + Fraction(d) for a, d in zip(row, low, strict=True)]
        for row, low in zip(A.M.tolist(), A.delta.tolist(), strict=True)
    ]
    shift = max((v.denominator.bit_length() - 1 for row in values for v in row), default=0)
    return [[int(v * 2**shift) for v in row] for row in values], shift


# --- primes


def is_singular(A: ExactMatrix) -> bool:
    """Whether rank(M + δ) < min(m, n): no is proven, yes but for one chance in many millions."""
    A = A.real
    if A.M.shape[0] < A.M.shape[1]:
        A = ExactMatrix(A.M.mT, A.delta.mT)
    draws = random.Random(0)
    return all(_is_singular_modulo(A, _prime(draws)) for _ in range(_PRIMES))


def _prime(draws: random.Random) -> int:
    while True:
        p = draws.randrange(2**22 + 1, 2**23, 2)
        if all(p % q for q in range(3, math.isqrt(p) + 1, 2)):
            return p


def _is_singular_modulo(A: ExactMatrix, p: int) -> bool:
    """Right-looking elimination in panels; all numbers are integers below 2⁵³."""
    X = _modulo(A.M, p).add_(_modulo(A.delta, p)).remainder_(p)
    n = X.shape[1]
    for start in range(0, n, _PANEL):
        end = min(start + _PANEL, n)
        for k in range(start, end):
            found = X[k:, k].nonzero()
            if not len(found):
                return True
            pivot = k + int(found[0])
            if pivot != k:
                X[[k, pivot]] = X[[pivot, k]]
            inverse = pow(int(X[k, k]), -1, p)
            X[k + 1 :, k].mul_(inverse).remainder_(p)  # the column of L
            X[k + 1 :, k + 1 : end] -= X[k + 1 :, k, None] * X[k, k + 1 : end]
            X[k + 1 :, k + 1 : end].remainder_(p)
        for k in range(start, end):  # L⁻¹ on the rows of the panel
            X[k + 1 : end, end:] -= X[k + 1 : end, k, None] * X[k, end:]
            X[k + 1 : end, end:].remainder_(p)
        X[end:, end:] -= X[end:, start:end] @ X[start:end, end:]
        X[end:, end:].remainder_(p)
    return False


def _modulo(t: Tensor, p: int) -> Tensor:
    """Doubles times one power of two, as integers modulo p."""
    distinct, places = t.unique(return_inverse=True)
    shift = 1100  # 2⁻¹⁰⁷⁴ is the smallest double
    residues = [int(Fraction(v) * 2**shift) % p for v in distinct.tolist()]
    return torch.tensor(residues, dtype=torch.float64, device=t.device)[places]
