"""What is known of an inverse kernel, as one record, and what it means, in a few sentences.

If F has full rank on the whole unit torus, a stable inverse exists (Wiener's lemma), its taps decay
exponentially, and so does the residual with the size of g.  Otherwise none does, and the residual
falls like a small power of the size (zeros.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor

from ..inspection import Transfer
from ..inverse import Certificate
from .exact import ExactInverse
from .problem import EXACT_RESIDUAL
from .zeros import codimension, transfer_of


@dataclass(frozen=True, eq=False, repr=False)
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

    def __repr__(self) -> str:
        """Its sizes and how good it is, in ten lines, and not its taps."""
        sizes = " × ".join(map(str, self.weight.shape))
        rows = {
            "kernel f": " × ".join(map(str, self.kernel.shape)),
            "delay": ", ".join(map(str, self.delay)),
            "side": self.side,
            "damp": f"{self.damp:g}",
            "method": self.method,
            "residual": f"{float(self.residual.detach()):.4g}, of ‖f ∗ g − δ‖",
            "noise_gain": f"{float(self.noise_gain.detach()):.4g}",
            "exact": "not asked for" if self.exact is None else "fractions in .exact",
            "more": ".weight, .response, .transfer, .advice",
        }
        lines = [f"  {name:12}{value}" for name, value in rows.items()]
        return "\n".join([f"InverseKernel g of {sizes}, {self.weight.dtype}", *lines])

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
        return _advise(self)

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


def _advise(found: InverseKernel) -> tuple[str, ...]:
    """Whether a stable inverse exists, how the residual falls, how good g is, what noise does."""
    residual, gain = (float(v.detach()) for v in (found.residual, found.noise_gain))
    sentences = _existence(found)
    if _is_exact(found):
        sentences.append(f"g is exact to round-off: ‖f ∗ g − δ‖ = {residual:.1g}.")
    else:
        part = 100 * residual / math.sqrt(len(found.response))
        sentences.append(f"g misses δ by {residual:.4g}, {part:.3g} % of it{_remedy(found)}.")
    sentences.append(f"White noise of standard deviation 1 leaves g with {gain:.3g}.")
    if found.certificate is not None and not bool(found.certificate.converged.all()):
        sentences.append(f"The solve fell short of round-off: {found.certificate.advice}.")
    return tuple(sentences)


def _existence(found: InverseKernel) -> list[str]:
    transfer = found.transfer
    if not transfer.zeros:
        falls = ", and the residual falls exponentially with the size"
        return [
            f"|F(ω)| is at least {transfer.minimum:.3g}, at {_place(transfer.at)} cycles per "
            f"sample: a stable inverse exists{'' if _is_exact(found) else falls}."
        ]
    elsewhere = " and elsewhere" if len(transfer.zeros) > 1 else ""
    what = "is zero" if found.kernel.shape[:2] == (1, 1) else "loses rank"
    power = codimension(found.kernel.detach(), transfer.zeros) / 2
    return [
        f"F(ω) {what} at {_place(transfer.zeros[0])}{elsewhere}, cycles per sample: no stable "
        "inverse exists.",
        f"The residual falls like size^(-{power:g}) at best.",
    ]


def _is_exact(found: InverseKernel) -> bool:
    return bool(found.residual <= EXACT_RESIDUAL)


def _remedy(found: InverseKernel) -> str:
    """A size that is exact, if there is one generically."""
    c_out, c_in = found.kernel.shape[:2]
    if found.transfer.zeros or abs(c_out - c_in) < len(found.size):
        return ""
    return "; with so many channels an exact g exists as a rule, see smallest_inverse"


def _place(at: Iterable[float]) -> str:
    values = [f"{0.5 if v == -0.5 else v:.3g}" for v in at]  # the same frequency
    return values[0] if len(values) == 1 else f"({', '.join(values)})"
