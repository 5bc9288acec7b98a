"""Wiener filters of operators that pad nothing, by completion of what was not seen.

The scene x lives on a periodic grid of its own, on which its power spectrum S is defined: the
domain, or a larger grid of which the domain is a part, so that opposite edges are not neighbours.
With the outputs that nobody saw on that grid filled in (`unconv.inverse.completion`), the estimate
is one product per frequency.

Not for: padding that invents pixels, which would be part of the prior; strides; transposed
operators, whose outputs are the larger side.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from ...grid.torus import Torus
from ...inverse import InverseOperator, Request
from ...inverse.completion.completion import Completion
from ...inverse.completion.missing import missing_outputs
from ...inverse.completion.precision import Precision
from ...inverse.completion.sizes import cost_on, grid, memory_of, most_steps, structure
from ...inverse.completion.system import CompletionInverse
from ...inverse.facts import CannotServeError, SpectrumSummary
from ...numerics.norms import in_unit
from ...operators.convolution import Convolution
from ...operators.linear_operator import MemoryLimitError, gigabytes
from .spectra import blocks_of, stored

_FARTHEST_APART = 1e100  # of noise to signal, either way: its square is in range
_MOST_STEPS = 5_000  # expected, above which iterations on A S^½ are no worse


def obstacle(op: Convolution) -> str | None:
    """Why data of `op` cannot be completed, or None."""
    if op.transposed or any(a.stride > 1 for a in op.geometry.axes):
        return "it strides or is transposed"
    return structure(op)


def by_completion(
    op: Convolution, noise: Tensor, signal: Tensor, request: Request
) -> InverseOperator:
    """The estimator, its precision and preconditioner made ready; `summary` is that of A S^½.

    noise : N (c_out or 1, *grid or 1)
    signal : S^½ (c or 1, *grid or 1), or (c, c, *grid or 1) for correlated channels

    Raises
    ------
    MemoryLimitError
        If it does not fit the memory that was asked for.
    CannotServeError
        If the precision of the missing outputs is not definite to round-off.
    """
    nd = op.geometry.nd
    coupled = signal.ndim == nd + 2
    geometry = replace(op.geometry, groups=1) if coupled else op.geometry
    torus = grid(geometry, not op.dtype.is_complex)
    sizes = {tuple(t.shape[-nd:]) for t in (noise, signal) if t.shape[-nd:].numel() > 1}
    if len(sizes) > 1:
        raise ValueError(
            "noise_psd and signal_psd must be numbers or given on one grid, got "
            f"{' and '.join(map(str, sorted(sizes)))}."
        )
    if any(a.smallest_grid > M for s in sizes for M, a in zip(s, geometry.axes, strict=True)):
        raise ValueError(
            f"noise_psd must be a number or given on a grid as large as the domain, "
            f"{op.domain_shape[1:]}, got {sizes.pop()}; coloured noise goes on beyond the data."
        )
    if sizes:
        torus = replace(torus, coarse=sizes.pop())
    need = memory_of(cost_on(torus, geometry, 1.0, request), op, request)
    if need > request.memory_limit:
        raise MemoryLimitError(
            f"the filter takes {gigabytes(need)}, above memory_limit="
            f"{gigabytes(request.memory_limit)}; raise memory_limit, or use method='krylov'."
        )
    with torch.no_grad():
        precision, unit, of_signal = _precision_of(op, noise, signal, torus, coupled=coupled)
        largest = math.sqrt(precision.largest())
        found = cost_on(torus, geometry, largest / float(precision.std), request)
        if found.steps > _MOST_STEPS and request.method == "auto":
            raise CannotServeError(f"some {found.steps:,.0f} steps are expected")
        missing = missing_outputs(geometry, torus, op.seen, op.device)
        completion = Completion(precision, missing, found.reach)
    norm = largest * unit * of_signal
    facts = SpectrumSummary.damped(norm, math.sqrt(float(noise.min())), by="noise")
    most = most_steps(found.steps, request)
    return CompletionInverse(op, completion, unit, request, facts, most)


def _precision_of(
    op: Convolution, noise: Tensor, signal: Tensor, torus: Torus, *, coupled: bool
) -> tuple[Precision, Tensor, Tensor]:
    """The precision in units of the weight and of S^½, and these units, (1,) each."""
    A = op.in_double()
    weight, unit = in_unit(A.weight[None])
    signal, of_signal = (t[0] for t in in_unit(signal[None]))
    of_noise = math.sqrt(float(noise.min()))
    std = of_noise / unit / of_signal
    if not 1 / _FARTHEST_APART < float(std) < _FARTHEST_APART:
        raise CannotServeError("signal and noise are too far apart for double precision")
    blocks = blocks_of(A.with_weight(weight[0]), torus, merged=coupled)
    root = stored(signal, torus)[:, None]  # (F, 1, c or 1) or (F, 1, c, c)
    root = root[:, :, None].to(blocks.dtype) if coupled else _by_groups(root, blocks, -1)
    coloured = None
    if noise.numel() > 1:
        coloured = _by_groups(stored(noise / noise.min(), torus)[:, None], blocks, -2)
        coloured = coloured * float(std) ** 2
    precision = Precision(torus, blocks, std, root, coloured)
    return precision, unit, of_signal.reshape(1)


def _by_groups(psd: Tensor, blocks: Tensor, side: int) -> Tensor:
    """(F, 1, c or 1) -> (F, 1, g, c/g), for outputs (side −2) or inputs (−1) of the blocks."""
    g, c = blocks.shape[2], blocks.shape[side]
    return psd.expand(*psd.shape[:2], g * c).unflatten(2, (g, c))
