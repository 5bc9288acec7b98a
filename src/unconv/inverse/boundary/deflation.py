"""The smallest singular triples of A: how many there are, which they are, and how to do without.

Count, by inertia (Haynsworth): H = [0 A; Aᴴ 0] has the eigenvalues ±σ, so that the number of
singular values above τ is the number of positive eigenvalues of H − τ.  On the grid

    #{σ > τ} = n₊(𝓑_τ) − n₊(S_τ) (+ c_in·|ghost pixels| if R ≠ 0),   𝓑_τ = [−τ C; Cᴴ −τ],

n₊(𝓑_τ) from the singular values of the blocks, n₊(S_τ) from an LDLᴴ factorisation.

Find, by subspace iteration with (AᴴA + μ²)⁻¹ and (AAᴴ + μ²)⁻¹, which the factored ghost system
applies to any vector, and Rayleigh–Ritz on the small matrix UᴴAV.

Do without: the triples at or below the cut-off are dropped, the other ones found answer by 1/σ.

Sources: Haynsworth, "Determination of the inertia of a partitioned Hermitian matrix", Linear
Algebra Appl. 1 (1968); Parlett, "The Symmetric Eigenvalue Problem", SIAM 1998, §14.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from torch import Tensor, nn

from ...grid.torus import Torus
from ...numerics.threads import singular_values
from ...operators.linear_operator import LinearOperator
from ..facts import CannotServeError
from .ghost_system import augmented_inverse, ghost_matrix
from .ghosts import Ghosts

_MOST_ITERATIONS = 200
_SUBSPACE_ERROR = 1e-7
_LEAST_GUARD = 12  # vectors beyond those wanted: convergence follows the first one not carried
_BATCH_BYTES = 4 * 2**20  # of vectors that A or its inverse is applied to at once


@dataclass(frozen=True)
class Triples:
    """Singular triples of one kernel: (k, *range), (k,), (k, *domain), σ ascending."""

    U: Tensor
    S: Tensor
    V: Tensor


class Deflation(nn.Module):
    """The part of A⁺ on a few known singular triples, and projectors past them.

    Parameters
    ----------
    triples
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


def count_above(
    tau: float, blocks: Tensor, ghosts: Ghosts, torus: Torus, multiplicity: Tensor
) -> int:
    """Number of singular values of A above τ > 0, exactly up to round-off in σ.

    Parameters
    ----------
    blocks : (F, 1, g, r, c) of C, on the grid of `ghosts`
    multiplicity : (F,) how often each stored frequency counts
    """
    strips, diagonal = ghosts.augmented(tau)
    K_inverse = augmented_inverse(blocks, -tau, tau)
    S = ghost_matrix(torus, K_inverse, strips, strips, diagonal)
    F, _, g, r, c = blocks.shape
    sigma = singular_values(blocks.reshape(-1, r, c)).reshape(F, -1)
    on_grid = int(((sigma > tau) * multiplicity[:, None]).sum())
    on_ghosts = sum(int(_positive_eigenvalues(part)) for part in S)
    return on_grid - on_ghosts + (g * ghosts.pixels.size if ghosts.copies else 0)


def _positive_eigenvalues(S: Tensor) -> Tensor:
    """n₊ of a Hermitian matrix from LDLᴴ: the sign of each 1×1 pivot, one of two for each 2×2."""
    if not len(S):
        return torch.zeros((), dtype=torch.long)
    LD, pivots, _ = torch.linalg.ldl_factor_ex(S, hermitian=True)  # a zero pivot is not positive
    single = pivots > 0
    diagonal = LD.diagonal().real
    return (single & (diagonal > 0)).sum() + (~single).sum() // 2


