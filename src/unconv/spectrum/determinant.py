"""½ log det(AᴴA + damp²), and log |det A|, of an operator that nothing diagonalises.

The augmented system on the periodic grid with its constraints on the ghosts is a bordered matrix.
Eliminating the border one way or the other (boundary_problem.py, deflation.py) gives

    Σ_ω log |det 𝓑(ω)| + log |det S| = log |det [α·I  A; Aᴴ  −β·I]| − q·log β,

q = c_in·|ghost pixels| where ghosts copy samples and are unknowns a second time, otherwise 0.  With
all ghost pixels constrained, those that no output reads too, nothing else is left.  And

    log |det [α·I  A; Aᴴ  −β·I]| = (m−n) log α + log det(AᴴA + αβ)
                                 = (n−m) log β + log det(AAᴴ + αβ).

damp > 0: α = β = damp.  damp = 0: β = 0 for tall A, α = 0 for wide A.  Square A, damp = 0, needs C
alone: log |det A| = Σ_ω log |det C(ω)| + log |det W C⁻¹ J|.

Cost: one LU of the ghosts, of the small blocks a second one.

Source: the identity det [K B; C D] = det K · det(D − C K⁻¹ B) (Schur), Horn & Johnson, "Matrix
Analysis", §0.8.5.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..inverse.base import Options
from ..inverse.boundary_factor import CORNER, MOST_GRIDS, SINGULAR_GRID
from ..inverse.boundary_problem import Problem, prepare
from ..inverse.boundary_sizes import grid_of, sizes_of
from ..inverse.ghost_system import augmented_inverse, ghost_matrix
from ..inverse.ghosts import find_ghosts
from ..inverse.workers import run_in_slices
from ..linear_operator import MemoryLimitError, gigabytes
from ..operator import ConvOperator
from ..torus import Torus


def log_volume(op: ConvOperator, damp: float, memory_limit: float) -> float:
    """½ log det(AᴴA + damp²) for damp > 0, else Σ log σ of a full-rank A; one kernel.

    Raises
    ------
    NotImplementedError
        Where the grid is singular and damp = 0.
    """
    s = sizes_of(op.geometry, not op.dtype.is_complex)
    order = s.outputs + s.pixels * (2 if s.copies and damp else 1)
    blocks = s.frequencies * 16 * 3 * (s.rows + s.columns) ** 2
    need = op.geometry.groups * (2 * order**2 * (16 if op.dtype.is_complex else 8) + blocks)
    if need > memory_limit:
        raise MemoryLimitError(
            f"the determinant needs a factor of {gigabytes(need)}, more than "
            f"memory_limit={gigabytes(memory_limit)}; raise it."
        )
    p = prepare(op, Options(damp=damp), 1)
    total = min(p.A.shape)
    if damp:
        corner = p.damp
        columns = op.shape[1]
        value = _augmented(p, corner, corner) - (p.A.shape[0] - p.A.shape[1]) * math.log(corner)
        # ½ log det over the domain of the convolution; that of its transpose has other zeros.
        return value / 2 + (columns - p.A.shape[1]) * math.log(corner) + columns * math.log(p.scale)
    if s.square:
        return _square(p) + total * math.log(p.scale)
    corner = CORNER * p.norm
    surplus = p.A.shape[0] - p.A.shape[1]
    tall = surplus > 0 or (surplus == 0 and s.rows > s.columns)
    value = math.nan
    if s.rows == s.columns or tall == (s.rows > s.columns):  # or the blocks have no inverse
        value = _augmented(p, *((corner, 0.0) if tall else (0.0, corner)))
    if not math.isfinite(value):
        raise _out_of_reach()
    return (value - abs(surplus) * math.log(corner)) / 2 + total * math.log(p.scale)


def _augmented(p: Problem, alpha: float, beta: float) -> float:
    """log |det [α A; Aᴴ −β]|."""
    torus = grid_of(p.geometry, p.real)
    C = torus.spectrum(p.weight, p.geometry)
    inverse = augmented_inverse(C, alpha, beta)
    ghosts = find_ghosts(p.geometry, torus, all_pixels=True, outputs_first=True, device=C.device)
    strips, diagonal = ghosts.augmented(beta)
    again = p.geometry.groups * ghosts.pixels.size * math.log(beta) if diagonal else 0.0
    S = ghost_matrix(torus, inverse, strips, strips, diagonal)
    return _of_matrix(S) - _of_blocks(inverse, torus) + again


def _square(p: Problem) -> float:
    """log |det A| by C⁻¹ on a grid on which that is healthy."""
    for larger in range(MOST_GRIDS):
        torus = grid_of(p.geometry, p.real, larger)
        C = torus.spectrum(p.weight, p.geometry)
        inverse = torch.linalg.inv_ex(C)[0]
        if float(1 / torch.linalg.matrix_norm(inverse).amax()) > SINGULAR_GRID * p.norm:
            ghosts = p.ghosts(torus, all_pixels=True)
            S = ghost_matrix(torus, inverse, [ghosts.constraints], [ghosts.outputs], 0.0)
            return _of_matrix(S) - _of_blocks(inverse, torus)
    raise _out_of_reach()


def _out_of_reach() -> NotImplementedError:
    return NotImplementedError(
        "no small periodic grid has a regular C for this operator, so its determinant is out of "
        "reach; give damp > 0."
    )


def _of_blocks(blocks: Tensor, torus: Torus) -> float:
    """Σ log |det| over the whole spectrum."""
    F, _, g, size, _ = blocks.shape
    logs = torch.empty(F, g, dtype=torch.float64, device=blocks.device)

    def work(part: slice) -> None:
        logs[part] = torch.linalg.slogdet(blocks[part, 0])[1]

    run_in_slices(work, F, max(1, 2**16 // (g * size * size)), blocks.device)
    return float((torus.multiplicity(blocks.device) * logs.sum(1)).sum())


def _of_matrix(S: Tensor) -> float:
    return float(torch.linalg.slogdet(S)[1].sum()) if S.shape[-1] else 0.0
