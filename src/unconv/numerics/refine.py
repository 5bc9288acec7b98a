"""Iterative refinement until the next step would change nothing that can be seen.

Source: Björck, "Numerical Methods for Least Squares Problems", SIAM 1996, §2.9.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from .norms import nonzero, norms

MOST_PASSES = 40  # at the least gain a pass, 12 digits
_ENOUGH = 1e-16  # of the solution: what the next step would change, half an eps
_LEAST_GAIN = 0.5  # of a step by the next one, or there is nothing more to gain

Unknowns = tuple[Tensor, ...]


def refine(
    found: Unknowns,
    step: Callable[[Unknowns], Unknowns],
    wanted: int,
    scale: Tensor,
    beside: int | None = None,
) -> tuple[Unknowns, int]:
    """Add steps as long as they shrink; the unknowns and the number of steps.

    Parameters
    ----------
    found : images (N, ...) of a first solve
    step : what another solve makes of the residuals of the unknowns
    wanted : index of the unknown whose steps are watched
    scale : (N,) what the first solve may be wrong by, in the unit of the wanted unknown: its own
        norm is too little where it is round-off of the data, as A⁺y is for y outside the range
    beside : index of another unknown that shall have settled too
    """
    before, done = norms(found[wanted]) + scale, 0
    before_beside = None if beside is None else norms(found[beside])
    while done < MOST_PASSES:
        done += 1
        change = step(found)
        size = norms(change[wanted])
        rate = size / nonzero(before)
        shrinks = (rate < 1).to(change[0].dtype)
        found = tuple(
            u + shrinks.reshape(-1, *[1] * (u.ndim - 1)) * c
            for u, c in zip(found, change, strict=True)
        )
        settled = (size * rate <= _ENOUGH * norms(found[wanted])) | ~(rate <= _LEAST_GAIN)
        if beside is not None and before_beside is not None:
            other = norms(change[beside])
            gain = other / nonzero(before_beside)
            settled &= (other * gain <= _ENOUGH * norms(found[beside])) | ~(gain <= _LEAST_GAIN)
            before_beside = other
        if bool(settled.all()):
            break
        before = size
    return found, done