def guards(count: int) -> int:
    """Vectors that are carried beside those wanted."""
    return max(_LEAST_GUARD, count // 4)


def in_batches(apply: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The same map of vectors (k, ...), a few at a time: their grids are many times their size."""

    def by_parts(W: Tensor) -> Tensor:
        step = max(1, _BATCH_BYTES // max(1, W[:1].numel() * W.element_size()))
        return torch.cat([apply(part) for part in W.split(step)])

    return by_parts


class InverseOfGram(Protocol):
    """v ↦ (AAᴴ + μ²)⁻¹ v if it is data, (AᴴA + μ²)⁻¹ v if not, up to a factor; μ² ≥ 0 small."""

    def __call__(self, v: Tensor, *, of_data: bool) -> Tensor:
        """One or several vectors, (k, ...)."""


def smallest_triples(A: LinearOperator, invert: InverseOfGram, count: int, norm: float) -> Triples:
    """The `count` smallest singular triples of A, min(m, n) in all.

    Where σ is zero to round-off and the other side has room, that vector is zero: A cannot see it.

    Parameters
    ----------
    A : one kernel, double precision
    norm : σ_max
    """
    m, n = A.shape
    on_data = in_batches(partial(invert, of_data=True))
    on_domain = in_batches(partial(invert, of_data=False))
    U = V = None
    if m <= n:
        U = _smallest_subspace(in_batches(A._rmatvec), on_data, A.range_shape, A, count)
    if n <= m:
        V = _smallest_subspace(in_batches(A._matvec), on_domain, A.domain_shape, A, count)
    return ritz(A, U, V, norm)


def polished(A: LinearOperator, t: Triples, pinv: Callable[..., Tensor], norm: float) -> Triples:
    """One Newton step for each vector: what A sees of it beyond σ times its partner is taken off.

    Without it the vectors are known to the unrefined solves' 1e-11, a vector of the null space to
    1e-13, and its σ looks like a small one.

    Parameters
    ----------
    pinv : (vectors, adjoint=) -> (A⁺ or (A⁺)ᴴ times them, without the triples
    """
    m, n = A.shape
    sigma = t.S.reshape(-1, *[1] * (t.U.ndim - 1))
    matvec, rmatvec = in_batches(A._matvec), in_batches(A._rmatvec)
    solve = in_batches(partial(pinv, adjoint=False))
    solve_adjoint = in_batches(partial(pinv, adjoint=True))
    beyond_u, beyond_v = matvec(t.V).sub_(sigma * t.U), rmatvec(t.U).sub_(sigma * t.V)
    U, V = None, None
    # For tall and wide A one residual vanishes, and the other one asks for (AᴴA − σ²)⁻¹ ≈ A⁺A⁺ᴴ.
    if m <= n:
        step = solve_adjoint(beyond_v)
        step = step if m == n else step + sigma * solve_adjoint(solve(beyond_u))
        U = orthonormal(t.U - step)
    if n <= m:
        step = solve(beyond_u)
        step = step if m == n else step + sigma * solve(solve_adjoint(beyond_v))
        V = orthonormal(t.V - step)
    return ritz(A, U, V, norm)


def ritz(A: LinearOperator, U: Tensor | None, V: Tensor | None, norm: float) -> Triples:
    """Singular triples of A on the given subspaces, σ ascending; a missing side is A's image."""
    if V is None:
        assert U is not None
        V, S, U = from_one_side(in_batches(A._rmatvec), U, norm)
    elif U is None:
        U, S, V = from_one_side(in_batches(A._matvec), V, norm)
    else:
        image = in_batches(A._matvec)(V)
        P, S, Qh = torch.linalg.svd(U.flatten(1).conj() @ image.flatten(1).mT)  # UᴴAV
        del image
        U, V = _turned(P.mT, U), _turned(Qh.conj(), V)
    return Triples(U.flip(0), S.flip(0), V.flip(0))


def _smallest_subspace(
    apply: Callable[[Tensor], Tensor],
    invert: Callable[[Tensor], Tensor],
    shape: tuple[int, ...],
    A: LinearOperator,
    count: int,
) -> Tensor:
    """Orthonormal (count, *shape) that `apply` shrinks most, by subspace iteration."""
    k = min(count + guards(count), min(A.shape))
    generator = torch.Generator().manual_seed(0)
    W = torch.randn(k, *shape, dtype=A.dtype, generator=generator).to(A.device)
    W = orthonormal(W)
    best, stalled = math.inf, 0
    for _ in range(_MOST_ITERATIONS):
        before = W[:count].flatten(1)
        W = from_one_side(apply, orthonormal(invert(W)), 0.0)[2].flip(0)
        now = W[:count].flatten(1)
        turned = angle(now, before)
        stalled = stalled + 1 if turned > 0.9 * best else 0
        best = min(turned, best)
        if turned <= 1e-14 or stalled == 5:
            break
    if best > _SUBSPACE_ERROR:
        raise CannotServeError(
            f"the {count} smallest singular vectors are too close to the next ones to be told apart"
        )
    return W[:count]


def from_one_side(
    apply: Callable[[Tensor], Tensor], W: Tensor, norm: float
) -> tuple[Tensor, Tensor, Tensor]:
    """(image, σ, W turned) with apply(W_i) = σ_i image_i, σ descending; 0 where σ_i is dust."""
    image = apply(W)
    P, S, Qh = torch.linalg.svd(image.flatten(1).mT, full_matrices=False)
    seen = (1e-13 * norm < S).to(P.dtype)[:, None] * P.mT
    return seen.reshape(image.shape), S, _turned(Qh.conj(), W)


def angle(now: Tensor, before: Tensor) -> float:
    """Sine of the largest angle between two orthonormal bases (k, n)."""
    return float(torch.linalg.matrix_norm(now - (now @ before.mH) @ before, 2))


def _turned(rotation: Tensor, W: Tensor) -> Tensor:
    return (rotation @ W.flatten(1)).reshape(W.shape)


def orthonormal(W: Tensor) -> Tensor:
    """Rows of (k, ...) made orthonormal."""
    Q, _ = torch.linalg.qr(W.flatten(1).mT)
    return Q.mT.reshape(W.shape)
