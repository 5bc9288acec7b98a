"""Singular values as functions of the weight, differentiable twice.

With A(w) = A + E(w), E = 0 at the weight at hand, A v_i = σ_i u_i and Aᴴ u_i = σ_i v_i,

    σ_i(w) = σ_i + Re⟨u_i, E v_i⟩ + ½ Re⟨e, (σ_i − H)⁺ e⟩ + O(E³),    e = (E v_i, Eᴴ u_i),

H = [0 A; Aᴴ 0], whose eigenvalues are ±σ.  That is what is computed, with u, v and (σ − H)⁺ as
constants: its value, gradient W(v, u) (operators/weight_gradient.py) and second derivative are
those of σ_i, and autograd goes through A itself.

A third derivative is refused: of that expression it is zero.

*Values that repeat.*  Of σ_i that are equal only symmetric functions are differentiable, such as
their mean:  d(mean) = mean of Re⟨u_j, dA v_j⟩ over all of them, whatever vectors were found.  That
is the derivative which each of them is given; of the largest it is an element of the
subdifferential, the one in the middle.  In a second derivative pairs of equal values cancel, and
(σ − H)⁺ leaves them out.  A few triples of a large operator may end among equal values, as of the
identity: then the mean is over 64 of them, again an element of the subdifferential.

1. `fourier`        one SVD a frequency; E in the bases of its block
2. small matrices   min(m, n) of a group up to 1,024, or 4,096 where most values are asked for:
                    likewise, one block per group
3. anything else    a few triples, and (σ − H)⁺ by conjugate gradients (resolvent.py)

Sources: Kato, "Perturbation theory for linear operators", 1976, §II.2 (the second-order term and
the weighted mean of a group); Overton & Womersley, "Second derivatives for optimizing eigenvalues
of symmetric matrices", SIAM J. Matrix Anal. Appl. 16 (1995).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import pad

from ...inverse.boundary.deflation import Triples
from ...inverse.diagonal import dense
from ...operators.convolution import Convolution
from ...operators.linear_operator import MemoryLimitError, gigabytes
from .. import values
from .constants import at_most_twice, change, constants
from .direct_sum import blocks_of, bytes_of_svds, has_frequencies, has_matrices, in_double
from .resolvent import ALIKE, inner, reciprocal, resolvent

Finder = Callable[[Convolution, int], Triples]
"""The k outermost triples of a plain operator at the end in question, outermost first."""

_BEYOND = (1, 15, 63)  # values beyond those asked for that are looked at: do they repeat?


def differentiable_values(
    op: Convolution, k: int, largest: bool, memory_limit: float, find: Finder
) -> Tensor:
    """The k largest or smallest values of one kernel, (k,) descending, as functions of its weight.

    find : where no block has them

    Raises
    ------
    MemoryLimitError
        If the vectors of so many do not fit.
    """
    op, total = in_double(op), min(op.shape)
    limit = values.VALUES_LIMIT if k > total // values.LANCZOS_SHARE else dense.LIMIT
    in_blocks = has_frequencies(op) or has_matrices(op, limit)
    if in_blocks and bytes_of_svds(op) <= memory_limit:
        found = _by_blocks(op) + at_most_twice(op.weight)
        return found[:k] if largest else found[total - k :]
    need = 8 * k * sum(op.shape) * op.dtype.itemsize
    if need > memory_limit:
        raise MemoryLimitError(
            f"the singular vectors of k={k} values, which their derivative needs, take "
            f"{gigabytes(need)}, more than memory_limit={gigabytes(memory_limit)}; ask for fewer, "
            "raise it, or detach the weight."
        )
    found = _by_vectors(op, k, largest, find) + at_most_twice(op.weight)
    return found if largest else found.flip(0)


def mean_of_equals(S: Tensor, change_of: Tensor) -> Tensor:
    """The mean of `change_of` (n,) over each run of equal values of a sorted S (n,)."""
    tolerance = ALIKE * S.abs().amax()
    new = (S[1:] - S[:-1]).abs() > tolerance
    run = pad(new.long(), (1, 0)).cumsum(0)
    zero = torch.zeros_like(S)
    total = zero.scatter_add(0, run, change_of)
    count = zero.scatter_add(0, run, torch.ones_like(S))
    return (total / count.clamp(min=1)).gather(0, run)


# --- all values, from blocks


def _by_blocks(op: Convolution) -> Tensor:
    """All values, (min(m, n),) descending."""

    def find(weight: Tensor) -> tuple[Tensor, ...]:
        U, S, Vh = torch.linalg.svd(blocks_of(op.with_weight(weight))[0], full_matrices=False)
        return U, S, Vh.mH

    U, S, V = constants(find, op.weight)
    blocks, counts = blocks_of(op)
    moved = _change_of_values(change(blocks), U, S, V)
    entries = torch.arange(S.numel(), device=S.device).reshape(S.shape)
    entries = entries.repeat_interleave(counts, 0).flatten()
    S, order = S.flatten()[entries].sort(descending=True)
    return S + mean_of_equals(S, moved.flatten()[entries].gather(0, order))


def _change_of_values(E: Tensor, U: Tensor, S: Tensor, V: Tensor) -> Tensor:
    """Re⟨u, E v⟩ and the second-order term of every value of blocks E (F, g, r, c), (F, g, q).

    H has the eigenvectors (u_j, ±v_j)/√2, and (u, 0) and (0, v) of what A and Aᴴ do not reach.
    """
    N = U.mH @ E @ V
    first = N.diagonal(dim1=-2, dim2=-1).real
    alike = ALIKE * S.amax()
    apart = S[..., None, :] - S[..., :, None]  # σ_i − σ_j at (j, i)
    both = S[..., None, :] + S[..., :, None]
    second = (squared(N + N.mH) * reciprocal(apart, alike)).sum(-2) / 4
    second = second + (squared(N - N.mH) * reciprocal(both, alike)).sum(-2) / 4
    if E.shape[-2] > S.shape[-1]:
        second = second + squared(E @ V - U @ N).sum(-2) * reciprocal(S, alike) / 2
    if E.shape[-1] > S.shape[-1]:
        second = second + squared(E.mH @ U - V @ N.mH).sum(-2) * reciprocal(S, alike) / 2
    return first + second


def squared(z: Tensor) -> Tensor:
    """|z|², smooth at 0."""
    return (z * z.conj()).real


# --- a few values, from their vectors


def _by_vectors(op: Convolution, k: int, largest: bool, find: Finder) -> Tensor:
    """k values, (k,) outermost first."""

    def triples(weight: Tensor) -> tuple[Tensor, ...]:
        t = _whole_runs(op.with_weight(weight), k, find)
        return t.U, t.S, t.V

    U, S, V = constants(triples, op.weight)
    of_v, of_u = change(op._matvec(V)), change(op._rmatvec(U))
    weight = constants(lambda w: (w,), op.weight)[0]
    p, q = resolvent(op, weight, (U, S, V), largest, of_v, of_u)
    moved = inner(U, of_v) + (inner(of_v, p) + inner(of_u, q)) / 2
    return (S + mean_of_equals(S, moved))[:k]


def _whole_runs(op: Convolution, k: int, find: Finder) -> Triples:
    """The k outermost triples, and those beyond whose values repeat the last one."""
    total = min(op.shape)
    for beyond in _BEYOND:
        t = find(op, min(k + beyond, total))
        if len(t.S) == total or abs(t.S[k - 1] - t.S[-1]) > ALIKE * t.S.amax():
            break
    return t
