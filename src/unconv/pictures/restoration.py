"""Blur and restore pictures: the operator, the prior, what is read from the picture.

A picture y is the true convolution of a sharp one with a psf, plus noise.  Priors restore it:

    wiener   the linear estimate of least expected error, for spectra of scene and noise that are
             read from the picture (wiener_restoration.py)
    dct, tv, sparse, hessian      from there on with a prior that keeps edges (edges.py)
    damp     x = argmin ‖A x − y‖² + damp² ‖x − x₀‖²,  x₀ = the mean of y, constant

so that detail is pulled towards grey and never the picture towards black.  The colours of a picture
are a batch of grey ones that share the psf and its factor.

What lies outside a photograph is unknown, and light from there has reached its edges.  So the
default, 'valid', takes x for a larger scene that the psf and the frame of the camera reduce to y,
and returns the part that lies in the frame.  Taken for circular or black outside, a photograph
rings from its edges through the whole picture.  Pixels that are no data are missing likewise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..inverse import Certificate, Plan
from ..numerics.checks import (
    check_choice,
    check_count,
    check_function,
    check_kind,
    check_memory_limit,
    check_number,
)
from ..numerics.compiled import outside_graphs
from ..operators.linear_operator import DEFAULT_MEMORY_LIMIT
from ..parameter_choice import DampChoice
from ..parameter_choice.noise_models import JpegRounding
from ..parameter_choice.whittle import PictureSpectra
from .damped_restoration import faded_out, restore_damped
from .data_report import DataReport
from .edges import Sharpened
from .jpeg_rounding import check_jpeg
from .memory import check_memory, memory_needed
from .missing import check_saturation, checked_observed, find_missing
from .operators import (
    BOUNDARIES,
    PRIORS,
    blur_operator,
    check_sizes,
    frame,
)
from .prior_choice import checked_damp, chosen_prior, edges_of
from .series import Series
from .wiener_restoration import Question, Scene, restore

__all__ = [
    "BOUNDARIES",
    "PRIORS",
    "TOL",
    "Restored",
    "blur",
    "blur_operator",
    "deblur",
    "faded_out",
    "frame",
]

TOL = 1e-4
"""Relative error at which an iteration stops: about 0.01 of 255 grey levels, 1e-5 dB of PSNR."""


class Restored(NamedTuple):
    """A restored picture and the evidence.

    Attributes
    ----------
    planes : (C, H, W)
    prior : what restored it, one of `PRIORS` but 'auto'
    damp : as given or chosen, None for 'wiener'
    choice : how it was chosen, None where it was given or the picture is even
    residual
        (C, H, W), what the restored scene does not explain of the picture, y − Ax; 0 where y is no
        datum
    plan, certificate : of the solve, one entry a plane
    spectra : of scene and noise, one a component that was restored by itself; empty for 'damp'
    data : what was concluded about the data; None for 'damp'
    scene : what was restored beyond the edges too; None for 'damp'
    sharpened : what a prior that keeps edges made of each component; empty for the others
    """

    planes: Tensor
    prior: str
    damp: float | None
    choice: DampChoice | None
    residual: Tensor
    plan: Plan | None
    certificate: Certificate
    spectra: tuple[PictureSpectra, ...] = ()
    data: DataReport | None = None
    scene: Scene | None = None
    sharpened: tuple[Sharpened, ...] = ()


@outside_graphs
def blur(
    planes: Tensor,
    psf: Tensor,
    *,
    boundary: str = "symmetric",
    noise_std: float = 0.0,
    seed: int = 0,
) -> Tensor:
    """A picture as a camera with this psf would see it.

    Parameters
    ----------
    planes : (C, H, W), floating point
    psf : (h, w)
    boundary
        What lies outside the picture: its mirror image ('symmetric', as of `unconv blur`, and
        'reflect', which does not repeat the edge), that turned over about the edge, which keeps
        slopes ('antireflective'), itself again ('circular'), black ('zeros'), its edge
        ('replicate'); 'valid' gives the smaller picture that needs no outside.
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
    H, W = check_sizes(planes, psf)
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
    prior: str = "auto",
    damp: float | str | None = None,
    strength: float | str = "auto",
    nonnegative: bool = False,
    noise_model: str = "gaussian",
    counts: float = 1.0,
    boundary: str = "valid",
    noise_std: float | None = None,
    observed: Tensor | None = None,
    saturation: float | str = "auto",
    jpeg: Sequence[JpegRounding] | None = None,
    keep_partial: bool = False,
    series: Series | None = None,
    tol: float = TOL,
    memory_limit: float = DEFAULT_MEMORY_LIMIT,
    progress: Callable[[str, float | None], None] | None = None,
) -> Restored:
    """Restore a blurred picture.

    Parameters
    ----------
    planes : (C, H, W), floating point; NaN and infinities are missing data
    psf : (h, w); it should sum to 1
    prior
        'wiener', the linear estimate of least expected error, with spectra read from the picture;
        'dct' (few cosines in every overlapping block; the best of these for photographs), 'tv',
        'sparse' or 'hessian' (penalties on differences), which go on from there and keep edges;
        or 'damp'.  'auto', the default, is 'dct' with boundary='valid' where the noise is as its
        model says, and else 'wiener'; but 'damp' where a damp is given, where padding invents what
        lies outside, and for even pictures and those under 12 samples.
    damp
        A number, or the rule that chooses it: 'risk' or 'auto' (least expected error for pictures),
        'gcv', 'discrepancy' or 'sure' (`unconv.parameter_choice.choose_damp`), applied to the
        circular operator of the same psf and the picture faded out towards its edges.
    strength : of 'tv', 'sparse', 'hessian' and 'dct', as in `unconv.restore`
    nonnegative
        Whether no pixel may be below zero, for the same; of a JPEG in colour the luminance, and
        colours that come out below zero are set to it
    noise_model
        'gaussian', or 'poisson' where the noise is that of counted photons, for 'dct', 'tv',
        'sparse' and 'hessian'; not of a JPEG in colour, which holds no counts
    counts : photons of a pixel of 1, for 'poisson': 255 for the values of an 8-bit file, say
    boundary
        What lies outside the picture: itself again ('circular'), black ('zeros'), its mirror image
        ('reflect', 'symmetric'), that turned over about the edge, which keeps slopes
        ('antireflective'), its edge ('replicate'), or a larger scene that is restored too ('valid',
        as a photograph's).
    noise_std : standard deviation of white noise in the unit of the planes, if known
    observed
        (H, W) bool, True where a pixel was seen, by default where it is finite; the others are
        restored.  Masks of files and of astropy are the other way round: `observed=~bad`.
    saturation
        Where the sensor was full and saw at least so much light: 'auto' (a plateau at the largest
        value of a channel), a level, or 'off'; see `unconv.pictures.find_missing`.
    jpeg
        The rounding of the JPEG that the picture was stored as: one for a grey picture, three for
        luminance and chrominances of one in colour (`unconv.pictures.jpeg_rounding`)
    keep_partial
        Whether an interrupt (KeyboardInterrupt) while a prior that keeps edges is at work gives the
        picture that it has got to, with `partial` set, instead of none.
    series : where factors for a damp are kept from one picture to the next of its size
    tol : error_bound to reach, and above which the certificate does not count as converged
    progress
        Called as progress(step, fraction): what begins or goes on, and how much of it is done; by
        the logarithm of the duality gap, and None where that is not known.

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
    >>> y = blur(x, gaussian(0.6), boundary="circular")
    >>> bool(torch.allclose(deblur(y, gaussian(0.6), damp=1e-9, boundary="circular").planes, x))
    True
    """
    check_choice("boundary", boundary, BOUNDARIES)
    size = check_sizes(planes, psf, larger_psf=boundary == "valid")
    if noise_std is not None:
        check_number("noise_std", noise_std)
    check_number("tol", tol, positive=True)
    check_memory_limit(memory_limit)
    if progress is not None:
        check_function("progress", progress)
    if jpeg is not None:
        check_jpeg(jpeg, len(planes))
    if series is not None:
        check_kind("series", series, Series, "make one with unconv.pictures.Series()")
    damp = checked_damp(damp)
    check_saturation(saturation)
    seen = _checked_seen(planes, observed)
    kernel, say = psf.to(planes), progress or (lambda step, fraction: None)
    chosen = chosen_prior(prior, damp, boundary, planes, seen)
    edges = edges_of(prior, chosen, strength, nonnegative, noise_model, counts, keep_partial)
    if edges is not None and edges.counts is not None:
        _check_counts(edges.counts * planes[:, seen], jpeg)
    need = memory_needed(planes, kernel, boundary=boundary, prior=chosen, tol=tol)
    check_memory(need, check_memory_limit(memory_limit))
    if chosen == "damp":
        limits = {"memory_limit": memory_limit, "tol": tol}
        full = find_missing(planes, saturation=saturation, white=1.0, bad=~seen)
        x = restore_damped(
            planes, kernel, size, damp, boundary, noise_std, full, limits, series, say
        )
        plan = x.certificate.plan
        return Restored(x.planes, "damp", x.damp, x.choice, x.residual, plan, x.certificate)
    kernel = psf.to(device=planes.device, dtype=torch.float64)
    question = Question(
        kernel,
        boundary,
        jpeg,
        noise_std,
        saturation,
        prior != "auto",
        edges,
        tol,
        memory_limit,
        say,
    )
    return _from_its_spectra(planes, seen, question)


