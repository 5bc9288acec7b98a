"""A picture by the Wiener filter whose spectra are read from it, and what that says of the data.

    x = E[scene | y]    for a scene of the spectrum c·|ω|^(−p), noise of the spectrum N, and
                        surroundings and bad pixels that nobody saw

c, p and N by the likelihood of the picture's periodogram (parameter_choice/whittle.py).  The filter
is exact for missing data, so that what is no datum is not used: pixels that the caller excludes or
that are not finite, clipped lights, a constant frame around the picture, and pixels that no scene
explains, which the residual of a first answer shows (outliers.py).  Missing pixels
come out restored; a frame stays as it is.

A JPEG in colour is restored as its luminance and chrominances, which have a noise of their own.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..doors import ConvOperator
from ..grid.fft import fast_size
from ..inverse import AccuracyWarning, Certificate
from ..inverse.facts import Effort
from ..numerics.norms import norms, ratio
from ..operators.linear_operator import MemoryLimitError
from ..parameter_choice import model_check
from ..parameter_choice.noise_models import JpegRounding
from ..parameter_choice.residual_whiteness import Whiteness
from ..parameter_choice.whittle import Periodogram, PictureSpectra
from .bad_pixels import filled, frame_around
from .memory import MARGIN
from .missing import find_missing
from .operators import blur_operator, doubt_of_size, frame
from .outliers import agreeing, completed, disagreeing
from .saturated import lit_unseen
from .wiener_certificate import certificate_of, error_of_circular

_NOISE_FLOOR = 1e-3  # of the largest power of noise: fewer steps, and nothing lost
_RAISED = (1.0, 100.0, 100.0)  # times the noise, where its filter cannot be solved for
_SHORT = 0.1  # error up to which a filter counts as solved for
_ROUNDS = 8  # of looking for bad pixels
_FEW = 1e-4  # of the pixels: so few do not change what was read
_MOST_BAD = 0.05  # of the pixels: if no scene explains more, it is the psf that is wrong

# Luminance and chrominances of JFIF (ITU-T T.871) from red, green and blue
_YCC = (
    (0.299, 0.587, 0.114),
    (-0.168735892, -0.331264108, 0.5),
    (0.5, -0.418687589, -0.081312411),
)


class DataReport(NamedTuple):
    """What was concluded about the data.

    Attributes
    ----------
    noise : of each component, in words
    whiteness : of the residual within the seen part, divided by what the model expects of it; of
        the component that is worst
    psf_plausible : whether the picture looks blurred by the psf
    observed : (H, W) bool, False where a pixel was not taken for a datum
    sentence : all of it
    doubts : what is to be said when an assumption fails
    """

    noise: tuple[str, ...]
    whiteness: Whiteness
    psf_plausible: bool
    observed: Tensor
    sentence: str
    doubts: tuple[str, ...]


class Answer(NamedTuple):
    """Planes (C, H, W), residual (C, H, W), 0 where nothing was seen, and the evidence."""

    planes: Tensor
    residual: Tensor
    spectra: tuple[PictureSpectra, ...]
    certificate: Certificate
    report: DataReport


@dataclass(frozen=True)
class Question:
    """How a picture is to be restored.

    Attributes
    ----------
    psf : (h, w) float64
    boundary : 'valid' or 'circular'
    jpeg : the rounding of the grey plane, or of luminance and chrominances
    noise_std : of white noise, if it is known
    saturation : 'auto', 'off' or the level at which the sensor is full
    tol, memory_limit : of the solves
    say : is told what begins
    """

    psf: Tensor
    boundary: str
    jpeg: Sequence[JpegRounding] | None
    noise_std: float | None
    saturation: float | str
    tol: float
    memory_limit: float
    say: Callable[[str], None]


def restore(planes: Tensor, observed: Tensor | None, question: Question) -> Answer:
    """Restore a picture; see the module.

    Parameters
    ----------
    planes : (C, H, W) float64
    observed : (H, W) bool, False where a pixel is no datum; None: all are
    """
    notes: list[str] = []
    inner, border = planes, (0, 0, 0, 0)
    if question.boundary == "valid" and observed is None:
        inner, border = _without_frame(planes, question.psf, notes)
    seen, full = _first_seen(inner, observed, question, notes)
    found, seen = _settled(inner, seen, question, notes)
    found = [_made_safe(component, seen, question) for component in found]
    answer = _answer(planes, border, seen, found, question, notes)
    if full is None:
        return answer
    inside, circular = _inside(planes, border), question.boundary == "circular"
    lit = answer.planes.clone()
    lit[inside] = lit_unseen(lit[inside], inner, full, question.psf, circular=circular)
    return answer._replace(planes=lit)


def _without_frame(
    planes: Tensor, psf: Tensor, notes: list[str]
) -> tuple[Tensor, tuple[int, int, int, int]]:
    """The picture inside a constant frame, and the widths of that."""
    border = top, bottom, left, right = frame_around(planes)
    H, W = planes.shape[1:]
    inner = planes[:, top : H - bottom, left : W - right]
    if not any(border) or min(inner.shape[1:]) < 2 * max(psf.shape):
        return planes, (0, 0, 0, 0)
    notes.append(
        f"a constant frame (rows {top} above, {bottom} below, columns {left} left, {right} right) "
        "is no part of the picture and left as it is"
    )
    return inner, border


def _first_seen(
    planes: Tensor, observed: Tensor | None, q: Question, notes: list[str]
) -> tuple[Tensor, Tensor | None]:
    """Which samples are data, by the caller and by their values, and which are saturated."""
    seen = planes.isfinite().all(0)
    if observed is not None:
        seen = seen & observed
    if not bool(seen.any()):
        raise ValueError("no pixel of the picture is a datum; check the mask.")
    found = find_missing(planes, saturation=q.saturation, white=1.0, bad=~seen)
    notes += found.notes
    if found.saturated is None or found.observed is None:
        return seen, None
    share = float(found.saturated.double().mean())
    notes.append(f"{share:.2%} of the samples are clipped at the largest value and restored")
    return found.observed, found.saturated


class _How(NamedTuple):
    """How a filter was made, what it took, and (c,) the error of x in the norm of its spectrum."""

    method: str
    effort: Effort
    error: Tensor


class _Component(NamedTuple):
    """Planes that share their spectra, restored."""

    planes: Tensor  # (c, H, W), complete
    data: Periodogram
    spectra: PictureSpectra
    x: Tensor  # (c, *domain)
    residual: Tensor  # (c, H, W)
    fitted: Tensor  # (c, H, W), A x
    how: _How
    whiteness: Whiteness


def _settled(
    planes: Tensor, seen: Tensor, q: Question, notes: list[str]
) -> tuple[list[_Component], Tensor]:
    """Restore, exclude what no scene explains, and again until nothing is left of it."""
    start, first, settled = seen, None, False
    whole, known = filled(planes, seen), None
    for turn in range(_ROUNDS):
        q.say("reading the spectra" if turn == 0 else "restoring without bad pixels")
        parts = _parts(whole, q.jpeg)
        known = known or [_fitted(part, rounding, q) for part, rounding in parts]
        found = [_filtered(part, seen, *k, q) for (part, _), k in zip(parts, known, strict=True)]
        first = first or found
        residual = torch.cat([c.residual for c in found])
        bad = torch.zeros_like(seen)
        if q.boundary == "valid":  # a wrong boundary leaves more at the edges than a bad pixel
            bad = disagreeing(residual, seen, (q.psf.shape[0], q.psf.shape[1]))
        if not bool(bad.any()) and (settled or bool(seen.all())):
            break
        fitted = _together([c.fitted for c in found], q.jpeg)
        settled = float(bad.double().mean()) <= _FEW
        if settled:  # what only lay in the shadow of an outlier is a datum again
            seen = seen & ~bad | (start & agreeing(planes - fitted, seen))
            known = None  # spectra are read anew, from what was filled in without outliers
        else:
            seen = seen & ~completed(bad | (start & ~seen))
        if float((start & ~seen).double().mean()) > _MOST_BAD:
            notes.append(
                f"more than {_MOST_BAD:.0%} of the pixels disagree with psf and noise and were "
                "kept as data"
            )
            return first, start
        whole = torch.where(seen, planes, fitted)
    count = int((start & ~seen).sum())
    if count:
        notes.append(f"{count:,} pixels that no scene explains were taken for missing and restored")
    return found, seen


def _fitted(
    planes: Tensor, rounding: JpegRounding | None, q: Question
) -> tuple[Periodogram, PictureSpectra]:
    """The spectra of complete planes."""
    data = Periodogram(planes, q.psf)
    return data, data.fit(rounding, q.noise_std)


def _made_safe(found: _Component, seen: Tensor, q: Question) -> _Component:
    """Again, with more noise where the data do not look like the model."""
    if found.whiteness.is_white:
        return found
    op = blur_operator(q.psf, (found.planes.shape[-2], found.planes.shape[-1]), q.boundary)
    more = model_check.excess(found.data, found.spectra, q.psf, _grid(op, q))
    if more is None:
        return found
    safe = _filtered(found.planes, seen, found.data, found.spectra, q, more)
    return safe._replace(whiteness=found.whiteness)  # what was found, not what was made of it


def _filtered(
    planes: Tensor,
    seen: Tensor,
    data: Periodogram,
    spectra: PictureSpectra,
    q: Question,
    more: Tensor | None = None,
) -> _Component:
    """The Wiener filter; `more` is the noise beside the model's."""
    op = blur_operator(q.psf, (planes.shape[-2], planes.shape[-1]), q.boundary)
    grid, device = _grid(op, q), planes.device
    signal, noise = spectra.signal_psd(grid, device), spectra.noise_psd(grid, device)
    noise = noise if more is None else noise + more
    noise = noise.clamp(min=_NOISE_FLOOR * float(noise.max()))
    mean = planes[:, seen].mean(1).reshape(-1, 1, 1, 1).expand(-1, *op.domain_shape)
    detail = torch.where(seen, planes[:, None] - op(mean), 0.0)
    seen_op = op if bool(seen.all()) else op.observed(seen)
    for raised in _RAISED:
        noise = raised * noise
        solved = _solved(seen_op, detail, noise, signal, q)
        if solved is not None and bool((solved[1].error <= _SHORT).all()):
            break
    if solved is None:
        raise ValueError("no Wiener filter can be solved for here; use prior='damp'.")
    x, how = solved
    x = x + mean
    fitted = op(x)[:, 0]
    residual = torch.where(seen, planes - fitted, 0.0)
    white = model_check.whitened(residual, data, spectra, q.psf)
    return _Component(planes, data, spectra, x[:, 0], residual, fitted, how, white)


