"""A first psf of a blurred picture: from pictures of few edges, from coarse to fine.

At every scale h and a picture x with as few edges as possible take turns:

    x = argmin ‖h ∗ x − y‖² + λ #{q : ∇x(q) ≠ 0}                                        (1)
    h = argmin ‖h ∗ ∇x − ∇y‖² + ρ‖h‖²   over  h ≥ 0, Σ h = 1                            (2)

(1) is no photograph, nor shall it be one: texture that might be blur or scene is left out, and what
stays are edges that are steps, whose blur is the psf.  It is solved by half quadratic splitting: a
field equal to ∇x where |∇x|² ≥ λ/β and 0 elsewhere, one FFT solve for x, β doubled up to 10⁵.  (2)
is the exact program of `pair.py`, on the pixels that see nothing outside of the picture.  Scales
are a factor √2 apart, from psfs of three samples on; at each the psf is shorn of what is below a
twentieth of its peak, moved to its centre by whole samples, and taken to the next scale.

Nothing says that the turns end at the true psf, nor anywhere: a start for `scale_mixture.py`.

Cost: about 80 FFTs of the picture a turn and, at the last scale, 2·N·k³ operations.
Not for: pictures without edges, such as cells or grass; psfs larger than their objects.

Source: Xu, Lu, Xu & Jia, "Image smoothing via L0 gradient minimization", ACM Trans. Graph. 30
(2011) 174; Xu, Zheng & Jia, "Unnatural L0 sparse representation for natural image deblurring", CVPR
2013; the choice of edges after Cho & Lee, ACM Trans. Graph. 28 (2009) 145.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ...grid.fft import fast_size
from ...parameter_choice.whittle import transfer
from ..arrays import center_of_mass
from ..simplex import Matrix, minimise
from .patch_equations import normal_equations

_SCALE = 2**0.5  # from one scale to the next
_COARSEST_SIZE = 3  # samples of a psf
_TURNS_OF_SCALE = 5  # at every scale
_EDGE_PRICE, _CHEAPEST, _CHEAPER = 1e-3, 1e-4, 1.1  # λ in the first turn and at last; a turn
_SPLIT_LAST, _SPLIT_FASTER = 1e5, 2.0  # β
_LEAST_PART = 0.05  # of the peak
_DAMP = 2e-5  # ρ, for each pixel of the picture
_EDGES_OF_DIRECTION = 2  # pixels in each quarter of the directions, for each row of a psf
_EASIER = 1.1  # by which the threshold of an edge falls from turn to turn
UNIT = 0.25
"""Standard deviation that a picture is to have: the usual one of photographs in [0, 1]."""

STARTS = tuple(
    torch.tensor(h, dtype=torch.float64) / sum(map(sum, h))
    for h in (
        [[0, 1, 0], [1, 2, 1], [0, 1, 0]],
        [[0, 0, 0], [0, 1, 1], [0, 0, 0]],
        [[0, 0, 0], [0, 1, 0], [0, 1, 0]],
    )
)
"""Psfs of the coarsest scale: all sides alike, and turned to either axis."""


def differences(x: Tensor) -> Tensor:
    """∇x by rows and by columns, (2, H − 1, W − 1)."""
    return torch.stack([x[1:, 1:] - x[:-1, 1:], x[1:, 1:] - x[1:, :-1]])


def pixels_of_differences(seen: Tensor) -> Tensor:
    """Where both differences are of pixels that were seen, (H − 1, W − 1) bool."""
    return seen[1:, 1:] & seen[:-1, 1:] & seen[1:, :-1]


def first_psf(picture: Tensor, seen: Tensor, size: int, start: Tensor) -> Tensor:
    """The psf (size, size) after the turns of all scales.

    Parameters
    ----------
    picture : (H, W) float64, complete, of standard deviation UNIT
    seen
        (H, W) bool; the others, filled in, count in (1) and not in (2), but where they are the
        lesser part of a pixel of a coarse scale
    size : odd, at least 3
    start : (3, 3), one of STARTS
    """
    scales = math.ceil(math.log(size / _COARSEST_SIZE) / math.log(_SCALE))
    damp = _DAMP * picture.numel()
    h = start
    threshold = math.inf
    for scale in range(scales, -1, -1):
        factor = _SCALE**-scale
        k = max(_COARSEST_SIZE, 2 * round((size * factor - 1) / 2) + 1)
        h = _shorn(_resized(h, (k, k)))
        y = _resized(picture, _scaled(picture, factor))
        there = _resized(seen.to(y), _scaled(seen, factor)) > 0.5
        h, threshold = _turns(y, there, h, damp, threshold)
        h = centered(h)
    return h


def centered(h: Tensor) -> Tensor:
    """The psf, moved by whole samples to where its centroid is nearest to the centre."""
    return h.roll([-round(offset) for offset in center_of_mass(h)], (0, 1))


def _turns(
    y: Tensor, seen: Tensor, h: Tensor, damp: float, threshold: float
) -> tuple[Tensor, float]:
    """(1) and (2) in turn, at one scale; the psf and the threshold of edges."""
    gradient, there = differences(y), pixels_of_differences(seen)
    price = _EDGE_PRICE
    for _ in range(_TURNS_OF_SCALE):
        x = _few_edges(y, h, price)
        edges, threshold = _strongest(differences(x), threshold / _EASIER, len(h))
        h = _shorn(_psf_between(edges, gradient, there, len(h), damp))
        price = max(price / _CHEAPER, _CHEAPEST)
    return h, threshold


def _few_edges(y: Tensor, h: Tensor, price: float) -> Tensor:
    """x of (1), on the grid of y."""
    wide = _periodic(y, 2 * len(h))
    H = transfer(h, wide.shape)
    down, right = torch.zeros_like(wide), torch.zeros_like(wide)
    down[0, 0] = right[0, 0] = -1
    down[-1, 0] = right[0, -1] = 1
    down, right = torch.fft.rfft2(down), torch.fft.rfft2(right)
    data, gain = H.conj() * torch.fft.rfft2(wide), H.abs().square()
    steep = down.abs().square() + right.abs().square()
    x, split = wide, 2 * price
    while split < _SPLIT_LAST:
        u, v = x.roll(-1, 0) - x, x.roll(-1, 1) - x
        kept = u.square() + v.square() >= price / split
        edges = down.conj() * torch.fft.rfft2(u * kept) + right.conj() * torch.fft.rfft2(v * kept)
        x = torch.fft.irfft2((data + split * edges) / (gain + split * steep), s=wide.shape)
        split *= _SPLIT_FASTER
    return x[: y.shape[0], : y.shape[1]]


def _psf_between(x: Tensor, y: Tensor, seen: Tensor, size: int, damp: float) -> Tensor:
    """h of (2), for differences x and y of two pictures on one grid."""
    r = size // 2
    inner = slice(r, y.shape[1] - r), slice(r, y.shape[2] - r)
    weight = seen[inner].to(y)
    each = [normal_equations(a, b[inner], weight, (size, size)) for a, b in zip(x, y, strict=True)]
    G = sum(e.G for e in each) + damp * torch.eye(size**2, dtype=y.dtype)
    b = torch.stack([e.b for e in each]).sum(0)
    return least_on_simplex(G, b)


def least_on_simplex(G: Tensor, b: Tensor) -> Tensor:
    """The psf whose reflection g makes ½ gᵀG g − bᵀg least."""
    n = len(b)
    g = minimise(Matrix(G, b), torch.full((n,), 1 / n, dtype=b.dtype)).h
    return g.flip(0).reshape(math.isqrt(n), -1)


def _strongest(edges: Tensor, threshold: float, size: int) -> tuple[Tensor, float]:
    """The edges above a threshold, which is lowered until they are enough; and the threshold."""
    strength, count = edges.square().sum(0).sqrt(), _EDGES_OF_DIRECTION * size
    if threshold == math.inf:
        angle = torch.atan2(edges[0], edges[1])
        quarter = (angle / (math.pi / 4)).floor() % 4
        threshold = min(_largest(strength[quarter == i], count) for i in range(4))
    threshold = min(threshold, _largest(strength.flatten(), 4 * count))
    return edges * (strength >= threshold), threshold


def _largest(values: Tensor, count: int) -> float:
    """The count-th of them, in falling order; the last if they are fewer, 0 for none."""
    return float(values.topk(min(count, len(values))).values[-1]) if len(values) else 0.0


def _periodic(y: Tensor, margin: int) -> Tensor:
    """y with rows and columns after the last that lead back to the first, as many as FFTs like."""
    for _ in range(2):
        n = y.shape[1]
        count = fast_size(n + margin) - n
        t = torch.arange(1, count + 1, dtype=y.dtype) / (count + 1)
        y = torch.cat([y, y[:, -1:] * (1 - t) + y[:, :1] * t], 1).mT
    return y


def _shorn(h: Tensor) -> Tensor:
    h = h.where(h >= _LEAST_PART * h.max(), 0.0)
    return h / h.sum()


def _scaled(x: Tensor, factor: float) -> tuple[int, int]:
    return max(3, round(x.shape[0] * factor)), max(3, round(x.shape[1] * factor))


def _resized(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Means where it becomes smaller, linear between samples where larger."""
    if x.shape == size:
        return x
    wide = interpolate(x[None, None], size, mode="bilinear", antialias=True, align_corners=False)
    return wide[0, 0].clamp(min=0) if bool((x >= 0).all()) else wide[0, 0]
