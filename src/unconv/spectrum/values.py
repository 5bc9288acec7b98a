"""Singular values of a convolution: which method finds them, and how they are bracketed.

In order, the first that applies and fits `memory_limit`; each is a rung, a way to invert A, of the
same name in `unconv.inverse`, and its module holds the mathematics:

1. `fourier`     the values of all frequencies' blocks;
2. `cosine`      the same, of cosine frequencies;
3. `separable`   all products of the values of 1-D matrices;
4. `dense`       min(m, n) of a group ≤ 1,024, or ≤ 4,096 where most of the values are asked for;
5. extremes.py   a few at either end, by Lanczos; the small end with the factor of `boundary`.

The first four give all values, up to LAPACK's backward error (taken as (16 + √p)·eps·σ_max for
matrices of side p) and, on `cosine` and `separable`, the rounding by which the weight missed its
structure.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, NoReturn

import torch
from torch import Tensor

from ..inverse.boundary.candidates import pseudo_inverse_form
from ..inverse.boundary.problem import prepare
from ..inverse.boundary.sizes import memory as boundary_memory
from ..inverse.diagonal import dense
from ..inverse.diagonal.protocol import DiagonalRung
from ..inverse.diagonal.rungs import RUNGS, values_error
from ..inverse.facts import CannotServeError, warn_of_accuracy
from ..inverse.request import Request
from ..operators.convolution import Convolution
from ..operators.linear_operator import MemoryLimitError, gigabytes
from .extremes import Extremes, Found

VALUES_LIMIT = 4096
"""Largest min(m, n) of a group whose singular values are all computed by LAPACK (a minute)."""

_EPS = torch.finfo(torch.float64).eps
_NO_CUT_OFF = Request()  # but round-off
LANCZOS_SHARE = 8
"""A larger part of all values than one of these is cheaper by LAPACK than by Lanczos."""


class Bracket(NamedTuple):
    """A number with bounds that are proven up to round-off.

    Attributes
    ----------
    value, lower, upper : of the same shape
    how : what proves the bounds, in a sentence
    """

    value: Tensor
    lower: Tensor
    upper: Tensor
    how: str


@dataclass(frozen=True)
class Exact:
    """All singular values, (B, min(m, n)) descending, each within `slack` (B,) of its own."""

    values: Tensor
    slack: Tensor
    how: str


class Spectrum:
    """One operator during one call: what was computed for one question serves the next.

    Parameters
    ----------
    op : with a finite weight
    memory_limit : bytes
    wanted : how many values will be asked for
    request : with the cut-off of a rank that will be asked for
    """

    def __init__(
        self,
        op: Convolution,
        memory_limit: float,
        wanted: int = 1,
        request: Request = _NO_CUT_OFF,
    ) -> None:
        self.op, self.memory_limit, self.wanted, self.request = op, memory_limit, wanted, request
        self.total = min(op.shape)
        self._extremes: dict[int, Extremes] = {}

    @cached_property
    def exact(self) -> Exact | None:
        """The whole spectrum, where a rung knows it."""
        rung = exact_rung(self.op, self.memory_limit, self.wanted, self.request)
        if rung is None:
            return None
        S = rung.singular_values(self.op)
        slack = values_error(rung, self.op, S[:, 0], _EPS)
        name = rung.__name__.rpartition(".")[2]
        how = f"all singular values ({name}), to LAPACK's backward error"
        if rung.departure(self.op) is not None:
            how += " and what the weight misses of its structure"
        return Exact(S, slack, how)

    def largest(self, k: int, prove: bool) -> Bracket:
        """The k largest singular values, (B, k) descending."""
        if self.exact is not None:
            return self._of_exact(self.exact.values[:, :k])
        return _joined([self.extremes(i).largest(k, prove=prove) for i in self._samples], prove)

    def smallest(self, k: int, prove: bool) -> Bracket:
        """The k smallest singular values, (B, k) ascending."""
        if self.exact is not None:
            return self._of_exact(self.exact.values[:, self.total - k :].flip(1))
        if self.op.seen is not None:
            return self._of_unseen(k)
        return _joined([self.extremes(i).smallest(k, prove=prove) for i in self._samples], prove)

    def _of_unseen(self, k: int) -> Bracket:
        """Zeros, of which there are as many as rows are missing in a full rank; else refused."""
        assert self.op.seen is not None
        rows = int(self.op.seen.expand(self.op.range_shape).sum())
        if k > self.total - rows:
            refuse_small_end(self.op)
        zero = torch.zeros(len(self._samples), k, dtype=torch.float64, device=self.op.device)
        return Bracket(zero, zero, zero, f"{rows:,} of {self.op.shape[0]:,} outputs were observed")

    def extremes(self, i: int) -> Extremes:
        """Lanczos at either end for the kernel of sample i, kept for the next question."""
        if i not in self._extremes:
            self._extremes[i] = Extremes(self.op.of_sample(i), self.memory_limit)
        return self._extremes[i]

    def cutoff(self, norm: Tensor) -> Tensor:
        """The value at or below which singular values count as zero, (B,) as `norm`."""
        return self.request.cutoff(self.op, norm)

    @property
    def _samples(self) -> range:
        return range(self.op.batch_size or 1)

    def _of_exact(self, S: Tensor) -> Bracket:
        assert self.exact is not None
        slack = self.exact.slack[:, None]
        return Bracket(S, (S - slack).clamp(min=0), S + slack, self.exact.how)


def refuse_small_end(op: Convolution) -> NoReturn:
    """No factor knows the small singular values where outputs were not observed."""
    raise NotImplementedError(
        "the small singular values of an operator with outputs that were not observed are known up "
        f"to min(m, n) = {dense.LIMIT:,}, and this one has {min(op.shape):,}; ask for "
        "svdvals(k, 'largest'), or for those of the operator of all outputs."
    )


def exact_rung(
    op: Convolution, memory_limit: float, wanted: int, request: Request = _NO_CUT_OFF
) -> DiagonalRung | None:
    """The module of the first rung that knows all singular values, or None.

    One that serves weights near a structure serves only where a cut-off of `request` is not hidden.
    """
    total = min(op.shape)
    limit = VALUES_LIMIT if wanted > total // LANCZOS_SHARE else dense.LIMIT
    for rung in RUNGS.values():
        if rung is dense:  # group by group, and values alone are cheaper than its factor
            serves = total // op.geometry.groups <= limit
        else:
            serves = rung.obstacle(op, request) is None
        if serves and rung.values_memory(op) <= memory_limit:
            return rung
    return None


def _joined(found: list[Found], prove: bool) -> Bracket:
    """The brackets of all kernels as one, (B, k); without bounds where they were not asked for."""
    if not prove and not all(f.converged for f in found):
        warn_of_accuracy(
            "Lanczos did not settle: the values are bounds from inside the spectrum; "
            "bracket=True says how far off they may be."
        )
    S = torch.stack([f.triples.S for f in found])
    nan = torch.full_like(S[0], math.nan)
    lower = torch.stack([nan if f.lower is None else f.lower for f in found])
    upper = torch.stack([nan if f.upper is None else f.upper for f in found])
    return Bracket(S, lower, upper, "; ".join(dict.fromkeys(f.how for f in found)))


# --- what is asked


def svdvals(spectrum: Spectrum, k: int | None, largest: bool, prove: bool) -> Bracket:
    """The k largest or smallest singular values, or all, (B, k) descending."""
    if k is None:
        if spectrum.exact is None:
            raise _too_many(spectrum)
        k, largest = spectrum.total, True
    if largest:
        return spectrum.largest(k, prove)
    b = spectrum.smallest(k, prove)
    return Bracket(b.value.flip(1), b.lower.flip(1), b.upper.flip(1), b.how)


def _too_many(spectrum: Spectrum) -> MemoryLimitError:
    op = spectrum.op
    total = spectrum.total // op.geometry.groups
    return MemoryLimitError(
        f"nothing diagonalises this operator, and the SVD of its {total:,} values takes "
        f"{gigabytes(dense.values_memory(op))} and {8 / 3 * float(total) ** 3:.1e} flop (limits: "
        f"{gigabytes(spectrum.memory_limit)}, {VALUES_LIMIT:,} values); ask for k of them, "
        "largest or smallest."
    )


def cond(spectrum: Spectrum, prove: bool) -> Bracket:
    """(B,) σ_max/σ_min; inf where σ_min is round-off."""
    high, low = spectrum.largest(1, prove), spectrum.smallest(1, prove)
    top, bottom = high.value[:, 0], low.value[:, 0]
    singular = bottom <= spectrum.cutoff(top)
    value = torch.where(singular, math.inf, top / bottom)
    lower = high.lower[:, 0] / low.upper[:, 0]
    upper = torch.where(singular, math.inf, high.upper[:, 0] / low.lower[:, 0])
    how = high.how if high.how == low.how else f"σ_max: {high.how}; σ_min: {low.how}"
    return Bracket(value, torch.where(top == 0, math.inf, lower), upper, how)


def matrix_rank(spectrum: Spectrum, prove: bool) -> Bracket:
    """(B,) number of singular values above max(atol, rtol·σ_max), int64."""
    exact = spectrum.exact
    if exact is not None:
        S, slack = exact.values, exact.slack[:, None]
        tau = spectrum.cutoff(S[:, 0])[:, None]
        lower, upper = (tau + 2 * slack < S).sum(1), (tau - 2 * slack < S).sum(1)
        return Bracket((tau < S).sum(1), lower, upper, exact.how)
    ranks = [_rank_of(spectrum, i, prove) for i in range(spectrum.op.batch_size or 1)]
    value, lower, upper = (
        torch.tensor(v, device=spectrum.op.device)
        for v in zip(*(r[:3] for r in ranks), strict=True)
    )
    return Bracket(value, lower, upper, "; ".join(dict.fromkeys(r[3] for r in ranks)))


def _rank_of(spectrum: Spectrum, i: int, prove: bool) -> tuple[int, int, int, str]:
    """The rank as the factorisation of A⁺ finds it; bounds from the small end alone."""
    op, total, request = spectrum.op.of_sample(i), spectrum.total, spectrum.request
    if op.seen is not None:
        refuse_small_end(op)
    need = boundary_memory(op, request)
    if need > request.memory_limit:
        raise MemoryLimitError(
            f"the rank needs a factor of {gigabytes(need)}, more than "
            f"memory_limit={gigabytes(request.memory_limit)}; raise it."
        )
    problem = prepare(op, request, 1)
    if problem.norm == 0:
        return 0, 0, 0, "the weight is zero"
    try:
        facts = pseudo_inverse_form(problem)[1]
    except CannotServeError as why:
        raise NotImplementedError(f"the rank is not known: {why}; ask for another rtol.") from None
    assert facts.rank is not None
    rank = int(facts.rank)
    if not prove:
        return rank, 0, total, facts.rank_how
    ends = spectrum.extremes(i)
    high = ends.largest(1, prove=True)
    low = ends.smallest(min(total, total - rank + 1), prove=True)
    assert high.lower is not None
    assert high.upper is not None
    assert low.lower is not None
    assert low.upper is not None
    tau = [float(request.cutoff(op, t.amax())) for t in (high.lower, high.upper)]
    upper = total - int((low.upper <= tau[0]).sum())
    # Beyond the last one found every σ is larger; if that one is not clear, nothing else is.
    clear = len(low.lower) == total or float(low.lower[-1]) > tau[1]
    lower = total - int((low.lower <= tau[1]).sum()) if clear else 0
    return min(max(rank, lower), upper), lower, upper, low.how
