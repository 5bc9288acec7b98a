"""A picture by the Wiener filter whose spectra are read from it, and what that says of the data.

    x = E[scene | y]    for a scene of the spectrum c·|ω|^(−p), noise of the spectrum N, and
                        surroundings and bad pixels that nobody saw

c, p and N by the likelihood of the picture's periodogram (parameter_choice/whittle.py).  The filter
is exact for missing data, so that what is no datum is not used: pixels that the caller excludes or
that are not finite, clipped lights, a constant frame around the picture, and pixels that no scene
explains, which the residual of a first answer shows (outliers.py).  Missing pixels
come out restored; a frame stays as it is.  Waves from edge to edge that no scene explains are
taken off before (parameter_choice/interference.py).

A JPEG in colour is restored as its luminance and chrominances, which have a noise of their own.

Of a psf that the picture contradicts less is believed (parameter_choice/psf_error.py); one that
cannot be right makes nothing better, and the picture is given back as it was, with a doubt.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..doors import ConvOperator
from ..grid.fft import fast_size
from ..inverse import AccuracyWarning, Certificate
from ..numerics.norms import norms, ratio
from ..operators.linear_operator import MemoryLimitError
from ..parameter_choice import model_check
from ..parameter_choice.noise_models import JpegRounding
from ..parameter_choice.psf_error import psf_error
from ..parameter_choice.whittle import Periodogram, PictureSpectra
from .bad_pixels import filled, frame_around
from .components import parts_of, read, together
from .data_report import Component, DataReport, How, concluded
from .edges import Edges, Sharpened, is_nearly_white, sharpened
from .memory import MARGIN
from .missing import find_missing
from .operators import LEAST_SIZE, blur_operator, frame
from .outliers import agreeing, completed, disagreeing
from .saturated import lit_unseen
from .wiener_certificate import certificate_of, error_of_circular

_NOISE_FLOOR = 1e-3  # of the largest power of noise: fewer steps, and nothing lost
_RAISED = (1.0, 100.0, 100.0)  # times the noise, where its filter cannot be solved for
_SHORT = 0.1  # error up to which a filter counts as solved for
_ROUNDS = 8  # of looking for bad pixels
_FEW = 1e-4  # of the pixels: so few do not change what was read
_MOST_BAD = 0.05  # of the pixels: if no scene explains more, it is the psf that is wrong


class Scene(NamedTuple):
    """The scene that was restored, with its surroundings that nobody saw.

    Attributes
    ----------
    planes : (C, H+h−1, W+w−1) for a psf (h, w); (C, H, W) where nothing lies outside
    inside : the rows and the columns of it that are the picture, without a constant frame
    """

    planes: Tensor
    inside: tuple[slice, slice]


class Answer(NamedTuple):
    """Planes (C, H, W), residual (C, H, W), 0 where nothing was seen, and the evidence."""

    planes: Tensor
    scene: Scene
    residual: Tensor
    spectra: tuple[PictureSpectra, ...]
    certificate: Certificate
    report: DataReport
    sharpened: tuple[Sharpened, ...] = ()


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
    insist : to restore with a psf that the picture contradicts
    edges : the prior that goes on from the filter's scene, if one does
    tol, memory_limit : of the solves
    say : is told what begins
    """

    psf: Tensor
    boundary: str
    jpeg: Sequence[JpegRounding] | None
    noise_std: float | None
    saturation: float | str
    insist: bool
    edges: Edges | None
    tol: float
    memory_limit: float
    say: Callable[[str, float | None], None]


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
    first, full = _first_seen(inner, observed, question, notes)
    found, seen, waves = _settled(inner, first, question, notes)
    found = [_made_safe(component, seen, question) for component in found]
    counts = {
        "in a constant frame": planes[0].numel() - inner[0].numel(),
        "explained by no scene": int((first & ~seen).sum()),
    }
    excluded = {why: count for why, count in counts.items() if count}
    answer = _answer(planes, border, seen, found, question, notes, excluded)
    inside, circular = _inside(planes, border), question.boundary == "circular"
    refused = answer.report.psf_refused and not question.insist
    if question.edges is not None and not refused:
        answer = _with_edges(answer, planes, border, seen, found, question, question.edges)
    answer.residual[inside] += torch.where(seen, waves, 0.0)  # no part of what x explains
    if refused:
        fitted = together([c.fitted for c in found], question.jpeg)
        answer.planes[inside] = torch.where(first, inner, fitted)
        return answer
    if full is None:
        return answer
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
    if not any(border) or min(inner.shape[1:]) < max(LEAST_SIZE, *(2 * n for n in psf.shape)):
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


def _settled(
    planes: Tensor, seen: Tensor, q: Question, notes: list[str]
) -> tuple[list[Component], Tensor, Tensor]:
    """Restore, exclude what no scene explains, and again until nothing is left of it.

    Returns what was restored, the pixels (H, W) that count as seen, and waves (C, H, W) taken off.
    """
    start, first, settled = seen, None, False
    whole, known, waves = filled(planes, seen), None, torch.zeros_like(planes)
    for turn in range(_ROUNDS):
        q.say("reading the spectra" if turn == 0 else "restoring without bad pixels", None)
        if known is None:
            known, more = read(whole, q.psf, q.jpeg, q.noise_std, notes)
            whole, planes, waves = whole - more, planes - more, waves + more
        parts = parts_of(whole, q.jpeg)
        found = [_filtered(part, seen, *k, q) for (part, _), k in zip(parts, known, strict=True)]
        first = first or found
        residual = torch.cat([c.residual for c in found])
        bad = torch.zeros_like(seen)
        if q.boundary == "valid":  # a wrong boundary leaves more at the edges than a bad pixel
            bad = disagreeing(residual, seen, (q.psf.shape[0], q.psf.shape[1]))
        if not bool(bad.any()) and (settled or bool(seen.all())):
            break
        fitted = together([c.fitted for c in found], q.jpeg)
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
            return first, start, waves
        whole = torch.where(seen, planes, fitted)
    count = int((start & ~seen).sum())
    if count:
        notes.append(f"{count:,} pixels that no scene explains were taken for missing and restored")
    return found, seen, waves


