"""What is found of a blur, and what is to be doubted of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from ..families import FAMILIES
from .coarse import COARSE
from .parts import Parts
from .search import Fitted

NONE = "none"
FREE_FORM = "free-form"  # of `blind`
OWN_WIDTH = 0.7  # samples rms: a blur no wider is what lens and pixels give to every photograph
_ANGLE = 4.0  # degrees that two standard errors of a known angle are at most
DECISIVE_EVIDENCE = 5.0  # natural units of evidence
_PRICE = {"moffat": 4.0, "gaussian-disk": 4.0}  # of a parameter more, where it gains nothing
_SAME_PSF = 0.2  # difference of two psfs that is none
_OF_LIMIT = 0.01
MUCH_MISSING = 0.05
_DIGITS = 4  # of a number that is printed: a tenth of its error, or less


class PsfEstimate(NamedTuple):
    """The psf of a picture, read from the picture alone.

    Attributes
    ----------
    psf : (h, w) float64 with sum 1; one sample for no blur
    family
        'gaussian', 'disk', 'motion', 'moffat', 'gaussian-disk' or 'none'; 'free-form' of
        `unconv.psf.blind`, which has no parameters
    parameters : by name, lengths in samples and angles in degrees
    standard_errors : of the parameters, by name
    evidence
        By family, the logarithm of how much likelier it makes the picture than no blur does, its
        parameters integrated out (a free form is taken as it is); 'none' has 0
    reliable : whether nothing is doubtful
    doubts : sentences
    noise_std : of the white noise in each plane, the rounding to whole grey levels included
    """

    psf: Tensor
    family: str
    parameters: Mapping[str, float]
    standard_errors: Mapping[str, float]
    evidence: Mapping[str, float]
    reliable: bool
    doubts: tuple[str, ...]
    noise_std: float

    def __str__(self) -> str:
        """One line for the psf, one for the evidence, one for each doubt."""
        lines = [f"{self.described}; noise {self.noise_std:.2g}"]
        others = [f"{name} {value:+.0f}" for name, value in self.evidence.items() if name != NONE]
        if others:
            lines.append(f"evidence against no blur: {', '.join(others)}")
        return "\n".join([*lines, *(f"doubt: {doubt}" for doubt in self.doubts)])

    @property
    def typed(self) -> str | None:
        """As it is typed after `--psf`, such as 'motion:11.02,39.8'; None for no blur.

        A free form is typed as what searches it in the picture again, such as 'blind:25'.
        """
        if self.family == NONE:
            return None
        if self.family == FREE_FORM:
            return f"blind:{len(self.psf)}"
        return FAMILIES[self.family].typed(self.parameters.values(), _DIGITS)

    @property
    def described(self) -> str:
        """Family and parameters as they are typed, and their errors, in one phrase."""
        if self.family == NONE:
            return "no blur"
        if self.family == FREE_FORM:
            return f"{FREE_FORM}, {self.psf.shape[0]} x {self.psf.shape[1]}"
        errors = [
            f"{p.name} ± {self.standard_errors[p.name]:.2g} {p.unit}".replace(" °", "°").strip()
            for p in FAMILIES[self.family].parameters
        ]
        return f"{self.typed} ({', '.join(errors)})"


def width_of(psf: Tensor) -> float:
    """The root of the largest second moment of a psf about its centroid, in samples."""
    rows, columns = (torch.arange(n, dtype=psf.dtype) for n in psf.shape)
    places = torch.stack(torch.meshgrid(rows, columns, indexing="ij")).reshape(2, -1)
    weight = psf.flatten() / psf.sum()
    off = places - (places @ weight)[:, None]
    return float(torch.linalg.eigvalsh((off * weight) @ off.mT)[-1].clamp(min=0).sqrt())


def is_visible(one: Fitted) -> bool:
    """Whether a psf is wider than what photographs have of their own."""
    return one.family is not None and width_of(one.family.kernel(*one.values)) >= OWN_WIDTH


def chosen(found: dict[str, list[Fitted]], wanted: str, parts: Parts) -> tuple[str, bool]:
    """The family that was asked for, or the one of most evidence; which of its psfs is put first.

    A psf that the parts of the picture contradict stands behind others of its family, and auto
    does not take it.

    Parameters
    ----------
    found : by family, the best first; 'none' with them
    parts : of the picture

    Returns
    -------
    name, whether the parts agree
    """
    none = found[NONE][0].evidence
    if wanted != "auto":
        return wanted, _put_first(found, wanted, none, parts)
    ahead = sorted(found, key=lambda name: _PRICE.get(name, 0.0) - found[name][0].evidence)
    for name in ahead[: ahead.index(NONE)]:
        best = found[name][0]
        if best.family is None or best.evidence - none < DECISIVE_EVIDENCE:
            continue
        if is_visible(best) and _put_first(found, name, none + DECISIVE_EVIDENCE, parts):
            return name, True
    return NONE, True


def _put_first(found: dict[str, list[Fitted]], name: str, least: float, parts: Parts) -> bool:
    """Reorder the psfs of a family; whether one of so much evidence is not contradicted."""
    for one in found[name]:
        if one.family is None or one.evidence < least:
            continue
        if not parts.contradict(one.family.kernel(*one.values)):
            found[name] = [one, *(other for other in found[name] if other is not one)]
            return True
    return False


def doubts_of(
    found: Mapping[str, list[Fitted]],
    name: str,
    reach: float,
    missing: float,
    *,
    agreed: bool,
) -> tuple[str, ...]:
    """What is to be doubted of a psf.

    reach : as of `Search`
    missing : the share of the pixels that were no data
    agreed : of `chosen`
    """
    doubts = []
    if missing > MUCH_MISSING:
        doubts.append(f"{missing:.0%} of the pixels were not seen, or saturated")
    best, none = found[name][0], found[NONE][0]
    if best.family is None:
        return (*doubts, *_of_none(found))
    doubts += _of_errors(best, reach)
    gain = best.evidence - none.evidence
    if not is_visible(best):
        doubts.append("a blur so small is what every photograph has of its own: it may be none")
    elif not agreed and gain >= 0:
        doubts.append("the quarters of the picture speak against it: it may be of one object")
    elif gain < 0:
        doubts.append(f"{name} explains the picture worse than no blur ({gain:.0f})")
    elif gain < DECISIVE_EVIDENCE:
        doubts.append(f"no blur explains the picture nearly as well ({gain:.1f})")
    for other, (rival, *_) in found.items():
        near = best.evidence - rival.evidence < DECISIVE_EVIDENCE
        if other not in (name, NONE) and near and _differ(best, rival):
            doubts.append(f"{named(rival)} explains the picture as well")
    doubts += [
        f"{named(rival)} explains the picture nearly as well"
        for rival in found[name][1:]
        if rival.loss - best.loss < DECISIVE_EVIDENCE and _differ(best, rival)
    ]
    return tuple(doubts)


def _of_none(found: Mapping[str, list[Fitted]]) -> list[str]:
    """Blurs that explain the picture better than none, and were not taken for one object's sake."""
    none = found[NONE][0].evidence
    gains = {name: best.evidence - none for name, (best, *_) in found.items() if is_visible(best)}
    name = max(gains, key=gains.__getitem__, default=NONE)
    if name == NONE or gains[name] < DECISIVE_EVIDENCE:
        return []
    return [
        f"{named(found[name][0])} explains the picture better, but its quarters speak against it"
    ]


