"""What every adapter refuses, in one sentence."""

from __future__ import annotations

from ..operators.convolution import Convolution
from ..operators.scipy_operator import check_one_kernel


def check_convolution(op: object, target: str) -> Convolution:
    """Refuse what is no convolution, or has a kernel for each sample: adapters have one for all."""
    if not isinstance(op, Convolution):
        raise TypeError(
            f"{target} needs an unconv.ConvOperator, got {type(op).__name__}; adapt the "
            "convolution itself."
        )
    check_one_kernel(op, target)
    return op
