"""Determinants of operators by their matrix, whose entries are taken without rounding.

    square, damp = 0     M = A
    otherwise            M = [α·I  A; Aᴴ  −β·I],   |det M| = α^(m−n) det(AᴴA + αβ)

α = β = damp; or β = 0 and α near the smallest singular value, for which M is conditioned like A.

A square A under zero padding is tried once more as D A D⁻¹, D = diag(2^(s·pixel)): the determinant
is the same, the tap at offset t is multiplied by 2^(s·t), and kernels that are nearly causal lose
the small singular values that their size gives them.

Cost: that of exact_determinant.py, a few times where the first trial fails.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from ..operators.convolution import Convolution
from ..operators.matrix import operator_matrix
from .exact_determinant import (
    INTEGER_LIMIT,
    ExactMatrix,
    is_singular,
    log_abs_det,
    log_abs_det_in_integers,
)

_BITS = 20  # of the parts of a weight: the few taps that fall on one entry sum up exactly
_LEAST_CORNER = 2.0**-50  # of σ_max
_POWERS = 1, -1, 2, -2  # s of D = diag(2^(s·pixel)), the mildest first, towards either end
_GOOD = 1e-9  # relative error that ends the trials
_DETERMINANT_MATRICES = 12  # of the order of M at the peak


def matrix_memory(op: Convolution, damp: float) -> int:
    """Bytes that `log_volume_of_matrix` takes at its peak."""
    m, n = (size // op.geometry.groups for size in op.shape)
    order = n if m == n and not damp else m + n
    entry = 16 if op.dtype.is_complex else 8
    return entry * (3 * op.shape[0] * op.shape[1] + _DETERMINANT_MATRICES * order**2)


def log_volume_of_matrix(op: Convolution, damp: float) -> tuple[float, float]:
    """½ log det(AᴴA + damp²), Σ log σ for damp = 0, and an estimate of its error.

    By the matrix of A in double precision; `op` has one kernel.
    """
    scale = _unit(op)
    unit = op.in_double()
    unit = unit.with_weight(unit.weight.detach() / scale)
    dimensions = op.shape[1] if damp else min(op.shape)
    value = error = 0.0
    for group in range(op.geometry.groups):
        found = _of_group(unit, group, damp / scale)
        value, error = value + found[0], error + found[1]
    return value + dimensions * math.log(scale), error


def is_rank_deficient(op: Convolution) -> bool:
    """Whether rank A < min(m, n), by arithmetic modulo primes."""
    unit = op.in_double()
    unit = unit.with_weight(unit.weight.detach() / _unit(op))
    return any(is_singular(_matrix(unit, group)) for group in range(op.geometry.groups))


def _unit(op: Convolution) -> float:
    return 2.0 ** math.frexp(float(op.weight.detach().abs().amax()))[1]


def _of_group(op: Convolution, group: int, damp: float) -> tuple[float, float]:
    A = _matrix(op, group)
    m, n = A.M.shape
    if m < n and not damp:
        A, m, n = ExactMatrix(A.M.mH, A.delta.mH), n, m
    best, exact = (math.nan, math.inf), None
    for M, corner in _trials(op, group, A, damp):
        value, error = log_abs_det(M)
        if corner:
            value, error = (value - (m - n) * math.log(corner)) / 2, error / 2
        if error < best[1]:
            best = value, error
        if error <= _GOOD * (1 + abs(value)):
            return best
        exact = exact or (M, corner)
    assert exact is not None
    M, corner = exact
    if len(M.real.M) <= INTEGER_LIMIT:
        value = log_abs_det_in_integers(M)
        return (value - (m - n) * math.log(corner)) / 2 if corner else value, 0.0
    return best


def _trials(
    op: Convolution, group: int, A: ExactMatrix, damp: float
) -> Iterator[tuple[ExactMatrix, float]]:
    """Matrices and the α that they contain, 0 for none."""
    m, n = A.M.shape
    if damp:
        yield _augmented(A, damp, damp), damp
    elif m != n:
        S = torch.linalg.svdvals(A.M)
        alpha = math.frexp(max(float(S[-1]), _LEAST_CORNER * float(S[0])))[1]
        yield _augmented(A, 2.0**alpha, 0.0), 2.0**alpha
    else:
        yield A, 0.0
        if all(a.pads_zeros and a.stride == 1 and a.m == a.n for a in op.geometry.axes):
            for axis in range(op.geometry.nd):
                for power in _POWERS:
                    yield _matrix(scaled(op, axis, power), group), 0.0


def scaled(op: Convolution, axis: int, power: int) -> Convolution:
    """D A D⁻¹ or, where op flips or transposes, D⁻¹ A D: the tap at offset o times 2^(power·o)."""
    a = op.geometry.axes[axis]
    offsets = a.dilation * torch.arange(a.k, dtype=torch.float64, device=op.device)
    before = a.dilation * (a.k - 1) - a.before if op.flip else a.before
    factors = torch.exp2(power * (offsets - before))
    return op.with_weight(op.weight * factors.reshape(-1, *[1] * (op.geometry.nd - 1 - axis)))


def _augmented(A: ExactMatrix, alpha: float, beta: float) -> ExactMatrix:
    m, n = A.M.shape
    upper = torch.cat([alpha * torch.eye(m, dtype=A.M.dtype, device=A.M.device), A.M], 1)
    lower = torch.cat([A.M.mH, -beta * torch.eye(n, dtype=A.M.dtype, device=A.M.device)], 1)
    delta = torch.zeros_like(torch.cat([upper, lower]))
    delta[:m, m:], delta[m:, :m] = A.delta, A.delta.mH
    return ExactMatrix(torch.cat([upper, lower]), delta)


def _matrix(op: Convolution, group: int) -> ExactMatrix:
    """A of one group: sums of taps by parts that sum up exactly."""
    low, parts = op.weight, []
    for level in (1, 2):
        step = 2.0 ** (-_BITS * level)
        parts.append(_rounded(low, step))
        low = low - parts[-1]
    high, middle, rest = (_dense(op.with_weight(w), group) for w in (*parts, low))
    high = high + middle
    M = high + rest
    back = M - high
    return ExactMatrix(M, (high - (M - back)) + (rest - back))


def _rounded(t: Tensor, step: float) -> Tensor:
    if t.is_complex():
        return torch.complex(_rounded(t.real, step), _rounded(t.imag, step))
    return (t / step).round() * step


def _dense(op: Convolution, group: int) -> Tensor:
    A = operator_matrix(op, "dense", memory_limit=math.inf)
    assert isinstance(A, Tensor)
    m, n = (size // op.geometry.groups for size in A.shape)
    return A[group * m : (group + 1) * m, group * n : (group + 1) * n]
