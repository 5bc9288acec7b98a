"""A restored volume as one HTML file that needs nothing else: planes, the bound, the spectra."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...volumes.engine.process import Processed
from ...volumes.look import Look, look_at
from ...volumes.prepare import Prepared
from ..common import shown
from ..page_parts import STYLE, fact_rows, figure_section
from . import figures
from .told import bounds_of


@dataclass(frozen=True)
class VolumePage:
    """What is shown.

    Attributes
    ----------
    title, advice : sentences
    look : planes and projections of a part
    bounds : of the error before the first pass and after each, of the standard deviation of x;
        empty where none is proven
    tol : that was asked for
    spectra : as `Estimates` has them, or None where nothing was estimated
    facts : name -> text, in order
    """

    title: str
    advice: str
    look: Look
    bounds: Sequence[float]
    tol: float
    spectra: Mapping[str, Any] | None
    facts: Mapping[str, str]


def page_of_run(prepared: Prepared, done: Processed, facts: Mapping[str, Any]) -> VolumePage:
    """What is shown of a run: of its first volume that was restored."""
    label, found = next(iter(done.reports.items()))
    batch = next(b for b in prepared.batches if b.label == label)
    bounds, tol = bounds_of(found), prepared.asked.wanted.tol
    which = "" if label == "all" else f", {label}"
    return VolumePage(
        title=f"{Path(prepared.source.name).name}{which}, restored",
        advice=_advice(found, bounds, tol),
        look=look_at(batch, done.out),
        bounds=bounds,
        tol=tol,
        spectra=found["estimates"]["spectra"],
        facts={
            key.replace("_", " "): shown(value)
            for key, value in facts.items()
            if key not in ("volumes", "failed")
        },
    )


def _advice(found: Mapping[str, Any], bounds: Sequence[float], tol: float) -> str:
    if not bounds:
        moved = f", and the last pass moved it by {found['residual'][-1]:.2g} of its deviation"
        return (
            "This method is not linear and has no bound of its error"
            f"{moved if found['residual'] else ''}."
        )
    proven = "as asked for" if bounds[-1] <= tol else f"more than the {tol:g} that was asked for"
    return (
        f"The error of the whole volume is proven to be within {bounds[-1]:.2g} of the standard "
        f"deviation of x, {proven}: whatever the tiles, this is the answer to the question."
    )


def drawn_page(page: VolumePage) -> bytes:
    """The page, as the bytes of its file."""
    return _TEMPLATE.format(
        style=STYLE,
        title=html.escape(page.title),
        advice=html.escape(page.advice),
        rows=fact_rows(page.facts),
        figures="".join(_sections(page)),
    ).encode()


def _sections(page: VolumePage) -> list[str]:
    look = page.look
    planes = figures.of_planes(look.before, look.after, look)
    sections = [figure_section(planes, "Before and after", _part_words(look), wide=True)]
    if len(look.axes) > 2:
        drawn = figures.of_planes(look.brightest_before, look.brightest_after, look)
        words = "The largest values of the same part along each axis."
        sections.append(figure_section(drawn, "Maximum projections", words, wide=True))
    words = "The restored volume as the smallest level of its pyramid has it, " + (
        "the largest values along z." if len(look.axes) > 2 else "all of it."
    )
    sections.append(figure_section(figures.of_overview(look), "The whole", words))
    if page.bounds:
        drawn = figures.of_bounds(page.bounds, page.tol)
        sections.append(figure_section(drawn, "The error, bounded", _bound_words(page)))
    if page.spectra is not None:
        drawn = figures.of_spectra(page.spectra)
        words = (
            "Means over rings of frequencies of faded tiles that were drawn at random. Where the "
            "fitted curve lies on the noise, the data say nothing of the scene."
        )
        sections.append(figure_section(drawn, "Spectra of signal and noise", words))
    return sections


def _part_words(look: Look) -> str:
    places = ", ".join(
        f"{axis} {r.start}–{r.stop - 1}" for axis, r in zip(look.axes, look.box, strict=True)
    )
    planes = "The planes through the middle of" if len(look.axes) > 2 else "The values of"
    return (
        f"{planes} a part around the brightest place, {places}, at full resolution; input and "
        "answer each in their own range from black to white."
    )


def _bound_words(page: VolumePage) -> str:
    return (
        "What the volume after each pass can be away from the exact minimiser, root mean square "
        "over all samples, in units of the standard deviation of x: proven from the gradient of "
        f"the whole volume, whatever the tiles. The last one is {page.bounds[-1]:.2g}."
    )


_TEMPLATE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>{style}</style></head><body>
<h1>{title}</h1>
<p class="advice">{advice}</p>
<div class="grid">
{figures}
<section class="wide"><h2>The answer and its evidence</h2><table>{rows}</table></section>
</div></body></html>
"""
