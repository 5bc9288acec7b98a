"""The joint fit of a psf and its points: exact solves in turn, until nothing moves.

    min Σ_p (y(p) − model(p))² / variance(p)   over h in the simplex and (f, δ, b) of all points

The psf given the points is a quadratic program (`simplex.py`), the points given the psf are one
step of Gauss and Newton (`point_light.py`), the variance is a law of residuals (`variance.py`).
What is left open by the model, a shift of h against all points, is settled by the centroid of h,
which stays its middle sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..simplex import minimise
from .point_light import Light, Points, WeightedLight, Windows
from .variance import Noise, read_noise

_POINT_SETTLED = 1e-3  # samples: points that move less have settled
_SAME = 1e-3  # relative change of the psf
_PSF_GAP = 1e-9  # of bᵀh, which is the squared signal-to-noise ratio of all points together
_FACES = 15  # a turn: the first psfs belong to points that still move
_NOISE_TURNS = 6  # after which weights stay: where the model is wrong they would swing with it


class Fit(NamedTuple):
    """A psf and its points.

    Attributes
    ----------
    h : (n,), in the simplex
    points : with which h was solved for
    problem : the weighted least squares that h solves
    settled : whether nothing moved any more
    """

    h: Tensor
    points: Points
    problem: WeightedLight
    settled: bool


def fit(
    image: Tensor,
    seen: Tensor,
    size: Sequence[int],
    start: tuple[Points, Tensor],
    *,
    share: Tensor | None = None,
    maxiter: int = 30,
) -> Fit:
    """Fit from points and a psf (n,) near the answer; `share` (J,) weighs the pixels of points."""
    points, h = start
    noise, settled = Noise(0.0, 0.0, 1.0), False
    for turn in range(maxiter):
        windows = Windows(image, seen, size, points.positions)
        light = Light(windows, points)
        model = light.model(h)
        weight = 1 / noise.variance(model)
        if share is not None:
            weight = weight * share[windows.owner]
        problem = WeightedLight(light, weight)
        before, found = h, minimise(problem, h, rtol=_PSF_GAP, maxiter=_FACES)
        h = found.h
        changed = float((h - before).norm() / h.norm())
        if settled or turn == maxiter - 1:
            break
        known = windows.seen
        if turn < _NOISE_TURNS:
            noise = read_noise(light.residual(h)[known], light.model(h)[known])
        moved, moves = problem.moved_points(h)
        off = centroid(h, size)
        still = float((moves + off).abs().max()) < _POINT_SETTLED
        settled = still and changed < _SAME and found.settled
        points = moved._replace(positions=moved.positions + off)
    return Fit(h, points, problem, settled)


def first_guess(
    image: Tensor, seen: Tensor, size: Sequence[int], positions: Tensor
) -> tuple[Points, Tensor]:
    """Points with the light of their middle samples, and the median of their windows as the psf."""
    windows = Windows(image, seen, size, positions)
    cut = windows.image.where(windows.seen, torch.nan)[windows.pixels]
    shape = tuple(k + 2 * m for k, m in zip(size, windows.margin, strict=True))
    inner = tuple(slice(m, m + k) for k, m in zip(size, windows.margin, strict=True))
    rim = torch.ones(shape, dtype=torch.bool)
    rim[inner] = False
    backgrounds = cut[:, rim.flatten()].nanquantile(0.25, dim=1)
    backgrounds = backgrounds.where(backgrounds.isfinite(), cut.nanquantile(0.1))
    light = cut - backgrounds[:, None]
    peaks = light.reshape(-1, *shape)[
        (slice(None), *(slice(n // 2 - 1, n // 2 + 2) for n in shape))
    ]
    peaks = peaks.flatten(1).nan_to_num(0.0).amax(1).clamp(min=1e-300)
    h = (light / peaks[:, None]).nanmedian(0).values.nan_to_num(0.0)
    h = h.reshape(shape)[inner].flatten().clamp(min=0)
    total = float(h.sum())
    if total <= 0:
        h, total = torch.ones_like(h), float(len(h))
    return Points(positions, peaks * total, backgrounds), h / total


def centroid(h: Tensor, size: Sequence[int]) -> Tensor:
    """How far the centre of mass of a psf is from its middle, (D,)."""
    places = torch.cartesian_prod(*(torch.arange(k, dtype=h.dtype) - k // 2 for k in size))
    return h @ places.reshape(len(h), -1)
