"""The matrix of a convolution on a periodic grid, bordered by what holds on the ghosts.

Ghosts are the few samples at which A and a circular convolution C differ (ghosts.py).  Every system
of this rung is one bordered matrix, K block-diagonal in Fourier space, W few functionals, J few
sources, D a diagonal:

    [ K   Jᴴ ]          square      K = C,  J = ghost outputs,  W = ghost pixels,  D = 0
    [ W  −D  ]          augmented   K = [α C; Cᴴ −β],  J = W = ghost outputs and pixels

`Bordered` is that matrix.  Eliminating K leaves S = W K⁻¹ Jᴴ + D on the ghosts alone, and all that
is ever asked follows from K⁻¹, known by blocks, and from S:

    solve        K u = f + Jᴴ z,  W u + D z = 0:   S z = −W K⁻¹ f            `factored`
    determinant  |det K| · |det S|                                           `log_abs_det`
    inertia      n₊ of the whole, less one for each constraint (J = W):
                 n₊(K) − n₊(S)                                               `positive_on_ghosts`
    trace        of a part of the inverse, Π its mask:
                 tr ΠK⁻¹Π − tr S⁻¹ W K⁻¹ Π K⁻¹ Jᴴ                            `trace_of_inverse`

Where padding is not zeros and β ≠ 0, the ghost pixels are unknowns a second time, the last part of
J and W, with D = 1/β there: the penalty is β‖x‖² on the picture, not on what continues it.  They
are `doubled`; a determinant then misses β to that power, and an inertia as many positive
eigenvalues.

S is filled from the Green's function of K, and its factor takes its place: it is most of the
memory.  For damped problems in two dimensions or more most of S need not be dense: ring_system.py.

Source: Horn & Johnson, "Matrix Analysis", §0.8.5 (Schur complements); Haynsworth, "Determination
of the inertia of a partitioned Hermitian matrix", Linear Algebra Appl. 1 (1968).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ...grid.torus import Torus
from ...numerics.lanczos import random_start
from ...numerics.memory import LAPACK_BYTES
from ...numerics.threads import run_in_slices
from .ghost_system import GhostSystem, LuSolver, MatrixSolver, PseudoSolver, rounded
from .ghosts import Ghosts, Strip, fill_green

_BLOCK_ENTRIES = 2**16  # of blocks whose determinants it takes at once, 1 MiB: they stay in cache
_POWER_STEPS = 8  # to know ‖S⁻¹‖ to its order, which is all that an error estimate needs
_EPS = torch.finfo(torch.float64).eps


@dataclass(frozen=True)
class Corners:
    """α and β of an augmented system [α C; Cᴴ −β], in the unit of A."""

    alpha: float
    beta: float


class LogDet(NamedTuple):
    """log |det| of a matrix, and an estimate of what round-off may have made of it."""

    value: float
    error: float


@dataclass(frozen=True)
class Bordered:
    """A block-diagonal K on a periodic grid, bordered by constraints W and sources J on ghosts.

    Attributes
    ----------
    inverse : (F, 1, g, b, b) complex, the blocks of K⁻¹ for every stored frequency and group
    constraints, sources : the strips of W and of J, as many functionals in each
    diagonal : D on the last strip; 0 elsewhere
    doubled : ghost pixels, of all groups, that are unknowns a second time

    Examples
    --------
    The square system of a 3-tap kernel on 4 samples has the determinant of its 4 × 4 matrix:

    >>> import unconv
    >>> from unconv.convolve import grouped
    >>> from unconv.inverse.boundary.ghosts import find_ghosts
    >>> from unconv.inverse.boundary.sizes import grid_of
    >>> weight = torch.tensor([[[0.2, 1.0, 0.4]]]).double()
    >>> A = unconv.ConvOperator(weight, (4,), padding=1)
    >>> grid = grid_of(A.geometry, True)
    >>> C = grid.spectrum(grouped(weight, A.geometry), A.geometry)
    >>> kinds = {"all_pixels": True, "outputs_first": False}
    >>> ghosts = find_ghosts(A.geometry, grid, **kinds, device=C.device)
    >>> found = Bordered.square(grid, 1 / C, ghosts).log_abs_det().value
    >>> abs(found - torch.linalg.slogdet(A.to_dense())[1].item()) < 1e-14
    True
    """

    torus: Torus
    inverse: Tensor
    constraints: tuple[Strip, ...]
    sources: tuple[Strip, ...]
    diagonal: float = 0.0
    doubled: int = 0

    @classmethod
    def square(cls, torus: Torus, inverse: Tensor, ghosts: Ghosts) -> Bordered:
        """The system with K = C, of as many outputs as pixels.

        inverse : (F, 1, g, c, r), the blocks of C⁻¹, c = r
        ghosts : all of them, also pixels that no output reads
        """
        return cls(torus, inverse, (ghosts.constraints,), (ghosts.outputs,))

    @classmethod
    def augmented(cls, torus: Torus, blocks: Tensor, ghosts: Ghosts, corners: Corners) -> Bordered:
        """The system with K = [α C; Cᴴ −β], of any A.

        blocks : (F, 1, g, r, c) of C
        ghosts : with the outputs first in a frequency's vector
        """
        inverse = augmented_inverse(blocks, corners.alpha, corners.beta)
        strips, diagonal = ghosts.augmented(corners.beta)
        doubled = blocks.shape[2] * ghosts.pixels.size if diagonal else 0
        return cls(torus, inverse, tuple(strips), tuple(strips), diagonal, doubled)

    @property
    def order(self) -> int:
        """Order of S, of each group."""
        return sum(strip.size for strip in self.constraints)

    def schur_complement(self, real: torch.dtype = torch.float64) -> Tensor:
        """S = W K⁻¹ Jᴴ + D, (g, n, n) with contiguous columns, computed in double.

        real : dtype, or that of the parts of its entries, to which they are rounded
        """
        S = green_matrix(self.torus, self.inverse, self.constraints, self.sources, real)
        if self.diagonal:
            first = self.order - self.constraints[-1].size
            S.diagonal(dim1=-2, dim2=-1)[:, first:] += self.diagonal
        return S

    def factored(
        self, factor: type[LuSolver] | type[PseudoSolver] = LuSolver, *, single: bool = False
    ) -> GhostSystem:
        """What solves the system, S factored in one of the ways of ghost_system.py.

        single : whether S is factored, and all of it kept, in single precision
        """
        real = torch.float32 if single else torch.float64
        system = self.with_solver(factor(self.schur_complement(real)))
        return rounded(system) if single else system

    def with_solver(self, solver: LuSolver | MatrixSolver) -> GhostSystem:
        """What solves the system by a given S⁻¹, or what stands in its place."""
        return GhostSystem(self.torus, self.inverse, self.constraints, self.sources, solver)

    def log_abs_det(self) -> LogDet:
        """log |det K| + log |det S|, with the error that an eps of every entry of S makes."""
        S = self.schur_complement()
        if not S.shape[-1]:
            return LogDet(-self._log_det_of_inverse(), 0.0)
        largest = S.abs().amax((1, 2))
        solver = LuSolver(S)
        # An eps of the largest entry everywhere changes log |det S| by up to eps ‖S⁻¹‖ ‖S‖.
        error = float((_EPS * math.sqrt(self.order) * largest * _size_of_inverse(solver)).sum())
        value = float(solver.factor.diagonal(dim1=1, dim2=2).abs().log().sum())
        return LogDet(
            value - self._log_det_of_inverse(), error if math.isfinite(error) else math.inf
        )

    def _log_det_of_inverse(self) -> float:
        """Σ log |det K⁻¹| over the whole spectrum."""
        F, _, g, size, _ = self.inverse.shape
        logs = torch.empty(F, g, dtype=torch.float64, device=self.inverse.device)

        def work(part: slice) -> None:
            logs[part] = torch.linalg.slogdet(self.inverse[part, 0])[1]

        step = max(1, _BLOCK_ENTRIES // (g * size * size))
        run_in_slices(work, F, step, self.inverse.device)
        return float((self.torus.multiplicity(self.inverse.device) * logs.sum(1)).sum())

    def positive_on_ghosts(self) -> int:
        """n₊(S) of all groups, for J = W: so many fewer K has on the u with W u = 0."""
        return sum(positive_eigenvalues(part) for part in self.schur_complement())

    def trace_of_inverse(self, rows: int) -> float:
        """Trace of the inverse on the first `rows` components of each group, on the whole grid."""
        own = self.inverse.diagonal(dim1=-2, dim2=-1)[..., :rows].real.sum((1, 2, 3))
        trace = float((self.torus.multiplicity(own.device) * own).sum())
        if self.order:
            squared = self.inverse[..., :rows] @ self.inverse[..., :rows, :]
            T = green_matrix(self.torus, squared, self.constraints, self.sources)
            solved = LuSolver(self.schur_complement())(T.movedim(-1, 0), False)
            trace -= float(solved.diagonal(dim1=0, dim2=2).real.sum())
        return trace


def _size_of_inverse(solver: LuSolver) -> Tensor:
    """‖S⁻¹‖ of each group to its order, (g,), by the power method on S⁻ᴴS⁻¹."""
    v = random_start((1, *solver.factor.shape[:2]), solver.factor)
    size = torch.ones(solver.factor.shape[0], dtype=torch.float64, device=v.device)
    for _ in range(_POWER_STEPS):
        v = solver(v, False)
        size = torch.linalg.vector_norm(v, dim=(0, 2))  # of S⁻¹ applied to a unit vector
        v = solver(v, True)
        v = v / torch.linalg.vector_norm(v, dim=2, keepdim=True)
    return size


def positive_eigenvalues(S: Tensor) -> int:
    """n₊ of a Hermitian matrix (n, n) from LDLᴴ.

    Counted are 1×1 pivots that are positive, and one of two eigenvalues for each 2×2 pivot.
    """
    if not len(S):
        return 0
    LD, pivots, _ = torch.linalg.ldl_factor_ex(S, hermitian=True)  # a zero pivot is not positive
    single = pivots > 0
    diagonal = LD.diagonal().real
    return int((single & (diagonal > 0)).sum() + (~single).sum() // 2)


def green_matrix(
    torus: Torus,
    blocks: Tensor,
    constraints: Sequence[Strip],
    sources: Sequence[Strip],
    real: torch.dtype = torch.float64,
) -> Tensor:
    """W G Jᴴ for the G of given blocks, (g, m, n) with contiguous columns, as LAPACK wants them.

    blocks : (F, 1, g, rows, columns) complex, in the components that the strips read and feed
    real : dtype of the parts of its entries
    """
    rows, columns = (sum(s.size for s in strips) for strips in (constraints, sources))
    dtype = real if torus.real else real.to_complex()
    S = torch.empty(blocks.shape[2], columns, rows, dtype=dtype, device=blocks.device).mT
    for g in range(len(S)):
        i = 0
        for row in constraints:
            j = 0
            for column in sources:
                part = S[g, i : i + row.size, j : j + column.size]
                fill_green(part, blocks[:, 0, g], row, column)
                j += column.size
            i += row.size
    return S


def augmented_inverse(blocks: Tensor, alpha: float, beta: float) -> Tensor:
    """Inverses of [α C; Cᴴ −β] for every block C, none of which squares a singular value.

    (F, 1, g, r, c) complex -> (F, 1, g, r + c, r + c)
    """
    F, _, g, r, c = blocks.shape
    size = r + c
    if r == c == 1:  # frequency-last, as products of whole spectra want them
        inverse = blocks.new_empty(1, g, 2, 2, F).movedim(-1, 0)
        _invert_two_by_two(blocks, inverse, alpha, beta)
        return inverse
    inverse = blocks.new_empty(F, 1, g, size, size)

    def invert(part: slice) -> None:
        C = blocks[part]
        K = torch.zeros(len(C), 1, g, size, size, dtype=C.dtype, device=C.device)
        K[..., :r, r:], K[..., r:, :r] = C, C.mH
        K.diagonal(dim1=-2, dim2=-1)[..., :r] = alpha
        K.diagonal(dim1=-2, dim2=-1)[..., r:] = -beta
        inverse[part] = torch.linalg.inv_ex(K)[0]

    step = max(1, LAPACK_BYTES // (g * size * size * blocks.element_size()))
    run_in_slices(invert, F, step, blocks.device)
    return inverse


def _invert_two_by_two(C: Tensor, inverse: Tensor, alpha: float, beta: float) -> None:
    """[α c; c̄ −β]⁻¹ = [β c; c̄ −α]/(αβ + |c|²), a sum of positive terms."""
    c = C[..., 0, 0]
    scale = 1 / (c.real.square() + c.imag.square() + alpha * beta)
    inverse[..., 0, 0], inverse[..., 1, 1] = beta * scale, -alpha * scale
    inverse[..., 0, 1], inverse[..., 1, 0] = c * scale, c.conj() * scale
