"""Restorations for many strengths of one prior, each begun where the one before has ended.

    f(Ax) + (ε/2)‖x‖² + strength · Σ φ(|Dx|),        lower ≤ x ≤ upper

The strongest is solved first: its images have the fewest edges, and those of the next strength add
some.  What is carried over is all that the iteration knows, multipliers included, which an image
alone (x0=) does not hold: where edges are, and which bounds are met.  The factor of the exact
solves, of which the bound is made, is one for all strengths.

Source: warm starts along a path, Friedman, Hastie & Tibshirani, "Regularization paths for
generalized linear models via coordinate descent", Journal of Statistical Software 33 (2010), §2.5.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from torch import Tensor

from ..numerics.compiled import outside_graphs
from ..operators.images import batched, is_alone
from ..operators.linear_operator import DEFAULT_MEMORY_LIMIT
from .certificate import Restoration, Step
from .question import (
    MAXITER,
    asked,
    check_blur,
    checked_callback,
    checked_data,
    checked_penalty,
    checked_start,
    checked_strengths,
)
from .solve import restorations
from .varying_grid import Blur
from .way import watched


@outside_graphs
def restoration_path(
    A: Blur,
    y: Tensor,
    strengths: Iterable[float],
    *,
    prior: str = "tv",
    p: float = 0.8,
    coupled: bool = True,
    spacing: float | Sequence[float] = 1.0,
    nonnegative: bool = False,
    bounds: tuple[float | None, float | None] | None = None,
    noise_model: str = "gaussian",
    noise_std: float | None = None,
    background: float | Tensor = 0.0,
    gap_tol: float = 1e-3,
    maxiter: int = MAXITER,
    x0: Tensor | None = None,
    memory_limit: float = DEFAULT_MEMORY_LIMIT,
    callback: Callable[[float, int, Step, Tensor], None] | None = None,
    progress: Callable[[str, float | None], object] | None = None,
) -> list[Restoration]:
    """Restore images with many strengths of a prior, in less time than with each by itself.

    Minimises, for every image and every strength,

        f(Ax) + (ε/2)‖x‖² + strength · Σ φ(|Dx|),        lower ≤ x ≤ upper

    as `unconv.restore` does, each to the same gap and with a certificate of its own.  The iteration
    goes from the strongest to the weakest and begins each where the one before has ended.

    Parameters
    ----------
    A : any convolution
    y : (N, *A.range_shape), or one image without its batch axis
    strengths
        Numbers > 0 in any order, in the unit of y² over that of x^p; neighbours within a factor of
        two or so are what saves iterations
    prior : 'tv', 'sparse' or 'hessian'; a denoiser has no penalty that a strength would weigh
    p : exponent of 'sparse', over 0 and up to 1
    coupled : whether the channels of x share one norm, as the colours of a picture do
    spacing : of samples, one or one per axis: differences are divided by it (anisotropic voxels)
    nonnegative : the same as bounds=(0, None)
    bounds : (lower, upper) of x, None where there is none
    noise_model : 'gaussian', 'poisson' (y are counts) or 'huber' (Gaussian with outliers)
    noise_std : standard deviation in the unit of y, of use to 'huber'; estimated if not given
    background : mean count without any light, a number or what broadcasts to y; for 'poisson'
    gap_tol : relative duality gap to reach; of a fixed-point residual a tenth of it
    maxiter : iterations an image and strength
    x0 : as a solution, what the strongest starts from; by default what y says
    memory_limit : bytes that the iteration may take, and the exact solves beside it
    callback : called as callback(strength, image, step, x) at every look
    progress : called as progress(step, fraction), as by `unconv.restore`

    Returns
    -------
    A `Restoration` for each strength, in the order of `strengths`: solution (N, *A.domain_shape),
    without N for one image alone, certificate, strength (N,), history

    Raises
    ------
    ValueError, TypeError, NotImplementedError, MemoryLimitError
        One sentence: what was expected, what came, the remedy.

    Warns
    -----
    AccuracyWarning
        Where an image did not get to gap_tol in maxiter iterations.

    Notes
    -----
    Within gap_tol the answers of 'tv' and 'hessian' are those of `unconv.restore`.  'sparse' with
    p < 1 has local minima, and which one is found depends on where the iteration begins.

    Examples
    --------
    >>> import torch, unconv
    >>> from unconv.restoration import restoration_path
    >>> x = torch.zeros(1, 1, 40, 40)
    >>> x[..., 10:30, 15:25] = 1
    >>> A = unconv.ConvOperator(torch.ones(1, 1, 5, 5) / 25, (40, 40))
    >>> y = A(x) + 0.01 * torch.randn(1, 1, 36, 36, generator=torch.Generator().manual_seed(0))
    >>> path = restoration_path(A, y, [1e-4, 1e-3, 1e-2])
    >>> [float(found.strength) for found in path]
    [0.0001, 0.001, 0.01]
    >>> misfits = [float((A(found.solution) - y).norm()) for found in path]
    >>> misfits == sorted(misfits)
    True
    """
    check_blur(A)
    alone = is_alone(y, A.range_shape)
    y, x0 = batched(y, A.range_shape), batched(x0, A.domain_shape)
    y, wanted = checked_data(A, y, noise_model), checked_strengths(strengths)
    order = sorted(range(len(wanted)), key=lambda k: -wanted[k])
    question = asked(
        y,
        y.is_complex() or A.dtype.is_complex,
        [wanted[k] for k in order],
        checked_callback(callback),
        prior=checked_penalty(prior),
        p=p,
        coupled=coupled,
        spacing=spacing,
        nonnegative=nonnegative,
        bounds=bounds,
        noise_model=noise_model,
        noise_std=noise_std,
        background=background,
        schedule=None,
        gap_tol=gap_tol,
        maxiter=maxiter,
        memory_limit=memory_limit,
    )
    question = watched(question, progress, prior, len(y) * len(wanted))
    found = restorations(A, y, checked_start(A, y, x0), question)
    if alone:
        found = [each._replace(solution=each.solution[0]) for each in found]
    return [found[order.index(k)] for k in range(len(wanted))]
