"""Small singular triples of A: how many there are, and how to do without them.

Count, by inertia (Haynsworth): H = [0 A; Aᴴ 0] has the eigenvalues ±σ, so that the number of
singular values above τ is the number of positive eigenvalues of H − τ.  On the periodic grid that
is a bordered matrix (bordered.py),

    #{σ > τ} = n₊(𝓑_τ) − n₊(S_τ) (+ the pixels that are unknowns twice),   𝓑_τ = [−τ C; Cᴴ −τ],

n₊(𝓑_τ) from the singular values of the blocks, n₊(S_τ) from an LDLᴴ factorisation.

Do without: the triples at or below the cut-off are dropped, others that small_triples.py found
answer by 1/σ.

Source: Haynsworth, "Determination of the inertia of a partitioned Hermitian matrix", Linear
Algebra Appl. 1 (1968).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...grid.torus import Torus
from ...numerics.threads import singular_values
from .bordered import Bordered, Corners
from .ghosts import Ghosts


@dataclass(frozen=True)
class Triples:
    """Singular triples of one kernel: U (k, *range), S (k,) ascending, V (k, *domain)."""

    U: Tensor
    S: Tensor
    V: Tensor


class Deflation(nn.Module):
    """The part of A⁺ on a few known singular triples, and projectors past them.

    Parameters
    ----------
    triples : k of them
    gains : (k,) 1/σ, or 0 for what is dropped
    """

    U: Tensor
    V: Tensor
    gains: Tensor

    def __init__(self, triples: Triples, gains: Tensor) -> None:
        super().__init__()
        self.register_buffer("U", triples.U)
        self.register_buffer("V", triples.V)
        self.register_buffer("gains", gains)

    def take_out(self, y: Tensor, *, adjoint: bool) -> tuple[Tensor, Tensor]:
        """y without its part on the triples, and what A⁺ (or its adjoint) makes of that part."""
        U, V = (self.V, self.U) if adjoint else (self.U, self.V)
        found = y.flatten(1) @ U.flatten(1).mH  # (N, k)
        rest = y - (found @ U.flatten(1)).reshape(y.shape)
        return rest, ((found * self.gains) @ V.flatten(1)).reshape(len(y), *V.shape[1:])

    def without(self, f: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
        """Data without the U, domain without the V."""
        return project_off(f, self.U), project_off(g, self.V)


def project_off(f: Tensor, basis: Tensor) -> Tensor:
    """(I − BBᴴ) f for images f (N, ...) and an orthonormal basis (k, ...)."""
    basis = basis.flatten(1)
    return f - ((f.flatten(1) @ basis.mH) @ basis).reshape(f.shape)


def orthonormal(W: Tensor) -> Tensor:
    """Rows of (k, ...) made orthonormal."""
    Q, _ = torch.linalg.qr(W.flatten(1).mT)
    return Q.mT.reshape(W.shape)


def count_above(tau: float, torus: Torus, blocks: Tensor, ghosts: Ghosts) -> int:
    """Number of singular values of A above τ > 0, exactly up to round-off in σ.

    Parameters
    ----------
    blocks : (F, 1, g, r, c) of C on the grid `torus`
    ghosts : those of the augmented system on that grid, outputs first
    """
    system = Bordered.augmented(torus, blocks, ghosts, Corners(-tau, tau))
    sigma = singular_values(blocks.reshape(-1, *blocks.shape[-2:])).reshape(len(blocks), -1)
    multiplicity = torus.multiplicity(blocks.device)
    on_grid = int(((sigma > tau) * multiplicity[:, None]).sum())
    return on_grid - system.positive_on_ghosts() + system.doubled
