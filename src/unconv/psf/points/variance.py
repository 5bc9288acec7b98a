"""The noise of counts, in whatever unit a picture has: variance = a · (brightness − dark) + c.

Photons bring a variance that grows with the brightness m of the model, by the gain of the camera,
and its electronics one that does not.  Both are read from the residuals of the fit, as the least
squares of r² over (m − dark, 1), non-negative, each weighted by 1/variance² since r² has the
variance 2·variance².
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

_TURNS = 4
_ROBUST = 25.0  # variances: a residual beyond five deviations tells of the model, not of the noise
_LEAST = 1e-3  # of the largest variance: no pixel is worth a thousand others


class Noise(NamedTuple):
    """Variance = per_light · max(brightness − dark, 0) + constant."""

    dark: float
    per_light: float
    constant: float

    def variance(self, model: Tensor) -> Tensor:
        """What each pixel of a model has."""
        variance = self.per_light * (model - self.dark).clamp(min=0) + self.constant
        return variance.clamp(min=_LEAST * float(variance.max()) or 1.0)


def read_noise(residual: Tensor, model: Tensor) -> Noise:
    """The law of residuals over the model's brightness, (U,) each."""
    from scipy.optimize import nnls  # takes a while to load

    dark = float(model.min())
    columns = torch.stack([(model - dark).clamp(min=0), torch.ones_like(model)], dim=1)
    squares = residual.square()
    noise = Noise(dark, 0.0, float(squares.mean()))
    for _ in range(_TURNS):
        variance = noise.variance(model)
        capped = squares.minimum(_ROBUST * variance)
        law, _ = nnls((columns / variance[:, None]).numpy(), (capped / variance).numpy())
        if not np.any(law):
            break
        noise = Noise(dark, *map(float, law))
    return noise
