"""The ladder: which method answers for which operator.

A rung is one way to invert A, the ladder their order.  The first rung that applies, fits
`memory_limit` and finds no reason against itself while it factors:

1. `fourier`: every axis circular, or unpadded under windows that do not overlap (one tap, patches),
   with the stride dividing its size and no output missing;
2. `cosine`: kernels equal to their flips along every axis, centred, stride 1, mode 'symmetric';
3. `separable`: an outer product of 1-D kernels for each group, or a channel matrix times one;
   any boundary, any stride;
4. `dense`: min(m, n) ≤ 1,024, or ≤ 4,096 where `boundary` gave up;
5. `completion`: damp > 0 where no padding invents pixels, unless another rung below is cheaper;
6. `boundary`: everything else, unless damp > 0 lets iterations answer the expected solves sooner;
7. `krylov`: what does not fit.

A factor of A⁺ is believed when a probe has held it to what it promises (probe.py); if it breaks
that, the rung gives up like one that found a reason against itself.

`method=` forces a rung (what is only a matter of cost then falls, the memory limit stays); an
operator that no rung can serve is refused with the reasons.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..numerics.checks import (
    check_all_finite,
    check_choice,
    check_count,
    check_flag,
    check_function,
    check_memory_limit,
    check_number,
    check_tensor,
    check_values,
)
from ..numerics.memory import return_freed_memory
from ..numerics.plain_values import Values, with_values
from ..numerics.precision import real_working_dtype
from ..numerics.progress import Progress
from ..operators.convolution import Convolution
from ..operators.linear_operator import MemoryLimitError, gigabytes
from . import krylov
from .boundary import system as boundary_system
from .completion import system as completion_system
from .diagonal import (
    cosine,
    dense,
    fourier,
    separable,
)
from .diagonal.protocol import RungModule
from .facts import GIVES_UP, FactorPrecision, Plan
from .mapped import factor_each_damp, factor_mapped
from .operator import InverseOperator
from .request import Request
from .shared_groups import SharedGroups, for_one_group, one_group, plan_of_all
from .trust import refuse_broken, warn_of_ambiguous_rank, warn_of_doubt

_Precision = Callable[[Convolution, Request], FactorPrecision]


@dataclass(frozen=True)
class Rung:
    """One method: when it applies, what it costs, how it factors."""

    name: str
    why: str
    obstacle: Callable[[Convolution, Request], str | None]
    memory: Callable[[Convolution, Request], int]
    memory_if_deficient: Callable[[Convolution, Request], int]
    operations: Callable[[Convolution, Request], tuple[float, float]]
    factor: Callable[[Convolution, Request], InverseOperator]
    can_be_forced: bool  # past its obstacle, which is then only a matter of cost
    proves_itself: bool  # it probes each form that it tries, or judges every answer
    precision: _Precision  # in which it keeps its factor


def _rung(
    name: str,
    module: RungModule,
    precision: _Precision,
    why: str,
    *,
    forced: bool = False,
    proves_itself: bool = False,
) -> Rung:
    deficient = getattr(module, "memory_if_deficient", module.memory)
    functions = module.obstacle, module.memory, deficient, module.operations, module.factor
    return Rung(name, why, *functions, forced, proves_itself, precision)


def _own(op: Convolution, _: Request) -> FactorPrecision:
    return FactorPrecision(real_working_dtype(op.dtype))


def _double(_: Convolution, __: Request) -> FactorPrecision:
    return FactorPrecision(torch.float64)


LADDER = (
    _rung("fourier", fourier, _own, "block-circulant: one small inverse per frequency"),
    _rung("cosine", cosine, _own, "symmetric kernel and boundary: diagonal in cosines"),
    _rung("separable", separable, _own, "an outer product: one SVD per axis"),
    _rung("dense", dense, _own, "small enough for the SVD of its matrix", forced=True),
    _rung(
        "completion",
        completion_system,
        _double,
        "missing outputs are filled in: some pairs of FFTs, with an error bound",
        proves_itself=True,
    ),
    _rung(
        "boundary",
        boundary_system,
        boundary_system.precision,
        "circulant but for thin strips at the border: one LU of the unknowns there",
        forced=True,
        proves_itself=True,
    ),
    _rung(
        "krylov",
        krylov,
        _double,
        "what is left: iterations with an error bound",
        proves_itself=True,
    ),
)


def make_plan(op: Convolution, request: Request) -> Plan:
    """The rung of the ladder that answers for `op`, its reason and its cost; nothing is factored.

    Raises
    ------
    MemoryLimitError
        If no rung fits the memory limit of the request.
    ValueError
        If no rung serves the operator, or the one that is named does not.
    """
    one = one_group(op)
    if one is not None:
        return plan_of_all(op, request, make_plan(one, for_one_group(op, request)))
    return _plan_of(op, request, *_choose(op, request))


def _plan_of(
    op: Convolution, request: Request, rung: Rung, reason: str, rejected: list[tuple[str, str]]
) -> Plan:
    setup, apply = rung.operations(op, request)
    kept = rung.precision(op, request)
    return Plan(
        method=rung.name,
        reason=reason,
        memory=rung.memory(op, request),
        memory_if_deficient=rung.memory_if_deficient(op, request),
        factor_operations=setup,
        apply_operations=apply,
        expected_solves=request.expected_solves,
        factor_dtype=kept.real.to_complex() if op.dtype.is_complex else kept.real,
        rejected=tuple(rejected),
        factor_why=kept.why,
        dearer_if=kept.dearer_if,
    )


def factorize(op: Convolution, request: Request, *, judged: bool = False) -> InverseOperator:
    """Factor `op` on the rung that the ladder gives it, or on the next if that one gives up.

    judged : every answer will have a certificate, which then says what is in doubt
    """
    check_method(request.method)
    check_values("weight", op.weight)
    damp = request.live_damp
    check_damp(damp, op)
    if damp is not None and damp.requires_grad and not request.damp:
        raise ValueError("damp=0 gives A⁺, which has no gradient in damp; use damp > 0, or 0.0.")

    def climb(plain: Convolution, request: Request = request) -> InverseOperator:
        inverse = _climb(plain, request)
        if not (judged or inverse.iterates):  # an iteration judges every answer itself
            warn_of_doubt(inverse)
        return inverse

    def build(values: Values) -> InverseOperator:
        plain = op.with_weight(values.tensors[0])
        if request.damps:
            return factor_each_damp(plain, request, values.mapped[0], climb)
        if values.mapped[0]:
            return factor_mapped(plain, climb)
        return climb(plain)

    # both at once: torch tells of each level of vmap apart what it maps over
    mapped_damp = [damp] if damp is not None and request.damps else []
    inverse = with_values(build, op.weight, *mapped_damp)
    rest = (damp,) if damp is not None and request.damp else inverse.params[1:]
    inverse.depends_on(op.weight, *rest)
    return inverse


def _climb(op: Convolution, request: Request) -> InverseOperator:
    if request.check_finite:
        check_all_finite("weight", op.weight)
    one = one_group(op)
    if one is not None:
        return SharedGroups(op, request, _climb(one, for_one_group(op, request)))
    given_up: list[tuple[str, str]] = []
    dense_serves = (
        request.method == "auto"
        and dense.obstacle_to_last_resort(op) is None
        and dense.memory(op, request) <= request.memory_limit
    )
    request = replace(request, dense_serves=dense_serves)
    while True:
        rung, reason, rejected = _choose(op, request, given_up)
        try:
            inverse = rung.factor(op, request)
            return_freed_memory(sum(b.nbytes for b in inverse.buffers()))  # before its proof
            if not request.damp and not rung.proves_itself:
                refuse_broken(inverse, request)
        except GIVES_UP as why:
            given_up.append((rung.name, str(why)))
        else:
            warn_of_ambiguous_rank(inverse)
            inverse.made_by(_plan_of(op, request, rung, reason, rejected))
            return inverse


def _obstacle(
    rung: Rung, op: Convolution, request: Request, forced: bool, given_up: Mapping[str, str]
) -> str | None:
    """Why a rung is not taken, given those that gave up while they factored."""
    if rung.name in given_up:
        return given_up[rung.name]
    if forced and rung.can_be_forced:
        return None
    if rung.name == "dense" and "boundary" in given_up:
        return dense.obstacle_to_last_resort(op)
    return rung.obstacle(op, request)


def request_of(
    damp: float | Tensor,
    rtol: float | None,
    atol: float,
    memory_limit: float,
    expected_solves: int = 1,
    tol: float | None = None,
    maxiter: int | None = None,
    *,
    method: str = "auto",
    check_finite: bool = True,
    each_damp: bool = False,
    progress: Progress | None = None,
) -> Request:
    """A request of checked values.

    The name of its method is left to those who choose among methods (`check_method`).

    Parameters
    ----------
    damp : a number >= 0, or a tensor of one element, of which a gradient may be asked
    rtol : relative cut-off of singular values, below 1; None for that of the weight's precision
    atol : absolute cut-off
    memory_limit : bytes
    expected_solves, maxiter : whole numbers of at least 1; maxiter=None leaves it to the rung
    tol : relative error that is asked for; None for 1e-6 of iterations and nothing of factors
    each_damp : whether who asks serves a damp that torch.func.vmap maps over
    progress : called as progress(step, fraction) by iterations, or None

    Raises
    ------
    ValueError, TypeError
        One sentence: what was expected, what came, the remedy.
    """
    live = damp if isinstance(damp, Tensor) else None
    damps, mapped = _damps(damp, "damp") if each_damp else ((damp_value(damp),), False)
    if mapped and not min(damps):
        raise ValueError("vmap over damp needs damp > 0 in every slice, and one is 0; use pinv().")
    if rtol is not None:
        rtol = check_number("rtol", rtol, below=1, why=": a cut-off at σ_max leaves nothing of A")
    if tol is not None:
        check_number("tol", tol, positive=True)
    check_count("expected_solves", expected_solves)
    if maxiter is not None:
        check_count("maxiter", maxiter)
    return Request(
        damp=min(damps),
        damps=damps if mapped else (),
        rtol=rtol,
        atol=check_number("atol", atol),
        memory_limit=check_memory_limit(memory_limit),
        expected_solves=expected_solves,
        tol=Request.tol if tol is None else float(tol),
        maxiter=maxiter,
        tol_is_asked=tol is not None,
        method=method,
        check_finite=check_flag("check_finite", check_finite),
        live_damp=live,
        progress=None if progress is None else check_function("progress", progress),
    )


def damp_value(damp: float | Tensor, name: str = "damp") -> float:
    """The number that a damp is, given as one or as a tensor that a gradient may be asked of."""
    values, mapped = _damps(damp, name)
    if mapped:
        raise NotImplementedError(
            f"vmap over {name} is not supported here; `tikhonov` and `lstsq` without a penalty "
            f"support it, elsewhere solve for one {name} after the other."
        )
    return values[0]


def _damps(damp: float | Tensor, name: str) -> tuple[tuple[float, ...], bool]:
    """The number that a damp is, or one for each slice of a vmap; and whether it is mapped."""
    if not isinstance(damp, Tensor):
        return (check_number(name, damp),), False
    check_tensor(name, damp)
    if damp.numel() != 1 or damp.is_complex():
        raise TypeError(
            f"{name} must be a number or a real tensor of one element, got {damp.dtype} of "
            f"shape {tuple(damp.shape)}; solve for one {name} after the other."
        )
    check_values(name, damp)
    values, mapped = with_values(_numbers, damp)
    return tuple(check_number(name, value) for value in values), mapped


def check_damp(damp: float | Tensor | None, op: Convolution) -> None:
    """Refuse a tensor `damp` on another device than the operator: gradients do not travel."""
    if isinstance(damp, Tensor) and damp.device != op.device:
        raise ValueError(
            f"damp is on {damp.device}, the operator on {op.device}; move one with .to(device)."
        )


def _numbers(values: Values) -> tuple[list[float], bool]:
    return values.tensors[0].flatten().tolist(), values.mapped[0]


def positive_damp(damp: float | Tensor) -> float:
    """The value of a `damp` for a method that damp = 0 leaves undefined, such as Tikhonov's."""
    value = damp_value(damp)
    refuse_no_damp(value)
    return value


