"""A restoration as one HTML file that needs nothing else: pictures, evidence, curves."""

from __future__ import annotations

import html
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from ..parameter_choice import DampChoice
from ..parameter_choice.residual_whiteness import Whiteness
from ..pictures import DataReport, Scene
from ..pictures.light import srgb_from_linear
from ..pictures.restoration import Restored
from . import report_figures as figures
from .common import shown
from .page_parts import STYLE, data_uri, fact_rows, figure_section
from .verdict import whiteness_of

_LARGEST_SIDE = 1600  # pixels of an embedded picture; larger ones are shown smaller, and it says so
_QUALITY = 92  # of JPEG
_COMPONENTS = ("luminance", "blue difference", "red difference")  # of a JPEG in colour


@dataclass(frozen=True)
class Page:
    """What is shown.

    Attributes
    ----------
    before, after, residual : (C, H, W), the first two with white = 1
    observed : (H, W) bool, True where a pixel was a datum; None where all were
    missing : why -> number of pixels that were none
    scene : with what lies beyond the edges, white = 1; None where that was not restored
    whiteness : of the residual; of a Wiener filter that of `data`
    data : what was concluded by a Wiener filter, or None
    rounded : whether it took the noise for that of a JPEG
    facts : name -> text, in order
    plan : as printed
    curve : of the rule that chose the damp, or None
    """

    title: str
    before: Tensor
    after: Tensor
    residual: Tensor
    observed: Tensor | None
    missing: Mapping[str, int]
    scene: Scene | None
    whiteness: Whiteness | None
    data: DataReport | None
    rounded: bool
    facts: Mapping[str, str]
    plan: str
    curve: figures.Curve | None
    advice: str


_SHOWN = (
    "input", "output", "size", "psf", "psf_found", "psf_evidence", "boundary", "light",
    "light_chosen", "missing", "saturation",
    "prior", "damp", "damp_chosen", "data", "verdict", "method", "strength", "iterations", "gap",
    "residual", "optimality", "error_bound", "equations_solved",
)  # fmt: skip


_CURVES = {
    "risk": "expected squared error",
    "gcv": "GCV function",
    "lcurve": "curvature of the L-curve, negative",
    "discrepancy": "distance of the residual from the noise",
    "sure": "estimated error of Ax",
}


def drawn_page(
    name: str,
    before: Tensor,
    after: Tensor,
    restored: Restored,
    facts: Mapping[str, Any],
    observed: Tensor | None = None,
) -> bytes:
    """The page of one `deblur`, as the bytes of its file; before and after as they are stored.

    facts : of the command; 'light' says in which the scene is, 'missing' counts pixels
    observed : (H, W) bool of the pixels known to be data before the picture was restored
    """
    choice, data = restored.choice, restored.data
    advice = facts.get("advice", restored.certificate.advice)
    seen = observed if data is None else data.observed
    page = Page(
        title=f"{name}, restored",
        before=before,
        after=after,
        observed=None if seen is None or bool(seen.all()) else seen,
        missing=dict(facts.get("missing", {})) | dict(data.excluded if data else {}),
        residual=restored.residual,
        scene=_stored(restored.scene, facts.get("light")),
        whiteness=whiteness_of(restored),
        data=data,
        rounded=any(s.noise.rounding is not None for s in restored.spectra),
        facts={key.replace("_", " "): shown(facts[key]) for key in _SHOWN if key in facts},
        plan=_way(restored, facts) if restored.plan is None else str(restored.plan),
        curve=None if choice is None else _curve_of(choice),
        advice=advice if choice is None else f"{choice.advice[:-1]}. The solve: {advice}.",
    )
    return _text(page).encode()


def _way(restored: Restored, facts: Mapping[str, Any]) -> str:
    """How the picture was restored, in one line."""
    linear = f"by {restored.certificate.method}"
    if not restored.sharpened:
        return linear
    return f"{linear}, the linear estimate; from there by {facts.get('method', restored.prior)}"


def _stored(scene: Scene | None, light: str | None) -> Scene | None:
    """The scene in the values of the file."""
    if scene is None or light != "linear":
        return scene
    return scene._replace(planes=srgb_from_linear(scene.planes))


def _curve_of(choice: DampChoice) -> figures.Curve:
    finite = choice.curve[choice.curve.isfinite().all(1)]
    damps, values = finite.T.tolist()
    return damps, values, _CURVES[choice.rule], choice.damp


def _text(page: Page) -> str:
    height, width = page.before.shape[1:]
    reduced = max(height, width) > _LARGEST_SIDE
    return _TEMPLATE.format(
        style=STYLE,
        script=_SCRIPT,
        title=html.escape(page.title),
        before=_picture(page.before),
        after=_picture(page.after),
        width=width,
        height=height,
        reduced=f" Shown at most {_LARGEST_SIDE} pixels wide." if reduced else "",
        advice=html.escape(page.advice),
        rows=fact_rows(page.facts),
        plan=html.escape(page.plan),
        figures="".join(_sections(page)),
    )


