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
from ..operators.convolution import Convolution
from ..operators.linear_operator import LinearOperator, MemoryLimitError, gigabytes
from . import values
from .determinant import log_volumes
from .extremes import Extremes
from .projectors import projector
from .triples import exact_triples
from .values import Bracket, Spectrum, exact_rung

__all__ = ["SVD", "Bracket"]


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


def _outside_autograd(function: Callable[..., Any]) -> Callable[..., Any]:
    """Results carry no gradient, and worker threads do not inherit inference mode."""

    @wraps(function)
    def run(op: Convolution, *args: Any, **kwargs: Any) -> Any:
        check_all_finite("weight", op.weight.detach(), "a spectrum needs finite numbers")
        with torch.inference_mode(False), torch.no_grad():
            if op.weight.is_inference():
                op = op.with_weight(op.weight.clone())
            return function(op, *args, **kwargs)

    return outside_graphs(run)


@_outside_autograd
def svdvals(
    op: Convolution, k: int | None, which: str, bracket: bool, memory_limit: float
) -> Tensor | Bracket:
    """The k largest or smallest singular values (all for None), or a `Bracket` of them."""
    largest = _checked(op, k, which, memory_limit)
    check_flag("bracket", bracket)
    spectrum = Spectrum(op, memory_limit, min(op.shape) if k is None else k)
    return _answer(op, values.svdvals(spectrum, k, largest, bracket), bracket)


@_outside_autograd
def norm(op: Convolution, bracket: bool, memory_limit: float) -> Tensor | Bracket:
    """σ_max, the norm of A, or a `Bracket` of it."""
    b = Spectrum(op, check_memory_limit(memory_limit)).largest(1, check_flag("bracket", bracket))
    return _answer(op, Bracket(b.value[:, 0], b.lower[:, 0], b.upper[:, 0], b.how), bracket)


@_outside_autograd
def cond(op: Convolution, bracket: bool, memory_limit: float) -> Tensor | Bracket:
    """σ_max/σ_min, inf where σ_min is round-off, or a `Bracket` of it."""
    spectrum = Spectrum(op, check_memory_limit(memory_limit))
    return _answer(op, values.cond(spectrum, check_flag("bracket", bracket)), bracket)


@_outside_autograd
def matrix_rank(
    op: Convolution, rtol: float | None, atol: float, bracket: bool, memory_limit: float
) -> Tensor | Bracket:
    """The number of singular values above max(atol, rtol·σ_max), or a `Bracket` of it."""
    request = request_of(0.0, rtol, atol, memory_limit)
    check_flag("bracket", bracket)
    spectrum = Spectrum(op, memory_limit, request=request)
    return _answer(op, values.matrix_rank(spectrum, bracket), bracket)


@_outside_autograd
def logabsdet(op: Convolution, damp: float, memory_limit: float) -> Tensor:
    """½ log det(AᴴA + damp²), for damp = 0 the sum of the logarithms of all singular values."""
    damp = request_of(damp, None, 0.0, memory_limit).damp
    return _shaped(op, log_volumes(op, damp, memory_limit))


@_outside_autograd
def svd(op: Convolution, k: int, which: str, memory_limit: float) -> SVD:
    """The k largest or smallest singular triples."""
    largest = _checked(op, check_count("k", k, least=-math.inf), which, memory_limit)
    need = 4 * k * sum(op.shape) * 16 * (op.batch_size or 1)
    if need > memory_limit:
        raise MemoryLimitError(
            f"k={k} singular vectors take {gigabytes(need)} to find, more than "
            f"memory_limit={gigabytes(memory_limit)}; ask for fewer, or raise it."
        )
    rung = exact_rung(op, memory_limit, 1)
    found = []
    for i in range(op.batch_size or 1):
        if rung is not None:
            t = exact_triples(rung, op.of_sample(i), k, largest)
        else:
            t = _by_lanczos(Spectrum(op, memory_limit).extremes(i), k, largest)
        flip = (lambda v: v) if rung is not None or largest else (lambda v: v.flip(0))
        found.append(SVD(flip(t.U), flip(t.S), flip(t.V)))
    if op.batch_size is None:
        return found[0]
    return SVD(*(torch.stack(parts) for parts in zip(*found, strict=True)))


def _by_lanczos(ends: Extremes, k: int, largest: bool) -> Triples:
    found = ends.largest(k, vectors=True) if largest else ends.smallest(k, vectors=True)
    if not found.converged:
        warn_of_accuracy(
            f"Lanczos did not settle: A V and S U are up to {found.left:.1e}·σ_max apart, as where "
            "many singular values lie close together; a larger k may take in all of them."
        )
    return found.triples


@_outside_autograd
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
