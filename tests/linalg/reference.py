"""Slow oracles: derivatives of U f(S) Vᵀ in 60 digits, and the pair equations solved one by one."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import mpmath
import torch

NOTHING = mpmath.mpf(10) ** -40


class Case(NamedTuple):
    """f and df on float64 tensors, and the same on numbers of mpmath."""

    f: Callable
    df: Callable
    exact_f: Callable
    exact_df: Callable


TENTH = mpmath.mpf(0.1)  # the float64 number, as torch has it
FUNCTIONS = {
    "svt": Case(
        lambda s: (s - 0.5).clamp(min=0),
        lambda s: (s >= 0.5).to(s.dtype),
        lambda s: max(s - 0.5, 0),
        lambda s: mpmath.mpf(s >= 0.5),
    ),
    "sqrt": Case(
        torch.sqrt, lambda s: 0.5 / s.sqrt(), mpmath.sqrt, lambda s: 1 / (2 * mpmath.sqrt(s))
    ),
    "wiener": Case(
        lambda s: s**2 / (s**2 + 0.1),
        lambda s: 0.2 * s / (s**2 + 0.1) ** 2,
        lambda s: s**2 / (s**2 + TENTH),
        lambda s: 2 * TENTH * s / (s**2 + TENTH) ** 2,
    ),
    "polar": Case(torch.ones_like, torch.zeros_like, lambda s: mpmath.mpf(1), lambda s: 0),
    "power": Case(
        lambda s: s**1.5,
        lambda s: 1.5 * s.sqrt(),
        lambda s: s ** mpmath.mpf(1.5),
        lambda s: mpmath.mpf(1.5) * mpmath.sqrt(s),
    ),
}


def exact_gradient(A, G, case):
    """Gradient of ⟨G, U f(S) Vᵀ⟩ at one matrix, f(0) = 0 where S is 0 (Daleckiĭ-Kreĭn).

    (m, n), (m, n) -> (m, n) float64
    """
    if A.shape[0] < A.shape[1]:
        return exact_gradient(A.mT, G.mT, case).mT
    with mpmath.workdps(60):
        U, S, Vh = mpmath.svd_r(mpmath.matrix(A.tolist()))
        G = mpmath.matrix(G.tolist())
        P = U.T * G * Vh.T
        values = [case.exact_f(s) if s > NOTHING else mpmath.mpf(0) for s in S]
        Q, ratios = mpmath.zeros(len(S)), mpmath.zeros(len(S))
        for i in range(len(S)):
            ratios[i, i] = _quotient(values[i], S[i], case, S[i])
            for j in range(len(S)):
                D = _quotient(values[i] - values[j], S[i] - S[j], case, S[i])
                M = _quotient(values[i] + values[j], S[i] + S[j], case, S[i])
                Q[i, j] = D * (P[i, j] + P[j, i]) / 2 + M * (P[i, j] - P[j, i]) / 2
        outside = G * Vh.T - U * P
        exact = (U * Q + outside * ratios) * Vh
        return torch.tensor(exact.tolist(), dtype=torch.float64)


def _quotient(change, gap, case, s):
    if abs(gap) > NOTHING:
        return change / gap
    return case.exact_df(s) if s > NOTHING or case.exact_f(s) == 0 else mpmath.mpf(0)


def minimum_norm_rotations(S, P):
    """Ω and Ψ (k, k) from the pseudo-inverse of every pair's 2 × 2 system."""
    k = len(S)
    omega, psi = torch.zeros_like(P), torch.zeros_like(P)
    for i in range(k):
        for j in range(k):
            if i == j:  # ω s − s ν = i·Im p, of which both rows are the same
                omega[i, i] = 0.5j * P[i, i].imag / S[i] if P.is_complex() and S[i] else 0
                psi[i, i] = -omega[i, i]
                continue
            system = torch.stack([torch.stack([S[j], -S[i]]), torch.stack([-S[i], S[j]])])
            right = torch.stack([P[i, j], P[j, i].conj()])
            solution = torch.linalg.pinv(system, rtol=1e-12).to(P.dtype) @ right
            omega[i, j], psi[i, j] = solution
    return omega, psi
