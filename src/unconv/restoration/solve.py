"""`unconv.restore`: images restored with the priors that people use."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..inverse import AccuracyWarning
from ..inverse.facts import warn_of_accuracy
from ..numerics.compiled import outside_graphs
from ..operators.images import batched, is_alone
from ..operators.linear_operator import DEFAULT_MEMORY_LIMIT
from .certificate import Restoration, RestorationCertificate, Step
from .one_image import Answer, Images
from .plug_and_play import Schedule
from .question import (
    Question,
    asked,
    check_blur,
    checked_callback,
    checked_data,
    checked_start,
    checked_strength,
)
from .varying_grid import Blur
from .way import watched

_STOPPED = "stopped after"
_OF_GAP = 0.1  # of gap_tol, that a fixed-point residual must reach


@outside_graphs
def restore(
    A: Blur,
    y: Tensor,
    *,
    prior: str | Callable[[Tensor, float], Tensor] = "tv",
    strength: float | str = "auto",
    p: float = 0.8,
    coupled: bool = True,
    spacing: float | Sequence[float] = 1.0,
    nonnegative: bool = False,
    bounds: tuple[float | None, float | None] | None = None,
    noise_model: str = "gaussian",
    noise_std: float | None = None,
    background: float | Tensor = 0.0,
    schedule: Schedule | None = None,
    gap_tol: float = 1e-3,
    maxiter: int | None = None,
    x0: Tensor | None = None,
    memory_limit: float = DEFAULT_MEMORY_LIMIT,
    callback: Callable[[int, Step, Tensor], None] | None = None,
    progress: Callable[[str, float | None], object] | None = None,
) -> Restoration:
    """Restore images with a prior that keeps edges: total variation, sparse gradients, a denoiser.

    Minimises, for every image by itself,

        f(Ax) + (ε/2)‖x‖² + strength · Σ φ(|Dx|),        lower ≤ x ≤ upper

    f the law of the noise (½‖Ax − y‖² for Gaussian noise), D differences within the domain of A, ε
    a ten thousandth of the square of the kernel's largest gain at any frequency (over the mean
    count for Poisson noise).  Where f is Gaussian and φ convex the answer
    comes with a proof of how close its objective is to the least: the relative duality gap.

    Parameters
    ----------
    A
        Any convolution: boundaries, strides, channels, one to three axes, `observed` masks; or a
        blur whose psf varies, `unconv.ProductConvolution` or `unconv.ConvolutionProduct`
    y : (N, *A.range_shape), or one image without its batch axis
    prior
        'tv' : φ(t) = t, total variation; isotropic
        'sparse' : φ(t) = t^p, stronger edges, flatter areas
        'hessian' : φ(t) = t of second differences: ramps cost nothing
        'dct' : few cosines in every overlapping block, by plug and play; the best of these for
        photographs, of counts too, and needs no strength but the noise
        a function denoise(x, sigma) : plug and play with any denoiser, x (N, c_in, *n) and sigma in
        the unit of x
    strength
        Of the prior, in the unit of y² over that of x^p; 'auto' estimates the least risk (Stein's
        estimate), which scales with the noise's variance and the unit of the picture.  For a
        denoiser the dimensionless λ of the data term, 0.23 by default.
    p : exponent of 'sparse', over 0 and up to 1
    coupled : whether the channels of x share one norm, as the colours of a picture do
    spacing : of samples, one or one per axis: differences are divided by it (anisotropic voxels)
    nonnegative : the same as bounds=(0, None)
    bounds : (lower, upper) of x, None where there is none
    noise_model
        'gaussian', 'poisson' (y are counts of mean Ax + background), or 'huber' (Gaussian with
        outliers, which count by their size and not its square beyond 1.345·noise_std, or beyond a
        thousandth of the mean datum where that is more)
    noise_std
        Standard deviation of the noise, in the unit of y; estimated from y where it is needed and
        not given.  Counts have their own.
    background : mean count without any light, a number or what broadcasts to y; for 'poisson'
    schedule : of a denoiser's sigma; see `unconv.restoration.Schedule`
    gap_tol
        Relative duality gap to reach; where no gap is known, ten times the fixed-point residual.
    maxiter : iterations an image, 500 by default; a denoiser takes those of its schedule
    x0 : as `solution`, to start from; by default what y says about each sample
    memory_limit : bytes that the iteration may take, and the exact solves beside it
    callback : called as callback(image, step, x) at every look
    progress
        Called as progress(step, fraction): what goes on, in words, and how much of all images is
        done, by the logarithm of the duality gap; may raise to end the work

    Returns
    -------
    Restoration(solution, certificate, strength, history)
        solution (N, *A.domain_shape); for one image alone it has no batch axis either

    Raises
    ------
    ValueError, TypeError, NotImplementedError, MemoryLimitError
        One sentence: what was expected, what came, the remedy.

    Warns
    -----
    AccuracyWarning
        Where an image did not get to gap_tol in maxiter iterations.

    Examples
    --------
    >>> import torch, unconv
    >>> x = torch.zeros(1, 1, 40, 40)
    >>> x[..., 10:30, 15:25] = 1
    >>> A = unconv.ConvOperator(torch.ones(1, 1, 5, 5) / 25, (40, 40))
    >>> y = A(x) + 0.01 * torch.randn(1, 1, 36, 36, generator=torch.Generator().manual_seed(0))
    >>> found = unconv.restore(A, y, prior="tv")
    >>> bool((found.solution - x).std() < 0.3 * (A.H(y) - x).std())
    True
    >>> bool(found.certificate.gap < 1e-3)
    True

    References
    ----------
    Almeida & Figueiredo, "Deconvolving images with unknown boundaries using the alternating
    direction method of multipliers", IEEE Trans. Image Processing 22 (2013).
    """
    check_blur(A)
    alone = is_alone(y, A.range_shape)
    y, x0 = batched(y, A.range_shape), batched(x0, A.domain_shape)
    y, tell = checked_data(A, y, noise_model), checked_callback(callback)
    question = asked(
        y,
        y.is_complex() or A.dtype.is_complex,
        checked_strength(strength),
        lambda _, image, step, x: tell(image, step, x),
        prior=prior,
        p=p,
        coupled=coupled,
        spacing=spacing,
        nonnegative=nonnegative,
        bounds=bounds,
        noise_model=noise_model,
        noise_std=noise_std,
        background=background,
        schedule=schedule,
        gap_tol=gap_tol,
        maxiter=maxiter,
        memory_limit=memory_limit,
    )
    question = watched(question, progress, prior if isinstance(prior, str) else "denoiser", len(y))
    found = restorations(A, y, checked_start(A, y, x0), question)[0]
    return found._replace(solution=found.solution[0]) if alone else found


def restore_with_remedy(remedy: str, A: Blur, y: Tensor, **options: Any) -> Restoration:
    """`restore` for a door without its options: what helps an iteration that stopped too soon.

    remedy : in the words of that door
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", _STOPPED, AccuracyWarning)
        found = restore(A, y, **options)
    if bool(found.certificate.converged.all()):
        return found
    certificate = replace(found.certificate, remedy=remedy)
    warn_of_accuracy(certificate.advice)
    return found._replace(certificate=certificate)


