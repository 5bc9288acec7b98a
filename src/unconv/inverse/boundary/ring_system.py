"""Ghost systems with their rings eliminated: the damped form in two dimensions or more.

The ghosts outside along the first axis have every position along the others.  Among these full
rings H the ghost matrix is block-circulant; with V, the ghosts that are left,

    [S_HH  S_HV] [z_H]   [v_H]
    [S_VH  S_VV] [z_V] = [v_V],     v = W K⁻¹ f     (bordered.py)

Block elimination of the block-circulant part: S_HH is inverted frequency by frequency of the other
axes, in blocks of order h (kinds × channels × thickness), and only its Schur complement S' on V
(ring_schur.py) is dense.  For a square picture that is half of the unknowns, a quarter of the
memory and an eighth of the factorisation; with one padded axis nothing dense is left.

The off-diagonal blocks are applied, never formed.  With the source F of K u = F a solve is

    F ← F − put_H z_H,    z_H = S_HH⁻¹ read_H K⁻¹F            the boundary of the first axis
    F ← F − put_V z_V,    z_V = S'⁻¹ read_V K⁻¹F              that of the others
    F ← F − put_H δ_H,    δ_H = S_HH⁻¹ read_H K⁻¹F            what V changed on the rings
    u = K⁻¹F

Where padding copies, Z of ring_coupling.py takes the place of S_HH⁻¹ and S'⁻¹, and what was left on
the seam of the first axis is taken off before the third line.

Along the first axis partial transforms of the thin strip suffice, along the others none is needed.

The eliminated system is that of a convolution with the boundary of the first axis alone.  Like the
whole one it is quasi-definite for α, β > 0, so both S_HH and S' are regular.  But two eliminations
in a row have no pivots in common: where the kernel's spectrum has zeros they lose up to
(σ_max/damp)⁴ of the precision instead of the square.  Before refinement, a diagonal motion over 8
pixels is undone to 1e-14, 1e-7 and not at all for damp = 1e-2, 1e-4 and 1e-6 of σ_max, a disk of
radius 4 to 1e-14, 1e-12 and 1e-11.  Without damping S_HH may be singular although S is not.

Source: Golub & Van Loan, "Matrix Computations", 4th ed., Johns Hopkins 2013, §4.5 (block
factorisations), §4.8 (circulant systems); Vanderbei, "Symmetric quasidefinite matrices", SIAM J.
Optim. 5 (1995), 100–113.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ...grid.geometry import Geometry
from ...grid.torus import Torus
from .ghost_system import GhostSystem, LuSolver
from .ghosts import Strip
from .ring_coupling import CoupledSolver, Coupling, RingCoupling, couple_rings, couplings
from .ring_ghosts import RingGhosts, find_rings, joined
from .ring_schur import Green, SchurComplement, ring_blocks

_THIN_AXES = 32  # samples along the other axes up to which partial transforms serve V


class RingSystem(GhostSystem):
    """K⁻¹ on the grid for Hermitian K, corrected on the rings and on the ghosts that are left.

    Parameters
    ----------
    blocks : (F, 1, g, b, b), complex128, the blocks of K⁻¹
    geometry, torus : with the axis first whose ghosts are the rings
    weight : (1, g, r, c, *k) double
    real : dtype of the dense matrix that is factored, or of the parts of its entries
    """

    ring_inverse: Tensor
    ring_values: Tensor

    def __init__(
        self,
        geometry: Geometry,
        torus: Torus,
        blocks: Tensor,
        weight: Tensor,
        real: torch.dtype = torch.float64,
    ) -> None:
        ghosts = find_rings(geometry, torus, blocks.device)
        on_rings = couple_rings(geometry, torus, weight, ghosts)
        others = couplings(geometry, weight, ghosts)
        inverse, values, S = _eliminated(torus, blocks, ghosts, on_rings, others, real)
        solver = CoupledSolver(S, others) if others else LuSolver(S)
        super().__init__(torus, blocks, ghosts.strips, ghosts.strips, solver)
        self.rings = ghosts.rings
        self.register_buffer("ring_inverse", inverse)  # (F', g, h, h), Z_H
        self.register_buffer("ring_values", values)  # (F', g, h or 0, h), N (N + G Θ)⁻¹

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> RingSystem:
        super()._apply(fn, recurse)
        self.rings = tuple(ring.to(self.blocks.device) for ring in self.rings)
        return self

    def _are_thin(self, strips: Sequence[Strip]) -> bool:
        """The grid's FFT is slow along the other axes, which have the smallest size possible."""
        return sum(len(slab.kept) for s in strips for slab, _, _ in s.slabs) <= _THIN_AXES

    def _balance_(
        self, slices: Sequence[Tensor], read: Sequence[Strip], put: Sequence[Strip], adjoint: bool
    ) -> None:
        """The rings, the other ghosts, the rings again.

        K, Z_H and Z are Hermitian: `adjoint` changes nothing.
        """
        first = [self._balance_rings_(F) for F in slices]
        if self.size:
            super()._balance_(slices, read, put, adjoint)
            for F, known in zip(slices, first, strict=True):
                self._balance_rings_(F, known)

    def _balance_rings_(self, F: Tensor, known: Tensor | None = None) -> Tensor:
        """Subtract from a spectrum the sources that make the equations of the rings hold.

        Returned are the values N q (N, g, h or 0, F') that are left on the seam; `known` are those
        that an earlier call left there.
        """
        M, groups = self.torus.coarse[0], self.blocks.shape[2]
        lines = (len(F), groups, -1, M, self.ring_inverse.shape[0])  # first axis, frequencies ω'
        U = self._product(F, adjoint=False).reshape(lines)
        v = torch.cat([ring.read(U, M) for ring in self.rings], 2)
        if known is not None and known.shape[2]:
            v -= known
        v = v.permute(3, 1, 2, 0)
        z = (self.ring_inverse @ v).permute(3, 1, 2, 0)
        parts = z.neg().split([ring.size for ring in self.rings], 2)
        for ring, part in zip(self.rings, parts, strict=True):
            ring.put_(F.view(lines), part, M)
        return (self.ring_values @ v).permute(3, 1, 2, 0)


def _eliminated(
    torus: Torus,
    blocks: Tensor,
    ghosts: RingGhosts,
    on_rings: RingCoupling | None,
    others: list[Coupling],
    real: torch.dtype,
) -> tuple[Tensor, Tensor, Tensor]:
    """(Z_H, N (N + G Θ)⁻¹ on the rings, S' (g, n, n) with contiguous columns).

    real : of S'; all else is double
    """
    terms = joined(ghosts.rings)
    n, groups = sum(strip.size for strip in ghosts.strips), blocks.shape[2]
    dtype = real if torus.real else real.to_complex()
    S = torch.empty(groups, n, n, dtype=dtype, device=blocks.device).mT
    inverses, values = [], []
    for g in range(groups):
        green = Green(torus, blocks[:, 0, g])
        theta = None if on_rings is None else on_rings.theta[:, g]
        on_seam = None if on_rings is None else on_rings.on_seam
        inverse, left = ring_blocks(green, terms, theta, on_seam)
        inverses.append(inverse)
        values.append(left)
        if n:
            SchurComplement(green, ghosts, terms, inverse).fill_(S[g].mT)
            if others:
                others[g].complete_(S[g].mT)
    return torch.stack(inverses, 1), torch.stack(values, 1), S
