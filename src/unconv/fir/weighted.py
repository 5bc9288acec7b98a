"""Least squares with a weight for every sample of the error, by a dense pseudo-inverse.

    min over g of  Σ_n w[n] |(f ∗ g − δ_d)[n]|² + damp²‖g‖²  =  ‖B g − b‖²,
    B = [√w A; damp·I],   b = [√w δ_d; 0]

A weighting destroys the convolution that direct methods live on.  w = 0 frees samples of f ∗ g: a
transition band, or everything but a few samples.  B may lose rank then, and g is the smallest
minimiser.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..inverse.plan import damp_value
from ..numerics.checks import check_all_finite, check_tensor
from ..operators.linear_operator import MemoryLimitError, gigabytes
from .problem import Problem

_SVD_MATRICES = 6  # of the size of B, at the peak of the SVD and of its gradient


def solve_weighted(
    problem: Problem,
    delay: tuple[int, ...],
    weighting: Tensor,
    damp: float | Tensor,
    memory_limit: float,
) -> Tensor:  # (c, channels, *size)
    """The rows of g, differentiable in f and in damp."""
    root = _checked(problem, weighting, delay).sqrt()
    m, n = problem.A.shape
    need = _SVD_MATRICES * (m + n) * n * problem.kernel.dtype.itemsize
    if need > memory_limit:
        raise MemoryLimitError(
            f"a weighting of size {problem.size} takes {gigabytes(need)}, as its matrix is dense, "
            f"more than memory_limit={gigabytes(memory_limit)}; use a smaller size, a larger "
            "memory_limit or no weighting."
        )
    A = problem.A.to_dense(memory_limit=memory_limit).unflatten(0, problem.A.range_shape)
    B = (root[..., None] * A).flatten(0, -2)
    b = (root * problem.delta(delay)).flatten(1).mT  # (m, c)
    if damp_value(damp):
        ridge = damp * torch.eye(n, dtype=B.dtype, device=B.device)
        B, b = torch.cat([B, ridge]), torch.cat([b, b.new_zeros(n, b.shape[1])])
    rows = torch.linalg.pinv(B) @ b
    return rows.mT.reshape(-1, *problem.A.domain_shape)


def _checked(problem: Problem, weighting: Tensor, delay: tuple[int, ...]) -> Tensor:
    weighting = check_tensor("weighting", weighting).detach()
    if weighting.device != problem.kernel.device:
        raise ValueError(
            f"weighting is on {weighting.device}, weight on {problem.kernel.device}; move one with "
            ".to(device)."
        )
    if weighting.is_complex() or tuple(weighting.shape) != problem.full:
        raise ValueError(
            f"weighting must be real with the sizes {problem.full} of f ∗ g, got "
            f"{tuple(weighting.shape)} of {weighting.dtype}."
        )
    check_all_finite("weighting", weighting, "give finite numbers")
    if bool((weighting < 0).any()) or not weighting[delay] > 0:
        raise ValueError(
            f"weighting must be >= 0, and positive at the delay {delay}: g = 0 would be best."
        )
    return weighting.to(problem.kernel.device, torch.float64)
