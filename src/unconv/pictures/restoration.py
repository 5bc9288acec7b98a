"""Blur and restore pictures: the operator, the damp and the mean, put together.

A picture y is the true convolution of a sharp one with a psf, plus noise.  Restored is

    x = argmin ‖A x − y‖² + damp² ‖x − x₀‖²,      x₀ = the mean of y, constant,

so that damping pulls detail towards grey and never the picture towards black.  The colours of a
picture are a batch of grey ones that share the psf, its factor and the damp.

What lies outside a photograph is unknown, and light from there has reached its edges.  So the
default, 'valid', takes x for a larger scene that the psf and the frame of the camera reduce to y,
and returns the part that lies in the frame.  Taken for circular or black outside, a photograph
rings from its edges through the whole picture.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..doors import ConvOperator
from ..inverse import Certificate, Plan
from ..inverse.plan import damp_value
from ..numerics.checks import (
    check_all_finite,
    check_choice,
    check_count,
    check_function,
    check_kind,
    check_number,
    check_real_tensor,
    check_values,
    is_sequence,
    shown,
)
from ..numerics.compiled import outside_graphs
from ..operators.linear_operator import DEFAULT_MEMORY_LIMIT
from ..parameter_choice import DampChoice, choose_damp
from .missing import data_of
from .saturated import solve_with_saturated
from .series import Series

__all__ = [
    "BOUNDARIES",
    "TOL",
    "Restored",
    "blur",
    "blur_operator",
    "deblur",
    "faded_out",
    "frame",
]

BOUNDARIES = ("circular", "zeros", "reflect", "replicate", "symmetric", "valid")

USUAL_DAMP = 0.03
"""Of photographs, for what memory will be needed."""

TOL = 1e-4
"""Relative error at which an iteration stops: about 0.01 of 255 grey levels, 1e-5 dB of PSNR."""


class Restored(NamedTuple):
    """A restored picture and the evidence.

    Attributes
    ----------
    planes : (C, H, W)
    damp : as given or chosen
    choice : how it was chosen, None where it was given or the picture is even
    residual : (C, H, W), what x does not explain of the picture, y − Ax; 0 where nothing was seen
    plan, certificate : of the solve, one entry a plane
    """

    planes: Tensor
    damp: float
    choice: DampChoice | None
    residual: Tensor
    plan: Plan | None
    certificate: Certificate


def blur_operator(psf: Tensor, size: tuple[int, int], boundary: str = "circular") -> ConvOperator:
    """The operator that blurs grey pictures into (H, W) = `size`.

    Parameters
    ----------
    psf : (h, w), its centre the sample (h//2, w//2)
    boundary
        What lies outside the picture: itself again ('circular'), black ('zeros'), its mirror image
        ('reflect', 'symmetric'), its edge ('replicate'), or a larger scene that is restored too
        ('valid': x then has h−1 and w−1 samples more than y).

    Returns
    -------
    ConvOperator
        Of one channel, for batches (C, 1, H, W) of grey planes.

    Raises
    ------
    ValueError, TypeError
        If the psf is not a real 2-D array, the size no pair or the boundary unknown.

    Examples
    --------
    >>> import torch
    >>> blur_operator(torch.ones(3, 5) / 15, (20, 30), "valid").domain_shape
    (1, 22, 34)
    """
    h, w = _psf_size(psf)
    check_choice("boundary", boundary, BOUNDARIES)
    if not is_sequence(size) or len(size) != 2 or not all(isinstance(n, int) for n in size):
        raise TypeError(f"size={shown(size)} must be (height, width), such as (128, 128).")
    kernel = psf[None, None]
    if boundary == "circular" and (h > size[0] or w > size[1]):
        kernel = _wrapped(psf, (size[0], size[1]))[None, None]
    if boundary == "valid":
        larger = size[0] + h - 1, size[1] + w - 1
        return ConvOperator(kernel, larger, padding="valid", flip=True)
    # Flipped, the middle sample h//2 meets the output when ⌊(h−1)/2⌋ samples are padded before.
    return ConvOperator(kernel, size, padding="same", padding_mode=boundary, flip=True)


@outside_graphs
def blur(
    planes: Tensor,
    psf: Tensor,
    *,
    boundary: str = "circular",
    noise_std: float = 0.0,
    seed: int = 0,
) -> Tensor:
    """A picture as a camera with this psf would see it.

    Parameters
    ----------
    planes : (C, H, W), floating point
    psf : (h, w)
    boundary
        What lies outside the picture: itself again ('circular'), black ('zeros'), its mirror image
        ('reflect', 'symmetric'), its edge ('replicate'); 'valid' gives the smaller picture that
        needs no outside.
    noise_std : standard deviation of white Gaussian noise, in the unit of the planes
    seed : of the noise

    Returns
    -------
    (C, H, W), with 'valid' (C, H−h+1, W−w+1)

    Raises
    ------
    ValueError, TypeError
        If picture and psf are not real arrays of these shapes, or the psf is the larger one.

    Examples
    --------
    >>> import torch
    >>> from unconv.psf import disk
    >>> blur(torch.ones(3, 20, 20).double(), disk(2.5), boundary="valid").shape
    torch.Size([3, 16, 16])
    """
    check_number("noise_std", noise_std)
    check_count("seed", seed, 0)
    H, W = _check_sizes(planes, psf)
    check_choice("boundary", boundary, BOUNDARIES)
    if boundary == "valid":
        H, W = H - psf.shape[0] + 1, W - psf.shape[1] + 1
    op = blur_operator(psf.to(planes), (H, W), boundary)
    blurred = op(planes[:, None])[:, 0]
    if noise_std:
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(blurred.shape, generator=generator, dtype=torch.float64)
        blurred = blurred + noise_std * noise.to(blurred)
    return blurred


@outside_graphs
def deblur(
    planes: Tensor,
    psf: Tensor,
    *,
    damp: float | str = "risk",
    boundary: str = "valid",
    noise_std: float | None = None,
    observed: Tensor | None = None,
    saturated: Tensor | None = None,
    series: Series | None = None,
    tol: float = TOL,
    memory_limit: float = DEFAULT_MEMORY_LIMIT,
    progress: Callable[[str], None] | None = None,
) -> Restored:
    """Restore a blurred picture.

    Parameters
    ----------
    planes : (C, H, W), floating point
    psf : (h, w); it should sum to 1
    damp
        A number, or the rule that chooses it: 'risk' (least expected error for pictures), 'gcv',
        'lcurve', 'discrepancy' or 'sure' (`unconv.parameter_choice.choose_damp`), applied to the
        circular operator of the same psf and the picture faded out towards its edges.
    boundary
        What lies outside the picture: itself again ('circular'), black ('zeros'), its mirror image
        ('reflect', 'symmetric'), its edge ('replicate'), or a larger scene that is restored too
        ('valid', as a photograph's).
    noise_std : standard deviation of the noise in the unit of the planes, if known
    observed
        (H, W) bool, True where a pixel was seen; None where all were.  What stands elsewhere, NaN
        too, is without effect on the answer, which is restored there as well.  Masks of files and
        of astropy are the other way round: `observed=~bad`.
    saturated
        (C, H, W) bool, True where a sample only says that there was at least so much light
        (`unconv.pictures.find_missing`); such a pixel is not `observed`.
    series : where factors are kept from one picture to the next, if they are of one size and damp
    tol : error_bound to reach, and above which the certificate does not count as converged
    progress : is told what begins

    Returns
    -------
    Restored, its planes and residual (C, H, W)

    Raises
    ------
    ValueError, MemoryLimitError
        One sentence: what was expected, what came, the remedy.

    Examples
    --------
    >>> import torch
    >>> from unconv.psf import gaussian
    >>> x = torch.rand(1, 32, 32).double()
    >>> y = blur(x, gaussian(0.6))
    >>> bool(torch.allclose(deblur(y, gaussian(0.6), damp=1e-9, boundary="circular").planes, x))
    True
    """
    size = check_restorable(planes, psf, boundary)
    if noise_std is not None:
        check_number("noise_std", noise_std)
    if not isinstance(damp, str):
        damp = damp_value(damp)
    if progress is not None:
        check_function("progress", progress)
    if series is not None:
        check_kind("series", series, Series, "make one with unconv.pictures.Series()")
    planes, y, observed = data_of(planes, observed, saturated)
    check_all_finite("the picture", y, "give observed=, True where a pixel was seen")
    say = progress or (lambda step: None)
    kernel = psf.to(planes)
    op = blur_operator(kernel, size, boundary)
    limits: dict[str, Any] = {"memory_limit": memory_limit, "expected_solves": len(y), "tol": tol}
    op.plan(
        damp=damp if isinstance(damp, float) else USUAL_DAMP, **limits
    )  # refused before any work
    choice = None
    if isinstance(damp, str):
        say("choosing the damp")
        circular = blur_operator(kernel, size, "circular")
        faded = faded_out(planes[:, None])
        if faded.any():
            choice = choose_damp(circular, faded, damp, noise_std=noise_std)
        damp = 1.0 if choice is None else choice.damp  # an even picture comes back by any damp
    say(f"restoring, damp {damp:.3g}")
    mean = planes.mean((-2, -1), keepdim=True)[:, None].expand(-1, *op.domain_shape)
    detail_of_y = y - op(mean)

    def solve(seen: Tensor | None) -> tuple[Tensor, Certificate]:
        known = op if seen is None else op.observed(seen)
        lstsq = partial(series.lstsq, known) if series else known.lstsq
        detail, certificate = lstsq(detail_of_y, damp, **limits)
        return mean + detail, certificate

    x, certificate, seen = solve_with_saturated(solve, op, y, observed, saturated)
    residual, planes = (y - op(x))[:, 0], x[:, 0]
    residual = residual if seen is None else residual.where(seen, 0)
    planes = frame(planes, psf) if boundary == "valid" else planes
    return Restored(planes, damp, choice, residual, certificate.plan, certificate)


def frame(planes: Tensor, psf: Tensor) -> Tensor:
    """The part of a scene that its 'valid' blur shows.

    Parameters
    ----------
    planes : (C, H, W), the scene
    psf : (h, w)

    Returns
    -------
    (C, H−h+1, W−w+1), a view

    Raises
    ------
    ValueError, TypeError
        If these are not real arrays of these shapes, or the psf is the larger one.

    Examples
    --------
    >>> import torch
    >>> frame(torch.zeros(3, 20, 20), torch.ones(5, 5)).shape
    torch.Size([3, 16, 16])
    """
    H, W = _check_sizes(planes, psf)
    h, w = psf.shape
    top, left = (h - 1) // 2, (w - 1) // 2
    return planes[:, top : top + H - h + 1, left : left + W - w + 1]


def faded_out(y: Tensor) -> Tensor:
    """y without its mean, faded out towards its edges by a Hann window of unit power.

    What reads noise and signal from a periodic spectrum needs it for photographs: the jump where
    opposite edges meet would drown both.  White noise keeps its power.

    Parameters
    ----------
    y : (..., H, W), real

    Returns
    -------
    (..., H, W) float64

    Raises
    ------
    ValueError, TypeError
        If y is complex, empty or has fewer than two axes.

    Examples
    --------
    >>> import torch
    >>> y = torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(0)).double()
    >>> 0.8 < float(faded_out(y).std()) < 1.2
    True
    """
    check_values("y", check_real_tensor("y", y))
    if y.ndim < 2 or y.numel() == 0:
        raise ValueError(f"pictures must have shape (..., H, W), got {tuple(y.shape)}.")
    y = y.double() - y.double().mean((-2, -1), keepdim=True)
    for dim in (-2, -1):
        n = y.shape[dim]
        t = torch.arange(n, dtype=y.dtype, device=y.device)
        window = torch.sin(math.pi * (t + 0.5) / n) ** 2
        window /= window.square().mean().sqrt()
        y = y * (window[:, None] if dim == -2 else window)
    return y


def _wrapped(psf: Tensor, size: tuple[int, int]) -> Tensor:
    """The psf that blurs periodic pictures (H, W) = `size` as a larger one does."""
    for dim, n in enumerate(size):
        k = psf.shape[dim]
        place = (torch.arange(k, device=psf.device) - k // 2 + n // 2) % n
        shape = [*psf.shape]
        shape[dim] = n
        psf = psf.new_zeros(shape).index_add(dim, place, psf)
    return psf


def check_restorable(planes: Tensor, psf: Tensor, boundary: str) -> tuple[int, int]:
    """(H, W) of a picture to restore: unknown surroundings may be of any size."""
    check_choice("boundary", boundary, BOUNDARIES)
    if boundary == "valid":
        _psf_size(psf)
        return _check_picture(planes)
    return _check_sizes(planes, psf, ", or say boundary='valid' if nothing outside is known")


def _check_sizes(planes: Tensor, psf: Tensor, remedy: str = "") -> tuple[int, int]:
    """(H, W) of a picture that is at least as large as the psf."""
    H, W = _check_picture(planes)
    h, w = _psf_size(psf)
    if h > H or w > W:
        raise ValueError(
            f"the psf ({h} × {w}) is larger than the picture ({H} × {W}); crop the psf or check "
            f"its unit{remedy}."
        )
    return H, W


def _check_picture(planes: Tensor) -> tuple[int, int]:
    check_real_tensor("planes", planes)
    check_values("planes", planes)
    if planes.ndim != 3 or planes.numel() == 0:
        raise ValueError(
            f"a picture must have shape (C, H, W), got {tuple(planes.shape)}; add the channel axis "
            "of a grey one with planes[None]."
        )
    return planes.shape[1], planes.shape[2]


def _psf_size(psf: Tensor) -> tuple[int, int]:
    check_real_tensor("a psf", psf)
    check_values("a psf", psf)
    if psf.ndim != 2 or psf.numel() == 0:
        raise ValueError(f"a psf must be a 2-D grey array, got shape {tuple(psf.shape)}.")
    return psf.shape[0], psf.shape[1]
