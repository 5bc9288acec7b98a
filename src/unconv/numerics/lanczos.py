"""Extreme singular values by the Lanczos method, one kernel of a batch beside the other.

For a Hermitian positive map the largest Ritz value θ of k steps is a lower bound of the largest
eigenvalue, and from a random start

    P( θ < λ/4 ) ≤ 1.65·√n·exp(−0.87·(2k − 1)),

so that eight steps know σ = √λ to a factor of two but for one start in 500, at n = 10⁶, and in
practice to many digits where λ stands out.

Source: Kuczyński & Woźniakowski, "Estimating the largest eigenvalue by the power and Lanczos
algorithms with a random start", SIAM J. Matrix Anal. Appl. 13 (1992), Theorem 4.2.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_NEGATIVE = 0.1  # of the largest Ritz value: less is what round-off leaves of a small positive one


def largest_eigenvalue(
    apply: Callable[[Tensor], Tensor], start: Tensor, *, steps: int, rtol: float
) -> Tensor:
    """Largest Ritz value of a Hermitian positive semidefinite map, from below.

    Parameters
    ----------
    apply : maps (N, ...) to (N, ...), image by image
    start : (N, ...), random if nothing is known
    steps : at most; the whole basis is kept and orthogonalised twice
    rtol : stop when a step changes no value by more

    Returns
    -------
    (N,) float64; inf where the map overflows, or where it is not positive: an inverse whose
    smallest pivot is round-off takes that pivot with either sign, and is as singular with both
    """
    w, _ = _normalised(start.flatten(1))
    steps = min(steps, w.shape[1])
    basis = w.new_empty(len(w), steps, w.shape[1])
    alpha: list[Tensor] = []
    beta: list[Tensor] = []
    value = torch.zeros(len(w), dtype=torch.float64, device=w.device)
    for step in range(steps):
        basis[:, step] = w
        image = apply(w.reshape(start.shape)).flatten(1)
        alpha.append((w.conj() * image).sum(1).real)
        known = basis[:, : step + 1]
        for _ in range(2):
            overlap = known.conj() @ image[:, :, None]
            image = image - (known.mT @ overlap)[:, :, 0]
        w, size = _normalised(image)
        before, value = value, _largest_of_tridiagonal(alpha, beta)
        if step and bool(((value - before <= rtol * value) | ~value.isfinite()).all()):
            break
        beta.append(size)
    return value


def random_start(shape: tuple[int, ...], like: Tensor) -> Tensor:
    """A Gaussian vector, the same every time, of the dtype and on the device of `like`."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(shape, dtype=like.dtype, generator=generator).to(like.device)


def _largest_of_tridiagonal(alpha: list[Tensor], beta: list[Tensor]) -> Tensor:
    T = torch.diag_embed(torch.stack(alpha, 1))
    if beta:
        off = torch.diag_embed(torch.stack(beta, 1), offset=1)
        T = T + off + off.mT
    finite = T.isfinite().all((1, 2))
    T = torch.where(finite[:, None, None], T, 0.0)  # LAPACK refuses NaN
    values = torch.linalg.eigvalsh(T)
    positive = values[:, 0] >= -_NEGATIVE * values[:, -1].abs()
    return torch.where(finite & positive, values[:, -1].clamp(min=0), torch.inf)


def _normalised(w: Tensor) -> tuple[Tensor, Tensor]:
    size = torch.linalg.vector_norm(w, dim=1)
    return w / torch.where(size > 0, size, 1.0)[:, None], size
