"""½ log det(AᴴA + damp²), and log |det A|, each with an estimate of its error.

In order, the first that is known to 1e-10, or else the best if that is known to 1e-6 (and 1e-3
absolutely):

1. taps alone               one tap's determinant of causal kernels, exactly; −inf of constants that
                            A annihilates (triangular.py)
2. a rung that diagonalises Σ log σ, with the error of each σ over σ (rungs: `unconv.inverse`)
3. up to 1,024 unknowns     LU of the matrix with correction (exact_determinant.py)
4. the ghosts               the samples where A and a periodic grid differ; on two grids; below
5. up to 4,096 unknowns     as 3., where nothing diagonalises; with more than 1,024 only where
                            nothing else is known to 1e-6

−inf is answered where it is proven (exact_determinant.py); else the determinant is refused.

The augmented system on the periodic grid with its constraints on the ghosts is a bordered matrix.
Eliminating the border one way or the other (inverse/boundary/bordered.py) gives

    Σ_ω log |det 𝓑(ω)| + log |det S| = log |det [α·I  A; Aᴴ  −β·I]| − q·log β,

q = c_in·|ghost pixels| where ghosts copy samples and are unknowns a second time, otherwise 0.  With
all ghost pixels constrained, those that no output reads too, nothing else is left.  And

    log |det [α·I  A; Aᴴ  −β·I]| = (m−n) log α + log det(AᴴA + αβ)
                                 = (n−m) log β + log det(AAᴴ + αβ).

damp > 0: α = β = damp.  damp = 0: β = 0 for tall A, α = 0 for wide A.  Square A, damp = 0, needs C
alone: log |det A| = Σ_ω log |det C(ω)| + log |det W C⁻¹ J|.

Where C is singular on every small grid (taps that sum to 0), both terms lose what cancels between
them.  Under zero padding the tap at offset t times e^{iθt} makes D A Dᴴ, D diagonal and unitary:
the same singular values, and C between the frequencies of the grid.

Cost: twice an LU of the ghosts, of the small blocks as many.

Source: the identity det [K B; C D] = det K · det(D − C K⁻¹ B) (Schur), Horn & Johnson, "Matrix
Analysis", §0.8.5.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from ..inverse.boundary.bordered import Bordered, Corners
from ..inverse.boundary.ghosts import find_ghosts
from ..inverse.boundary.problem import Problem, healthy_grids, prepare
from ..inverse.boundary.sizes import grid_of, sizes_of
from ..inverse.diagonal import dense, fourier
from ..inverse.request import Request
from ..operators.convolution import Convolution
from ..operators.linear_operator import MemoryLimitError, gigabytes
from . import values
from .matrix_determinant import is_rank_deficient, log_volume_of_matrix, matrix_memory
from .triangular import annihilates_constants, triangular_log_det
from .values import Exact, Spectrum

MATRIX_LIMIT = 4096
"""Largest min(m, n) of a group whose matrix is factored (minutes)."""

_RELATIVE, _ABSOLUTE = 1e-6, 1e-3  # errors that an answer may have
_SHARP = 1e-10  # relative error with which no other way is tried
_QUICK = 1024  # min(m, n) of a group whose matrix is factored for the sake of digits (seconds)
CORNERS = 0.3, 0.08
"""Corners of the augmented system of tall and wide operators without damping, in σ_max."""

_PHASE = 0.7  # of the first axis, any angle; multiples of it for the others


class LogVolume(NamedTuple):
    """log of the volume factor of A, Σ log √(σ² + damp²), and an estimate of its error."""

    value: float
    error: float

    @property
    def is_known(self) -> bool:
        """Whether the value is known well enough to be answered."""
        return self.error <= min(_ABSOLUTE, _RELATIVE * (1 + abs(self.value)))

    @property
    def is_sharp(self) -> bool:
        """Whether no other way need be tried."""
        return self.error <= _SHARP * (1 + abs(self.value))


def log_volumes(op: Convolution, damp: float, memory_limit: float) -> Tensor:
    """½ log det(AᴴA + damp²) for damp > 0, else Σ log σ of all min(m, n): (B,) float64.

    Raises
    ------
    NotImplementedError
        Where it is known to no better than round-off.
    """
    spectrum = Spectrum(op, memory_limit)
    rung = values.exact_rung(op, memory_limit, 1)
    exact = spectrum.exact if rung is not None and rung is not dense else None
    found = []
    for i in range(op.batch_size or 1):
        one = op.of_sample(i)
        by_values = None if exact is None else _of_values(exact, i, rung, damp, op.shape[1])
        found.append(_log_volume(one, damp, memory_limit, by_values))
    return torch.tensor(found, dtype=torch.float64, device=op.device)


def _log_volume(
    op: Convolution, damp: float, memory_limit: float, by_values: LogVolume | None
) -> float:
    m, n = op.shape
    known = _without_factoring(op, damp)
    if known is not None:
        return known
    best = LogVolume(math.nan, math.inf)
    for sharpens, way in _ways(op, damp, memory_limit, by_values):
        if sharpens or not best.is_known:
            best = min(best, way(), key=lambda found: found.error)
        if best.is_sharp:
            break
    if best.is_known:
        return best.value
    if not damp and _fits(op, damp, memory_limit) and is_rank_deficient(op):
        return -math.inf
    raise NotImplementedError(
        f"the determinant of this {m:,} × {n:,} operator is out of reach of double precision: its "
        "smallest singular values are round-off of the largest, and it is too large to be proven "
        "singular or not; give damp > 0, or more of it."
        if not damp
        else f"at damp={damp:g} the determinant of this {m:,} × {n:,} operator is out of reach of "
        "double precision; give more damp."
    )


def _without_factoring(op: Convolution, damp: float) -> float | None:
    """What zeros, rows that nobody saw or taps alone tell."""
    m, n = op.shape
    if not bool(op.weight.any()):
        return n * math.log(damp) if damp else -math.inf
    if damp:
        return None
    if op.seen is not None:
        rows = int(op.seen.expand(op.range_shape).sum())
        return -math.inf if rows < min(m, n) else None
    triangular = triangular_log_det(op)
    if triangular is None and annihilates_constants(op):
        return -math.inf
    return triangular


def _ways(
    op: Convolution, damp: float, memory_limit: float, by_values: LogVolume | None
) -> Iterator[tuple[bool, Callable[[], LogVolume]]]:
    """The ways in order, each with whether it pays where the answer is known, but not sharply."""

    def by_matrix() -> LogVolume:
        return LogVolume(*log_volume_of_matrix(op, damp))

    fits = _fits(op, damp, memory_limit)
    size = min(op.shape) // op.geometry.groups
    by_ghosts = op.seen is None and not (fits and size <= dense.LIMIT)
    if by_values is not None:
        yield False, lambda: by_values
    elif by_ghosts and (damp or _has_full_rank(op, memory_limit)):
        for grid in operators_to_grid(op):
            yield False, partial(_by_ghosts, grid, damp, memory_limit)
    if fits:
        yield size <= _QUICK, by_matrix


def _fits(op: Convolution, damp: float, memory_limit: float) -> bool:
    """Whether the matrix fits memory_limit, to be factored."""
    small = min(op.shape) // op.geometry.groups <= MATRIX_LIMIT
    return small and matrix_memory(op, damp) <= memory_limit


def _has_full_rank(op: Convolution, memory_limit: float) -> bool:
    request = Request(memory_limit=memory_limit)
    try:
        rank = values.matrix_rank(Spectrum(op, memory_limit, request=request), False).value
    except NotImplementedError:
        return False
    return int(rank) == min(op.shape)


def _of_values(exact: Exact, i: int, rung: object, damp: float, n: int) -> LogVolume:
    """By all singular values; those of different frequencies err independently."""
    S, slack = exact.values[i], float(exact.slack[i])
    least = torch.full_like(S, damp)
    curved = torch.hypot(S, least)
    # not the slope alone: a σ of 0 that is off by as much as damp has none
    off = (torch.hypot(S + slack, least) / torch.hypot((S - slack).clamp(min=0), least)).log()
    error = off.norm() if rung is fourier else off.sum()
    value = float(curved.log().sum()) + ((n - len(S)) * math.log(damp) if damp else 0.0)
    return LogVolume(value, float(error) if bool(curved.all()) else math.inf)


# --- on the ghosts


def operators_to_grid(op: Convolution) -> Iterator[Convolution]:
    """`op`, and under zero padding one with the same singular values between the frequencies."""
    yield op
    if op.geometry.pads_zeros:
        yield with_phases(op, [_PHASE * (1 + a) for a in range(op.geometry.nd)])


def with_phases(op: Convolution, angles: Sequence[float]) -> Convolution:
    """The tap at offset t times e^{i⟨angles, t⟩}: D A Dᴴ, or Dᴴ A D where op flips."""
    weight = op.weight.to(torch.complex128)
    for a, (angle, axis) in enumerate(zip(angles, op.geometry.axes, strict=True)):
        offsets = axis.dilation * torch.arange(axis.k, dtype=torch.float64, device=weight.device)
        wave = torch.polar(torch.ones_like(offsets), angle * offsets)
        weight = weight * wave.reshape(-1, *[1] * (op.geometry.nd - 1 - a))
    return op.with_weight(weight)


def _by_ghosts(op: Convolution, damp: float, memory_limit: float) -> LogVolume:
    """By the ghosts, twice: what round-off decides differs, or shows in the condition of S."""
    try:
        first = _on_grid(op, damp, memory_limit, 0)
        if not first.is_known:
            return first
        second = _on_grid(op, damp, memory_limit, 1)
    except NotImplementedError:
        return LogVolume(math.nan, math.inf)
    difference = 10 * abs(first.value - second.value)
    return LogVolume(first.value, max(first.error, second.error, difference))


def _on_grid(op: Convolution, damp: float, memory_limit: float, again: int) -> LogVolume:
    s = sizes_of(op.geometry, not op.dtype.is_complex)
    order = s.outputs + s.pixels * (2 if s.copies and damp else 1)
    blocks = s.frequencies * 16 * 3 * (s.rows + s.columns) ** 2
    need = op.geometry.groups * (2 * order**2 * (16 if op.dtype.is_complex else 8) + blocks)
    if need > memory_limit:
        raise MemoryLimitError(
            f"the determinant needs a factor of {gigabytes(need)}, more than "
            f"memory_limit={gigabytes(memory_limit)}; raise it."
        )
    p = prepare(op, Request(damp=damp), 1)
    total, surplus = min(p.A.shape), p.A.shape[0] - p.A.shape[1]
    if damp:
        corner, columns = p.damp, op.shape[1]
        value, error = _augmented(p, Corners(corner, corner), again)
        # ½ log det over the domain of the convolution; that of its transpose has other zeros.
        value = (value - surplus * math.log(corner)) / 2
        value += (columns - p.A.shape[1]) * math.log(corner) + columns * math.log(p.scale)
        return LogVolume(value, error)
    if s.square:
        value, error = _square(p, again)
        return LogVolume(value + total * math.log(p.scale), error)
    corner = CORNERS[again] * p.norm
    tall = surplus > 0 or (surplus == 0 and s.rows > s.columns)
    if s.rows != s.columns and tall != (s.rows > s.columns):  # the blocks have no inverse
        raise NotImplementedError
    value, error = _augmented(p, Corners(corner, 0.0) if tall else Corners(0.0, corner), again)
    value = (value - abs(surplus) * math.log(corner)) / 2
    return LogVolume(value + total * math.log(p.scale), error)


def _augmented(p: Problem, corners: Corners, larger: int) -> LogVolume:
    """log |det [α A; Aᴴ −β]|."""
    torus = grid_of(p.geometry, p.real, larger)
    C = torus.spectrum(p.weight, p.geometry)
    ghosts = find_ghosts(p.geometry, torus, all_pixels=True, outputs_first=True, device=C.device)
    system = Bordered.augmented(torus, C, ghosts, corners)
    value, error = system.log_abs_det()
    if system.doubled:
        value += system.doubled * math.log(corners.beta)
    return LogVolume(value, error)


def _square(p: Problem, again: int) -> LogVolume:
    """log |det A| by C⁻¹ on a grid on which that is healthy, the first or the one after it."""
    healthy = next(itertools.islice(healthy_grids(p), again, None), None)
    if healthy is None:
        raise NotImplementedError
    ghosts = p.ghosts(healthy.torus, all_pixels=True)
    return LogVolume(*Bordered.square(healthy.torus, healthy.inverse, ghosts).log_abs_det())
