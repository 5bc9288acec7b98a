"""The ladder: which method answers for which operator.

In order, the first rung that applies and fits `memory_limit`:

1. `fourier`: every axis circular, or unpadded under windows that do not overlap (one tap, patches),
   with the stride dividing its size and no output missing;
2. `dense`: min(m, n) ≤ 4,096.

`method=` forces a rung (the size limit of `dense` then falls, its memory limit stays); an operator
that no rung can serve is refused with the reasons.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from ..linear_operator import MemoryLimitError, check_all_finite, gigabytes
from ..operator import ConvOperator
from ..precision import real_working_dtype
from . import dense, fourier
from .base import InverseOperator, Options


@dataclass(frozen=True)
class Rung:
    """One method: when it applies, what it costs, how it factors."""

    name: str
    why: str
    obstacle: Callable[[ConvOperator], str | None]
    memory: Callable[[ConvOperator], int]
    operations: Callable[[ConvOperator], tuple[float, float]]
    factor: Callable[[ConvOperator, Options, bool], InverseOperator]
    can_be_forced: bool  # past its obstacle, which is then only a matter of cost


LADDER = tuple(
    Rung(name, why, rung.obstacle, rung.memory, rung.operations, rung.factor, forced)
    for name, why, rung, forced in (
        ("fourier", "block-circulant: one small inverse a frequency", fourier, False),
        ("dense", "small enough for the SVD of its matrix", dense, True),
    )
)


@dataclass(frozen=True)
class Plan:
    """Which rung answers, why, and what it will cost; `print(plan)` shows it.

    Attributes
    ----------
    method, reason : the rung and why it was taken
    memory : bytes at the peak of the factorisation
    factor_operations, apply_operations : flop of the set-up and of one solve of one image
    factor_dtype : dtype in which the factor is kept; it is computed in double precision
    rejected : (rung, reason) for each rung above
    """

    method: str
    reason: str
    memory: int
    factor_operations: float
    apply_operations: float
    expected_solves: int
    factor_dtype: torch.dtype
    rejected: tuple[tuple[str, str], ...]

    @property
    def total_operations(self) -> float:
        """Flop of the set-up and all expected solves."""
        return self.factor_operations + self.expected_solves * self.apply_operations

    def __str__(self) -> str:
        lines = [
            f"method   {self.method}: {self.reason}",
            f"memory   {gigabytes(self.memory)} at the peak of the set-up",
            f"set-up   {self.factor_operations:.2g} flop",
            f"solve    {self.apply_operations:.2g} flop an image, {self.expected_solves} expected",
            f"factor   computed in double precision, kept in {self.factor_dtype}",
        ]
        return "\n".join(lines + [f"not      {name}: {why}" for name, why in self.rejected])


def make_plan(
    op: ConvOperator, damp: float, method: str, memory_limit: float, expected_solves: int
) -> Plan:
    """Climb the ladder."""
    _check_number("damp", damp)
    rung, reason, rejected = _choose(op, method, memory_limit)
    setup, apply = rung.operations(op)
    working = real_working_dtype(op.dtype)
    return Plan(
        method=rung.name,
        reason=reason,
        memory=rung.memory(op),
        factor_operations=setup,
        apply_operations=apply,
        expected_solves=expected_solves,
        factor_dtype=working.to_complex() if op.dtype.is_complex else working,
        rejected=tuple(rejected),
    )


def factorize(
    op: ConvOperator,
    damp: float,
    rtol: float | None,
    atol: float,
    method: str,
    memory_limit: float,
    check_finite: bool,
) -> InverseOperator:
    """Factor `op` on the rung that the ladder gives it."""
    _check_number("damp", damp)
    for name, value in (("rtol", rtol), ("atol", atol)):
        if value is not None:
            _check_number(name, value)
    rung, _, _ = _choose(op, method, memory_limit)
    if check_finite:
        check_all_finite("weight", op.weight.detach())
    options = Options(float(damp), rtol, float(atol))
    # A factor outlives the mode it was made in, and worker threads do not inherit it.
    with torch.inference_mode(False), torch.no_grad():
        if op.weight.is_inference():
            op = op.with_weight(op.weight.clone())
        return rung.factor(op, options, check_finite)


def positive_damp(damp: float) -> float:
    """`damp` for a method that is defined by it."""
    _check_number("damp", damp)
    if damp == 0:
        raise ValueError("damp=0 has no Tikhonov inverse; use pinv() for the pseudo-inverse.")
    return float(damp)


def _check_number(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number, got {type(value).__name__}; use float({name}).")
    if not (0 <= value < math.inf):
        raise ValueError(f"{name}={value!r} must be a finite number >= 0.")


def _choose(
    op: ConvOperator, method: str, memory_limit: float
) -> tuple[Rung, str, list[tuple[str, str]]]:
    names = [rung.name for rung in LADDER]
    if method not in ("auto", *names):
        known = ", ".join(map(repr, ["auto", *names]))
        raise ValueError(f"method={method!r} is not known; use one of {known}.")
    rejected: list[tuple[str, str]] = []
    over_memory = False
    for rung in LADDER:
        if method not in ("auto", rung.name):
            continue
        forced = method == rung.name
        why = None if forced and rung.can_be_forced else rung.obstacle(op)
        if why is None:
            need = rung.memory(op)
            if need <= memory_limit:
                return rung, "forced by method=" if forced else rung.why, rejected
            over_memory = True
            why = f"it needs {gigabytes(need)}, memory_limit is {gigabytes(memory_limit)}"
        rejected.append((rung.name, why))
    reasons = "; ".join(f"{name}: {why}" for name, why in rejected)
    remedy = (
        "raise memory_limit, use a smaller input_shape"
        if over_memory
        else "use padding_mode='circular', a smaller input_shape, or method='dense' with patience"
    )
    error = MemoryLimitError if over_memory else ValueError
    raise error(f"no method serves this operator ({reasons}); {remedy}.")
