"""A⁺ of a square A from A⁻¹, where few singular values lie under the cut-off.

With (U₀, V₀) the singular vectors of the σ ≤ τ,

    A⁺ = (I − V₀V₀ᴴ) A⁻¹ (I − U₀U₀ᴴ),

which needs an A⁻¹ that is trustworthy beside the vectors, not another factorisation.  The inverse
finds them, too: subspace iteration on (AᴴA)⁻¹ and (AAᴴ)⁻¹ converges like (σᵢ/σ_guard)².
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from ...numerics.lanczos import random_start
from ...operators.linear_operator import LinearOperator
from ..facts import CannotServeError
from .deflation import (
    Deflation,
    InverseOfGram,
    Triples,
    angle,
    from_one_side,
    in_batches,
    orthonormal,
    project_off,
    ritz,
)
from .forms import Answer, SquareForm

_Map = Callable[[Tensor], Tensor]

_FIRST = 16  # vectors; rarely is more than one under the cut-off
_GUARD = 8  # of them above the cut-off: convergence follows the first one that is not carried
_SETTLED, _STUCK = 1e-12, 1e-10  # sines of the angle by which a step turns the dropped vectors
_RITZ = 1e-3  # relative, of the first σ that is kept
_MOST_STEPS = 60


class ProjectedForm(nn.Module):
    """(I − VVᴴ) A⁻¹ (I − UUᴴ): A⁺ of a square A without the triples of a deflation.

    What round-off leaves on U is amplified along V alone, where it is taken off again.
    """

    def __init__(self, form: SquareForm, dropped: Deflation) -> None:
        super().__init__()
        self.form, self.dropped = form, dropped

    def pinv(self, y: Tensor, *, careful: bool) -> Answer:
        """A⁺ y."""
        answer = self.form.pinv(project_off(y, self.dropped.U), careful=careful)
        return answer._replace(value=project_off(answer.value, self.dropped.V))

    def pinv_adjoint(self, b: Tensor, *, careful: bool) -> Answer:
        """(A⁺)ᴴ b."""
        answer = self.form.pinv_adjoint(project_off(b, self.dropped.V), careful=careful)
        return answer._replace(value=project_off(answer.value, self.dropped.U))


def triples_up_to(
    tau: float, A: LinearOperator, invert: InverseOfGram, norm: float, most_entries: float
) -> Triples:
    """All triples with σ ≤ τ, settled, and some above, nearly so.

    Parameters
    ----------
    A : one square kernel, double precision
    invert : with μ = 0
    norm : σ_max
    """
    k = min(_FIRST, A.shape[0])
    matvec = in_batches(A._matvec)
    on_data = in_batches(partial(invert, of_data=True))
    on_domain = in_batches(partial(invert, of_data=False))
    while k * sum(A.shape) <= most_entries:
        V = _subspace_up_to(tau, A, matvec, on_domain, k)
        if V is not None:
            # A V spans the U but for eps·σ_max/σ, of which an inverse iteration leaves nothing.
            U = orthonormal(on_data(orthonormal(matvec(V))))
            return ritz(A, U, V, norm)
        if k == A.shape[0]:
            break
        k = min(4 * k, A.shape[0])
    raise CannotServeError("too many singular values lie under the cut-off to drop one by one")


def _subspace_up_to(
    tau: float, A: LinearOperator, matvec: _Map, invert: _Map, k: int
) -> Tensor | None:
    """Ritz vectors (k, *domain), σ ascending, or None if k are too few or do not settle."""
    V = orthonormal(
        random_start((k, *A.domain_shape), torch.empty(0, dtype=A.dtype, device=A.device))
    )
    S = V.new_full((k,), torch.inf, dtype=torch.float64)
    turned = 1.0
    for _ in range(_MOST_STEPS):
        before, S_before = V.flatten(1), S
        _, S, V = from_one_side(matvec, orthonormal(invert(V)), 0.0)
        S, V = S.flip(0), V.flip(0)
        lost = int((tau >= S).sum())
        if lost + _GUARD > k < A.shape[0]:
            return None
        if lost == k or S_before[lost] - S[lost] > _RITZ * S[lost]:
            continue
        last, turned = turned, angle(V[:lost].flatten(1), before[:lost])
        if turned <= _SETTLED or last / 2 < turned <= _STUCK:  # round-off turns them, too
            return V
    return None
