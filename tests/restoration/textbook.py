"""Richardson–Lucy as a plain loop over a dense matrix in NumPy, and counts to try it on."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from unconv import ConvOperator


def textbook(
    A: ConvOperator, y: Tensor, steps: int, background: float = 0.0
) -> tuple[np.ndarray, list[np.ndarray]]:
    """x of every image after plain steps, (N, n), and D of its iterates, by their definitions."""
    dense = A.to_dense().double().numpy()
    found, divergences = [], []
    for i, counts in enumerate(y.double().flatten(1).numpy()):
        M = dense[i] if A.batch_size else dense
        used, reach = _within_reach(A, M)
        M, counts = M[np.ix_(used, reach)], counts[used]
        weights = M.T @ np.ones(len(counts))
        x = np.full(len(weights), counts.sum() / weights.sum())
        mean = M @ x + background
        history = [_divergence(counts, mean)]
        for _ in range(steps):
            ratio = np.divide(counts, mean, out=np.zeros_like(mean), where=counts > 0)
            x = x / weights * (M.T @ ratio)
            mean = M @ x + background
            history.append(_divergence(counts, mean))
        whole = np.zeros(reach.shape)
        whole[reach] = x
        found.append(whole)
        divergences.append(np.array(history))
    return np.array(found), divergences


def _within_reach(A: ConvOperator, M: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Outputs that say something, and pixels of which they say enough."""
    weights = M.sum(0).reshape(A.domain_shape[0], -1)
    reach = (weights > 1e-2 * weights.max(1, keepdims=True)).ravel()
    light = M[:, reach].sum(1).reshape(A.range_shape[0], -1)
    return (light > 1e-5 * light.max(1, keepdims=True)).ravel(), reach


def _divergence(y: np.ndarray, mean: np.ndarray) -> float:
    return float(
        sum(m if c == 0 else c * np.log(c / m) - c + m for c, m in zip(y, mean, strict=True))
    )


def nonnegative(A: ConvOperator) -> ConvOperator:
    """The operator with the moduli of its taps."""
    op = A.with_weight(A.weight.abs())
    return op if A.seen is None else op.observed(A.seen)


def counts_of(A: ConvOperator, *, light: float, N: int = 2, seed: int = 0) -> Tensor:
    """Counts of a sparse scene, on average `light` in the brightest outputs."""
    generator = torch.Generator().manual_seed(seed)
    shape = (A.batch_size or N, *A.domain_shape)
    x = torch.rand(shape, generator=generator, dtype=torch.float64) ** 4
    mean = A(x.to(A.dtype)).clamp(min=0)
    largest = mean.flatten(1).amax(1).clamp(min=1e-300).reshape(-1, *[1] * (mean.ndim - 1))
    return torch.poisson(light * mean / largest, generator)
