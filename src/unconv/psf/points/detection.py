"""Points of light in a picture, found where it has local maxima that noise does not make.

The picture is smoothed to a few samples less than a psf and freed of what is wider than one (a
difference of Gaussians); maxima that stand out by ten deviations of it, as its median absolute
deviation tells them, are points.  A maximum close to one that is ten times as bright may be a ring
of its psf, and is none.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

_STANDS_OUT = 10.0  # deviations
_OF_THE_BRIGHTEST = 0.02  # in the window around a point: less may be a ring of its psf
_LEVEL_ROUND_OFF = 1e-9  # of the largest value
_MOST = 2000  # points, the brightest: more would tell little that these do not


def find_points(image: Tensor, seen: Tensor, size: Sequence[int]) -> Tensor:
    """Where points are, (J, D) float64 at whole samples, the brightest first.

    Pixels that were not `seen` look like the median of the others.
    """
    from scipy import ndimage  # takes a while to load

    filled = torch.where(seen, image, image[seen].median()).numpy()
    narrow = [max(0.8, k / 20) for k in size]
    wide = [max(2.0, k / 3) for k in size]
    detail = ndimage.gaussian_filter(filled, narrow) - ndimage.gaussian_filter(filled, wide)
    spread = 1.4826 * float(np.median(np.abs(detail - np.median(detail))))
    level = max(_STANDS_OUT * spread, _LEVEL_ROUND_OFF * float(np.abs(filled).max()))
    apart = [2 * max(1, k // 8) + 1 for k in size]
    peaks = (detail == ndimage.maximum_filter(detail, apart)) & (detail > level)
    around = ndimage.maximum_filter(detail, list(size))
    peaks &= detail > _OF_THE_BRIGHTEST * around
    where = np.argwhere(peaks & seen.numpy())
    order = np.argsort(-detail[tuple(where.T)], kind="stable")[:_MOST]
    return torch.from_numpy(where[order].astype(np.float64))
