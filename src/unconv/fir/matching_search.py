"""How large a matching kernel should be for an error, and how damped for a noise.

The error falls with the size, for a larger kernel can do all that a smaller one does: bisection.
The expected error of a picture (matching.py) as a function of the damp costs a factorisation a
value: a coarse grid, then one cell of it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..numerics.checks import (
    check_all_finite,
    check_count,
    check_memory_limit,
    check_number,
    check_real_tensor,
)
from ..numerics.compiled import outside_graphs
from ..operators.linear_operator import DEFAULT_MEMORY_LIMIT
from ..parameter_choice.search import grid, lowest
from .matching import (
    MatchingKernel,
    matching_kernel,
    posed,
    target_of,
)
from .problem import Size

_LEAST_DAMP, _MOST_DAMP = 1e-6, 1e1  # by Σ|a|
_DAMPS, _REFINED = 15, 20  # that are tried, and around the best of them


@outside_graphs
def smallest_matching_kernel(
    weight: Tensor,
    target: Tensor,
    error: float,
    *,
    damp: float = 0.0,
    max_size: int | None = None,
    memory_limit: float = DEFAULT_MEMORY_LIMIT,
) -> MatchingKernel:
    """The smallest g, of one odd size along all axes, with ‖a ∗ g − b‖ ≤ error·‖b‖.

    A larger kernel can do all that a smaller one does, so that the size is found by bisection.

    Parameters
    ----------
    weight : (*k), a, floating point or complex, 1 to 3 axes
    target : (*m), b, with as many axes
    error : of ‖b‖, > 0
    damp : ≥ 0, the weight of ‖g‖
    max_size : where to stop, by default twice the longest axis of a and b
    memory_limit : bytes that a factor may take

    Returns
    -------
    MatchingKernel

    Raises
    ------
    ValueError
        If no size up to `max_size` reaches the error: with the least that was reached.

    Examples
    --------
    >>> from unconv import psf
    >>> from unconv.fir import smallest_matching_kernel
    >>> found = smallest_matching_kernel(psf.gaussian(1.0), psf.gaussian(1.6), 0.01)
    >>> found.size, bool(found.error <= 0.01)
    ((7, 7), True)
    """
    check_number("error", error, positive=True)
    target_of(posed(weight, 1), target)
    longest = max(*weight.shape, *target.shape)
    top = 2 * longest + 1 if max_size is None else check_count("max_size", max_size, most=2**30)
    last = (top - 1) // 2

    def at(half: int) -> MatchingKernel:
        return matching_kernel(weight, target, 2 * half + 1, damp=damp, memory_limit=memory_limit)

    low, high, found = -1, 0, at(0)
    while float(found.error) > error:
        if high == last:
            raise ValueError(
                f"no odd size up to {2 * last + 1} reaches error={error:g}: the error is "
                f"{float(found.error):.3g} there; use a larger max_size or error"
                f"{' or less damp' if damp else ''}."
            )
        low, high = high, min(2 * high + 1, last)
        found = at(high)
    while high - low > 1:
        middle = (low + high) // 2
        tried = at(middle)
        if float(tried.error) <= error:
            high, found = middle, tried
        else:
            low = middle
    return found


@outside_graphs
def matching_damp(
    weight: Tensor,
    target: Tensor,
    size: Size,
    *,
    noise_psd: float | Tensor,
    signal_psd: float | Tensor,
    memory_limit: float = DEFAULT_MEMORY_LIMIT,
) -> float:
    """The damp of `matching_kernel` whose picture has the least expected error.

    Parameters
    ----------
    weight : (*k), a, real or complex, 1 to 3 axes
    target : (*m), b, with as many axes
    size : taps of g, one number per axis, or one for all axes
    noise_psd, signal_psd
        Power spectra of the noise in the picture and of the scene: numbers (white: the variances),
        or (*n) in the order of `torch.fft.fftn`, both on one grid if both are.  A picture of n
        samples has the periodogram |FFT(x)|²/n.
    memory_limit : bytes that a factor may take

    Returns
    -------
    float, √(noise/signal) where both are white, which is then the best of all kernels of the size;
    else the lowest point to 0.1 %, between 10⁻⁶ and 10 times Σ|a|

    Raises
    ------
    ValueError, TypeError
        If a spectrum is negative, of other axes, or on a grid smaller than a, b or g.

    Examples
    --------
    >>> from unconv import psf
    >>> from unconv.fir import matching_damp
    >>> a, b = psf.gaussian(1.0), psf.gaussian(2.0)
    >>> round(matching_damp(a, b, 9, noise_psd=1e-4, signal_psd=1.0), 9)
    0.01
    """
    check_memory_limit(memory_limit)
    noise, signal = _spectrum("noise_psd", noise_psd), _spectrum("signal_psd", signal_psd)
    problem = posed(weight, size)
    target_of(problem, target)
    if noise.ndim == signal.ndim == 0:
        if float(signal) == 0:
            raise ValueError("signal_psd=0 is a scene of nothing; give the variance of the scene.")
        return math.sqrt(float(noise) / float(signal))
    sizes = _grid(noise, signal, (*weight.shape, *target.shape, *problem.size), weight.ndim)
    a, b = (torch.fft.fftn(_around_origin(t, sizes)) for t in (weight.detach(), target.detach()))

    def expected(damp: float) -> float:
        found = matching_kernel(
            weight.detach(), target.detach(), size, damp=damp, memory_limit=memory_limit
        )
        g = torch.fft.fftn(_around_origin(found.kernel, sizes))
        missed = (a * g - b).abs().square() * signal + g.abs().square() * noise
        return float(missed.sum())

    scale = float(weight.detach().abs().sum())
    damps = [scale * d for d in grid(_LEAST_DAMP, _MOST_DAMP, _DAMPS)]
    return lowest(expected, damps, refine=_REFINED).damp


def _around_origin(taps: Tensor, grid: tuple[int, ...]) -> Tensor:
    """Taps on a periodic grid, their centre at index 0."""
    pads: list[int] = []
    for n, m in zip(taps.shape, grid, strict=True):
        pads = [0, m - n, *pads]
    grown = torch.nn.functional.pad(taps.to(_wide(taps)), pads)
    return grown.roll([-(n // 2) for n in taps.shape], list(range(taps.ndim)))


def _wide(t: Tensor) -> torch.dtype:
    return torch.complex128 if t.is_complex() else torch.float64


def _spectrum(name: str, psd: float | Tensor) -> Tensor:
    if not isinstance(psd, Tensor):
        return torch.tensor(check_number(name, psd), dtype=torch.float64)
    check_real_tensor(name, psd)
    check_all_finite(name, psd, "give finite numbers")
    if bool((psd < 0).any()):
        raise ValueError(f"{name} must be >= 0 everywhere, for power is not negative.")
    return psd.detach().to(torch.float64)


def _grid(noise: Tensor, signal: Tensor, sizes: tuple[int, ...], axes: int) -> tuple[int, ...]:
    """The grid of the spectra, on which nothing wraps around by more than tails."""
    grids = {tuple(t.shape) for t in (noise, signal) if t.ndim}
    longest = [max(sizes[d::axes]) for d in range(axes)]
    if len(grids) > 1:
        raise ValueError(
            f"noise_psd is on a grid of {tuple(noise.shape)}, signal_psd of "
            f"{tuple(signal.shape)}; compute both on one."
        )
    (grid,) = grids
    if len(grid) != axes or any(m < n for m, n in zip(grid, longest, strict=True)):
        raise ValueError(
            f"a power spectrum has shape {grid}; expected {axes} axes of at least "
            f"{tuple(longest)}, the sizes of the kernels."
        )
    return grid
