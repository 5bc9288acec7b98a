"""Pixels that disagree with a restored picture: hot and dead ones, whole rows, dirt.

What the restored scene, blurred again, leaves of the data is noise where the model is right,
however sharp the scene: a blur has no single bright pixel.  A sample whose residual is `_FAR`
times the noise around it cannot be explained and is no datum.  That noise, the mean of the residual
over a neighbourhood, follows a sensor whose noise grows with the light; large residuals are cut
before, so that outliers do not hide each other.

An outlier throws its shadow over the residuals of its neighbours, as far as the psf reaches, so
only the worst of a neighbourhood count at a time: solve again without them, and look again.

Source: the residual that a sample leaves when it is predicted from all others, Rasmussen &
Williams, "Gaussian Processes for Machine Learning", MIT Press 2006, §5.4.2.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, max_pool2d, pad

_FAR = 8.0  # standard deviations; photographs with sharp edges leave 5
_GAP = 2  # samples between bad ones that cannot be judged
_NEAR = 4.0  # standard deviations that what was not used may be off
_CUT = 3.0  # standard deviations at which a residual counts for the noise around it
_AROUND = 15  # samples along each axis, of the neighbourhood
_OF_THE_WORST = 0.3  # a shadow is less
_MOST_OF_A_LINE = 0.5
_MEDIAN, _MEAN = 0.6744897501960817, 0.7979  # of |n| for noise of standard deviation one


def disagreeing(residual: Tensor, seen: Tensor, reach: tuple[int, int]) -> Tensor:
    """Which samples no scene explains, (H, W) bool.

    Parameters
    ----------
    residual : (C, H, W), y − Ax
    seen : (H, W) bool, the samples that are data
    reach : (h, w) samples that the shadow of an outlier reaches

    Examples
    --------
    >>> import torch
    >>> r = torch.randn(1, 64, 64, generator=torch.Generator().manual_seed(0)).double()
    >>> seen = torch.ones(64, 64, dtype=torch.bool)
    >>> bool(disagreeing(r, seen, (9, 9)).any())
    False
    >>> r[0, 20, 30] = 12
    >>> disagreeing(r, seen, (9, 9)).nonzero().tolist()
    [[20, 30]]
    """
    far = _in_deviations(residual.abs(), seen).amax(0)
    reaches = (min(r, (n - 1) // 2) for r, n in zip(reach, far.shape, strict=True))
    bad = (far > _FAR) & (far > _OF_THE_WORST * _largest_around(far, *reaches))
    return bad & seen


def completed(bad: Tensor) -> Tensor:
    """With what cannot be judged beside bad samples, (H, W) bool.

    What lies between two, such as a dead row among dead rows, looks right; a line most of which is
    bad is a bad line.
    """
    grown = _largest_around(bad.float(), _GAP, _GAP)
    bad = -_largest_around(-grown, _GAP, _GAP) > 0
    for axis in (0, 1):
        lines = bad.double().mean(axis, keepdim=True) > _MOST_OF_A_LINE
        bad = bad | lines
    return bad


def agreeing(residual: Tensor, seen: Tensor) -> Tensor:
    """Which samples that were not used agree with what was restored without them, (H, W) bool.

    residual : (C, H, W), y − Ax, also where y was not used
    """
    return (_in_deviations(residual.abs(), seen, everywhere=True).amax(0) < _NEAR) & ~seen


def _in_deviations(size: Tensor, seen: Tensor, *, everywhere: bool = False) -> Tensor:
    """|r| in units of the noise around it, (C, H, W); 0 where nothing was seen, or there too."""
    std = size[:, seen].median(1).values[:, None, None] / _MEDIAN
    std = std.clamp(min=torch.finfo(size.dtype).tiny)
    cut = torch.where(seen, torch.minimum(size, _CUT * std), 0.0)
    around = _mean_around(cut) / _mean_around(seen.to(size)[None]).clamp(min=1e-3) / _MEAN
    far = size / torch.maximum(around, std)
    return far if everywhere else torch.where(seen, far, 0.0)


def _largest_around(values: Tensor, down: int, right: int) -> Tensor:
    """The largest value up to so many samples away along each axis, one after the other, (H, W)."""
    rows = max_pool2d(values[None], (2 * down + 1, 1), stride=1, padding=(down, 0))
    return max_pool2d(rows, (1, 2 * right + 1), stride=1, padding=(0, right))[0]


def _mean_around(values: Tensor) -> Tensor:
    """The mean over a neighbourhood, (C, H, W)."""
    size = [min(_AROUND, 2 * ((n - 1) // 2) + 1) for n in values.shape[-2:]]
    margin = [size[1] // 2] * 2 + [size[0] // 2] * 2
    rows = avg_pool2d(pad(values[None], margin, mode="reflect"), (size[0], 1), stride=1)
    return avg_pool2d(rows, (1, size[1]), stride=1)[0]
