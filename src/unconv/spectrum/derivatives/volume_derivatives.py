"""½ log det(AᴴA + damp²) as a function of the weight, differentiable twice.

    d log |det A| = Re tr(A⁻¹ dA),      d ½ log det(AᴴA + damp²) = Re tr((AᴴA + damp²)⁻¹Aᴴ dA)

No inverse of A is formed for it: the determinant is written as one of small matrices, which
autograd follows; their inverses are those entries of A⁻¹ that a tap meets.

1. `fourier`             Σ_ω log |det C(ω)|, a block per frequency
2. up to 1,024 unknowns  the matrix of each group
3. the ghosts            Σ_ω log |det K(ω)| + log |det S|, S = W K⁻¹ Jᴴ + D on the samples where A
                         and a periodic grid differ (determinant.py); S is filled from the inverse
                         transform of K⁻¹ by index arithmetic
4. up to 4,096 unknowns  as 2., where no grid gives the determinant

A causal kernel is replaced by D A D⁻¹ whose centre tap dominates (triangular.py), for the inverse
of A may grow beyond all bounds while its determinant is that of one tap.

A small matrix that is square and not damped is taken as it is, others as [α M; Mᴴ −β], which
squares no singular value.  Each way is believed if its value is the one that determinant.py found
with care, to 1e-6; its derivatives lose as many digits as M⁻¹ does.

Source: the derivative of a determinant (Jacobi's formula), Horn & Johnson, "Matrix analysis",
§0.8.10; the bordered system, §0.8.5 there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor

from ...grid.torus import Torus
from ...inverse.boundary.bordered import Corners
from ...inverse.boundary.ghosts import Points, Strip, differences, find_ghosts
from ...inverse.boundary.problem import MOST_GRIDS, SINGULAR_GRID
from ...inverse.boundary.sizes import Sizes, grid_of, sizes_of
from ...inverse.diagonal import dense
from ...numerics.plain_values import Values, with_values
from ...operators.convolution import Convolution
from .. import determinant
from ..determinant import CORNERS, operators_to_grid
from ..matrix_determinant import scaled
from ..triangular import dominating_powers
from .constants import change, without_derivative
from .direct_sum import blocks_of, bytes_of_svds, has_frequencies, has_matrices, in_double, taps_of

_AGREES = 1e-6  # a value with the one that was found with care, relative to 1 + |it|
_MATRICES_OF_S = 8  # S, its LU and what autograd keeps of both
_Way = Callable[[], Tensor | None]


def differentiable_volume(
    op: Convolution, damp: float, value: Tensor, memory_limit: float
) -> Tensor:
    """The finite `value` of one kernel, as a function of its weight.

    Where no way gives the determinant to 1e-6 it has no derivative, which a backward says.
    """
    double = in_double(op)
    if not damp:
        double = _dominated(double)
    for way in _ways(double, damp, memory_limit):
        found = way()
        if found is not None and _agree(found, value):
            return value + change(found)
    why = NotImplementedError(
        f"the derivative of the determinant of this {op.shape[0]:,} × {op.shape[1]:,} operator is "
        "out of reach of double precision or of memory_limit; give damp > 0, or more of it, or "
        "detach the weight."
    )
    return without_derivative(value, op.weight, why)


def _dominated(op: Convolution) -> Convolution:
    """D A D⁻¹ of a causal kernel, which a determinant is read from where A is nearly singular."""

    def find(found: Values) -> list[int] | None:
        plain = op.with_weight(found.tensors[0])
        return None if any(found.mapped) else dominating_powers(plain)

    powers = None if op.seen is not None else with_values(find, op.weight)
    for axis, power in enumerate(powers or ()):
        op = scaled(op, axis, -power if op.flip else power)
    return op


def _ways(op: Convolution, damp: float, memory_limit: float) -> Iterator[_Way]:
    fits = bytes_of_svds(op) <= memory_limit
    by_blocks = has_frequencies(op) or has_matrices(op, dense.LIMIT)
    if by_blocks and fits:
        yield partial(_of_blocks, op, damp)
    if op.seen is None and _bytes_of_ghosts(op) <= memory_limit:
        for grid in operators_to_grid(op):
            yield partial(_on_grid, grid, damp)
    if fits and not by_blocks and has_matrices(op, determinant.MATRIX_LIMIT):
        yield partial(_of_blocks, op, damp)


def _agree(found: Tensor, value: Tensor) -> bool:
    def close(both: Values) -> bool:
        a, b = both.tensors
        return bool(((a - b).abs() <= _AGREES * (1 + b.abs())).all())

    return with_values(close, found, value)


def _of_blocks(op: Convolution, damp: float) -> Tensor:
    blocks, counts = blocks_of(op)
    return (counts[:, None] * _log_volume(blocks, damp)).sum()


def _log_volume(M: Tensor, damp: float) -> Tensor:
    """½ log det(MᴴM + damp²), for damp = 0 over the shorter side, of matrices (…, r, c)."""
    r, c = M.shape[-2:]
    if r == c and not damp:
        return torch.linalg.slogdet(M)[1]
    corners, corner = _corners(M, damp, tall=r >= c)
    surplus = r - c if damp else abs(r - c)
    return (torch.linalg.slogdet(_augmented(M, corners))[1] - surplus * math.log(corner)) / 2


def _corners(M: Tensor, damp: float, *, tall: bool) -> tuple[Corners, float]:
    """α and β of [α M; Mᴴ −β], and the one that is not zero."""
    if damp:
        return Corners(damp, damp), damp

    def largest(found: Values) -> float:
        return float(torch.linalg.matrix_norm(found.tensors[0], 2).amax())

    corner = CORNERS[0] * with_values(largest, M)
    return Corners(corner, 0.0) if tall else Corners(0.0, corner), corner


def _augmented(M: Tensor, corners: Corners) -> Tensor:
    """[α M; Mᴴ −β], (…, r + c, r + c)."""
    r, c = M.shape[-2:]
    alpha, beta = (
        (size * torch.eye(n, dtype=M.dtype, device=M.device)).expand(*M.shape[:-2], n, n)
        for size, n in ((corners.alpha, r), (-corners.beta, c))
    )
    return torch.cat([torch.cat([alpha, M], -1), torch.cat([M.mH, beta], -1)], -2)


# --- on the ghosts


def _bytes_of_ghosts(op: Convolution) -> int:
    s = sizes_of(op.geometry, not op.dtype.is_complex)
    order = s.outputs + s.pixels * (2 if s.copies else 1)
    blocks = s.frequencies * 16 * 6 * (s.rows + s.columns) ** 2
    return op.geometry.groups * (_MATRICES_OF_S * order**2 * op.dtype.itemsize + blocks)


def _on_grid(op: Convolution, damp: float) -> Tensor | None:
    """½ log det(AᴴA + damp²) by the ghosts of the smallest grid that serves, or None."""
    s = sizes_of(op.geometry, not op.dtype.is_complex)
    if s.square and not damp:
        return _square(op)
    m, n = (math.prod(shape) for shape in (op.geometry.range_shape, op.geometry.domain_shape))
    tall = m > n or (m == n and s.rows > s.columns)
    if not damp and s.rows != s.columns and tall != (s.rows > s.columns):
        return None  # the blocks have no inverse
    torus = grid_of(op.geometry, not op.dtype.is_complex)
    C = torus.spectrum(taps_of(op), op.geometry)
    corners, corner = _corners(C, damp, tall=tall)
    value = _by_corners(op, s, torus, C, corners)
    if not damp:
        return (value - abs(m - n) * math.log(corner)) / 2
    # ½ log det over the domain of A; that of its transpose has other zeros.
    return (value - (m - n) * math.log(damp)) / 2 + (op.shape[1] - n) * math.log(damp)


def _by_corners(op: Convolution, s: Sizes, torus: Torus, C: Tensor, corners: Corners) -> Tensor:
    """log |det [α A; Aᴴ −β]|."""
    kinds = {"all_pixels": True, "outputs_first": True}
    ghosts = find_ghosts(op.geometry, torus, **kinds, device=C.device)
    strips, diagonal = ghosts.augmented(corners.beta)
    K = _augmented(C[:, 0], corners)
    value = _log_det(torus, K, strips, strips, diagonal)
    if diagonal:
        value = value + K.shape[1] * ghosts.pixels.size * math.log(corners.beta)
    return value


def _square(op: Convolution) -> Tensor | None:
    """log |det A| by C⁻¹ on the first grid on which that is healthy."""
    for larger in range(MOST_GRIDS):
        torus = grid_of(op.geometry, not op.dtype.is_complex, larger)
        C = torus.spectrum(taps_of(op), op.geometry)[:, 0]
        if with_values(_is_healthy, C):
            kinds = {"all_pixels": True, "outputs_first": False}
            ghosts = find_ghosts(op.geometry, torus, **kinds, device=C.device)
            return _log_det(torus, C, [ghosts.constraints], [ghosts.outputs], 0.0)
    return None


def _is_healthy(found: Values) -> bool:
    S = torch.linalg.svdvals(found.tensors[0])
    return bool((S[..., -1] > SINGULAR_GRID * S.amax()).all())


def _log_det(
    torus: Torus, K: Tensor, constraints: Sequence[Strip], sources: Sequence[Strip], diagonal: float
) -> Tensor:
    """log |det K| over the whole spectrum, K (F, g, b, b), and log |det S|."""
    counts = torus.multiplicity(K.device)
    value = (counts[:, None] * torch.linalg.slogdet(K)[1]).sum()
    if not sum(strip.size for strip in constraints):
        return value
    G = torch.linalg.inv_ex(K)[0]  # of a singular K the value will not agree
    rows = [torch.cat([_green(torus, G, p, q) for q in sources], 2) for p in constraints]
    S = torch.cat(rows, 1)  # (g, n, n)
    if diagonal:
        on = S.new_zeros(S.shape[-1])
        on[-constraints[-1].size :] = diagonal
        S = S + torch.diag(on)
    return value + torch.linalg.slogdet(S)[1].sum()


def _green(torus: Torus, G: Tensor, rows: Strip, columns: Strip) -> Tensor:
    """rows · G · columnsᴴ as `fill_green` has it, out of place, (g, rows.size, columns.size)."""
    nd, groups = len(torus.coarse), G.shape[1]
    blocks = G[:, :, rows.components, columns.components]
    blocks = blocks.unflatten(3, (columns.channels, columns.phases))
    blocks = blocks.unflatten(2, (rows.channels, rows.phases))  # (F, g, rc, rp, cc, cp)
    blocks = blocks.permute(1, 2, 4, 3, 5, 0).unflatten(-1, torus.spectrum_shape)
    green = torus.inverse_transform(blocks).flatten(-nd - 2)  # (g, rc, cc, phases · coarse)
    total = None
    for p in rows.terms:
        for q in columns.terms:
            values = green[..., _places(torus, p, q, columns.phases)]  # (g, rc, cc, ghosts, ghosts)
            values = values * (p.factor[:, None] * q.factor).to(values)
            total = values if total is None else total + values
    assert total is not None
    return total.transpose(2, 3).reshape(groups, rows.size, columns.size)


def _places(torus: Torus, rows: Points, columns: Points, phases: int) -> Tensor:
    """Where G(row − column) lies, (rows, columns)."""
    return differences(torus, rows, columns, slice(None), phases).mT