def _solved(
    op: ConvOperator, detail: Tensor, noise: Tensor, signal: Tensor, q: Question
) -> tuple[Tensor, _How] | None:
    """x without the mean; None where completion would take too many steps."""
    complete = op.seen is None and not _has_surroundings(q)
    method = "fourier" if complete else "completion"
    limits: dict[str, Any] = {"tol": q.tol, "memory_limit": q.memory_limit}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AccuracyWarning)  # the certificate says it
        try:
            filter_ = op.wiener(noise, signal, method=method, **limits)
        except (ValueError, MemoryLimitError) as failed:
            need = failed if isinstance(failed, MemoryLimitError) else failed.__cause__
            if isinstance(need, MemoryLimitError):
                sentence = str(need).replace("use method='krylov'", "crop the picture")
                raise MemoryLimitError(sentence) from failed
            if method == "fourier":
                raise
            return None  # too many steps, or not definite to round-off
        x, effort = filter_.solution(detail)
    error = effort.evidence
    if error is None:  # no iteration: by the equations themselves
        error = error_of_circular(x, detail - op(x), q.psf, noise, signal)
    return x, _How(filter_.method, effort, error)


def _grid(op: ConvOperator, q: Question) -> list[int]:
    """The periodic grid on which the scene is stationary."""
    margin, sizes = MARGIN if _has_surroundings(q) else 0, op.domain_shape[1:]
    return [fast_size(n + margin) if margin else n for n in sizes]


