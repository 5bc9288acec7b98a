"""The delay whose error is least, from one factor.

With R = I − A(AᴴA + λ)⁻¹Aᴴ, λ = damp², the error of the best g for the delay d is an entry of a
diagonal (summed over the c channels):

    ‖A g − δ_d‖² + λ‖g‖² = R_dd = ‖R δ_d‖² + λ‖(AᴴA + λ)⁻¹Aᴴ δ_d‖²

Up to `EXHAUSTIVE` delays each is solved for: exact.  Beyond, R_dd is a squared length, and random
projections keep lengths: with Gaussian w and v,

    R_dd = E (R w)_d² + λ E (A(AᴴA + λ)⁻¹ v)_d²

so `SKETCHES` solves tell all delays at once to 1/8, relative.  The most promising ones and the
centre are solved for, and from the best of them the search descends from neighbour to neighbour.
The error that is returned is then exact, and only whether another delay is better by less than the
spread of the sketch is left open.

Source: Drineas, Magdon-Ismail, Mahoney & Woodruff, "Fast approximation of matrix coherence and
statistical leverage", JMLR 13 (2012).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..inverse import InverseOperator
from ..numerics.compiled import outside_graphs
from ..operators.linear_operator import DEFAULT_MEMORY_LIMIT
from .problem import (
    EXACT_RESIDUAL,
    Problem,
    Size,
    center_of,
    pose,
)

EXHAUSTIVE = 2048
"""Delays, times channels, that are solved for one by one."""

SKETCHES = 128
"""Random solves that tell all delays at once, each to √(2/128) = 1/8."""

_SKETCHED = 32  # best delays of the sketch that are solved for: the best is among them as a rule
_DESCENTS = 16  # steps from neighbour to neighbour, at most
_RIGHT_SIDES_BYTES = 32 * 2**20  # right-hand sides at a time, beside a factor that is larger
_TIED = 1e-9  # relative difference of errors (squares of residuals) that round-off may make

Delay = tuple[int, ...]


@outside_graphs
def errors_by_delay(
    weight: Tensor,
    size: Size,
    *,
    damp: float = 0.0,
    side: str = "auto",
    memory_limit: float = DEFAULT_MEMORY_LIMIT,
) -> Tensor:
    """‖f ∗ g − δ_d‖² + damp²‖g‖² of the best g for every delay d, from one factorisation.

    Parameters
    ----------
    weight : f, (*k), or (c_out, c_in, *k), floating point or complex
    size
        Taps of g, one number per axis (1 to 3 axes), or one for all axes.
    damp : ≥ 0
    side
        'left' for g ∗ f ≈ δ between channels, 'right' for f ∗ g ≈ δ, 'auto' for whichever can be.
    memory_limit : bytes that the factor may take

    Returns
    -------
    (*full) float64, the sizes of f ∗ g; exact, by one solve a delay and channel.

    Raises
    ------
    MemoryLimitError
        If no direct method fits `memory_limit`; nothing was allocated.
    ValueError, TypeError
        A kernel of zeros, an empty size, …

    Examples
    --------
    >>> import torch
    >>> from unconv.fir import errors_by_delay
    >>> errors_by_delay(torch.tensor([1.0, 0.5]), (2,))
    tensor([0.0476, 0.1905, 0.7619], dtype=torch.float64)
    """
    problem = pose(weight, size, side)
    delays = list(itertools.product(*map(range, problem.full)))
    with torch.no_grad():
        inverse = problem.factor(damp, memory_limit, len(delays) * problem.channels)
        return exact_errors(problem, inverse, delays).reshape(problem.full)


def solves_for_best(problem: Problem) -> int:
    """How many right-hand sides `best_delay` will have, about."""
    every = math.prod(problem.full) * problem.channels
    return every if every <= EXHAUSTIVE else 2 * SKETCHES


def best_delay(problem: Problem, inverse: InverseOperator) -> Delay:
    """The delay of least error, nearest to the centre among equals."""
    with torch.no_grad():
        delays = list(itertools.product(*map(range, problem.full)))
        if len(delays) * problem.channels <= EXHAUSTIVE:
            return _best(problem, delays, exact_errors(problem, inverse, delays))[0]
        sketch = sketched_errors(problem, inverse).flatten()
        promising = sketch.topk(_SKETCHED, largest=False).indices.tolist()
        return _descend(
            problem, inverse, [center_of(problem.full), *(delays[i] for i in promising)]
        )


def exact_errors(problem: Problem, inverse: InverseOperator, delays: Sequence[Delay]) -> Tensor:
    """R_dd, (len(delays),), by one solve a delay and channel."""
    step = max(1, _batch(problem) // problem.channels)
    errors = []
    for start in range(0, len(delays), step):
        some = delays[start : start + step]
        y = torch.cat([problem.delta(d) for d in some])
        x = inverse(y)
        of_rows = _squares(y - problem.A(x)) + _squares(inverse.damp * x)
        errors.append(of_rows.reshape(len(some), -1).sum(1))
    return torch.cat(errors)


def sketched_errors(problem: Problem, inverse: InverseOperator) -> Tensor:
    """R_dd of every delay, (*full), within √(2/SKETCHES) of it as a rule."""
    A, generator = problem.A, torch.Generator().manual_seed(0)
    total = torch.zeros(problem.full, dtype=torch.float64, device=A.device)

    def noise(count: int, shape: tuple[int, ...]) -> Tensor:
        return torch.randn(count, *shape, dtype=A.dtype, generator=generator).to(A.device)

    step = _batch(problem)
    for start in range(0, SKETCHES, step):
        count = min(step, SKETCHES - start)
        w = noise(count, A.range_shape)
        total += (w - A(inverse(w))).abs().square().sum((0, 1))
        if inverse.damp:
            v = noise(count, A.domain_shape)
            total += inverse.damp**2 * inverse.H(v).abs().square().sum((0, 1))
    return total / SKETCHES


def _descend(problem: Problem, inverse: InverseOperator, delays: list[Delay]) -> Delay:
    """From the best of some delays to a neighbour while that is better."""
    best, error = _best(problem, delays, exact_errors(problem, inverse, delays))
    steps = list(itertools.product((-1, 0, 1), repeat=len(best)))
    for _ in range(_DESCENTS):
        around = [tuple(a + b for a, b in zip(best, step, strict=True)) for step in steps]
        inside = [
            d for d in around if all(0 <= a < m for a, m in zip(d, problem.full, strict=True))
        ]
        found, less = _best(problem, inside, exact_errors(problem, inverse, inside))
        if not less < error:
            break
        best, error = found, less
    return best


def _best(problem: Problem, delays: Sequence[Delay], errors: Tensor) -> tuple[Delay, float]:
    least = float(errors.amin())
    equal = (errors <= least + _TIED * least + EXACT_RESIDUAL**2).nonzero().flatten().tolist()
    center = center_of(problem.full)
    best = min(equal, key=lambda i: (math.dist(delays[i], center), delays[i]))
    return delays[best], float(errors[best])


def _squares(t: Tensor) -> Tensor:  # (N, ...) -> (N,)
    return t.abs().square().flatten(1).sum(1)


def _batch(problem: Problem) -> int:
    """Right-hand sides at a time, whatever the memory."""
    return max(1, _RIGHT_SIDES_BYTES // (16 * max(problem.A.shape)))
