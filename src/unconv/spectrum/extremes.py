"""Singular values at either end of one operator that nothing diagonalises, with proofs.

    largest     block Lanczos on AᴴA
    smallest    block Lanczos on (AᴴA + μ²)⁻¹, by the factor of the *boundary* rung; μ = 0 where
                that factor is healthy, else all σ up to 3 μ, which look alike, are found together

on the shorter side, the subspaces of small σ then refined (small_end.py), and an SVD of A on what
was found, which squares nothing:  A V = U Σ with the residual R = AᴴU − VΣ.  A plain value is the
value of its own bracket: the same computation.

What is proven, for values s₁ ≥ s₂ ≥ … found:

- The SVD of A on a subspace errs inwards (Cauchy): s_i ≤ σ_i among the largest, s ≥ σ among the
  smallest, in order.
- Every s_i has a singular value of its own within ‖R‖ (Kahan, on the eigenpairs ±s_i of
  [0 A; Aᴴ 0]).
- The number of singular values above τ is known by inertia (counting.py).  If it equals the number
  of values found above τ, these are all there are, so each is within ‖R‖ of its σ_i.

Where the ghosts do not fit `memory_limit` the last step is missing, and the bracket is closed by
0 from below and by ‖C‖‖E‖ or √(‖A‖₁‖A‖_∞) from above (bounds.py).

Cost: products with A, or one factorisation and its solves; the proof takes an LDLᴴ of all ghosts.

Sources: Parlett, "The Symmetric Eigenvalue Problem", SIAM 1998, §10.1 and §11.5 (Cauchy, Kahan);
Haynsworth, "Determination of the inertia of a partitioned Hermitian matrix", 1968.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..inverse.boundary.candidates import damped_form, regular_form
from ..inverse.boundary.deflation import (
    Triples,
    orthonormal,
    project_off,
)
from ..inverse.boundary.forms import AugmentedForm
from ..inverse.boundary.problem import (
    Problem,
    prepare,
)
from ..inverse.boundary.sizes import memory as boundary_memory
from ..inverse.facts import CannotServeError
from ..inverse.prepared import Prepared, kernel_spectrum, spectrum_bytes
from ..inverse.request import Request
from ..operators.convolution import Convolution
from ..operators.linear_operator import AdjointOperator, MemoryLimitError, gigabytes
from .block_lanczos import Eigenpairs, basis_size, largest_eigenpairs
from .counting import Count
from .small_end import NearInverse, refined, triples_of

_Map = Callable[[Tensor], Tensor]

_OF_VALUES, _OF_VECTORS = 1e-8, 5e-12  # residuals of eigenpairs (σ², v), relative to σ²
_OF_TRIPLES = 2e-12  # of σ_max: ‖A v − σ u‖ and ‖Aᴴu − σ v‖
_RESIDUE = 32 * torch.finfo(torch.float64).eps  # of σ_max: a product with A and small SVDs
_WIDTHS = (1e-8, 1e-6, 1e-4)  # of τ beyond the last value found, tried until the count agrees
_RANGE = 1e-3  # of the largest eigenvalue of an inverse: σ up to 30 times the smallest
_ALIKE = 3.0  # of μ: σ up to that are found together
_SMALL = 1e-300  # a damp that only asks what the damped factor takes
_CLUSTER = 100  # vectors beyond those wanted, taken in where values lie too close to each other
_MOST_FOUND = 256  # values that are found for the sake of a proof: their vectors fill the memory
_PLAIN_PRODUCTS = 500  # for the small end without a factor: bounds from above, seconds


def _beside(apply: _Map, locked: Tensor) -> _Map:
    """(I − QQᴴ) T (I − QQᴴ)."""
    return lambda v: project_off(apply(project_off(v, locked)), locked) if len(locked) else apply(v)


def _first(t: Triples, k: int) -> Triples:
    return Triples(t.U[:k], t.S[:k], t.V[:k])


@dataclass(frozen=True)
class Found:
    """Values of one operator at one end, outermost first, and what is proven about them.

    Attributes
    ----------
    triples : (k, *range), (k,), (k, *domain)
    left : the largest ‖A v − σ u‖ or ‖Aᴴu − σ v‖ over σ_max, where vectors were asked for
    lower, upper : (k,), None unless a proof was asked for
    how : the proof in a sentence
    """

    triples: Triples
    converged: bool
    left: float = 0.0
    lower: Tensor | None = None
    upper: Tensor | None = None
    how: str = ""


class Extremes:
    """One kernel made ready: σ_max to a few digits, and the factor for the small end when asked.

    Parameters
    ----------
    op : one kernel
    memory_limit : bytes for a basis, a factor or a count, each
    """

    def __init__(self, op: Convolution, memory_limit: float) -> None:
        self.op, self.memory_limit = op, memory_limit
        self.request = Request(memory_limit=memory_limit)
        self.p: Problem = prepare(op, self.request, 1)
        self.count = Count(op, self.p, memory_limit)
        self._inverse: NearInverse | None = None

    # --- the large end
    def largest(self, k: int, *, prove: bool = False, vectors: bool = False) -> Found:
        """The k largest singular values, descending, with what is proven about them."""
        if self.p.norm == 0:
            return self._of_zero(k)
        self._check_basis(k)
        # A single value is proven by counting alone.
        pairs = self._eigenpairs(self._gram(), k, strict=vectors or k > 1)
        t = triples_of(self.p, pairs.vectors)
        found = Found(Triples(t.U.flip(0), t.S.flip(0), t.V.flip(0)), pairs.converged)
        found = self._judged(found, k) if vectors else found
        return self._in_units(self._prove_largest(found) if prove else found)

    def _prove_largest(self, found: Found) -> Found:
        S, slack = found.triples.S, _RESIDUE * self.p.norm
        lower, R = (S - slack).clamp(min=0), self._residual(found.triples)
        bound, name = self.count.bound_of_norm()
        upper = torch.full_like(S, bound + slack)
        how = f"Ritz values from below, {name} from above"
        if self.count.serves:
            for width in _WIDTHS:
                tau, above = self.count.above(float(S[-1]), 1 + width)
                if above == int((tau < S).sum()):
                    proven = torch.where(tau < S, S + R + slack, tau)
                    upper = torch.minimum(upper, proven)
                    shown = tau * self.p.scale
                    how = f"Ritz values from below; inertia finds {above} above {shown:.9g}"
                    break
        return replace(found, lower=lower, upper=upper, how=how)

    # --- the small end
    def smallest(self, k: int, *, prove: bool = False, vectors: bool = False) -> Found:
        """The k smallest singular values, ascending, with what is proven about them."""
        if self.p.norm == 0:
            return self._of_zero(k)
        if self.op.seen is not None:
            raise NotImplementedError(
                "no factor knows the smallest singular triples where outputs were not observed; "
                "ask for the largest, or for those of the operator of all outputs."
            )
        self._check_basis(k)
        inverse = self._near_inverse(prove)
        if inverse is None:
            every = self._smallest_without_factor(k)
        elif vectors:
            every = self._vectors_by_inverse(inverse, k)
        else:
            every = self._by_inverse(inverse, k)
        found = replace(every, triples=_first(every.triples, k))
        return self._in_units(self._prove_smallest(found, every) if prove else found)

    def _prove_smallest(self, found: Found, every: Found) -> Found:
        """Count at the last value, or as far below σ_max as inertia sees; `every`: k or more."""
        k, total, slack = len(found.triples.S), min(self.p.A.shape), _RESIDUE * self.p.norm
        upper, lower = self._values_from_above(found.triples), torch.zeros_like(found.triples.S)
        how = "Ritz values from above; nothing but zero is known from below"
        for width in _WIDTHS if self.count.serves and found.converged else ():
            tau, above = self.count.above(float(found.triples.S[k - 1]), 1 - width)
            below = total - above
            if len(every.triples.S) < below <= _MOST_FOUND:
                every = self._more(below) or every
            S = every.triples.S
            if below == int((tau >= S).sum()):
                proven = torch.where(tau < S, tau, S - self._residual(every.triples) - slack)
                lower = proven.clamp(min=0)[:k]
                shown = tau * self.p.scale
                how = f"Ritz values from above; inertia finds {below} up to {shown:.9g}"
                how += ", each within its residual" if below else ""
                break
        value = found.triples.S  # from another basis than the proof's: apart by round-off
        return replace(
            found, lower=torch.minimum(lower, value), upper=torch.maximum(upper, value), how=how
        )

    def _more(self, count: int) -> Found | None:
        inverse = self._near_inverse(True)
        if inverse is None or self._too_much(count):
            return None
        return self._by_inverse(inverse, count)

    def _vectors_by_inverse(self, inverse: NearInverse, k: int) -> Found:
        """k vectors or more: of values closer than a solve's round-off tells apart all are found,
        for A tells them apart.
        """
        count, most = k, min(k + _CLUSTER, math.prod(self._short))
        while True:
            every = self._judged(self._by_inverse(inverse, count), k)
            count = min(2 * count + _CLUSTER // 10, most)
            if every.converged or len(every.triples.S) >= most or self._too_much(count):
                return every

    def _by_inverse(self, inverse: NearInverse, k: int) -> Found:
        """Outermost values first: beside 1/σ₁² the round-off of a solve hides a much smaller 1/σ²,
        so that vectors of much smaller σ are locked and taken off what remains.
        """
        alike = self._alike(inverse.level)
        wanted = max(k, min(alike, _MOST_FOUND))
        if self._too_much(wanted):
            wanted = k
        locked = self.p.weight.new_zeros(0, *self._short)
        while True:
            rest = _beside(inverse.of_gram, locked)
            # What μ makes alike is told apart by the refinement; of others it gains little.
            strict = len(locked) >= alike
            pairs = self._eigenpairs(rest, wanted - len(locked), strict=strict)
            # A weighs what is left of large σ by σ_max/σ; one more solve divides it by its square.
            vectors = rest(pairs.vectors)
            near = pairs.values >= _RANGE * pairs.values[0]
            done = bool(near.all()) or not pairs.converged
            locked = orthonormal(torch.cat([locked, vectors if done else vectors[near]]))
            if done:
                t = refined(self.p, locked, inverse)
                zero = float(t.S[k - 1]) <= _RESIDUE * self.p.norm  # no other can be smaller
                return Found(t, pairs.converged and (alike <= wanted or zero))

    def _alike(self, level: float) -> int:
        """How many singular values (AᴴA + μ²)⁻¹ does not tell apart; 0 if it cannot be known."""
        if not level or not self.count.serves:
            return 0
        return min(self.p.A.shape) - self.count.above(level, _ALIKE)[1]

    def _eigenpairs(self, apply: _Map, k: int, *, strict: bool) -> Eigenpairs:
        rtol = _OF_VECTORS if strict else _OF_VALUES
        return largest_eigenpairs(apply, self._short, k, self.p.weight, rtol=rtol)

    def _smallest_without_factor(self, k: int) -> Found:
        """Upper bounds only: Lanczos on σ_max² − AᴴA, which never converges on small values."""
        gram, shift = self._gram(), (1.1 * self.p.norm) ** 2
        pairs = largest_eigenpairs(
            lambda v: shift * v - gram(v),
            self._short,
            k,
            self.p.weight,
            rtol=_OF_VALUES,
            most=_PLAIN_PRODUCTS,
        )
        return Found(triples_of(self.p, pairs.vectors), False)

    def _near_inverse(self, or_none: bool) -> NearInverse | None:
        if self._inverse is None:
            kinds = Request(), Request(damp=_SMALL)  # all ghosts at once, with μ and without
            need = max(boundary_memory(self.op, kind) for kind in kinds)
            if need > self.memory_limit:
                if or_none:
                    return None
                raise MemoryLimitError(
                    f"the factor that finds small singular values takes {gigabytes(need)}, more "
                    f"than memory_limit={gigabytes(self.memory_limit)}; bracket=True bounds them "
                    "without it, or raise memory_limit."
                )
            self._inverse = self._factored()
        return self._inverse

    def _factored(self) -> NearInverse:
        """The factor for the small end: without μ where it is healthy, else with one."""
        try:
            return NearInverse(regular_form(self.p), self.p, 0.0)
        except CannotServeError:
            level = self.count.resolution
        form = damped_form(replace(self.p, damp=level))[0]
        assert isinstance(form, AugmentedForm)
        return NearInverse(form, self.p, level)

    def _of_zero(self, k: int) -> Found:
        """Triples of the zero kernel: unit vectors with σ = 0."""
        S = self.p.weight.new_zeros(k, dtype=torch.float64)
        unit = torch.eye(k, math.prod(self._short), dtype=self.p.weight.dtype, device=S.device)
        unit = unit.reshape(k, *self._short)
        U, V = self.p.A._matvec(unit) if self.p.is_tall else unit, unit
        V = V if self.p.is_tall else self.p.A._rmatvec(unit)
        found = Found(Triples(U, S, V), True, lower=S, upper=S, how="the weight is zero")
        return self._in_units(found)

    # --- A and its subspaces
    @property
    def _short(self) -> tuple[int, ...]:
        return self.p.A.domain_shape if self.p.is_tall else self.p.A.range_shape

    def _gram(self) -> _Map:
        """AᴴA or AAᴴ on the shorter side."""
        A = self.p.A
        op = A.op if isinstance(A, AdjointOperator) else A
        assert isinstance(op, Convolution)
        P = Prepared(op, kernel_spectrum(op))
        if self.p.is_tall == (op is A):
            return lambda v: P.rmatvec(P.matvec(v))
        return lambda v: P.matvec(P.rmatvec(v))

    def _residual(self, t: Triples) -> Tensor:
        """‖[AᴴU − VΣ; AV − UΣ]‖, what the SVD on the subspaces leaves."""
        return torch.cat([part.flatten() for part in self._left_over(t)]).norm()

    def _judged(self, found: Found, k: int) -> Found:
        """`found` with the residual of the first k triples, and whether it is what `svd` wants."""
        parts = self._left_over(_first(found.triples, k))
        left = max(float(part.flatten(1).norm(dim=1).amax()) for part in parts) / self.p.norm
        return replace(found, left=left, converged=found.converged and left <= _OF_TRIPLES)

    def _left_over(self, t: Triples) -> tuple[Tensor, Tensor]:
        sigma = t.S.reshape(-1, *[1] * (t.U.ndim - 1))
        return self.p.A._rmatvec(t.U) - sigma * t.V, self.p.A._matvec(t.V) - sigma * t.U

    def _values_from_above(self, t: Triples) -> Tensor:
        """max ‖Av‖ over the vectors up to each one, by what its images miss of UΣ."""
        of_short = self._left_over(t)[1 if self.p.is_tall else 0]
        return t.S + of_short.norm() + _RESIDUE * self.p.norm

    # --- memory
    def _basis_bytes(self, k: int) -> int:
        entry = self.p.weight.element_size()
        held = basis_size(k, math.prod(self._short)) * math.prod(self._short)
        return entry * (2 * held + 4 * k * sum(self.p.A.shape))

    def _too_much(self, k: int) -> bool:
        return self._basis_bytes(k) > self.memory_limit

    def _check_basis(self, k: int) -> None:
        need = self._basis_bytes(k) + spectrum_bytes(self.op)
        if need > self.memory_limit:
            raise MemoryLimitError(
                f"the vectors for k={k} values take {gigabytes(need)}, more than "
                f"memory_limit={gigabytes(self.memory_limit)}; ask for fewer, or raise it."
            )

    def _in_units(self, found: Found) -> Found:
        """From the unit of the weight, and for the operator itself if that was turned round."""
        t, scale = found.triples, self.p.scale
        U, V = (t.V, t.U) if self.op.transposed else (t.U, t.V)
        return replace(
            found,
            triples=Triples(U, t.S * scale, V),
            lower=None if found.lower is None else found.lower * scale,
            upper=None if found.upper is None else found.upper * scale,
        )
