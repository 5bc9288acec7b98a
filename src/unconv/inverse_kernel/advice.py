"""What the zeros of F(ω) mean for an inverse kernel, in a few sentences.

If F has full rank on the whole unit torus, a stable inverse exists (Wiener's lemma), its taps decay
exponentially, and so does the residual with the size of g.  Otherwise none does, and the residual
falls like a small power of the size (zeros.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from .zeros import codimension

if TYPE_CHECKING:
    from .records import InverseKernel

_EXACT = 1e-10  # a residual under it is round-off


def advise(found: InverseKernel) -> tuple[str, ...]:
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
    return bool(found.residual <= _EXACT)


def _remedy(found: InverseKernel) -> str:
    """A size that is exact, if there is one generically."""
    c_out, c_in = found.kernel.shape[:2]
    if found.transfer.zeros or abs(c_out - c_in) < len(found.size):
        return ""
    return "; with so many channels an exact g exists as a rule, see smallest_inverse"


def _place(at: Iterable[float]) -> str:
    values = [f"{0.5 if v == -0.5 else v:.3g}" for v in at]  # the same frequency
    return values[0] if len(values) == 1 else f"({', '.join(values)})"