def _of_errors(best: Fitted, reach: float) -> list[str]:
    """Parameters that are not well known, or that ended where the search ends."""
    family, doubts = best.family, []
    if family is None:
        return []
    share, samples = COARSE[family.name].known
    size = max(share * best.values[0], samples)
    for i, (value, error) in enumerate(zip(best.values, best.errors, strict=True)):
        name, unit = family.parameters[i].name, family.parameters[i].unit
        known = _ANGLE if unit == "°" else size
        if unit and 2 * error > known:
            doubts.append(
                f"the {name} is known to ± {2 * error:.2g} {unit} only".replace(" °", "°")
            )
        low, high = family.limits(reach)[i]
        if unit and min(value - low, high - value) < _OF_LIMIT * value:
            doubts.append(f"the {name} of {value:.3g} {unit} ends the range that is searched")
    return doubts


def named(one: Fitted) -> str:
    """Family and parameters in the short form of the command line."""
    if one.family is None:
        return "no blur"
    return one.family.typed(one.values, _DIGITS)


def _differ(one: Fitted, other: Fitted) -> bool:
    """Whether two psfs are not one and the same, for whoever restores a picture."""
    if one.family is None or other.family is None:
        return one.family is not other.family
    first, second = (f.family.kernel(*f.values) for f in (one, other) if f.family is not None)
    sizes = [max(a, b) for a, b in zip(first.shape, second.shape, strict=True)]
    a, b = (_padded(psf, sizes) for psf in (first, second))
    return float((a - b).norm()) > _SAME_PSF * float(torch.maximum(a, b).norm())


def _padded(psf: Tensor, sizes: list[int]) -> Tensor:
    """With zeros around, its centre still in the centre; all sizes are odd."""
    rows, columns = ((n - k) // 2 for n, k in zip(sizes, psf.shape, strict=True))
    return pad(psf, (columns, columns, rows, rows))
