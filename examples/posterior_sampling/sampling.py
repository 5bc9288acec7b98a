"""DDNM and ΠGDM for any convolution, on a falling sequence of noise levels σ.

    x₀ = D(x, σ)                                    what the denoiser makes of x
    DDNM:  x̂ = x₀ + Aᵀ(AAᵀ + r)⁻¹(y − A x₀)         r = (σ_y/ρ)²; A⁺ for data without noise
    ΠGDM:  x̂ = x₀ + σ² Jᵀ Aᵀ(ρ²AAᵀ + σ_y²)⁻¹(y − A x₀)
    x ← x̂ + σ'·noise                                to the next level σ'

with J the Jacobian of D at x and ρ² = (σ⁻² + s⁻²)⁻¹ the variance of pictures whose grey values have
standard deviation s, given x.  All that they ask of A is (AAᵀ + r)⁻¹, exactly, for one r after the
other: `unconv.adapters.ExactMaps`.

Sources: Wang, Yu & Zhang, "Zero-shot image restoration using denoising diffusion null-space model",
ICLR 2023; Song et al., "Pseudoinverse-guided diffusion models for inverse problems", ICLR 2023.
All of the noise is drawn anew: what of the old one is kept, as in DDIM, carries along what so small
a denoiser gets wrong (4 to 5 dB less where half of it is kept).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from unconv.adapters import ExactMaps

Denoise = Callable[[Tensor, float], Tensor]

_SPREAD = 0.25  # s, of grey values in [0, 1]


class Problem(NamedTuple):
    """Data y = A x + noise of the standard deviation noise_std; `maps` are those of A."""

    maps: ExactMaps
    y: Tensor
    noise_std: float


def levels(steps: int, first: float = 1.0, last: float = 0.03) -> list[float]:
    """Noise levels, each the same share of the one before."""
    return torch.logspace(math.log10(first), math.log10(last), steps).tolist()


def ddnm(denoise: Denoise, problem: Problem, sigmas: list[float], seed: int = 0) -> Tensor:
    """A sample of pictures given the data, (N, *domain_shape)."""

    @torch.no_grad()
    def corrected(x: Tensor, sigma: float) -> Tensor:
        clean = denoise(x, sigma)
        if problem.noise_std == 0:
            return clean + problem.maps.A_dagger(problem.y - problem.maps.A(clean))
        return problem.maps.prox_l2(clean, problem.y, _variance(sigma) / problem.noise_std**2)

    return _sample(corrected, problem, sigmas, seed)


def pigdm(denoise: Denoise, problem: Problem, sigmas: list[float], seed: int = 0) -> Tensor:
    """A sample of pictures given the data, (N, *domain_shape)."""

    def corrected(x: Tensor, sigma: float) -> Tensor:
        x = x.detach().requires_grad_()
        clean = denoise(x, sigma)
        variance = _variance(sigma)
        with torch.no_grad():
            left = problem.y - problem.maps.A(clean)
            r = problem.noise_std**2 / variance
            guide = problem.maps.A_adjoint(problem.maps.A_A_adjoint_inverse(left, r)) / variance
        (moved,) = torch.autograd.grad(clean, x, guide)
        return clean.detach() + sigma**2 * moved

    return _sample(corrected, problem, sigmas, seed)


def _variance(sigma: float) -> float:
    """ρ², of pictures given their noisy version."""
    return 1 / (sigma**-2 + _SPREAD**-2)


def _sample(
    corrected: Callable[[Tensor, float], Tensor], problem: Problem, sigmas: list[float], seed: int
) -> Tensor:
    """From noise around the grey of the data down to the last level."""
    generator = torch.Generator().manual_seed(seed)
    grey = problem.y.mean(dim=(1, 2, 3), keepdim=True)
    x = grey.expand(len(grey), *problem.maps.op.domain_shape)
    for sigma in sigmas:
        x = corrected(x + sigma * torch.randn(x.shape, generator=generator), sigma)
    return x