def _from_its_spectra(planes: Tensor, seen: Tensor, question: Question) -> Restored:
    """By the Wiener filter, and what goes on from it."""
    if not bool(question.psf.any()):
        raise ValueError("the psf is zero everywhere; check how it was made.")
    with torch.no_grad():
        found = restore(planes.double(), None if bool(seen.all()) else seen, question)
    edges = question.edges
    return Restored(
        planes=found.planes.to(planes.dtype),
        prior=edges.prior if edges is not None and found.sharpened else "wiener",
        damp=None,
        choice=None,
        residual=found.residual.to(planes.dtype),
        plan=None,
        certificate=found.certificate,
        spectra=found.spectra,
        data=found.report,
        scene=found.scene._replace(planes=found.scene.planes.to(planes.dtype)),
        sharpened=found.sharpened,
    )


def _check_counts(counts: Tensor, jpeg: Sequence[JpegRounding] | None) -> None:
    """Refuse what no photons were counted in.

    counts : (C, number of seen pixels)
    """
    if jpeg is not None and len(jpeg) > 1:
        raise ValueError(
            "noise_model='poisson' is for counts, and a JPEG in colour holds luminance and "
            "chrominances; take a file of the counts (TIFF, PNG, NPY, FITS), or 'gaussian'."
        )
    if bool((counts < 0).any()):
        raise ValueError(
            f"counts must be >= 0 for noise_model='poisson', got {float(counts.min()):.3g}; add "
            "what was subtracted from them, or use noise_model='gaussian'."
        )


def _checked_seen(planes: Tensor, observed: Tensor | None) -> Tensor:
    """(H, W) bool: what is finite in all colours and was not excluded."""
    seen = planes.detach().isfinite().all(0)
    if observed is None:
        if not bool(seen.any()):
            raise ValueError("the picture holds no finite pixel; check how it was read.")
        return seen
    seen = seen & checked_observed(observed, planes.shape[1:]).to(seen.device)
    if not bool(seen.any()):
        raise ValueError("observed excludes every finite pixel; it must be True where seen.")
    return seen
