"""What `restore` is asked for, checked: one sentence for what cannot be meant."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..numerics.checks import (
    check_all_finite,
    check_choice,
    check_count,
    check_flag,
    check_function,
    check_kind,
    check_memory_limit,
    check_number,
    check_real_tensor,
    check_tensor,
    is_sequence,
    shown,
)
from ..operators.convolution import Convolution
from ..varying.blur import VaryingBlur
from .certificate import Step
from .data_terms import NOISE_MODELS
from .plug_and_play import Denoiser, Schedule
from .sliding_dct import sliding_dct
from .splitting import Bounds
from .variational import Problem
from .varying_grid import Blur

PENALTIES = ("tv", "sparse", "hessian")
PRIORS = (*PENALTIES, "dct")

MAXITER = 500
"""Iterations that an image may take, unless more are asked for."""

_MOST_COUNTS = 1e15  # squares of which single precision holds
_LEAST_SIZE, _LEAST_SPACING = 1e-100, 1e-30  # of data and between samples


@dataclass(frozen=True)
class Question:
    """What is asked, in the user's units.

    Attributes
    ----------
    denoise : of a plug-and-play prior, else None
    strengths : one after the other, falling; none to choose one
    bounds : of x
    noise_std : None to estimate it
    background : (N, c_out, *m) of counts, or None
    schedule : of a denoiser
    problem : what does not depend on the image
    tell : callback(strength, image, step, x)
    """

    denoise: Denoiser | None
    strengths: Sequence[float]
    bounds: Bounds
    noise_std: float | None
    background: Tensor | None
    schedule: Schedule
    problem: Problem
    tell: Callable[[float, int, Step, Tensor], None]


def asked(
    y: Tensor,
    is_complex: bool,
    strengths: Sequence[float],
    tell: Callable[[float, int, Step, Tensor], None],
    *,
    prior: object,
    p: float,
    coupled: bool,
    spacing: float | Sequence[float],
    nonnegative: bool,
    bounds: object,
    noise_model: str,
    noise_std: float | None,
    background: float | Tensor,
    schedule: Schedule | None,
    gap_tol: float,
    maxiter: int | None,
    memory_limit: float,
) -> Question:
    """The arguments of a door, checked, for checked data."""
    p = checked_exponent(p)
    return Question(
        denoise=checked_prior(prior, noise_model, is_complex),
        strengths=strengths,
        bounds=checked_bounds(nonnegative, bounds, is_complex),
        noise_std=None if noise_std is None else check_number("noise_std", noise_std),
        background=checked_background(background, y, noise_model),
        schedule=Schedule() if schedule is None else checked_schedule(schedule),
        problem=Problem(
            kind="hessian" if prior == "hessian" else "gradient",
            p=p if prior == "sparse" else 1.0,
            coupled=check_flag("coupled", coupled),
            spacing=checked_spacing(spacing, y.ndim - 2),
            noise_model=noise_model,
            gap_tol=check_number("gap_tol", gap_tol, positive=True),
            maxiter=MAXITER if maxiter is None else check_count("maxiter", maxiter),
            memory_limit=check_memory_limit(memory_limit),
        ),
        tell=tell,
    )


def check_blur(A: object) -> None:
    """Refuse what is no operator to be undone here."""
    if not isinstance(A, VaryingBlur):
        check_kind("A", A, Convolution, "build one with unconv.ConvOperator")


def checked_data(A: Blur, y: Tensor, noise_model: str) -> Tensor:
    """y, of which every seen datum is finite, and a count where counts are meant."""
    A._check(y, A.range_shape)
    check_choice("noise_model", noise_model, NOISE_MODELS)
    if torch.is_grad_enabled() and (y.requires_grad or A.weight.requires_grad):
        raise NotImplementedError(
            "restore has no gradient in y or the weight; call it under torch.no_grad(), or use "
            "A.tikhonov(damp), which has."
        )
    if y.is_complex() and isinstance(A, VaryingBlur):
        raise TypeError(
            "a blur whose psf varies is restored from real data; restore y.real and y.imag."
        )
    y = A._masked(y)
    check_all_finite("y", y, "mark such places with A.observed(mask)")
    largest = float(y.abs().amax()) if y.numel() else 0.0
    if largest and not _LEAST_SIZE < largest < 1 / _LEAST_SIZE:
        raise ValueError(
            f"y is of the size {largest:.1g}, the squares of which no float64 holds; give it in a "
            "unit in which it is of the size of one."
        )
    if noise_model == "gaussian":
        return y
    if y.is_complex() or A.dtype.is_complex:
        raise TypeError(
            f"noise_model={noise_model!r} is for real data; use 'gaussian' for complex ones."
        )
    if noise_model == "poisson" and bool((y > _MOST_COUNTS).any()):
        raise ValueError(
            f"counts must be below {_MOST_COUNTS:.0e} for noise_model='poisson', got "
            f"{float(y.max()):.3g}; give the number of photons, or use noise_model='gaussian'."
        )
    if noise_model == "poisson" and bool((y < 0).any()):
        raise ValueError(
            f"counts must be >= 0 for noise_model='poisson', got {float(y.min()):.3g}; take off no "
            "offset but give it as background=."
        )
    return y


def checked_prior(prior: object, noise_model: str, is_complex: bool) -> Denoiser | None:
    """The denoiser of a plug-and-play prior; None for a penalty."""
    if not callable(prior):
        check_choice("prior", prior, PRIORS, ", or a function denoise(x, sigma)")
        if prior != "dct":
            return None
    if noise_model == "huber":
        raise ValueError(
            "noise_model='huber' needs prior='tv', 'sparse' or 'hessian'; a denoiser is for "
            "Gaussian noise or counts."
        )
    if prior == "dct" and is_complex:
        raise TypeError("prior='dct' is for real images; use 'tv' for complex ones.")
    return prior if callable(prior) else sliding_dct


def checked_exponent(p: object) -> float:
    """p of sparse gradients."""
    return check_number("p", p, positive=True, below=math.nextafter(1.0, 2.0))


def checked_strength(strength: object) -> list[float]:
    """A number above zero, or none for 'auto'."""
    if isinstance(strength, str):
        check_choice("strength", strength, ("auto",), ", or a number above 0")
        return []
    return [check_number("strength", strength, positive=True)]


def checked_strengths(strengths: object) -> list[float]:
    """Numbers above zero, one at least, in their order."""
    if not isinstance(strengths, Iterable) or isinstance(
        strengths, str | bytes | dict | set | Tensor
    ):
        remedy = "; give strengths.tolist()" if isinstance(strengths, Tensor) else ""
        raise TypeError(
            f"strengths={shown(strengths)} must be several numbers, such as [0.01, 0.1]{remedy}."
        )
    found = [check_number("strengths", s, positive=True) for s in strengths]
    if not found:
        raise ValueError("strengths is empty; give one at least, such as [0.01, 0.1].")
    return found


def checked_penalty(prior: object) -> str:
    """A prior that has a penalty, which a strength weighs."""
    if callable(prior) or (isinstance(prior, str) and prior == "dct"):
        raise ValueError(
            f"prior={shown(prior)} is a denoiser: no penalty is weighed, and no strength leads to "
            "the next; use 'tv', 'sparse' or 'hessian', or call restore for each strength."
        )
    return check_choice("prior", prior, PENALTIES)


def checked_callback(callback: object) -> Callable[..., None]:
    """A function that is told of looks; one that hears nothing for None."""
    return _silent if callback is None else check_function("callback", callback)


def _silent(*_: object) -> None:
    pass


def checked_bounds(nonnegative: object, bounds: object, is_complex: bool) -> Bounds:
    """lower and upper of x, infinite where there is none."""
    if not isinstance(nonnegative, bool):
        raise TypeError(f"nonnegative must be True or False, got {shown(nonnegative)}.")
    if bounds is None:
        limits = Bounds(0.0) if nonnegative else Bounds()
    else:
        if not is_sequence(bounds) or len(bounds) != 2:
            raise TypeError(
                f"bounds={shown(bounds)} must be (lower, upper), None where there is none."
            )
        lower = (
            -math.inf if bounds[0] is None else check_number("lower", bounds[0], least=-math.inf)
        )
        upper = math.inf if bounds[1] is None else check_number("upper", bounds[1], least=-math.inf)
        limits = Bounds(max(lower, 0.0) if nonnegative else lower, upper)
    if not limits.lower < limits.upper:
        raise ValueError(
            f"bounds {limits.lower:g} and {limits.upper:g} leave no image between them; give the "
            "smaller one first."
        )
    if limits.bind and is_complex:
        raise TypeError("bounds are for real images; leave them out for complex ones.")
    return limits


def check_bounds_fit(bounds: Bounds, start: Tensor) -> None:
    """Refuse bounds with which no image comes near the data: wrong units, most likely.

    start : what the data say about x, in the unit of the bounds
    """
    if not bounds.bind:
        return
    lowest, highest = float(start.min()), float(start.max())
    if highest < bounds.lower or lowest > bounds.upper:
        raise ValueError(
            f"the data speak of values from {lowest:.3g} to {highest:.3g}, all outside of the "
            f"bounds {bounds.lower:g} to {bounds.upper:g}; give bounds in the unit of the data."
        )


def checked_background(background: object, y: Tensor, noise_model: str) -> Tensor | None:
    """Mean counts without light, of the shape of y; None where there are none."""
    if not isinstance(background, Tensor):
        value = check_number("background", background)
        if value and noise_model != "poisson":
            raise ValueError(
                "background is for noise_model='poisson'; take it off y for other noise."
            )
        return torch.full_like(y, value) if noise_model == "poisson" else None
    b = check_real_tensor("background", background)
    try:
        b = b.to(y).expand(y.shape)
    except RuntimeError:
        raise ValueError(
            f"background of shape {tuple(b.shape)} does not broadcast to y of shape "
            f"{tuple(y.shape)}; give a number or one value a datum."
        ) from None
    if noise_model != "poisson" or not bool((b >= 0).all()):
        raise ValueError("background must be >= 0 and is for noise_model='poisson'.")
    return b


def checked_schedule(schedule: object) -> Schedule:
    """The levels of a denoiser."""
    return check_kind("schedule", schedule, Schedule, "give Schedule(steps=8)")


def checked_spacing(spacing: object, nd: int) -> tuple[float, ...]:
    """One positive number per axis."""
    entries: Sequence[object] = list(spacing) if is_sequence(spacing) else [spacing] * nd
    if len(entries) != nd:
        raise ValueError(
            f"spacing={shown(spacing)} has {len(entries)} entries for {nd} axes; give one number "
            "or one per axis."
        )
    return tuple(
        check_number("spacing", h, least=_LEAST_SPACING, below=1 / _LEAST_SPACING) for h in entries
    )


def checked_start(A: Blur, y: Tensor, x0: object) -> Tensor | None:
    """Images to start from."""
    if x0 is None:
        return None
    x0 = check_tensor("x0", x0)
    if x0.shape != (len(y), *A.domain_shape):
        raise ValueError(
            f"x0 must have shape {(len(y), *A.domain_shape)}, one image for each of y, got "
            f"{tuple(x0.shape)}; leave it out to start from the data."
        )
    check_all_finite("x0", x0, "leave it out to start from the data")
    return x0
