"""One picture of `unconv deblur`, from file to file."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..operators.linear_operator import MemoryLimitError, gigabytes
from ..pictures import DataReport, jpeg_rounding
from ..pictures import restoration as library
from ..pictures.formats import Picture, check_suitable, read_picture, write_picture
from ..pictures.formats.atomic import replacing
from ..pictures.light import linear_from_srgb, srgb_from_linear
from ..pictures.light_choice import linear_is_evident
from ..pictures.memory import memory_needed
from ..pictures.missing import Missing, find_missing
from ..pictures.operators import doubt_of_size
from ..pictures.series import Series
from ..psf import PsfEstimate
from .common import INTERRUPTED, UNCERTIFIED, collected_doubts
from .picture_options import (
    check_finite,
    fitting_mask,
    in_light,
    level_of,
    notes_on,
    question_noise,
    transparent,
    white_of,
)
from .progress_bar import Told
from .psf_facts import doubts_of_psf, facts_of_psf, psf_to_undo
from .report_page import drawn_page
from .verdict import evidence_of, is_partial, is_solved, verdict_on_data

_ROOM = 1.05  # more than is needed, in the advice


@dataclass(frozen=True)
class Wanted:
    """The options of `deblur`, read and checked.

    Attributes
    ----------
    psf, psf_text : (h, w), and as it was typed
    family : of psfs that is looked for in each picture, in the place of `psf`; None: it is told
    prior, strength, nonnegative, noise_model, keep_partial : as of the library
    damp : a number or the name of a rule; None for the library's choice
    light : 'auto', 'linear' or 'as-is'
    saturation : 'auto', 'off' or a level as typed
    bad, mask : (H, W) bool or None, and its file
    """

    psf: Tensor
    family: str | None
    psf_text: str
    prior: str
    strength: float | str
    nonnegative: bool
    noise_model: str
    keep_partial: bool
    damp: float | str | None
    noise_std: float | None
    boundary: str
    light: str
    saturation: str
    bad: Tensor | None
    mask: Path | None
    tol: float
    memory_limit: float
    max_pixels: int
    force: bool

    @property
    def other_inputs(self) -> dict[str, list[Path]]:
        """Files beside the pictures that are read."""
        return {"psf": [Path(self.psf_text)], "mask": [self.mask] if self.mask else []}


@dataclass(frozen=True)
class Outcome:
    """What is to be said of one picture.

    Attributes
    ----------
    facts : name -> value, in order
    doubts, notes : sentences
    exit_code : 0, 5 where the solve is not within tol, 130 where it was interrupted
    """

    facts: dict[str, Any]
    doubts: list[str]
    notes: list[str]
    exit_code: int


def restore_file(
    picture: Path,
    output: Path,
    page: Path | None,
    wanted: Wanted,
    step: Told,
    series: Series | None = None,
) -> Outcome:
    """Read, restore, write, and tell."""
    step(f"reading {picture.name}")
    source = read_picture(picture, max_pixels=wanted.max_pixels)
    check_suitable(output, source)
    question_noise(wanted.noise_std, source, force=wanted.force)
    found = find_missing(
        in_light(source, "as-is"),
        saturation=level_of(wanted.saturation, source),
        white=1.0,
        bad=fitting_mask(wanted.bad, source, wanted.mask),
        transparent=transparent(source),
    )
    read = None
    if wanted.family is not None:
        step(f"reading the psf of {picture.name}")
        read = psf_to_undo(
            source, found, wanted.family, wanted.light, wanted.noise_std, picture.name, step
        )
        wanted = replace(wanted, psf=read.psf)
    light = _in_its_light(source, found, wanted, step, series)
    restored, doubts, wanted = light.restored, light.doubts, replace(wanted, light=light.name)
    planes = in_light(source, wanted.light)
    answer = check_finite(restored.planes)
    answer = srgb_from_linear(answer) if wanted.light == "linear" else answer
    notes = [*notes_on(source), *(found.notes if restored.data is None else ())]
    solved = is_solved(restored, wanted.tol)
    facts = _facts(picture, output, planes, restored, found, wanted, read)
    facts |= {"verdict": verdict_on_data(restored), "equations_solved": solved}
    facts |= evidence_of(restored) | ({"light_chosen": light.why} if light.why else {})
    drawn = None
    if page is not None:
        step(f"drawing {page.name}")
        facts["report"] = str(page)
        before = in_light(source, "as-is")
        shown = facts | {"psf": wanted.psf_text}
        drawn = drawn_page(picture.name, before, answer, restored, shown, found.observed)
    step(f"writing {output.name}")
    write_picture(output, source.replace(answer.numpy()))
    if page is not None and drawn is not None:
        with replacing(page) as file:
            file.write(drawn)
    if notes:
        facts["notes"] = notes
    doubts += [*doubts_of_psf(read), *_doubts_of(restored, wanted)]
    code = 0 if solved else UNCERTIFIED
    if light.interrupted:
        code = INTERRUPTED
        doubts.append(f"interrupted: what {restored.prior} had got to was written")
    return Outcome(facts, doubts, notes, code)


@dataclass(frozen=True)
class _Light:
    """A picture restored in one light.

    Attributes
    ----------
    name : 'linear' or 'as-is'
    why : it was chosen, if two were tried
    interrupted : whether more would have been done
    """

    name: str
    restored: library.Restored
    doubts: list[str]
    why: str = ""
    interrupted: bool = False


def _in_its_light(
    source: Picture,
    found: Missing,
    wanted: Wanted,
    step: Told,
    series: Series | None,
) -> _Light:
    """In the light that was asked for; by 'auto' as it is stored, unless that cannot be."""

    def tried(light: str, held: int = 0) -> _Light:
        left = max(wanted.memory_limit - held, 1.0)
        keep = wanted.keep_partial and not held  # with an answer at hand no half one is kept
        own = replace(wanted, light=light, memory_limit=left, keep_partial=keep)
        with collected_doubts() as doubts:
            restored = _restored(source, found, own, step, series)
        return _Light(light, restored, doubts, interrupted=is_partial(restored))

    if wanted.light != "auto":
        return tried(wanted.light)
    stored = tried("as-is")
    judged = stored.restored.data
    if judged is None or stored.interrupted or not _may_be_linear(judged, source, wanted):
        return stored
    step("trying linear light")
    try:
        linear = tried("linear", _held(stored.restored))
    except KeyboardInterrupt:
        if not wanted.keep_partial:
            raise
        return replace(stored, why="interrupted while linear light was tried", interrupted=True)
    except MemoryLimitError:
        why = "linear light was not tried, it does not fit --memory-limit beside the first answer"
        return replace(stored, why=why)
    except ValueError:  # it has no answer there; as stored there is one
        return stored
    if linear.restored.data is None:
        return stored
    other = linear.restored.data.whiteness
    evident = linear_is_evident(judged.whiteness, other)
    why = (
        f"the residual is {judged.whiteness.distance:.2f} from white as stored and "
        f"{other.distance:.2f} in linear light, {other.limit:.2f} is usual: "
    )
    if evident:
        return replace(linear, why=why + "linear light was blurred")
    return replace(stored, why=why + "nothing speaks for linear light")


def _held(restored: library.Restored) -> int:
    """Bytes of an answer that is kept while another is looked for."""
    kept = [restored.planes, restored.residual]
    kept += [] if restored.scene is None else [restored.scene.planes]
    return sum(t.numel() * t.element_size() for t in kept)


def _may_be_linear(judged: DataReport, source: Picture, wanted: Wanted) -> bool:
    """Whether the file may hold a curve of light that was blurred, and its noise is to be read.

    So it is where the residual is not that of noise.

    The noise of a JPEG is known in the values of the file alone.
    """
    exact = source.dtype.kind == "u" and wanted.noise_std is None
    return (
        exact
        and not judged.whiteness.is_white
        and jpeg_rounding(source.metadata, len(source.planes)) is None
    )


def _restored(
    source: Picture,
    found: Missing,
    wanted: Wanted,
    step: Told,
    series: Series | None,
) -> library.Restored:
    """The library's answer; what does not fit the memory is said in the words of the command."""
    planes, linear = in_light(source, wanted.light), wanted.light == "linear"
    hidden = [m for m in (wanted.bad, transparent(source)) if m is not None]
    seen = ~torch.stack(hidden).any(0) if hidden else None
    level = level_of(wanted.saturation, source)
    if linear and not isinstance(level, str):
        level = float(linear_from_srgb(torch.tensor(level, dtype=torch.float64)))
    jpeg = None if linear else jpeg_rounding(source.metadata, len(planes))  # of stored values
    try:
        return library.deblur(
            planes,
            wanted.psf,
            prior=wanted.prior,
            damp=wanted.damp,
            strength=wanted.strength,
            nonnegative=wanted.nonnegative,
            noise_model=wanted.noise_model,
            counts=white_of(source),
            keep_partial=wanted.keep_partial,
            boundary=wanted.boundary,
            noise_std=wanted.noise_std,
            observed=seen,
            saturation=level,
            jpeg=jpeg,
            series=series,
            tol=wanted.tol,
            memory_limit=wanted.memory_limit,
            progress=step,
        )
    except MemoryLimitError as error:
        prior = "damp" if wanted.damp is not None else wanted.prior
        need = memory_needed(
            planes,
            wanted.psf,
            boundary=wanted.boundary,
            observed=found.observed,
            prior=prior,
            tol=wanted.tol,
        )
        if need <= wanted.memory_limit:  # pixels that were found bad take more
            said = str(error).replace("memory_limit=", "--memory-limit ")
            raise MemoryLimitError(said.replace(" memory_limit", " --memory-limit")) from error
        H, W = planes.shape[1:]
        raise MemoryLimitError(
            f"restoring {W} x {H} pixels takes {gigabytes(need)}, --memory-limit is "
            f"{gigabytes(wanted.memory_limit)}; give --memory-limit {_advised(need)}, or crop the "
            "picture."
        ) from error


