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
Eliminating the border one way or the other (inverse/boundary/problem.py, deflation.py) gives

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

from ..grid.torus import Torus
from ..inverse.boundary.ghost_system import augmented_inverse, ghost_matrix
from ..inverse.boundary.ghosts import find_ghosts
from ..inverse.boundary.problem import Problem, prepare
from ..inverse.boundary.sizes import grid_of, sizes_of
from ..inverse.diagonal import dense, fourier
from ..inverse.request import Request
from ..numerics.lanczos import random_start
from ..numerics.threads import run_in_slices
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
_CORNERS = 0.3, 0.08  # of σ_max, for tall and wide operators without damping
_GRIDS = 4  # tried for one on which C is far from singular
_SINGULAR_GRID = 1e-6  # of σ_max
_PHASE = 0.7  # of the first axis, any angle; multiples of it for the others
_POWER_STEPS = 8  # to know ‖S⁻¹‖ to its order, which is all that an error estimate needs
_EPS = torch.finfo(torch.float64).eps


class LogVolume(NamedTuple):
    """Σ log √(σ² + damp²) and an estimate of its error."""

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
    if not bool(op.weight.any()):
        return n * math.log(damp) if damp else -math.inf
    if not damp:
        triangular = triangular_log_det(op)
        if triangular is not None:
            return triangular
        if annihilates_constants(op):
            return -math.inf
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


def _ways(
    op: Convolution, damp: float, memory_limit: float, by_values: LogVolume | None
) -> Iterator[tuple[bool, Callable[[], LogVolume]]]:
    """The ways in order, each with whether it pays where the answer is known, but not sharply."""

    def by_matrix() -> LogVolume:
        return LogVolume(*log_volume_of_matrix(op, damp))

    fits = _fits(op, damp, memory_limit)
    size = min(op.shape) // op.geometry.groups
    if by_values is not None:
        yield False, lambda: by_values
    elif not (fits and size <= dense.LIMIT) and (damp or _has_full_rank(op, memory_limit)):
        for grid in _operators_to_grid(op):
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


def _operators_to_grid(op: Convolution) -> Iterator[Convolution]:
    """`op`, and under zero padding one with the same singular values between the frequencies."""
    yield op
    if op.geometry.axes[0].mode == "zeros":
        yield with_phases(op, [_PHASE * (1 + a) for a in range(op.geometry.nd)])


def with_phases(op: Convolution, angles: Sequence[float]) -> Convolution:
    """The tap at offset t times e^{i⟨angles, t⟩}: D A Dᴴ, or Dᴴ A D where op flips."""
    weight = op.weight.detach()
    weight = weight.to(torch.complex128)
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
        value, error = _augmented(p, corner, corner, again)
        # ½ log det over the domain of the convolution; that of its transpose has other zeros.
        value = (value - surplus * math.log(corner)) / 2
        value += (columns - p.A.shape[1]) * math.log(corner) + columns * math.log(p.scale)
        return LogVolume(value, error)
    if s.square:
        value, error = _square(p, again)
        return LogVolume(value + total * math.log(p.scale), error)
    corner = _CORNERS[again] * p.norm
    tall = surplus > 0 or (surplus == 0 and s.rows > s.columns)
    if s.rows != s.columns and tall != (s.rows > s.columns):  # the blocks have no inverse
        raise NotImplementedError
    value, error = _augmented(p, *((corner, 0.0) if tall else (0.0, corner)), again)
    value = (value - abs(surplus) * math.log(corner)) / 2
    return LogVolume(value + total * math.log(p.scale), error)


def _augmented(p: Problem, alpha: float, beta: float, larger: int) -> LogVolume:
    """log |det [α A; Aᴴ −β]|."""
    torus = grid_of(p.geometry, p.real, larger)
    C = torus.spectrum(p.weight, p.geometry)
    inverse = augmented_inverse(C, alpha, beta)
    ghosts = find_ghosts(p.geometry, torus, all_pixels=True, outputs_first=True, device=C.device)
    strips, diagonal = ghosts.augmented(beta)
    again = p.geometry.groups * ghosts.pixels.size * math.log(beta) if diagonal else 0.0
    S = ghost_matrix(torus, inverse, strips, strips, diagonal)
    value, error = _of_matrix(S)
    return LogVolume(value - _of_blocks(inverse, torus) + again, error)


def _square(p: Problem, again: int) -> LogVolume:
    """log |det A| by C⁻¹ on a grid on which that is healthy, the first or the one after it."""
    healthy = itertools.islice(_healthy_grids(p), again, None)
    try:
        torus, inverse = next(healthy)
    except StopIteration:
        raise NotImplementedError from None
    ghosts = p.ghosts(torus, all_pixels=True)
    S = ghost_matrix(torus, inverse, [ghosts.constraints], [ghosts.outputs], 0.0)
    value, error = _of_matrix(S)
    return LogVolume(value - _of_blocks(inverse, torus), error)


def _healthy_grids(p: Problem) -> Iterator[tuple[Torus, Tensor]]:
    """Small grids with the blocks of their C⁻¹."""
    for larger in range(_GRIDS):
        torus = grid_of(p.geometry, p.real, larger)
        C = torus.spectrum(p.weight, p.geometry)
        inverse = torch.linalg.inv_ex(C)[0]
        if float(1 / torch.linalg.matrix_norm(inverse).amax()) > _SINGULAR_GRID * p.norm:
            yield torus, inverse


def _of_blocks(blocks: Tensor, torus: Torus) -> float:
    """Σ log |det| over the whole spectrum."""
    F, _, g, size, _ = blocks.shape
    logs = torch.empty(F, g, dtype=torch.float64, device=blocks.device)

    def work(part: slice) -> None:
        logs[part] = torch.linalg.slogdet(blocks[part, 0])[1]

    run_in_slices(work, F, max(1, 2**16 // (g * size * size)), blocks.device)
    return float((torus.multiplicity(blocks.device) * logs.sum(1)).sum())


def _of_matrix(S: Tensor) -> LogVolume:  # (g, n, n), whose place the factors take
    """log |det S|, which an eps of its largest entry everywhere changes by up to eps ‖S⁻¹‖ ‖S‖."""
    n = S.shape[-1]
    if not n:
        return LogVolume(0.0, 0.0)
    largest = S.abs().amax((1, 2))
    factor, pivots = torch.linalg.lu_factor_ex(S)[:2]
    v = random_start((len(S), n, 1), S)
    size = torch.ones_like(largest)
    for _ in range(_POWER_STEPS):  # on S⁻ᴴS⁻¹
        v = torch.linalg.lu_solve(factor, pivots, v)
        size = torch.linalg.matrix_norm(v)  # of S⁻¹ applied to a unit vector
        v = torch.linalg.lu_solve(factor, pivots, v, adjoint=True)
        v = v / torch.linalg.matrix_norm(v, keepdim=True)
    error = float((_EPS * math.sqrt(n) * largest * size).sum())
    value = float(factor.diagonal(dim1=1, dim2=2).abs().log().sum())
    return LogVolume(value, error if math.isfinite(error) else math.inf)