def refuse_no_damp(damp: float) -> None:
    """Refuse damp = 0 where it is undefined."""
    if damp == 0:
        raise ValueError("damp=0 has no Tikhonov inverse; use pinv() for the pseudo-inverse.")


def check_method(method: str) -> str:
    """The name of a method, refused unless it is 'auto' or a rung of the ladder."""
    check_choice("method", method, ["auto", *(rung.name for rung in LADDER)])
    return method


def _choose(
    op: Convolution, request: Request, given_up: Sequence[tuple[str, str]] = ()
) -> tuple[Rung, str, list[tuple[str, str]]]:
    method = check_method(request.method)
    rejected: list[tuple[str, str]] = []
    too_large: list[tuple[str, int]] = []
    for rung in LADDER:
        if method not in ("auto", rung.name):
            continue
        forced = method == rung.name
        why = _obstacle(rung, op, request, forced, dict(given_up))
        if why is None:
            need = rung.memory(op, request)
            if need <= request.memory_limit:
                return rung, "forced by method=" if forced else rung.why, rejected
            too_large.append((rung.name, need))
            why = f"it needs {gigabytes(need)}, memory_limit is {gigabytes(request.memory_limit)}"
        rejected.append((rung.name, why))
    over_memory = [f"{name} needs {gigabytes(need)}" for name, need in too_large]
    if over_memory:
        raise MemoryLimitError(
            f"no method fits memory_limit={gigabytes(request.memory_limit)}: "
            f"{', '.join(over_memory)}; raise memory_limit or use a smaller input_shape."
        )
    reasons = "; ".join(f"{name}: {why}" for name, why in rejected)
    if method != "auto":
        instead = _choose(op, replace(request, method="auto"), given_up)[0].name
        raise ValueError(
            f"method={method!r} does not serve this operator ({reasons}); use method='auto', which "
            f"takes {instead!r}."
        )
    raise ValueError(
        f"no method serves this operator ({reasons}); give damp > 0, or method='dense' with "
        "patience."
    )
