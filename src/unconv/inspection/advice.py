"""What follows from the figures, in a few sentences."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .records import Bounded, Transfer


def advise(
    shape: tuple[int, int],
    S: Tensor,
    high: Bounded,
    low: Bounded,
    cond: Bounded,
    damp: float,
    gain: float,
    transfer: Transfer,
) -> tuple[str, ...]:
    """One to three sentences: whether A can be undone, and what it takes."""
    if high.upper == 0:
        return ("The kernel is zero: nothing can be restored.",)
    (m, n), waves = shape, _places(transfer)
    sentences, able = [], "Invertible" if m >= n else "Solvable"
    if math.isinf(cond.value):
        why = waves or "σ_min is zero to round-off"
        sentences.append(f"An exact inverse does not exist: {why}.")
    elif math.isnan(cond.value):
        why = f"; {waves}" if waves else ""
        sentences.append(
            f"How small σ_min is was not computed, only that it is ≤ {low.upper:.2g}{why}."
        )
    elif damp == 0:
        sentences.append(
            f"{able} to round-off: pinv() is exact to about {cond.value * 2.2e-16:.0e} "
            f"relative, and white noise grows {gain:.3g} times as much as what σ_max transmits."
        )
    else:
        also = f": {waves}" if waves else ""
        sentences.append(
            f"{able} for exact data (condition {cond.value:.2g}), but noise is amplified{also}."
        )
    if m < n:
        sentences.append(f"A has {m:,} outputs for {n:,} unknowns: pinv() takes the smallest x.")
    if damp:
        part = float((damp >= S).double().mean())
        sentences.append(_lost(transfer, part, damp, high.value))
    return tuple(sentences)


def _places(transfer: Transfer) -> str:
    """Words for the places where |F| is zero."""
    if not transfer.zeros:
        return ""
    names = [", ".join(f"{v:.3g}" for v in z) for z in transfer.zeros]
    if len(transfer.at) == 1:
        more = " and elsewhere" if len(names) > 3 else ""
        return f"|F| is zero at {', '.join(names[:3])}{more} cycles per sample"
    if len(names) == 1:
        return f"|F| is zero at ({names[0]}) cycles per sample"
    radius = math.hypot(*transfer.zeros[0])
    return f"|F| is zero at many |ω| ≥ {radius:.2g} cycles per sample, first at ({names[0]})"


def _lost(transfer: Transfer, part: float, damp: float, top: float) -> str:
    """Words for what a damp takes away: a part of the singular values, from a frequency on."""
    under = transfer.smallest <= damp
    says = (
        f"Needs damp about {damp:.2g} ({damp / top:.2g} of σ_max): noise then grows ten times as "
        "much as what σ_max transmits"
    )
    if part == 0 or not bool(under.any()):
        return f"{says}."
    grid = torch.meshgrid(*transfer.frequencies, indexing="ij")
    begin = float(torch.stack(grid).square().sum(0).sqrt()[under].amin())
    where = f"{begin:.2g} cycles per sample" if begin else "the zero frequency"
    return f"{says}, and {100 * part:.3g} % of the waves fall under it, the first at {where}."