def _sections(page: Page) -> list[str]:
    """Each figure with its heading and its words."""
    sections = []
    if page.curve is not None:
        sections.append(
            figure_section(figures.of_curve(page.curve), "Choice of the damp", _chosen(page))
        )
    if page.observed is not None:
        drawn = figures.of_unseen(page.after, page.observed)
        sections.append(figure_section(drawn, "What was not seen", _unseen_words(page)))
    if page.scene is not None:
        drawn = figures.of_scene(page.scene)
        sections.append(figure_section(drawn, "The completed picture", _completed_words(page)))
    sections += _of_spectra(page.data, page.rounded)
    drawn = figures.of_residual(page.residual)
    sections.append(figure_section(drawn, "What is left: y − Ax", _size_words(page)))
    if page.whiteness is not None:
        drawn = figures.of_whiteness(page.whiteness)
        sections.append(figure_section(drawn, "Is it white?", _whiteness_words(page)))
    return sections


def _of_spectra(data: DataReport | None, rounded: bool) -> list[str]:
    """Spectra of signal and noise, and that of the residual, of each component."""
    if data is None:
        return []
    sections = []
    for profile, name, noise in zip(data.profiles, _COMPONENTS, data.noise, strict=False):
        of = f": {name}" if len(data.profiles) > 1 else ""
        drawn = figures.of_spectra(profile)
        words = (
            f"Means over rings of frequencies of the faded picture. Noise: {noise}. "
            "Where the fitted curve lies on the noise, the data say nothing of the scene."
        )
        sections.append(figure_section(drawn, f"Spectra of signal and noise{of}", words))
        drawn = figures.of_residual_spectrum(profile)
        words = (
            "The power of y − Ax within the seen part, over what the fitted spectra expect of it: "
            "above one the data hold what the model does not know."
        )
        if rounded:
            words += " Where a JPEG has rounded to nothing, it leaves nothing, and that counts not."
        sections.append(figure_section(drawn, f"The residual by frequency{of}", words))
    return sections


def _picture(planes: Tensor) -> str:
    """A data URI; JPEG, as a report is for the eye."""
    planes = planes.detach().nan_to_num().clamp(0, 1)
    planes = planes[:3] if len(planes) >= 3 else planes[:1]
    pixels = (planes.permute(1, 2, 0).cpu().numpy() * 255).round().astype(np.uint8)
    image = Image.fromarray(np.squeeze(pixels, -1) if len(planes) == 1 else pixels)
    image.thumbnail((_LARGEST_SIDE, _LARGEST_SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=_QUALITY, subsampling=0)
    return data_uri(buffer, "jpeg")


def _chosen(page: Page) -> str:
    assert page.curve is not None
    name = page.curve[2]
    return (
        f"{name[0].upper()}{name[1:]} for each damp; dashed: the chosen one, {page.curve[3]:.3g}."
    )


def _unseen_words(page: Page) -> str:
    assert page.observed is not None
    count, total = int((~page.observed).sum()), page.observed.numel()
    reasons = ", ".join(f"{why} {number:,}" for why, number in page.missing.items())
    return (
        f"{count:,} of {total:,} pixels ({100 * count / total:.2g} %), in orange over the answer, "
        f"are missing data{f': {reasons}' if reasons else ''}. Where the sensor was full it saw at "
        "least so much light."
    )


def _completed_words(page: Page) -> str:
    assert page.scene is not None
    (H, W), (rows, columns) = page.scene.planes.shape[1:], page.scene.inside
    h, w = rows.stop - rows.start, columns.stop - columns.start
    around = (
        f"The scene of {W} × {H} pixels; the picture is the {w} × {h} in the orange frame, and "
        "nobody saw what lies around it, of which light has reached its edges."
        if (h, w) != (H, W)
        else f"The scene of {W} × {H} pixels."
    )
    missing = "No pixel was missing." if page.observed is None else "Missing pixels are filled in."
    return f"{around} {missing}"


def _size_words(page: Page) -> str:
    size = float(page.residual.square().mean().sqrt())
    return f"The part of the picture that the answer does not explain; rms {size:.3g}, white = 1."


def _whiteness_words(page: Page) -> str:
    w = page.whiteness
    assert w is not None
    if w.is_white:
        verdict = "Yes, as far as this can tell."
    elif page.data is None:
        verdict = (
            "No: it holds signal (more damp leaves more of it at low frequencies), or the noise "
            "has a colour, or psf and boundary are not the true ones."
        )
    else:
        verdict = (
            "No: the noise is not what was read, or psf and boundary are not the true ones; "
            "where the data are stronger than signal and noise, that was taken for noise."
        )
    what = "Its" if page.data is None else "Within the seen part, and over what is expected, its"
    return (
        f"{verdict} {what} cumulative periodogram is {w.distance:.3f} away from a straight line; "
        f"{w.limit:.3f} is usual."
    )


_SCRIPT = """
document.querySelectorAll('.slider').forEach(s => {
  const move = () => s.style.setProperty('--cut', s.querySelector('input').value + '%');
  s.querySelector('input').addEventListener('input', move); move();
});
"""

_TEMPLATE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>{style}</style></head><body>
<h1>{title}</h1>
<div class="slider">
<img src="{before}" alt="before" width="{width}" height="{height}">
<img class="top" src="{after}" alt="after">
<div class="bar"></div>
<span class="left">before</span><span class="right">restored</span>
<input type="range" min="0" max="100" step="0.1" value="50"
  aria-label="how much of the picture before is shown">
</div>
<p>{width} × {height} pixels; drag to compare.{reduced}</p>
<p class="advice">{advice}</p>
<div class="grid">
<section><h2>The answer and its evidence</h2><table>{rows}</table></section>
<section><h2>How it was solved</h2><pre>{plan}</pre></section>
{figures}
</div>
<script>{script}</script></body></html>
"""
