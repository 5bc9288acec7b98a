"""Whether, and how well, a convolution can be undone: the figures of its spectrum in one record.

Three questions have answers in singular values σ₁ ≥ … ≥ σ_p of A, p = min(m, n):

    exists    σ_p > 0, and the waves that are lost where the response |F(ω)| is zero
    noise     white noise grows to the rms  √(Σ_{σ > τ} 1/σ² / n)  under A⁺ cut at τ
    damp      √(Σ (σ/(σ² + damp²))² / n) falls with damp; where it is `NOISE_GAIN`, damping starts

`response.py` has |F(ω)| and its zeros, `values.py` the singular values, `advice.py` the sentences.
Cost: a few seconds of one core.  What would take longer is left out and listed in `skipped`.
"""

from __future__ import annotations

import torch

from ..doors import ConvOperator
from ..inverse.request import default_rtol
from ..numerics.checks import check_all_finite, check_kind, check_memory_limit
from ..numerics.compiled import outside_graphs
from ..operators.linear_operator import DEFAULT_MEMORY_LIMIT, MemoryLimitError, gigabytes
from .advice import advise
from .records import (
    NOISE_GAIN,
    RTOLS,
    Bounded,
    Inspection,
    Level,
    Transfer,
)
from .response import transfer_function
from .values import (
    condition,
    damp_for,
    level,
    spectrum,
)

__all__ = [
    "NOISE_GAIN",
    "RTOLS",
    "Bounded",
    "Inspection",
    "Level",
    "Transfer",
    "inspect_operator",
    "transfer_function",
]


@outside_graphs
def inspect_operator(op: ConvOperator, *, memory_limit: float = DEFAULT_MEMORY_LIMIT) -> Inspection:
    """The figures of one operator that say whether and how well it can be undone.

    Parameters
    ----------
    op : with one kernel for all samples
    memory_limit : bytes that a step may take

    Returns
    -------
    Inspection
        Shapes, extremes, condition, rank, singular values, what cut-offs keep, the response of the
        kernel with its zeros, advice in sentences, and what was left out for its cost.

    Raises
    ------
    ValueError
        If the weight holds NaN, or there is one kernel per sample.
    MemoryLimitError
        If the vectors alone do not fit; nothing has been allocated then.

    Examples
    --------
    >>> import torch, unconv
    >>> K = torch.tensor([[[1.0, 2.0, 1.0]]])
    >>> A = unconv.ConvOperator(K, (12,), padding=1, padding_mode="circular")
    >>> found = inspect_operator(A)
    >>> found.transfer.zeros, found.levels[0].rank
    (((0.5,),), 11)
    >>> found.advice[0]
    'An exact inverse does not exist: |F| is zero at 0.5 cycles per sample.'
    """
    _check(op, memory_limit)
    with torch.no_grad():
        plan = op.plan(memory_limit=memory_limit)
        transfer = transfer_function(op)
        found = spectrum(op, plan, transfer, memory_limit)
    S, n, top = found.values, found.unknowns, float(found.values[0])
    damp, gain = damp_for(S[default_rtol(op) * top < S], n)
    cond = condition(op, found.high, found.low)
    return Inspection(
        shape=op.shape,
        domain_shape=op.domain_shape,
        range_shape=op.range_shape,
        boundary=_boundary(op),
        stride=tuple(a.stride for a in op.geometry.axes),
        groups=op.geometry.groups,
        kernel=op.taps.detach().clone(),
        method=plan.method,
        reason=plan.reason,
        sigma_max=found.high,
        sigma_min=found.low,
        cond=cond,
        rank=found.rank,
        singular_values=S,
        values_of=found.values_of,
        levels=tuple(level(S, n, rtol, top) for rtol in (*RTOLS, default_rtol(op))),
        transfer=transfer,
        damp=damp,
        damped_gain=gain,
        advice=advise(op.shape, S, found.high, found.low, cond, damp, gain, transfer),
        skipped=found.skipped,
    )


def _check(op: ConvOperator, memory_limit: float) -> None:
    check_kind("op", op, ConvOperator, "build one from the weight")
    check_memory_limit(memory_limit)
    if op.batch_size is not None:
        raise ValueError(
            f"the operator has {op.batch_size} kernels, one per sample; inspect one of them, "
            "op.of_sample(i)."
        )
    check_all_finite("weight", op.weight, "a spectrum needs finite numbers")
    need = 64 * max(op.shape) + 16 * op.weight.numel()  # the values, sorted, and some vectors
    if need > memory_limit:
        raise MemoryLimitError(
            f"an inspection of {max(op.shape):,} unknowns takes {gigabytes(need)}, more than "
            f"memory_limit={gigabytes(memory_limit)}; use smaller sizes or raise it."
        )


def _boundary(op: ConvOperator) -> str:
    axes = op.geometry.axes
    return axes[0].mode if any(a.before or a.after for a in axes) else "valid"
