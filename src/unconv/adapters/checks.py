"""What every adapter refuses, in one sentence."""

from __future__ import annotations

from ..linear_operator import LinearOperator
from ..operator import ConvOperator


def check_one_kernel(op: LinearOperator, target: str) -> None:
    """Other packages have one operator for the whole batch."""
    if op.batch_size is not None:
        raise ValueError(
            f"{target} has one operator for the whole batch, got one kernel for each of "
            f"{op.batch_size} samples; adapt each one, as `op.of_sample(i)` gives it."
        )
    if op.device.type == "meta":
        raise ValueError("the operator is on the meta device and has no values; move it first.")


def check_convolution(op: object, target: str) -> ConvOperator:
    """What can be inverted is a ConvOperator with one kernel."""
    if not isinstance(op, ConvOperator):
        raise TypeError(
            f"{target} needs an unconv.ConvOperator, got {type(op).__name__}; adapt the "
            "convolution itself."
        )
    check_one_kernel(op, target)
    return op