def _has_surroundings(q: Question) -> bool:
    """Whether light from outside the picture has reached it."""
    return q.boundary == "valid" and q.psf.numel() > 1


def _parts(
    planes: Tensor, jpeg: Sequence[JpegRounding] | None
) -> list[tuple[Tensor, JpegRounding | None]]:
    """Planes with one noise each."""
    if jpeg is None:
        return [(planes, None)]
    if len(planes) == 1:
        return [(planes, jpeg[0])]
    ycc = torch.tensordot(planes.new_tensor(_YCC), planes, 1)
    return [(ycc[i : i + 1], rounding) for i, rounding in enumerate(jpeg)]


def _together(parts: Sequence[Tensor], jpeg: Sequence[JpegRounding] | None) -> Tensor:
    """Planes of the picture from those of its components."""
    planes = torch.cat(list(parts))
    if jpeg is None or len(planes) == 1:
        return planes
    return torch.tensordot(torch.linalg.inv(planes.new_tensor(_YCC)), planes, 1)


def _answer(
    planes: Tensor,
    border: tuple[int, int, int, int],
    seen: Tensor,
    found: list[_Component],
    q: Question,
    notes: list[str],
) -> Answer:
    """Planes of the whole picture, with its frame, and all that is to be said."""
    x = _together([c.x for c in found], q.jpeg)
    x = frame(x, q.psf) if q.boundary == "valid" else x
    inside = _inside(planes, border)
    residual = torch.zeros_like(planes)
    residual[inside] = _together([c.residual for c in found], q.jpeg)
    whole, observed = planes.clone(), torch.zeros_like(planes[0], dtype=torch.bool)
    whole[inside], observed[inside[1:]] = x, seen
    parts = torch.cat([torch.where(seen, c.residual + c.fitted, 0.0) for c in found])
    residuals = ratio(norms(torch.cat([c.residual for c in found])), norms(parts))
    certificate = certificate_of([c.how for c in found], residuals, q.tol)
    report = _report(found, observed, q, notes)
    return Answer(whole, residual, tuple(c.spectra for c in found), certificate, report)


