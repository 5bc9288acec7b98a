"""The smallest singular triples of A, found by the inverse that a factored form applies.

With M = (AᴴA + μ²)⁻¹, μ ≥ 0 small, subspace iteration

    W ← orth(M W),      then W turned to the singular vectors of A on it (Rayleigh–Ritz)

converges to the right singular vectors of the smallest σ like ((σᵢ² + μ²)/(σ_next² + μ²))^steps,
σ_next the first one not carried.  (AAᴴ + μ²)⁻¹ gives the left ones.  Two questions are asked of it:

    smallest_triples    a known number of them (counted by inertia: deflation.py), where A may be
                        singular and M is that of a damped form: each side by itself
    triples_up_to       all with σ ≤ τ, however many, where A⁻¹ is trustworthy: the left ones
                        follow from the right ones by one inverse iteration

They stop differently.  Vectors of a known number may turn among themselves for long, where μ makes
them alike, and are polished after (`polished`): only no more progress ends it.  Those up to τ are
final, and every step is 2·k solves: the first step that cannot help is the last.

Cost: 2·k solves a step, k vectors carried; a few to some dozen steps.
Not for: the small end for its own sake, with proofs: spectrum/extremes.py, by block Lanczos.

Source: Parlett, "The Symmetric Eigenvalue Problem", SIAM 1998, §14.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from ...numerics.lanczos import largest_eigenvalue, random_start
from ...operators.linear_operator import LinearOperator
from ..facts import CannotServeError
from .deflation import Triples, orthonormal

_Map = Callable[[Tensor], Tensor]

_VECTOR_BYTES = 4 * 2**20  # of vectors at once: a pass holds ten grids of each (sizes.py)
_NOTHING = 1e-13  # of σ_max: an image A·v that is round-off, and has no direction

# A known number of triples.
_LEAST_GUARD = 12  # vectors beyond those wanted: convergence follows the first one not carried
_MOST_COUNTED = 200  # steps: what gains a tenth a step has settled in 140
_EXACT = 1e-14  # sine of the angle between two subspaces that round-off cannot tell apart
_PROGRESS = 0.9  # of the smallest angle so far: a step that turns them by more has stalled
_STALLS = 5  # in a row, after which there is nothing more to gain
_POLISHABLE = 1e-7  # sine of an angle that one Newton step squares to round-off

# All triples up to a cut-off.
_FIRST = 16  # vectors; rarely is more than one under the cut-off
_GUARD = 8  # of them above it
_MOST_UP_TO = 60  # steps: what is not settled then has σ on both sides of τ not told apart
# Sines of the angle by which a step turns the dropped vectors: what costs A⁺ no digit, and what is
# still believed where round-off turns them on.
_STILL, _STUCK = 1e-12, 1e-10
_RITZ = 1e-3  # relative, of the first σ that is kept: enough to know that it is


class InverseOfGram(Protocol):
    """v ↦ (AAᴴ + μ²)⁻¹ v if it is data, (AᴴA + μ²)⁻¹ v if not, up to a factor; μ² ≥ 0 small."""

    def __call__(self, v: Tensor, *, of_data: bool) -> Tensor:
        """One or several vectors, (k, ...)."""


def guards(count: int) -> int:
    """Vectors that are carried beside `count` wanted ones."""
    return max(_LEAST_GUARD, count // 4)


def in_batches(apply: _Map) -> _Map:
    """A map of vectors (k, ...) applied to a few at a time: its grids are many times their size."""

    def by_parts(W: Tensor) -> Tensor:
        step = max(1, _VECTOR_BYTES // max(1, W[:1].numel() * W.element_size()))
        return torch.cat([apply(part) for part in W.split(step)])

    return by_parts


def smallest_singular_value(
    A: LinearOperator, invert: InverseOfGram, *, on_data: bool, steps: int, rtol: float
) -> float:
    """The smallest σ from above, by Lanczos on the inverse of AAᴴ or AᴴA; 0 where that overflows.

    Parameters
    ----------
    A : one kernel, double precision
    on_data : whether AAᴴ is meant, as for wide A
    steps, rtol : at most so many, until a step changes 1/σ² by less
    """
    like = torch.empty(0, dtype=A.dtype, device=A.device)
    start = random_start((1, *(A.range_shape if on_data else A.domain_shape)), like)
    largest = largest_eigenvalue(partial(invert, of_data=on_data), start, steps=steps, rtol=rtol)
    smallest = float(1 / largest.sqrt())
    return smallest if math.isfinite(smallest) else 0.0


def smallest_triples(A: LinearOperator, invert: InverseOfGram, count: int, norm: float) -> Triples:
    """The `count` smallest singular triples of A, min(m, n) in all.

    Where σ is zero to round-off and the other side has room, that vector is zero: A cannot see it.

    Parameters
    ----------
    A : one kernel, double precision
    invert : by a damped form, μ well above the largest σ that is wanted or near it
    norm : σ_max

    Raises
    ------
    CannotServeError
        The next singular value is too close to be told from those wanted.
    """
    m, n = A.shape
    U = V = None
    if m <= n:
        on_data = in_batches(partial(invert, of_data=True))
        U = _counted(in_batches(A._rmatvec), on_data, A.range_shape, A, count)
    if n <= m:
        on_domain = in_batches(partial(invert, of_data=False))
        V = _counted(in_batches(A._matvec), on_domain, A.domain_shape, A, count)
    return ritz(A, U, V, norm)


def _counted(
    apply: _Map, invert: _Map, shape: tuple[int, ...], A: LinearOperator, count: int
) -> Tensor:
    """Orthonormal (count, *shape) that `apply` shrinks most."""
    k = min(count + guards(count), min(A.shape))
    best, stalled = math.inf, 0
    for step in _subspace_iteration(apply, invert, shape, A, k, _MOST_COUNTED):
        turned = angle(step.W[:count], step.before[:count])
        stalled = stalled + 1 if turned > _PROGRESS * best else 0
        best = min(turned, best)
        if turned <= _EXACT or stalled == _STALLS:
            break
    if best > _POLISHABLE:
        raise CannotServeError(
            f"the {count} smallest singular vectors are too close to the next ones to be told apart"
        )
    return step.W[:count]


def triples_up_to(
    tau: float, A: LinearOperator, invert: InverseOfGram, norm: float, most_entries: float
) -> Triples:
    """All triples with σ ≤ τ, settled, and some above, nearly so; σ ascending.

    Parameters
    ----------
    A : one square kernel, double precision
    invert : with μ = 0
    norm : σ_max
    most_entries : of the vectors of both sides

    Raises
    ------
    CannotServeError
        There are more than that.
    """
    k = min(_FIRST, A.shape[0])
    matvec = in_batches(A._matvec)
    on_data = in_batches(partial(invert, of_data=True))
    on_domain = in_batches(partial(invert, of_data=False))
    while k * sum(A.shape) <= most_entries:
        V = _up_to(tau, A, matvec, on_domain, k)
        if V is not None:
            # A V spans the U but for eps·σ_max/σ, of which an inverse iteration leaves nothing.
            U = orthonormal(on_data(orthonormal(matvec(V))))
            return ritz(A, U, V, norm)
        if k == A.shape[0]:
            break
        k = min(4 * k, A.shape[0])
    raise CannotServeError("too many singular values lie under the cut-off to drop one by one")


def _up_to(tau: float, A: LinearOperator, matvec: _Map, invert: _Map, k: int) -> Tensor | None:
    """Ritz vectors (k, *domain), σ ascending, or None if k are too few or do not settle."""
    S, turned = torch.full((k,), math.inf, dtype=torch.float64, device=A.device), 1.0
    for step in _subspace_iteration(matvec, invert, A.domain_shape, A, k, _MOST_UP_TO):
        S_before, S = S, step.S
        lost = int((tau >= S).sum())
        if lost + _GUARD > k < A.shape[0]:
            return None
        if lost == k or S_before[lost] - S[lost] > _RITZ * S[lost]:
            continue
        last, turned = turned, angle(step.W[:lost], step.before[:lost])
        if turned <= _STILL or last / 2 < turned <= _STUCK:  # round-off turns them, too
            return step.W
    return None


class _Step(NamedTuple):
    """One step of subspace iteration.

    S (k,) Ritz values of A, ascending; W (k, ...) their vectors; before (k, ...) those of the step
    before.
    """

    S: Tensor
    W: Tensor
    before: Tensor


def _subspace_iteration(
    apply: _Map, invert: _Map, shape: tuple[int, ...], A: LinearOperator, k: int, most: int
) -> Iterator[_Step]:
    """At most so many steps from k random vectors; `apply` is A or Aᴴ, `invert` its M."""
    W = orthonormal(random_start((k, *shape), torch.empty(0, dtype=A.dtype, device=A.device)))
    for _ in range(most):
        before = W
        _, S, W = from_one_side(apply, orthonormal(invert(W)), 0.0)
        S, W = S.flip(0), W.flip(0)
        yield _Step(S, W, before)


def polished(A: LinearOperator, t: Triples, pinv: Callable[..., Tensor], norm: float) -> Triples:
    """One Newton step for each vector: what A sees of it beyond σ times its partner is taken off.

    Without it the vectors are known to the unrefined solves' 1e-11, a vector of the null space to
    1e-13, and its σ looks like a small one.

    Parameters
    ----------
    pinv : (vectors, adjoint=) -> A⁺ or (A⁺)ᴴ times them, without the triples
    norm : σ_max
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
    """Singular triples of A on given orthonormal subspaces, σ ascending.

    A missing side is what A, or Aᴴ, makes of the other one.
    """
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


def from_one_side(apply: _Map, W: Tensor, norm: float) -> tuple[Tensor, Tensor, Tensor]:
    """(image, σ, W turned) with apply(W_i) = σ_i image_i, σ descending.

    An image is 0 where σ_i is round-off beside `norm`.
    """
    image = apply(W)
    P, S, Qh = torch.linalg.svd(image.flatten(1).mT, full_matrices=False)
    seen = (_NOTHING * norm < S).to(P.dtype)[:, None] * P.mT
    return seen.reshape(image.shape), S, _turned(Qh.conj(), W)


def angle(now: Tensor, before: Tensor) -> float:
    """Sine of the largest angle of a subspace with another, bases (k, ...) orthonormal."""
    now, before = now.flatten(1), before.flatten(1)
    return float(torch.linalg.matrix_norm(now - (now @ before.mH) @ before, 2))


def _turned(rotation: Tensor, W: Tensor) -> Tensor:
    return (rotation @ W.flatten(1)).reshape(W.shape)
