"""Whether the quarters of a picture speak for a psf, each by itself.

One object may look like a blur: an edge of 48 samples, and nothing else with detail, is a movement
of 48.  A blur has blurred all of the picture, and an object stands in a part of it.  So a psf that
was read from the whole is held against each quarter, with a scene of its own.

Measured on 22 drawn cases: true movements gain in all quarters together 24 natural units and more,
false ones lose 8 and more.
"""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from ...parameter_choice.noise_models import JpegRounding
from .cells import Cells
from .scene import SceneModel

_SMALLEST_QUARTER = 64  # samples along an axis
_LOSS_OF_CHANCE = -3.0  # natural units
_EVEN_QUARTER = 1e-3  # of the deviation of the picture: nothing to be seen there


class Parts:
    """The quarters of a picture.

    Parameters
    ----------
    plane, rounding, unit : as of `Cells`
    noise_std : of white noise in that unit, if it is known
    """

    def __init__(
        self, plane: Tensor, rounding: JpegRounding | None, unit: float, noise_std: float | None
    ) -> None:
        self._plane, self._rounding, self._unit, self._std = plane, rounding, unit, noise_std

    def contradict(self, psf: Tensor) -> bool:
        """Whether a psf makes the quarters, taken together, less likely than no blur does."""
        gained = sum(
            sharp - float(model.fitted(cells.gain(psf)[None]).loss)
            for cells, model, sharp in self._models
        )
        return gained < _LOSS_OF_CHANCE

    @cached_property
    def _models(self) -> list[tuple[Cells, SceneModel, float]]:
        """Each quarter's cells and scene, and its loss without a blur."""
        H, W = (n // 2 for n in self._plane.shape)
        if min(H, W) < _SMALLEST_QUARTER:
            return []
        found = []
        for rows in (self._plane[:H], self._plane[-H:]):
            for quarter in (rows[:, :W], rows[:, -W:]):
                if float(quarter.std()) < _EVEN_QUARTER * self._unit:
                    continue
                cells = Cells(quarter, self._rounding, self._unit)
                if len(cells.power) == 0:  # all rounded to nothing
                    continue
                model = SceneModel.of(cells, self._std)
                sharp = model.fitted(torch.ones_like(cells.power)[None])
                found.append((cells, model, float(sharp.loss)))
        return found
