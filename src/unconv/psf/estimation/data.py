"""The one plane of a picture that its psf is read from, and the likelihood of any psf for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d, pad

from ...numerics.checks import check_real_tensor, check_values
from ...parameter_choice.noise_models import JpegRounding
from ...pictures.bad_pixels import frame_around, smoothly_filled
from ...pictures.jpeg_rounding import check_jpeg
from ...pictures.missing import checked_observed, find_missing
from .cells import Cells
from .scene import SceneModel

_SMALLEST_SIDE = 32  # samples along an axis: a psf of radius 5 can be told there
_LUMINANCE = (0.299, 0.587, 0.114)
_MOST_MISSING = 0.5
_DIMMEST = 1e-100  # a plane whose peak is below, or its reciprocal above, has no squares
_LOUDEST = 1e6  # times the deviation of the picture


@dataclass(frozen=True)
class Data:
    """The luminance of a picture inside a constant frame.

    Attributes
    ----------
    plane : (H, W) float64, complete; saturated samples as they were recorded
    seen : (H, W) bool, False where it was filled in or saturated
    rounding : of the JPEG that it was, or None
    unit : its standard deviation
    of_plane : the deviation of its white noise by that of one colour
    """

    plane: Tensor
    seen: Tensor
    rounding: JpegRounding | None
    unit: float
    of_plane: float

    @property
    def missing(self) -> float:
        """The share of its pixels that were not seen."""
        return 1 - float(self.seen.double().mean())

    def cells(self) -> Cells:
        """Its periodogram, in units of its deviation."""
        cells = Cells(self.plane, self.rounding, self.unit)
        if len(cells.power) == 0:
            raise ValueError(
                "the rounding of the JPEG has left no frequency that tells the psf of the picture; "
                "give a larger part of it, or a file of better quality."
            )
        return cells

    def noise(self, noise_std: float | None) -> float | None:
        """White noise of one colour in the unit of the plane."""
        if noise_std is None:
            return None
        return min(self.of_plane * noise_std / self.unit, _LOUDEST)


def data_of(picture: Tensor, observed: Tensor | None, jpeg: Sequence[JpegRounding] | None) -> Data:
    """What of a picture tells its psf; the arguments of `estimate`, checked."""
    planes = _checked(picture)
    rounding = _rounding_of(jpeg, len(planes))
    planes, seen, recorded = _seen_of(planes, observed)
    colours = len(planes)
    weights = planes.new_tensor(_LUMINANCE if colours == 3 else [1 / colours] * colours)
    plane = smoothly_filled(torch.tensordot(weights, planes, 1), recorded)
    peak = float(plane.abs().max())
    unit = 1.0 if peak == 0 or _DIMMEST < peak < 1 / _DIMMEST else peak
    plane /= unit
    return Data(plane, seen, rounding, float(plane.std()), float(weights.norm()) / unit)


class Likelihood:
    """How well each psf explains a picture, with the scene and noise that are likeliest with it.

    Parameters
    ----------
    picture, observed, jpeg : as of `estimate`, checked here
    """

    def __init__(
        self,
        picture: Tensor,
        observed: Tensor | None = None,
        *,
        jpeg: Sequence[JpegRounding] | None = None,
    ) -> None:
        self._cells = data_of(picture, observed, jpeg).cells()
        self._model = SceneModel.of(self._cells, None)

    @torch.no_grad()
    def __call__(self, psf: Tensor) -> float:
        """The logarithm of likelihood and prior of the scene, up to a constant of the picture."""
        return -float(self._model.fitted(self._cells.gain(psf)[None]).loss)


def _checked(picture: Tensor) -> Tensor:
    """(C, H, W) float64."""
    check_values("picture", check_real_tensor("picture", picture))
    planes = picture[None] if picture.ndim == 2 else picture
    if planes.ndim != 3 or len(planes) == 0:
        raise ValueError(
            f"a picture must have shape (H, W) or (C, H, W), got {tuple(picture.shape)}."
        )
    H, W = planes.shape[1:]
    if min(H, W) < _SMALLEST_SIDE:
        remedy = "move the colours to the front" if W <= 4 else "give a larger part of it"
        raise ValueError(
            f"a picture of {H} x {W} samples is too small to tell its psf, which takes "
            f"{_SMALLEST_SIDE} along each axis; {remedy}."
        )
    return planes.detach().to(device="cpu", dtype=torch.float64)


def _rounding_of(jpeg: Sequence[JpegRounding] | None, planes: int) -> JpegRounding | None:
    """That of the luminance."""
    if jpeg is None:
        return None
    check_jpeg(jpeg, planes)
    return jpeg[0]


def _seen_of(planes: Tensor, observed: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """The picture inside a constant frame, and (H, W) bool: where it is a datum, or was recorded.

    What is saturated was recorded: a plateau goes on from what is around it.
    """
    finite = planes.isfinite().all(0)
    if observed is None and not bool(finite.all()):
        count = int((~finite).sum())
        raise ValueError(
            f"{count:,} pixels of the picture are not finite; give observed=, False where a pixel "
            "is no datum, such as picture.isfinite().all(0)."
        )
    seen = finite
    if observed is not None:
        seen = finite & checked_observed(observed, planes.shape[1:]).cpu()
        if not bool(seen.any()):
            raise ValueError("observed excludes every finite pixel; it must be True where seen.")
    else:
        top, bottom, left, right = frame_around(planes)
        inside = planes[:, top : planes.shape[1] - bottom, left : planes.shape[2] - right]
        if min(inside.shape[1:]) >= _SMALLEST_SIDE:
            planes, seen = inside, torch.ones_like(inside[0], dtype=torch.bool)
    if bool((planes[:, seen].amax(1) == planes[:, seen].amin(1)).all()):
        raise ValueError("the picture is even where it was observed, and nothing tells its blur.")
    lit, recorded = find_missing(planes, white=1.0, bad=~seen), seen
    seen = seen if lit.observed is None else lit.observed
    if lit.saturated is not None:
        recorded = recorded & ~_single(lit.saturated.any(0))
    share = float(seen.double().mean())
    if share < 1 - _MOST_MISSING:
        raise ValueError(
            f"only {share:.0%} of the pixels are data, the others saturated or "
            "not observed; a psf is read from pictures of which half was seen."
        )
    return planes, seen, recorded


def _single(full: Tensor) -> Tensor:
    """Saturated samples that are part of no 2×2 of them, such as hot pixels."""
    less = 1 - full.double()
    blocks = 1 - max_pool2d(less[None], 2, stride=1)
    part = max_pool2d(pad(blocks, (1, 1, 1, 1)), 2, stride=1)[0] > 0
    return full & ~part