def _advised(need: float) -> str:
    """A size to type that is a little larger."""
    unit, name = (1e9, "GB") if need > 1e9 else (1e6, "MB")
    return f"{math.ceil(10 * _ROOM * need / unit) / 10:g}{name}"


def _facts(
    picture: Path,
    output: Path,
    planes: Tensor,
    restored: library.Restored,
    found: Missing,
    wanted: Wanted,
    read: PsfEstimate | None,
) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "input": str(picture),
        "output": str(output),
        "size": list(planes.shape[::-1]),
        "psf": list(wanted.psf.shape),
        **facts_of_psf(read),
        "boundary": wanted.boundary,
        "light": wanted.light,
    }
    if found.counts:
        facts["missing"] = dict(found.counts)
    if found.level is not None:
        facts["saturation"] = found.level
    return facts | {"prior": restored.prior, **_conclusions(restored, wanted.damp)}


def _conclusions(restored: library.Restored, wanted: float | str | None) -> dict[str, Any]:
    """What was read from the data: one line, or the damp and how it was chosen."""
    if restored.data is not None:
        return {"data": restored.data.sentence}
    return {"damp": restored.damp, "damp_chosen": _how(restored, wanted)}


def _how(restored: library.Restored, wanted: float | str | None) -> str:
    if wanted is not None and not isinstance(wanted, str):
        return "given"
    if restored.choice is None:
        return "any, the picture is even"
    return restored.choice.decided_by


def _doubts_of(restored: library.Restored, wanted: Wanted) -> list[str]:
    """What fails of the assumptions, and a rule that found no minimum."""
    if restored.data is not None:
        return list(restored.data.doubts)
    choice = restored.choice
    if choice is None:  # given by who knows, or the picture is even
        return []
    H, W = restored.planes.shape[1:]
    small = doubt_of_size((H, W), wanted.psf)
    failed = f"{choice.rule} is decided inside" not in choice.advice
    return ([] if small is None else [small]) + ([choice.advice] if failed else [])
