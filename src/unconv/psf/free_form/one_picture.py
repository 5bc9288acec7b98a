"""A psf of any form from one blurred picture, by marginal likelihood.

Three stages, each of which the next one needs:

1. from coarse to fine, psf and picture of few edges in turn (`few_edges.py`), from three starts,
   for the turns end where they began near;
2. from the best of them the psf that is likeliest whatever the scene, a mixture of Gaussians of
   all scales (`scale_mixture.py`);
3. which start is the best, and whether the second psf is better than the first, says how well they
   explain the spectrum of the picture, by the likelihood of `estimation/`: v = S|F|² + N for a
   scene of a smooth spectrum S.  No stage looks at the spectrum, so that this is a judge of its
   own.  It knows no blur and the families of psfs too, and says what explains the picture better.

Measured: a start that went astray, by 0.8 to 1.3 times the norm of the psf, has a fifth to a half
of the evidence of a good one.

Not for: disks, Gaussians and movements, which `estimate` reads ten times better from what is known
of their form; pictures of texture without edges; a psf that changes over the field.

Source: of the stages, in their files; the judge, of `estimation/from_picture.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from ...numerics.checks import check_count, check_function, check_number
from ...numerics.compiled import outside_graphs
from ...parameter_choice.noise_models import JpegRounding
from ..arrays import odd_sizes, rim
from ..estimation.coarse import reach_in
from ..estimation.data import Data, data_of
from ..estimation.parts import Parts
from ..estimation.result import (
    DECISIVE_EVIDENCE,
    FREE_FORM,
    MUCH_MISSING,
    NONE,
    OWN_WIDTH,
    PsfEstimate,
    chosen,
    named,
    width_of,
)
from ..estimation.search import Fitted, Search
from ..families import FAMILIES
from .few_edges import STARTS, UNIT, differences, first_psf, pixels_of_differences
from .scale_mixture import likeliest_psf

_SMALLEST_PSF = 3
_LEAST_ROOM = 3  # sides of a psf in a side of the picture: less is refused
_ENOUGH_ROOM = 6  # and less than this doubted
_RIVALS = "gaussian", "disk", "motion"  # families that are asked too
_PART = 384  # samples along a side of the part that the stages look at, if the psf is small
_LEAST_PAIRS = 0.3  # of the pixels
_MUCH_AT_RIM = 0.05
_HIDING_NOISE = 0.05  # noise, of the deviation of the picture; at 0.1 shakes are off by 0.6 to 0.8
_STAGES_DIFFER = 0.4  # of the norm of the psf; 0.2 to 0.3 is usual
_OF_STARTS, _OF_FAMILIES = 0.54, 0.15  # of the time that a search takes
_LEAST_EVIDENCE = 30.0  # natural units; a psf of a sharp photograph may gain some


@outside_graphs
def blind(
    picture: Tensor,
    size: int,
    *,
    noise_std: float | None = None,
    observed: Tensor | None = None,
    jpeg: Sequence[JpegRounding] | None = None,
    progress: Callable[[str, float | None], object] | None = None,
) -> PsfEstimate:
    """The psf of any form that has blurred a photograph, from the photograph alone.

    The scene is taken for a mixture of Gaussians, even places and edges, and integrated out: the
    psf is that of the greatest marginal likelihood, as far as a search finds it.  It is no exact
    answer: of camera shakes it is off by 20 to 40 % of its norm, and where the psf is a disk, a
    Gaussian or a movement `estimate` is much better.

    Parameters
    ----------
    picture
        (H, W) or (C, H, W), floating point, in the light that was blurred, each side at least three
        times `size` and 32 samples; of three planes (red, green, blue) the luminance counts.
        Edges must be seen in it.  Of a large picture the part with most detail is searched.
    size : rows and columns of the psf, odd, from 3 on; it should hold all of its light
    noise_std : standard deviation of white noise in each plane, if it is known
    observed : (H, W) bool, True where a pixel was seen; NaN is refused without it
    jpeg : the rounding of a picture that was a JPEG (`unconv.pictures.jpeg_rounding`)
    progress
        Called as progress(step, fraction): what goes on, in words, and how much of all is done, by
        the time that its parts take as a rule; may raise to end the work

    Returns
    -------
    PsfEstimate
        Of the family 'free-form', without parameters, its psf (size, size), not negative, with sum
        1, its centroid within half a sample of its centre.  Or of the family 'none', with a doubt
        that says why: no psf explains the picture clearly better than no blur, or not all of it,
        or it is as small as photographs have of their own.  `evidence` has that of the other
        families beside, and `doubts` says where one of them explains the picture better.

    Raises
    ------
    ValueError, TypeError
        If the size is even, or the picture too small for it, complex, NaN where it was observed,
        constant (so is one that is saturated everywhere), or seen in single pixels only.

    Examples
    --------
    >>> import torch
    >>> from unconv import psf
    >>> from unconv.pictures import blur
    >>> y, x = torch.meshgrid(torch.arange(96.0), torch.arange(96.0), indexing="ij")
    >>> scene = ((x - 40) ** 2 + (y - 50) ** 2 < 900).double() + ((x + 2 * y) % 61 < 25)
    >>> h = torch.tensor([[4.0, 1, 0], [0, 2, 1], [0, 0, 2]]).double()
    >>> blurred = blur(scene[None] / 2, h / h.sum(), boundary="valid", noise_std=0.003)
    >>> found = psf.blind(blurred, 5)
    >>> bool((found.psf[1:-1, 1:-1] - h / h.sum()).norm() < 0.3 * (h / h.sum()).norm())
    True
    """
    check_count("size", size, _SMALLEST_PSF)
    if noise_std is not None:
        check_number("noise_std", noise_std, why=" in the unit of the picture")
    say = _silent if progress is None else check_function("progress", progress)
    with torch.no_grad():
        data = data_of(picture, observed, jpeg)
        _check_room(data.plane, size)
        noise = data.noise(noise_std)
        H, W = data.plane.shape
        search = Search(data.cells(), reach_in((H, W)), noise)
        first, last = _stages(data, size, search, noise, say)
        families = {NONE: [search.without()]}
        for i, name in enumerate(_RIVALS):
            say(f"the family {name} beside it", 1 - _OF_FAMILIES * (1 - i / len(_RIVALS)))
            families[name] = search.best(FAMILIES[name])
        parts = Parts(data.plane, data.rounding, data.unit, noise)
        return _concluded(first, last, families, parts, data)


def _silent(*_: object) -> None:
    pass


class _Psf(NamedTuple):
    """A psf and how well it explains the picture."""

    h: Tensor
    fitted: Fitted


def _stages(
    data: Data,
    size: int,
    search: Search,
    noise_std: float | None,
    say: Callable[[str, float | None], object],
) -> tuple[_Psf, _Psf]:
    """The best psf of the first stage, and that of the second; noise in the unit of the plane."""
    rows, columns = _part_of_detail(data.plane, max(_PART, _ENOUGH_ROOM * size))
    part, seen = data.plane[rows, columns], data.seen[rows, columns]
    _check_neighbours(seen)
    scale = UNIT / float(part.std())
    part = (part - part.mean()) * scale

    def judged(h: Tensor) -> _Psf:
        return _Psf(h, search.told(h))

    starts = []
    for i, start in enumerate(STARTS):
        say(f"a first psf, {i + 1} of {len(STARTS)}", _OF_STARTS * i / len(STARTS))
        starts.append(judged(first_psf(part, seen, size, start)))
    first = max(starts, key=lambda one: one.fitted.evidence)
    known = first.fitted.scene.noise_std if noise_std is None else noise_std
    last = likeliest_psf(
        differences(part),
        pixels_of_differences(seen),
        first.h,
        known * data.unit * scale,
        lambda done: say("a likelier psf", _OF_STARTS + done * (1 - _OF_STARTS - _OF_FAMILIES)),
    )
    return first, judged(last)


def _concluded(
    first: _Psf, last: _Psf, families: dict[str, list[Fitted]], parts: Parts, data: Data
) -> PsfEstimate:
    """The second of two psfs, unless it is worse, or none; and what is to be doubted."""
    lost = first.fitted.evidence - last.fitted.evidence
    best = first if lost > DECISIVE_EVIDENCE else last
    none = families[NONE][0]
    gains = {name: one[0].evidence - none.evidence for name, one in families.items()}
    gains[FREE_FORM] = best.fitted.evidence - none.evidence
    doubts = []
    if data.missing > MUCH_MISSING:
        doubts.append(f"{data.missing:.0%} of the pixels were not seen, or saturated")
    is_none = True
    if gains[FREE_FORM] < _LEAST_EVIDENCE:
        doubts.append("no psf was found that explains the picture clearly better than no blur does")
    elif width_of(best.h) < OWN_WIDTH:
        doubts.append(
            "the psf that was found is no wider than what every photograph has of its own"
        )
    elif parts.contradict(best.h):
        doubts.append("the quarters of the picture speak against the psf that was found")
    else:
        is_none = False
        doubts += _doubts_of_psf(best, difference(first.h, last.h), data.plane)
    doubts += _rival(families, parts, gains)
    known = (none if is_none else best.fitted).scene
    return PsfEstimate(
        psf=torch.ones(1, 1, dtype=torch.float64) if is_none else best.h,
        family=NONE if is_none else FREE_FORM,
        parameters={},
        standard_errors={},
        evidence=gains,
        reliable=not doubts,
        doubts=tuple(doubts),
        noise_std=data.unit / data.of_plane * known.noise_std,
    )


def _doubts_of_psf(found: _Psf, disagreement: float, plane: Tensor) -> list[str]:
    """What is to be doubted by the size of a psf, the noise, and what the two stages found."""
    doubts, h, noise = [], found.h, found.fitted.scene.noise_std
    at_rim = float(rim(h).sum())
    if at_rim > _MUCH_AT_RIM:
        doubts.append(
            f"the outermost samples hold {at_rim:.0%} of the psf, which may be cut; take a larger "
            "size"
        )
    if disagreement > _STAGES_DIFFER:
        doubts.append(f"the two stages of the search differ by {disagreement:.0%} of its norm")
    if noise > _HIDING_NOISE:
        doubts.append(
            f"the noise is {noise:.0%} of the picture's deviation, and more than "
            f"{_HIDING_NOISE:.0%} hides the edges that tell a psf"
        )
    room = min(plane.shape) / len(h)
    if room < _ENOUGH_ROOM:
        doubts.append(
            f"the picture is only {room:.1f} times as large as the psf; take a smaller size, or a "
            "larger part of the picture"
        )
    return doubts


def _rival(
    families: dict[str, list[Fitted]], parts: Parts, gains: Mapping[str, float]
) -> list[str]:
    """The family that explains the picture better, if there is one."""
    name, _ = chosen(families, "auto", parts)
    if name == NONE or gains[name] - gains[FREE_FORM] < DECISIVE_EVIDENCE:
        return []
    return [
        f"{named(families[name][0])} explains the picture better (evidence {gains[name]:.0f}, this "
        f"{gains[FREE_FORM]:.0f}); read it with family {name!r} of estimate"
    ]


def difference(a: Tensor, b: Tensor) -> float:
    """‖a − b‖ of two psfs of one size by the norm of the larger, at the best whole shift."""
    grid = [2 * n for n in a.shape]
    A, B = (torch.fft.rfft2(h, s=grid) for h in (a, b))
    common = float(torch.fft.irfft2(A.conj() * B, s=grid).max())
    own, other = float(a.square().sum()), float(b.square().sum())
    return float(max(own + other - 2 * common, 0.0) / max(own, other)) ** 0.5


def _part_of_detail(plane: Tensor, side: int) -> tuple[slice, slice]:
    """Rows and columns of the part, at most so large, whose differences are greatest together."""
    h, w = (min(side, n) for n in plane.shape)
    strength = differences(plane).square().sum(0).sqrt()
    sums = avg_pool2d(strength[None], (h - 1, w - 1), stride=max(1, side // 8))[0]
    row, column = divmod(int(sums.argmax()), sums.shape[1])
    top, left = (max(1, side // 8) * i for i in (row, column))
    return slice(top, top + h), slice(left, left + w)


def _check_neighbours(seen: Tensor) -> None:
    """Refuse what has too few differences of pixels."""
    share = float(pixels_of_differences(seen).double().mean())
    if share < _LEAST_PAIRS:
        raise ValueError(
            f"only {share:.0%} of the pixels were seen together with their neighbours; a psf of "
            f"any form takes {_LEAST_PAIRS:.0%}, fill single pixels in before."
        )


def _check_room(plane: Tensor, size: int) -> None:
    """Refuse a psf that does not fit into the picture some times."""
    odd_sizes(size, plane)
    least = _LEAST_ROOM * size
    if min(plane.shape) < least:
        H, W = plane.shape
        raise ValueError(
            f"a psf of {size} x {size} samples takes a picture of {least} along each axis at "
            f"least, got {H} x {W}; take a smaller size, or a larger part of the picture."
        )