def _made_safe(found: Component, seen: Tensor, q: Question) -> Component:
    """Again, with more noise where the data do not look like the model."""
    if found.whiteness.is_white:
        return found
    op = blur_operator(q.psf, (found.planes.shape[-2], found.planes.shape[-1]), q.boundary)
    grid, spectra = _grid(op, q), found.spectra
    error = psf_error(found.data, spectra, q.psf, q.noise_std)
    if error.is_decisive:
        spectra = error.spectra
    more = model_check.excess(found.data, spectra, q.psf, grid)
    if error.is_decisive:
        wrong = error.noise_psd(q.psf, grid)
        more = wrong if more is None else torch.maximum(more, wrong)
    told = error if error.is_decisive or error.forbids else None
    if more is None:
        return found._replace(psf_error=told)
    safe = _filtered(found.planes, seen, found.data, spectra, q, more)
    # What was found is judged, not what was made of it.
    return safe._replace(
        spectra=found.spectra, judged=found.judged, whiteness=found.whiteness, psf_error=told
    )


def _filtered(
    planes: Tensor,
    seen: Tensor,
    data: Periodogram,
    spectra: PictureSpectra,
    q: Question,
    more: Tensor | None = None,
) -> Component:
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
    return Component(planes, data, spectra, x[:, 0], residual, fitted, how, residual, white, None)


def _solved(
    op: ConvOperator, detail: Tensor, noise: Tensor, signal: Tensor, q: Question
) -> tuple[Tensor, How] | None:
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
    return x, How(filter_.method, effort, error)


def _grid(op: ConvOperator, q: Question) -> list[int]:
    """The periodic grid on which the scene is stationary."""
    margin, sizes = MARGIN if _has_surroundings(q) else 0, op.domain_shape[1:]
    return [fast_size(n + margin) if margin else n for n in sizes]


def _has_surroundings(q: Question) -> bool:
    """Whether light from outside the picture has reached it."""
    return q.boundary == "valid" and q.psf.numel() > 1


def _answer(
    planes: Tensor,
    border: tuple[int, int, int, int],
    seen: Tensor,
    found: list[Component],
    q: Question,
    notes: list[str],
    excluded: Mapping[str, int],
) -> Answer:
    """Planes of the whole picture, with its frame, and all that is to be said."""
    whole, scene, residual = _composed(planes, border, found, q)
    observed = torch.zeros_like(planes[0], dtype=torch.bool)
    observed[_inside(planes, border)[1:]] = seen
    parts = torch.cat([torch.where(seen, c.residual + c.fitted, 0.0) for c in found])
    residuals = ratio(norms(torch.cat([c.residual for c in found])), norms(parts))
    certificate = certificate_of([c.how for c in found], residuals, q.tol)
    q.say("judging the psf", None)
    report = concluded(found, seen, q.psf, notes, excluded, insist=q.insist)
    report = report._replace(observed=observed)
    spectra = tuple(c.spectra for c in found)
    return Answer(whole, scene, residual, spectra, certificate, report)


def _composed(
    planes: Tensor, border: tuple[int, int, int, int], found: Sequence[Component], q: Question
) -> tuple[Tensor, Scene, Tensor]:
    """Planes of the whole picture, the scene that was restored and the residual."""
    scene = together([c.x for c in found], q.jpeg)
    x = frame(scene, q.psf) if q.boundary == "valid" else scene
    top, left = ((n - 1) // 2 if q.boundary == "valid" else 0 for n in q.psf.shape)
    of_picture = slice(top, top + x.shape[1]), slice(left, left + x.shape[2])
    inside = _inside(planes, border)
    residual, whole = torch.zeros_like(planes), planes.clone()
    residual[inside] = together([c.residual for c in found], q.jpeg)
    whole[inside] = x
    return whole, Scene(scene, of_picture), residual


def _with_edges(
    answer: Answer,
    planes: Tensor,
    border: tuple[int, int, int, int],
    seen: Tensor,
    found: Sequence[Component],
    q: Question,
    edges: Edges,
) -> Answer:
    """The answer with a prior that keeps edges; of 'auto' where the model of the noise holds."""
    if edges.unless_worse and not all(is_nearly_white(c.whiteness) for c in found):
        return answer
    new: list[Sharpened] = []
    for c in found:
        if new and new[-1].partial:  # whoever interrupts wants an end
            new.append(Sharpened(c, None, math.nan, True))
        else:
            # the chrominances of a JPEG, its second part and third, have either sign
            own = replace(edges, nonnegative=edges.nonnegative and not new)
            new.append(sharpened(c, seen, q.psf, q.boundary, own, q.say, q.memory_limit))
    if all(one.certificate is None and not one.partial for one in new):
        return answer
    whole, scene, residual = _composed(planes, border, [one.component for one in new], q)
    if edges.nonnegative and len(new) > 1:  # together they may make a colour below zero
        whole, scene = whole.clamp(min=0), scene._replace(planes=scene.planes.clamp(min=0))
    return answer._replace(planes=whole, scene=scene, residual=residual, sharpened=tuple(new))


def _inside(planes: Tensor, border: tuple[int, int, int, int]) -> tuple[slice, slice, slice]:
    top, bottom, left, right = border
    H, W = planes.shape[1:]
    return slice(None), slice(top, H - bottom), slice(left, W - right)