def _inside(planes: Tensor, border: tuple[int, int, int, int]) -> tuple[slice, slice, slice]:
    top, bottom, left, right = border
    H, W = planes.shape[1:]
    return slice(None), slice(top, H - bottom), slice(left, W - right)


def _report(found: list[_Component], observed: Tensor, q: Question, notes: list[str]) -> DataReport:
    """The conclusions, and what fails of the assumptions."""
    small = doubt_of_size((observed.shape[0], observed.shape[1]), q.psf)
    doubts = [] if small is None or q.psf.numel() == 1 else [small]
    worst = max((c.whiteness for c in found), key=lambda w: w.distance / w.limit)
    if not worst.is_white:
        doubts.append(
            f"the residual does not look like the noise that was read (distance "
            f"{worst.distance:.3g}, up to {worst.limit:.3g} is usual); "
            "where the data are stronger than signal and noise, the rest was taken for noise"
        )
    first = found[0]
    q.say("judging the psf")
    sharp = Periodogram(first.residual + first.fitted, q.psf.new_ones(1, 1))
    plausible = q.psf.numel() == 1 or model_check.looks_blurred(first.data, sharp, first.spectra)
    if not plausible:
        doubts.append(
            "the picture looks as if this psf had not blurred it: check the psf and its size"
        )
    noise = tuple(str(c.spectra.noise) for c in found)
    parts = [
        noise[0],
        f"residual {'white' if worst.is_white else 'not white'} within the seen part",
        f"psf {'plausible' if plausible else 'not plausible'}",
        *notes,
    ]
    return DataReport(noise, worst, plausible, observed, "; ".join(parts), tuple(doubts))