def restorations(A: Blur, y: Tensor, x0: Tensor | None, question: Question) -> list[Restoration]:
    """What is to be said of checked data, for each strength."""
    images = Images(A, question)
    with torch.no_grad():
        answers = [images.restored(y, x0, i) for i in range(len(y))]
    kind = torch.promote_types(A.dtype, y.dtype)
    nothing = y.new_zeros(0, *A.domain_shape, dtype=kind)
    by_strength = [[a[k] for a in answers] for k in range(max(len(question.strengths), 1))]
    return [_restoration(some, question, nothing) for some in by_strength]


def _restoration(answers: Sequence[Answer], question: Question, nothing: Tensor) -> Restoration:
    certificate = _certificate(answers, question)
    if not bool(certificate.converged.all()):
        warn_of_accuracy(certificate.advice)
    return Restoration(
        torch.cat([nothing, *(a.x.to(nothing.dtype) for a in answers)]),
        certificate,
        _column([a.strength for a in answers]),
        [a.history for a in answers],
    )


def _column(values: Sequence[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _certificate(answers: Sequence[Answer], question: Question) -> RestorationCertificate:
    tol, plugged = question.problem.gap_tol, question.denoise is not None
    objective, bound, residual = (
        _column([getattr(a, name) for a in answers]) for name in ("objective", "bound", "residual")
    )
    known = objective.isfinite() & bound.isfinite()
    gap = torch.where(known, (objective - bound).clamp(min=0) / objective, torch.inf)
    gap = torch.where(objective == 0, 0.0, gap)  # nothing is less
    converged = (gap <= tol) | ((residual <= _OF_GAP * tol) & ~objective.isposinf())
    if plugged:
        converged = torch.ones_like(converged)
    iterations = torch.tensor([a.iterations for a in answers], dtype=torch.long)
    if not answers:
        ended = "no image", ""
    elif plugged:
        ended = _end_of_denoiser(residual), ""
    else:
        ended = _end(objective, gap, residual, converged, iterations, tol)
    return RestorationCertificate(
        method="plug-and-play" if plugged else "splitting",
        objective=objective,
        bound=bound,
        gap=gap,
        residual=residual,
        iterations=iterations,
        solves=torch.tensor([a.solves for a in answers], dtype=torch.long),
        converged=converged,
        gap_tol=tol,
        epsilon=_column([a.epsilon for a in answers]),
        noise_std=_column([a.noise_std for a in answers]),
        finding=ended[0],
        remedy=ended[1],
    )


def _end_of_denoiser(residual: Tensor) -> str:
    return (
        "a denoiser minimises nothing known, so nothing is proven; the last step moved the "
        f"image by {float(residual.amax()):.1e} of its size"
    )


def _end(
    objective: Tensor,
    gap: Tensor,
    residual: Tensor,
    converged: Tensor,
    iterations: Tensor,
    tol: float,
) -> tuple[str, str]:
    """How it ended, and what helps."""
    if bool(converged.all()):
        if bool((gap <= tol).all()):
            return f"the objective is proven to be within {float(gap.amax()):.1e} of the least", ""
        by_residual = float(residual[gap > tol].amax())
        return f"no near bound is known; the fixed-point residual is {by_residual:.1e}", ""
    begun = f"{_STOPPED} {int(iterations.amax()):,} iterations with"
    if bool(objective.isposinf().any()):
        return (
            f"{begun} a mean count below zero at a datum, where the objective is infinite",
            "ask for nonnegative=True, tell the background, or raise maxiter",
        )
    short = float(gap[~converged].amax())
    what = (
        f"a duality gap of {short:.1e}"
        if short < torch.inf
        else (f"a fixed-point residual of {float(residual[~converged].amax()):.1e}")
    )
    return f"{begun} {what}", "raise maxiter or gap_tol"
