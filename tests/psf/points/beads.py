"""Pictures of beads whose psf is known: Gaussians integrated over pixels, and sums of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np
import torch
from scipy.special import erf


def gaussian(shape: Sequence[int], sigma: Sequence[float], centre: Sequence[float]) -> np.ndarray:
    """With sum 1 in all of space, each sample the integral over its pixel."""
    lines = [
        np.diff(erf((np.arange(n + 1) - 0.5 - c) / (s * np.sqrt(2)))) / 2
        for n, s, c in zip(shape, sigma, centre, strict=True)
    ]
    return reduce(np.multiply.outer, lines)


def true_psf(size: Sequence[int], sigma: Sequence[float]) -> torch.Tensor:
    psf = gaussian(size, sigma, [k // 2 for k in size])
    return torch.from_numpy(psf / psf.sum())


def picture(
    shape: Sequence[int],
    sigma: Sequence[float],
    places: np.ndarray,
    *,
    peak: float = 1000.0,
    background: float = 10.0,
    seed: int | None = 0,
) -> torch.Tensor:
    """Poisson counts, or their means if there is no seed."""
    top = gaussian([1] * len(shape), sigma, [0] * len(shape)).item()
    mean = background + sum(peak / top * gaussian(shape, sigma, c) for c in places)
    counts = mean if seed is None else np.random.default_rng(seed).poisson(mean)
    return torch.from_numpy(np.asarray(counts, float))


def scattered(shape: Sequence[int], count: int, apart: float, seed: int) -> np.ndarray:
    """Places between the samples, at least so far from each other and half of it from the edges."""
    rng, places = np.random.default_rng(seed), []
    low, high = apart / 2, np.array(shape) - 1 - apart / 2
    while len(places) < count:
        place = rng.uniform(low, high)
        if all(np.linalg.norm(place - other) >= apart for other in places):
            places.append(place)
    return np.array(places)
