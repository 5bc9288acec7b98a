"""The spectrum of a `ConvOperator`: singular values and vectors, rank, determinant, projectors.

`values` chooses how values are found and brackets them, `extremes` finds a few at either end where
nothing diagonalises A, `triples`, `determinant` and `projectors` do what their names say.  The
public methods are those of `ConvOperator`; here their arguments are checked.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import wraps
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..inverse.boundary.deflation import Triples
from ..inverse.facts import warn_of_accuracy
from ..inverse.plan import request_of
from ..numerics.checks import (
    check_all_finite,
    check_choice,
    check_count,
    check_flag,
    check_memory_limit,
)
from ..numerics.compiled import outside_graphs
from ..numerics.plain_values import Values, is_watched, with_values
from ..operators.convolution import Convolution
from ..operators.linear_operator import LinearOperator, MemoryLimitError, gigabytes
from . import values
from .derivatives.constants import constants, without_derivative
from .derivatives.value_derivatives import differentiable_values
from .derivatives.volume_derivatives import differentiable_volume
from .determinant import log_volumes
from .extremes import Extremes
from .projectors import projector
from .triples import exact_triples
from .values import Bracket, Spectrum, exact_rung

__all__ = ["SVD", "Bracket"]

# of σ_max: `svd` says what is left wherever the iteration itself was not content
_OF_SVD_CALLS = 0.0
_OF_DERIVATIVES = 1e-9  # a derivative errs by that over the gap to the next value


class SVD(NamedTuple):
    """Singular triples, A V_i = S_i U_i, the U_i orthonormal, and the V_i too.

    With one kernel per sample each of the three has a batch axis in front.

    Attributes
    ----------
    U : (k, *range_shape)
    S : (k,) float64, descending
    V : (k, *domain_shape)
    """

    U: Tensor
    S: Tensor
    V: Tensor


def _on_values(function: Callable[..., Any]) -> Callable[..., Any]:
    """Call with plain numbers: results carry no gradient.

    Worker threads do not inherit inference mode, so that it is left.
    """

    @wraps(function)
    def run(op: Convolution, *args: Any, **kwargs: Any) -> Any:
        check_all_finite("weight", op.weight.detach(), "a spectrum needs finite numbers")
        with torch.inference_mode(False), torch.no_grad():
            if op.weight.is_inference():
                op = op.with_weight(op.weight.clone())
            return function(op, *args, **kwargs)

    return outside_graphs(run)


def _each(op: Convolution, quantity: Callable[[Convolution], Tensor]) -> Tensor:
    """A differentiable quantity of every kernel, stacked where each sample has its own."""

    def check(found: Values) -> None:
        check_all_finite("weight", found.tensors[0], "a spectrum needs finite numbers")

    with_values(check, op.weight)
    if op.batch_size is None:
        return quantity(op)
    return torch.stack([quantity(op.of_sample(i)) for i in range(op.batch_size)])


@outside_graphs
def svdvals(
    op: Convolution, k: int | None, which: str, bracket: bool, memory_limit: float
) -> Tensor | Bracket:
    """The k largest or smallest singular values (all for None), or a `Bracket` of them."""
    largest = _checked(op, k, which, memory_limit)
    if check_flag("bracket", bracket) or not is_watched(op.weight):
        return _svdvals(op, k, largest, bracket, memory_limit)
    return _each(op, lambda one: _differentiable(one, k, largest, memory_limit))


@_on_values
def _svdvals(
    op: Convolution, k: int | None, largest: bool, bracket: bool, memory_limit: float
) -> Tensor | Bracket:
    spectrum = Spectrum(op, memory_limit, min(op.shape) if k is None else k)
    return _answer(op, values.svdvals(spectrum, k, largest, bracket), bracket)


def _differentiable(op: Convolution, k: int | None, largest: bool, memory_limit: float) -> Tensor:
    """k values of one kernel, or all, as functions of its weight."""
    most = min(op.shape)

    def find(plain: Convolution, count: int) -> Triples:
        return outermost(plain, count, largest, memory_limit)

    count, end = (most, True) if k is None else (k, largest)
    try:
        return differentiable_values(op, count, end, memory_limit, find)
    except MemoryLimitError as error:  # of the vectors; the values alone may fit
        plain = _plainly(op, lambda op: _svdvals(op, k, largest, False, memory_limit))
        return without_derivative(plain, op.weight, error)


@outside_graphs
def norm(op: Convolution, bracket: bool, memory_limit: float) -> Tensor | Bracket:
    """σ_max, the norm of A, or a `Bracket` of it."""
    check_memory_limit(memory_limit)
    if check_flag("bracket", bracket) or not is_watched(op.weight):
        return _norm(op, bracket, memory_limit)
    return _each(op, lambda one: _differentiable(one, 1, True, memory_limit)[0])


@_on_values
def _norm(op: Convolution, bracket: bool, memory_limit: float) -> Tensor | Bracket:
    b = Spectrum(op, memory_limit).largest(1, bracket)
    return _answer(op, Bracket(b.value[:, 0], b.lower[:, 0], b.upper[:, 0], b.how), bracket)


@outside_graphs
def cond(op: Convolution, bracket: bool, memory_limit: float) -> Tensor | Bracket:
    """σ_max/σ_min, inf where σ_min is round-off, or a `Bracket` of it."""
    check_memory_limit(memory_limit)
    if check_flag("bracket", bracket) or not is_watched(op.weight):
        return _cond(op, bracket, memory_limit)

    def one(op: Convolution) -> Tensor:
        plain = _plainly(op, lambda op: _cond(op, False, memory_limit))
        if _all_finite(plain):
            ends = (_differentiable(op, 1, largest, memory_limit)[0] for largest in (True, False))
            return next(ends) / next(ends)
        why = ValueError(
            "the condition number is infinite, for the smallest singular value is round-off, and "
            "has no derivative; svdvals(1) has one, and svdvals(1, 'smallest') an element of the "
            "subdifferential."
        )
        return without_derivative(plain, op.weight, why)

    return _each(op, one)


@_on_values
def _cond(op: Convolution, bracket: bool, memory_limit: float) -> Tensor | Bracket:
    return _answer(op, values.cond(Spectrum(op, memory_limit), bracket), bracket)


def _plainly(op: Convolution, quantity: Callable[[Convolution], Tensor]) -> Tensor:
    """A quantity of the plain operator, as a constant; under vmap one of every slice."""
    return constants(lambda w: (quantity(op.without_bias(w)),), op.weight)[0]


def _all_finite(t: Tensor) -> bool:
    return with_values(lambda found: bool(found.tensors[0].isfinite().all()), t)


@_on_values
def matrix_rank(
    op: Convolution, rtol: float | None, atol: float, bracket: bool, memory_limit: float
) -> Tensor | Bracket:
    """The number of singular values above max(atol, rtol·σ_max), or a `Bracket` of it."""
    request = request_of(0.0, rtol, atol, memory_limit)
    check_flag("bracket", bracket)
    spectrum = Spectrum(op, memory_limit, request=request)
    return _answer(op, values.matrix_rank(spectrum, bracket), bracket)


@outside_graphs
def logabsdet(op: Convolution, damp: float, memory_limit: float) -> Tensor:
    """½ log det(AᴴA + damp²), for damp = 0 the sum of the logarithms of all singular values."""
    damp = request_of(damp, None, 0.0, memory_limit).damp
    if not is_watched(op.weight):
        return _logabsdet(op, damp, memory_limit)

    def one(op: Convolution) -> Tensor:
        plain = _plainly(op, lambda op: _logabsdet(op, damp, memory_limit))
        if _all_finite(plain):
            return differentiable_volume(op, damp, plain, memory_limit)
        why = ValueError(
            "log |det A| is −inf, for A is singular, and has no derivative there; give damp > 0, "
            "which is smooth everywhere."
        )
        return without_derivative(plain, op.weight, why)

    return _each(op, one)


@_on_values
def _logabsdet(op: Convolution, damp: float, memory_limit: float) -> Tensor:
    return _shaped(op, log_volumes(op, damp, memory_limit))


@_on_values
def svd(op: Convolution, k: int, which: str, memory_limit: float) -> SVD:
    """The k largest or smallest singular triples."""
    largest = _checked(op, check_count("k", k, least=-math.inf), which, memory_limit)
    need = 4 * k * sum(op.shape) * 16 * (op.batch_size or 1)
    if need > memory_limit:
        raise MemoryLimitError(
            f"k={k} singular vectors take {gigabytes(need)} to find, more than "
            f"memory_limit={gigabytes(memory_limit)}; ask for fewer, or raise it."
        )
    found = []
    for i in range(op.batch_size or 1):
        t = outermost(op.of_sample(i), k, largest, memory_limit, _OF_SVD_CALLS)
        parts = (t.U, t.S, t.V) if largest else (v.flip(0) for v in (t.U, t.S, t.V))
        found.append(SVD(*parts))
    if op.batch_size is None:
        return found[0]
    return SVD(*(torch.stack(parts) for parts in zip(*found, strict=True)))


def outermost(
    op: Convolution, k: int, largest: bool, memory_limit: float, settled: float = _OF_DERIVATIVES
) -> Triples:
    """The k triples of one kernel at one end, outermost first.

    op : with a plain and finite weight
    settled : of σ_max, the residual of vectors about which nothing is said
    """
    rung = exact_rung(op, memory_limit, 1)
    if rung is None:
        return _by_lanczos(Spectrum(op, memory_limit).extremes(0), k, largest, settled)
    t = exact_triples(rung, op, k, largest)
    return t if largest else Triples(t.U.flip(0), t.S.flip(0), t.V.flip(0))


def _by_lanczos(ends: Extremes, k: int, largest: bool, settled: float) -> Triples:
    found = ends.largest(k, vectors=True) if largest else ends.smallest(k, vectors=True)
    if not found.converged and found.left > settled:
        warn_of_accuracy(
            f"Lanczos did not settle: A V and S U are up to {found.left:.1e}·σ_max apart, as where "
            "many singular values lie close together; a larger k may take in all of them."
        )
    return found.triples


@_on_values
def project(
    op: Convolution, on_range: bool, rtol: float | None, atol: float, memory_limit: float
) -> LinearOperator:
    """The orthogonal projector on the range of A, or on its null space."""
    request = request_of(0.0, rtol, atol, memory_limit, expected_solves=10)
    return projector(op, request, on_range=on_range)


def _checked(op: Convolution, k: int | None, which: str, memory_limit: float) -> bool:
    """Whether the large end is asked for, after a look at every argument."""
    check_memory_limit(memory_limit)
    check_choice("which", which, ("largest", "smallest"))
    if k is not None and not 1 <= check_count("k", k, least=-math.inf) <= min(op.shape):
        raise ValueError(
            f"k={k} must be between 1 and min(m, n) = {min(op.shape):,}, the number of singular "
            "values."
        )
    return which == "largest"


def _answer(op: Convolution, found: Bracket, bracket: bool) -> Tensor | Bracket:
    if not bracket:
        return _shaped(op, found.value)
    value, lower, upper = (_shaped(op, t) for t in found[:3])
    return Bracket(value, lower, upper, found.how)


def _shaped(op: Convolution, t: Tensor) -> Tensor:
    """`t` without its batch axis where all samples share one kernel."""
    return t if op.batch_size else t[0]
