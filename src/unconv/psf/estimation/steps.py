"""Blurred steps, fitted to the surroundings of points of a picture.

Around a point on a straight edge a picture is, with the coordinate n across the edge,

    y = a + b Φ((n − c)/w),      n = dx cos θ + dy sin θ,      Φ(z) = ∫ ℓ up to z,

where ℓ is the psf summed along the edge, its line spread, and w the scale of the psf, if the step
was sharp before.  a, b, c, θ and log w by least squares under a Gaussian window about the edge,
for all points at once: damped Gauss–Newton steps, in each of which a and b are solved for.

Cost: some 60 operations for each sample of a window and step.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import conv1d

_END, _TABLE_SAMPLES = 5.0, 4001  # of the tables of ℓ and Φ, in scales
_NARROWEST, _WIDEST_STEP = 0.15, 3.0  # widths, in samples and in radii of the window
_FARTHEST = 2.0  # samples: an edge beyond is another one
_DAMPING, _LESS_DAMPED, _MORE_DAMPED = 1e-2, 1 / 4, 8.0
_LONGEST_MOVE = 1.0
_ADDED_TO_DIAGONAL = 1e-9  # of the diagonal, added to it


class Points(NamedTuple):
    """Points on edges, (n,) each: the direction across, and how far the edge is from them."""

    rows: Tensor
    columns: Tensor
    angle: Tensor
    offset: Tensor
    width: Tensor


class Window(NamedTuple):
    """Where steps are fitted: (n,) deviations across and along, and the patch with its stride."""

    across: Tensor
    along: Tensor
    radius: int
    stride: int


class Steps(NamedTuple):
    """Fitted steps, (n,) each.

    Attributes
    ----------
    points : where, with the width
    height : b
    misfit : root mean square of what remains, under the window
    error : standard error of log w, for white noise of deviation 1
    """

    points: Points
    height: Tensor
    misfit: Tensor
    error: Tensor


class LineSpread:
    """ℓ and its integral Φ, as tables.

    Parameters
    ----------
    line : ℓ of scale 1, up to a factor, of an even grid of places
    softness : deviation of a Gaussian that every edge is softened by as well, in scales
    """

    def __init__(self, line: Callable[[Tensor], Tensor], softness: float) -> None:
        z = torch.linspace(-_END, _END, _TABLE_SAMPLES, dtype=torch.float64)
        self._per_scale = (_TABLE_SAMPLES - 1) / (2 * _END)
        reach = math.ceil(4 * softness * self._per_scale)
        soft = torch.arange(-reach, reach + 1) / self._per_scale
        spread = torch.exp(-0.5 * (soft.double() / max(softness, 1e-9)).square())
        ell = conv1d(line(z)[None, None], spread[None, None], padding=reach)[0, 0]
        self._line = ell / ell.sum() * self._per_scale
        self._integral = (self._line.cumsum(0) - 0.5 * self._line) / self._per_scale

    def __call__(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Φ and ℓ at z."""
        at = ((z + _END) * self._per_scale).clamp(0, _TABLE_SAMPLES - 1.001)
        left = at.long()
        share = at - left
        integral, line = (
            torch.lerp(table[left], table[left + 1], share)
            for table in (self._integral, self._line)
        )
        return integral, line


class _Look(NamedTuple):
    """One look at the fits: sums over the window, (n, …)."""

    loss: Tensor
    height: Tensor
    normal: Tensor
    downhill: Tensor
    squared: Tensor


def fitted_steps(
    plane: Tensor, points: Points, spread: LineSpread, window: Window, count: int
) -> Steps:
    """A step fitted at each point of a plane (H, W), by so many Gauss–Newton steps."""
    reach = torch.arange(-window.radius, window.radius + 1, window.stride)
    dy, dx = (d.flatten() for d in torch.meshgrid(reach, reach, indexing="ij"))
    H, W = plane.shape
    rows, columns = points.rows[:, None] + dy, points.columns[:, None] + dx
    inside = ((rows >= 0) & (rows < H) & (columns >= 0) & (columns < W)).to(plane)
    patch = plane[rows.clamp(0, H - 1), columns.clamp(0, W - 1)]
    places = dy.to(plane), dx.to(plane)
    x = torch.stack([points.angle, points.offset, points.width.log()], 1)
    limits = x.new_tensor([math.inf, _FARTHEST, math.log(_WIDEST_STEP * window.radius)])
    least = x.new_tensor([-math.inf, -_FARTHEST, math.log(_NARROWEST)])
    look = _looked_at((patch, inside), places, x, spread, window)
    damping = torch.full_like(look.loss, _DAMPING)
    for _ in range(count):
        scale = look.normal.diagonal(dim1=-2, dim2=-1)
        damped = look.normal + torch.diag_embed(
            (damping[:, None] + _ADDED_TO_DIAGONAL) * scale + 1e-12
        )
        step = torch.linalg.solve(damped, look.downhill[..., None])[:, 2:, 0]
        other = (x + step.clamp(-_LONGEST_MOVE, _LONGEST_MOVE)).clamp(least, limits)
        new = _looked_at((patch, inside), places, other, spread, window)
        better = new.loss < look.loss
        damping = torch.where(better, _LESS_DAMPED * damping, _MORE_DAMPED * damping)
        x = torch.where(better[:, None], other, x)
        look = _Look(
            *(
                torch.where(better.reshape(-1, *[1] * (a.ndim - 1)), a, b)
                for a, b in zip(new, look, strict=True)
            )
        )
    scale = look.normal.diagonal(dim1=-2, dim2=-1)
    inverse = torch.linalg.inv(look.normal + torch.diag_embed(_ADDED_TO_DIAGONAL * scale + 1e-12))
    variance = (inverse @ look.squared @ inverse)[:, 4, 4].clamp(min=0)
    angle, offset, log_width = x.unbind(1)
    where = Points(points.rows, points.columns, angle, offset, log_width.exp())
    return Steps(where, look.height, look.loss.sqrt(), variance.sqrt())


def _looked_at(
    samples: tuple[Tensor, Tensor],
    places: tuple[Tensor, Tensor],
    x: Tensor,
    spread: LineSpread,
    window: Window,
) -> _Look:
    """The best a and b for angles, offsets and log widths x (n, 3), and the normal equations."""
    angle, offset, width = x[:, :1], x[:, 1:2], x[:, 2:].exp()
    (patch, inside), (dy, dx) = samples, places
    across = angle.cos() * dx + angle.sin() * dy - offset
    along = angle.cos() * dy - angle.sin() * dx
    off = (across / window.across[:, None]).square() + (along / window.along[:, None]).square()
    weight = inside * torch.exp(-0.5 * off)
    z = across / width
    integral, line = spread(z)
    total = weight.sum(1)
    mean, of_picture = ((weight * v).sum(1) / total for v in (integral, patch))
    centred = integral - mean[:, None]
    height = (weight * centred * patch).sum(1) / (weight * centred.square()).sum(1).clamp(min=1e-12)
    rest = patch - of_picture[:, None] - height[:, None] * centred
    slope = height[:, None] * line
    parts = torch.stack(
        [torch.ones_like(z), integral, slope * along / width, -slope / width, -slope * z], -1
    )
    weighted = parts * weight[..., None]
    return _Look(
        (weight * rest.square()).sum(1) / total,
        height,
        parts.mT @ weighted,
        (weighted * rest[..., None]).sum(1),
        weighted.mT @ weighted,
    )
