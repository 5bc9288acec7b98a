"""What is known of an inverse kernel, as one record."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor

from ..inspection import Transfer
from ..inverse import Certificate
from .advice import advise
from .exact import ExactInverse
from .zeros import transfer_of


@dataclass(frozen=True, eq=False)
class InverseKernel:
    """The least-squares best inverse kernel g of f, and how good it is.

    The tensors are differentiable in f.  `transfer` and `advice` are computed when first read.

    Attributes
    ----------
    weight : (c_in, c_out, *size), g for `F.conv*d`, of the dtype of f
    response : (c, c, *full), f ∗ g in double precision, full = k + size − 1
    residual : (), ‖f ∗ g − δ‖₂ over all channels
    noise_gain : (), ‖g‖₂: white noise of standard deviation 1 in the data leaves the filter with
        this, root of the sum of squares over the outputs
    delay : conv(conv(x, f), g)[n] ≈ x[n + delay]
    side : 'left', conv(conv(x, f), g) ≈ x, or 'right', conv(conv(u, g), f) ≈ u
    damp : of ‖f ∗ g − δ‖² + damp²‖g‖²
    method : what solved it
    certificate : of the solve, one entry a row (left) or column (right) of g; None where
        `weighting` or `exact` were asked for
    exact : the fractions, if they were asked for
    kernel : (c_out, c_in, *k), f in double precision
    """

    weight: Tensor
    response: Tensor
    residual: Tensor
    noise_gain: Tensor
    delay: tuple[int, ...]
    side: str
    damp: float
    method: str
    certificate: Certificate | None
    exact: ExactInverse | None
    kernel: Tensor

    @property
    def size(self) -> tuple[int, ...]:
        """Sizes of g."""
        return tuple(self.weight.shape[2:])

    @cached_property
    def transfer(self) -> Transfer:
        """|F(ω)| on the unit torus, its minimum and where, and its zeros; cycles per sample."""
        return transfer_of(self.kernel.detach())

    @cached_property
    def advice(self) -> tuple[str, ...]:
        """Whether a stable or an exact inverse exists, how the residual falls, the noise."""
        return advise(self)

    def as_dict(self) -> dict[str, Any]:
        """Numbers, strings and lists only, without the taps."""
        return {
            "size": list(self.size),
            "delay": list(self.delay),
            "side": self.side,
            "damp": self.damp,
            "method": self.method,
            "residual": float(self.residual.detach()),
            "noise_gain": float(self.noise_gain.detach()),
            "smallest_response": self.transfer.minimum,
            "smallest_response_at": list(self.transfer.at),
            "zeros": [list(zero) for zero in self.transfer.zeros],
            "advice": list(self.advice),
        }
