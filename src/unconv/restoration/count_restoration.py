"""Richardson–Lucy for any convolution: the likeliest non-negative x of counts, stopped in time.

    max over x ≥ 0 of the Poisson likelihood of y with mean A x + b,   by
    x ← x / (Aᴴ1) · Aᴴ(y / (A x + b))

Each step raises the likelihood and keeps Σ (Aᴴ1) x = Σ y where b = 0.  The limit is noise, so a
rule ends the iteration (`stopping.py`).  Aᴴ1 is taken over outputs that were seen
(`count_data.py`), steps are taken ahead (`extrapolation.py`), and total variation may share in
them (`tv_step.py`).
Cost: one A and one Aᴴ a step, sometimes another A.

Not for Gaussian noise, kernels with negative taps or data from which a background was subtracted;
nor where the best picture is wanted and not the customary one: a prior gains some decibels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ..doors import ConvOperator
from ..numerics.checks import (
    check_all_finite,
    check_choice,
    check_count,
    check_flag,
    check_function,
    check_kind,
    check_number,
    check_real_tensor,
    check_values,
)
from ..numerics.compiled import outside_graphs
from ..numerics.plain_values import is_watched
from ..numerics.precision import ieee_arithmetic, real_working_dtype, result_dtype
from ..operators.images import batched, is_alone
from ..varying.blur import VaryingBlur
from .count_data import CountData
from .expectation_maximization import Iteration, Run
from .stopping import SHARE, STOPS, AtMost, Discrepancy, Never, Rule, thinned

_LARGEST_SEED = 2**63 - 1


class RichardsonLucyResult(NamedTuple):
    """A restored batch and how it came about.

    Attributes
    ----------
    solution : (N, *domain_shape), non-negative
    iterations : (N,) int64, the steps that each image has had
    history : (max(iterations) + 1, N) float64, D = Σ y log(y/μ) − y + μ of the start and after each
        step; the last value of an image that was done before others is repeated
    stopped_by : of every image 'discrepancy' or 'thinning', the rule that ended it, or 'maxiter'
    """

    solution: Tensor
    iterations: Tensor
    history: Tensor
    stopped_by: tuple[str, ...]


@outside_graphs
def richardson_lucy(
    A: ConvOperator | VaryingBlur,
    y: Tensor,
    *,
    background: float | Tensor = 0.0,
    maxiter: int = 500,
    accelerate: bool = True,
    tv: float = 0.0,
    stop: str | None = "discrepancy",
    x0: Tensor | None = None,
    seed: int = 0,
    callback: Callable[[int, Tensor], object] | None = None,
    progress: Callable[[str, float | None], object] | None = None,
) -> RichardsonLucyResult:
    """Restore counts y, Poisson with mean A x + background, to x ≥ 0 by Richardson–Lucy.

    Outputs that `A.observed` leaves out and surroundings that A does not pad are unknown, not zero:
    a pixel is divided by the part Aᴴ1 of its light that the data hold.  A pixel for which that is
    less than 1 % of the largest of its channel is out of reach and comes out 0.

    Parameters
    ----------
    A
        A real convolution without negative taps, of any kind, or a blur whose psf varies,
        `unconv.ProductConvolution` or `unconv.ConvolutionProduct`.
    y : (N, *range_shape), real and >= 0, or one image without its batch axis
        Counts: photons or electrons, not grey values.  Steps do not ask for the unit but `stop`
        does; divide by the gain first.  Zeros are counts like any other.
    background
        The mean count of every output that does not come through A, >= 0: a number, or a tensor
        that broadcasts to y.  Do not subtract it from y.
    maxiter
        Steps at most.
    accelerate
        Extrapolate (Biggs & Andrews), but for steps that would lower the likelihood.
    tv
        Strength λ of total variation, in min −log-likelihood + λ Σ |∇x|, 0 for none; some 0.003
        (thousands of counts a pixel) to 0.1 (tens) for a psf with sum 1.  Channels are joined, and
        steps go on to the minimum with stop=None.
    stop
        'discrepancy' ends an image where its fit is as close as the true picture's on average;
        'thinning' where a fifth of the counts, drawn at random, are best predicted by the others,
        which comes closer to the best step, takes twice the time and needs whole counts; None
        after `maxiter` steps.
    x0 : as the solution, real and >= 0
        The start; its zeros stay zero.  By default the constant that has the light of y.
    seed
        Of the draw of 'thinning'.
    callback
        Called with the number of the step and its x, (N, *domain_shape), which it must not change.
    progress
        Called as progress(step, fraction): the step in words, and its part of `maxiter`, which a
        stop may come before; may raise to end the work.

    Returns
    -------
    RichardsonLucyResult
        (solution, iterations, history, stopped_by), of dtype
        `torch.promote_types(A.dtype, y.dtype)`; every image is accelerated and stopped by itself.
        For one image alone the solution has no batch axis either.
        With background = 0 and tv = 0, Σ (Aᴴ1)·solution = Σ y.

    Raises
    ------
    ValueError, TypeError
        If A has negative or complex taps, or padding that takes samples off others, a count or the
        background is negative, a shape does not fit, anything is NaN or infinite, or 'thinning'
        meets counts that are not whole.
    NotImplementedError
        If a gradient is asked for: the iteration is not differentiated.

    Examples
    --------
    >>> import torch, unconv
    >>> K = unconv.psf.gaussian(1.5)[None, None]
    >>> A = unconv.ConvOperator(K, (32, 32), padding="same", padding_mode="circular")
    >>> x = torch.zeros(1, 1, 32, 32, dtype=torch.float64)
    >>> x[..., 8:24, 10:14] = 500
    >>> y = torch.poisson(A(x), torch.Generator().manual_seed(0))
    >>> restored = unconv.richardson_lucy(A, y)
    >>> restored.stopped_by, bool(torch.isclose(restored.solution.sum(), y.sum()))
    (('discrepancy',), True)
    >>> bool((restored.solution - x).norm() < 0.8 * (y - x).norm())
    True

    References
    ----------
    Richardson, J. Opt. Soc. Am. 62 (1972); Lucy, Astron. J. 79 (1974); Bertero & Boccacci, A&A 437
    (2005); Biggs & Andrews, Applied Optics 36 (1997); Dey et al., Microsc. Res. Tech. 69 (2006);
    Bertero et al., Inverse Problems 26 (2010).
    """
    if not isinstance(A, VaryingBlur):
        check_kind("A", A, ConvOperator, "build one from the psf")
    check_real_tensor("y", y)
    alone = is_alone(y, A.range_shape)
    y, x0 = batched(y, A.range_shape), batched(x0, A.domain_shape)
    background = _as_tensor(background, y)
    start = None if x0 is None else check_real_tensor("x0", x0)
    if is_watched(A.weight, y, background, *([] if start is None else [start])):
        raise NotImplementedError(
            "richardson_lucy is not differentiated; call it under torch.no_grad(), outside the "
            "transforms of torch.func."
        )
    check_count("maxiter", maxiter)
    check_count("seed", seed, 0, _LARGEST_SEED)
    check_flag("accelerate", accelerate)
    check_number("tv", tv)
    if stop is not None:
        check_choice("stop", stop, STOPS, " or None")
    if callback is not None:
        check_function("callback", callback)
    told = _told(callback, progress, maxiter)
    _check_kernel(A)
    y = _checked_counts(A, y, whole=stop == "thinning")
    background = _checked_background(background, y)
    dtype = real_working_dtype(torch.promote_types(A.dtype, y.dtype))
    result = result_dtype(A.dtype, y.dtype, y.device.type)
    with torch.no_grad(), ieee_arithmetic(y.device.type):
        data = CountData(A.with_weight(A.weight.to(dtype)), y.to(dtype), background.to(dtype))
        first = data.level if start is None else _checked_start(A, start, y).to(dtype)
        first = (first * data.reach).expand(len(y), *A.domain_shape)
        run, reasons = _run(data, first, _Options(maxiter, accelerate, tv, stop, seed), told)
    x = run.x.to(result)
    return RichardsonLucyResult(x[0] if alone else x, run.steps, run.history, reasons)


def _told(
    callback: Callable[[int, Tensor], object] | None,
    progress: Callable[[str, float | None], object] | None,
    maxiter: int,
) -> Callable[[int, Tensor], object] | None:
    """What is called with every step."""
    if progress is None:
        return callback
    say = check_function("progress", progress)

    def told(k: int, x: Tensor) -> None:
        if callback is not None:
            callback(k, x)
        say(f"Richardson–Lucy: step {k} of at most {maxiter}", k / maxiter)

    return told


class _Options(NamedTuple):
    maxiter: int
    accelerate: bool
    tv: float
    stop: str | None
    seed: int


def _run(
    data: CountData,
    start: Tensor,
    options: _Options,
    callback: Callable[[int, Tensor], object] | None,
) -> tuple[Run, tuple[str, ...]]:
    """The iteration under its rule, and why each image ended."""

    def run(data: CountData, start: Tensor, rule: Rule) -> Run:
        told = callback if data is everything else None
        iteration = Iteration(data, accelerate=options.accelerate, tv=options.tv)
        return iteration.run(start, rule, options.maxiter, told)

    everything = data
    rule: Rule
    if options.stop == "thinning":
        part, held_out = thinned(data, options.seed)
        ended = run(part, SHARE * start, held_out).ended
        found = run(data, start, AtMost(held_out.best))
    else:
        rule = Discrepancy(data) if options.stop else Never()
        found = run(data, start, rule)
        ended = found.ended
    return found, tuple(str(options.stop) if done else "maxiter" for done in ended.tolist())


# --- what is accepted
def _check_kernel(A: ConvOperator | VaryingBlur) -> None:
    weight = A.weight.detach()
    if weight.is_complex():
        raise TypeError(f"A must be real, got {weight.dtype}; take the modulus of its taps.")
    check_all_finite("the weight of A", weight, "mend it")
    negative = int((weight < 0).sum())
    if negative:
        raise ValueError(
            f"A has {negative} negative taps, the least {float(weight.min()):.2g}, and counts "
            "have no negative mean; use a psf that is non-negative, such as psf.clamp(min=0)."
        )
    axes = A.geometry.axes if isinstance(A, ConvOperator) else ()
    if not all(a.pads_zeros or a.pads.nonnegative for a in axes):
        raise ValueError(
            f"padding_mode={axes[0].mode!r} takes samples off others, and counts have no negative "
            "mean; use padding_mode='reflect' or no padding."
        )


def _checked_counts(A: ConvOperator | VaryingBlur, y: Tensor, *, whole: bool) -> Tensor:
    """y with zeros where nothing was seen."""
    A._check(y, A.range_shape)
    y = A._masked(y)
    check_all_finite("y", y, "leave such outputs out with A.observed")
    if bool((y < 0).any()):
        raise ValueError(
            f"y must hold counts >= 0, got {float(y.min()):.4g}; do not subtract the background, "
            "pass it as background=."
        )
    if whole and bool((y != y.round()).any()):
        raise ValueError(
            "stop='thinning' needs whole counts and y holds fractions; divide y by the gain and "
            "round it, or use stop='discrepancy'."
        )
    return y


def _as_tensor(background: float | Tensor, y: Tensor) -> Tensor:
    if isinstance(background, Tensor):
        return check_real_tensor("background", background)
    return torch.tensor(check_number("background", background), dtype=torch.float64)


def _checked_background(background: Tensor, y: Tensor) -> Tensor:
    check_values("background", background)
    if background.ndim and background.device != y.device:
        raise ValueError(
            f"background is on {background.device}, y on {y.device}; move one with .to(device)."
        )
    try:
        background.expand(y.shape)
    except RuntimeError:
        raise ValueError(
            f"background must broadcast to the shape of y {tuple(y.shape)}, got "
            f"{tuple(background.shape)}; give a number, or one value per output."
        ) from None
    check_all_finite("background", background, "give the mean count of each output")
    if bool((background < 0).any()):
        raise ValueError(
            f"background must be >= 0, got {float(background.min()):.4g}; it is the mean count "
            "that does not come through A."
        )
    return background.to(y.device)


def _checked_start(A: ConvOperator | VaryingBlur, x0: Tensor, y: Tensor) -> Tensor:
    expected = (len(y), *A.domain_shape)
    if tuple(x0.shape) != expected or x0.device != y.device:
        raise ValueError(
            f"x0 must have shape {expected} on {y.device}, got {tuple(x0.shape)} on {x0.device}; "
            "leave it out to start from a constant."
        )
    check_all_finite("x0", x0, "give numbers >= 0")
    if bool((x0 < 0).any()):
        raise ValueError(
            f"x0 must be >= 0, got {float(x0.min()):.4g}; use x0.clamp(min=...) with something "
            "above zero, for zeros stay zero."
        )
    return x0
