"""The least-squares problem of an inverse kernel as operators of `unconv`.

As torch.nn correlates, `F.conv2d(F.conv2d(x, f), g)` is the correlation of x with h = f ∗ g, a true
convolution of the taps, and shows x[n + d] where h is δ at the delay d.  By channels,

    left inverse    h[i, j] = Σ_o g[i, o] ∗ f[o, j] = δ_ij δ_d       conv(conv(x, f), g) ≈ x
    right inverse   h[o, p] = Σ_i f[o, i] ∗ g[i, p] = δ_op δ_d       conv(conv(u, g), f) ≈ u

A left inverse decouples into the rows of g, a right inverse into its columns.  All of them have the
same operator A and differ in the data alone: they are the images of one batch.

True convolution of the taps commutes with flipping all of them: where f convolves, g does too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..doors import ConvOperator
from ..inverse import Certificate, InverseOperator
from ..inverse.certificate import certified
from ..inverse.plan import damp_value
from ..numerics.checks import (
    check_all_finite,
    check_choice,
    check_memory_limit,
    check_tensor,
    check_values,
    is_sequence,
    shown,
)
from ..numerics.precision import double_dtype
from ..operators.linear_operator import MemoryLimitError, gigabytes

SIDES = ("auto", "left", "right")
EXACT_RESIDUAL = 1e-10
"""‖A g − δ‖ up to which an inverse kernel is exact: δ has norm one, and the rest is round-off."""

Size = int | Sequence[int]


@dataclass(frozen=True)
class Problem:
    """min over g of ‖f ∗ g − δ_d‖², for every d.

    Attributes
    ----------
    kernel : (c_out, c_in, *k), f in double precision
    size : of g, an axis
    side : 'left' or 'right'
    A : maps a row (left) or column (right) of g, (channels, *size), to (c, *full)
    """

    kernel: Tensor
    size: tuple[int, ...]
    side: str
    A: ConvOperator

    @property
    def full(self) -> tuple[int, ...]:
        """Sizes of f ∗ g."""
        return self.A.range_shape[1:]

    @property
    def channels(self) -> int:
        """Number c of rows or columns: min(c_in, c_out) or fewer."""
        return self.A.range_shape[0]

    def delta(self, delay: tuple[int, ...]) -> Tensor:  # (c, c, *full)
        """The data y of all rows as one batch: the identity matrix at the delay, zero elsewhere."""
        c, full = self.channels, self.full
        delta = torch.zeros(full, dtype=self.kernel.dtype, device=self.kernel.device)
        delta[delay] = 1
        identity = torch.eye(c, dtype=delta.dtype, device=delta.device)
        return identity.reshape(c, c, *[1] * len(full)) * delta

    def turned(self, rows: Tensor) -> Tensor:
        """Rows as they are solved for, (c, channels, *n), as taps (out, in, *n), or the reverse."""
        return rows if self.side == "left" else rows.transpose(0, 1)

    def respond(self, weight: Tensor) -> Tensor:  # (c_in, c_out, *size) -> (c, c, *full)
        """f ∗ g in double precision."""
        return self.turned(self.A(self.turned(weight.to(self.kernel.dtype))))

    def factor(
        self, damp: float | Tensor, memory_limit: float, expected_solves: int
    ) -> InverseOperator:
        """A⁺, or its damped form, by a direct method; MemoryLimitError where none fits."""
        value = damp_value(damp)
        check_memory_limit(memory_limit)
        method = self._direct_method(value, memory_limit, expected_solves)
        if value == 0:
            return self.A.pinv(
                method=method, memory_limit=memory_limit, expected_solves=expected_solves
            )
        return self.A.tikhonov(
            damp, method=method, memory_limit=memory_limit, expected_solves=expected_solves
        )

    def solve(self, inverse: InverseOperator, y: Tensor) -> tuple[Tensor, Certificate]:
        """The rows of g for data y, (c, c, *full), and the evidence for them."""
        rows, effort = inverse.solution(y)
        return rows, certified(inverse, rows, y, effort)

    def _direct_method(self, damp: float, memory_limit: float, expected_solves: int) -> str:
        """The method that `pinv` plans, or 'boundary' where that would iterate."""
        plan = self.A.plan(damp=damp, memory_limit=math.inf, expected_solves=expected_solves)
        if plan.method in ("completion", "krylov"):  # cheaper, but they stop at a tolerance
            plan = self.A.plan(damp=damp, memory_limit=math.inf, method="boundary")
        if plan.memory > memory_limit:
            raise MemoryLimitError(
                f"a kernel of size {self.size} takes {gigabytes(plan.memory)} "
                f"({plan.method}), more than memory_limit={gigabytes(memory_limit)}; use a smaller "
                "size or a larger memory_limit."
            )
        return plan.method


def pose(weight: Tensor, size: Size, side: str = "auto") -> Problem:
    """The problem of a kernel and a size, checked."""
    kernel, size = kernel_and_size(weight, size)
    c_out, c_in = kernel.shape[:2]
    side = chosen_side(side, c_out, c_in)
    # Rows of g see the channels of f the other way round.
    taps = kernel.transpose(0, 1) if side == "left" else kernel
    return Problem(kernel, size, side, ConvOperator(taps, size, padding="full", flip=True))


def kernel_and_size(weight: Tensor, size: Size) -> tuple[Tensor, tuple[int, ...]]:
    """f as (c_out, c_in, *k) in double precision, and one size per axis."""
    check_values("weight", check_tensor("weight", weight))
    size = _sizes(size, weight.ndim)
    nd = len(size)
    if weight.ndim not in (nd, nd + 2):
        raise ValueError(
            f"weight has shape {tuple(weight.shape)}; for the {nd} axes of size={size} expected "
            f"{nd} axes of taps, or {nd + 2} (c_out, c_in, *taps); match size to the kernel."
        )
    if weight.numel() == 0:
        raise ValueError(f"weight has shape {tuple(weight.shape)}; it must hold at least one tap.")
    check_all_finite("weight", weight, "an inverse needs finite numbers")
    if not bool((weight != 0).any()):
        raise ValueError(
            "weight holds zeros alone, and nothing undoes that; give a kernel with a tap."
        )
    kernel = weight if weight.ndim == nd + 2 else weight[None, None]
    return kernel.to(double_dtype(weight.dtype)), size


def _sizes(size: Size, ndim: int) -> tuple[int, ...]:
    """One size per axis, of taps alone or behind two axes of channels; an integer is for all."""
    if isinstance(size, int) and not isinstance(size, bool):
        size = (size,) * (ndim - 2 if ndim > 2 else ndim)
    if not is_sequence(size) or not all(map(_is_whole, size)):
        raise TypeError(
            f"size={shown(size)} must be a whole number or a tuple of them, such as (9, 9)."
        )
    size = tuple(size)
    if len(size) not in (1, 2, 3):
        raise ValueError(
            f"size={size} has {len(size)} axes; expected 1, 2 or 3, one per axis of the kernel."
        )
    if min(size) < 1:
        raise ValueError(f"size={size} has an empty axis; every size of g must be at least 1.")
    if max(size) > 2**40:
        raise ValueError(f"size={shown(size)} is out of range; sizes go up to 2^40.")
    return size


def center_of(full: tuple[int, ...]) -> tuple[int, ...]:
    """The middle sample of each axis, the earlier one of two."""
    return tuple((m - 1) // 2 for m in full)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def chosen_side(side: str, c_out: int, c_in: int) -> str:
    """'left' or 'right'; a left inverse exists where there are at least as many outputs."""
    check_choice("side", side, SIDES)
    if side == "auto":
        return "left" if c_out >= c_in else "right"
    if (c_out < c_in) if side == "left" else (c_out > c_in):
        sign, other = (">=", "right") if side == "left" else ("<=", "left")
        raise ValueError(
            f"a {side} inverse needs c_out {sign} c_in, got c_out={c_out}, c_in={c_in}; use "
            f"side={other!r} or 'auto'."
        )
    return side


def chosen_delay(delay: str | Sequence[int], full: tuple[int, ...]) -> tuple[int, ...] | None:
    """A position of f ∗ g, or None for the best one."""
    if isinstance(delay, str):
        check_choice("delay", delay, ("center", "best"), ", or a position")
        return None if delay == "best" else center_of(full)
    if not (is_sequence(delay) and all(map(_is_whole, delay))):
        raise TypeError(
            f"delay={shown(delay)} must be 'center', 'best' or a tuple of whole numbers."
        )
    position: tuple[int, ...] = (*delay,)
    if len(position) != len(full) or not all(
        0 <= d < m for d, m in zip(position, full, strict=True)
    ):
        raise ValueError(
            f"delay={shown(position)} lies outside f ∗ g, which has the sizes {full}; use one "
            f"position per axis from 0 to {tuple(m - 1 for m in full)}."
        )
    return position
