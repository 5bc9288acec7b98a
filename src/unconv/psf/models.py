"""Point-spread functions: what a blur does to one point of light.

All are float64 arrays of odd sizes whose middle sample is the centre, non-negative, with sum 1.
Pixels integrate light over their squares, so `disk` and `motion` are exact integrals over pixels.
A picture is blurred by true convolution: `ConvOperator(psf[None, None], ..., padding='same',
flip=True)` leaves the centre in place.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..numerics.checks import check_flag, check_number
from .pixels import LARGEST_SIDE


def gaussian(sigma: float, *, truncate: float = 4.0, pixelated: bool = False) -> Tensor:
    """Isotropic Gaussian.

    Parameters
    ----------
    sigma : standard deviation in pixels, > 0
    truncate : radius in standard deviations, as in `scipy.ndimage.gaussian_filter`
    pixelated
        False: values at the middles of pixels, as there.  True: integrals over pixels, differences
        of error functions, as of a camera.

    Returns
    -------
    (k, k) float64 with k = 2·⌊truncate·sigma + ½⌋ + 1, with sum 1

    Raises
    ------
    ValueError, TypeError
        If a number is not positive, or the kernel would have too many samples per side.

    Examples
    --------
    >>> gaussian(2.0).shape
    torch.Size([17, 17])
    """
    check_number("sigma", sigma, positive=True)
    check_number("truncate", truncate, positive=True)
    radius = _radius("gaussian", truncate * sigma + 0.5)
    if check_flag("pixelated", pixelated):
        edges = torch.arange(-radius, radius + 2, dtype=torch.float64) - 0.5
        line = _between(edges / (sigma * math.sqrt(2)))
    else:
        t = torch.arange(-radius, radius + 1, dtype=torch.float64)
        line = torch.exp(-0.5 * (t / sigma) ** 2)
    line /= line.sum()
    return torch.outer(line, line)


def _between(edges: Tensor) -> Tensor:
    """erf over each interval of symmetric edges, by erfc of the outer side: no cancellation."""
    tail = torch.special.erfc(edges.abs())
    middle = len(edges) // 2 - 1  # the interval around 0
    line = (tail[:-1] - tail[1:]).abs()
    line[middle] = 2 * torch.special.erf(edges[middle + 1])
    return line


def disk(radius: float) -> Tensor:
    """Defocus: a disk of even brightness, each pixel holding the area that it shares with it.

    Parameters
    ----------
    radius : in pixels, > 0

    Returns
    -------
    (k, k) float64 with k odd, at least 2·radius, with sum 1

    Raises
    ------
    ValueError, TypeError
        If the radius is not positive, or the kernel would have too many samples per side.

    Examples
    --------
    >>> d = disk(3.0)
    >>> d.shape, bool(torch.isclose(d[3, 3] * math.pi * 9, torch.tensor(1.0).double()))
    (torch.Size([7, 7]), True)
    """
    check_number("radius", radius, positive=True)
    reach = _radius("disk", math.ceil(min(radius - 0.5, LARGEST_SIDE)))
    if reach == 0:
        return torch.ones(1, 1, dtype=torch.float64)
    edges = torch.arange(-reach, reach + 2, dtype=torch.float64) - 0.5
    corner = _disk_corner(edges[:, None], edges[None, :], radius)
    area = corner[1:, 1:] - corner[:-1, 1:] - corner[1:, :-1] + corner[:-1, :-1]
    area = area.clamp(min=0)  # a pixel that the disk touches may be −1e-17 by round-off
    return area / area.sum()


def _disk_corner(x: Tensor, y: Tensor, r: float) -> Tensor:
    """Signed area of the disk over the rectangle between the origin and (x, y).

    For x, y ≥ 0 it is ∫₀ˣ min(y, √(r² − t²)) dt: y up to the circle's abscissa at height y, the
    circular segment behind it; odd in both arguments.
    """
    sign = torch.sign(x) * torch.sign(y)
    x, y = x.abs().clamp(max=r), y.abs().clamp(max=r)
    turn = torch.minimum(x, torch.sqrt(r * r - y * y))

    def under_circle(t: Tensor) -> Tensor:
        return (t * torch.sqrt((r * r - t * t).clamp(min=0)) + r * r * torch.asin(t / r)) / 2

    return sign * (y * turn + under_circle(x) - under_circle(turn))


def motion(length: float, angle: float) -> Tensor:
    """Uniform straight motion: each pixel holds the length of the path inside it.

    Parameters
    ----------
    length : of the path in pixels, > 0
    angle : in degrees, counter-clockwise from the positive horizontal axis

    Returns
    -------
    (h, w) float64, both sizes odd, with sum 1

    Raises
    ------
    ValueError, TypeError
        If the length is not positive, or the kernel would have too many samples per side.

    Examples
    --------
    >>> motion(5, 0).shape, motion(9, 45).shape
    (torch.Size([1, 5]), torch.Size([7, 7]))
    """
    check_number("length", length, positive=True)
    check_number("angle", angle, least=-math.inf, why=" of degrees")
    c, s = (math.cos(math.radians(angle)), math.sin(math.radians(angle)))
    c, s = (0.0 if abs(v) < 1e-12 else v for v in (c, s))  # 90° is vertical, not almost
    half = length / 2
    # an end on the edge of a pixel, but for round-off, does not reach into the next one
    ends = (min(half * abs(v) * (1 - 1e-12) - 0.5, LARGEST_SIDE) for v in (c, s))
    reach_x, reach_y = (_radius("motion", math.ceil(end)) for end in ends)
    if reach_x == reach_y == 0:
        return torch.ones(1, 1, dtype=torch.float64)
    cuts = [-half, half]  # path parameters at which the path enters another pixel
    for direction, reach in ((c, reach_x), (s, reach_y)):
        if direction:
            cuts += [(edge - 0.5) / direction for edge in range(-reach, reach + 2)]
    t = torch.tensor(sorted(v for v in cuts if -half <= v <= half), dtype=torch.float64)
    middle, pieces = (t[1:] + t[:-1]) / 2, t[1:] - t[:-1]
    crossed = pieces > 1e-12 * length  # a path through a corner crosses two edges at once
    middle, pieces = middle[crossed], pieces[crossed]
    column = torch.round(middle * c).long().clamp(-reach_x, reach_x) + reach_x
    row = torch.round(-middle * s).long().clamp(-reach_y, reach_y) + reach_y  # rows grow downwards
    path = torch.zeros(2 * reach_y + 1, 2 * reach_x + 1, dtype=torch.float64)
    path.index_put_((row, column), pieces, accumulate=True)
    return path / path.sum()


def _radius(name: str, reach: float) -> int:
    if reach >= LARGEST_SIDE / 2:
        raise ValueError(
            f"the {name} psf would have more than {LARGEST_SIDE} samples along a side; sizes are "
            "in pixels."
        )
    return max(0, math.floor(reach))
