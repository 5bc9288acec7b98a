"""Power spectra and the dense covariances that they stand for."""

from __future__ import annotations

import torch
from torch import Tensor

from ...helpers import C128, F64, randn


def even_psd(*shape: int, seed: int = 0) -> Tensor:
    """A random power spectrum of a real field."""
    P = randn(*shape, seed=seed).square() + 0.1
    dims = tuple(range(P.ndim))
    return (P + P.flip(dims).roll([1] * P.ndim, dims)) / 2


def covariance_of(psd, shape, dtype: torch.dtype, R: Tensor | None = None) -> Tensor:
    """Dense covariance of a stationary field (c, *n) of this power spectrum."""
    c, *n = shape
    nd, size = len(n), torch.Size(n).numel()
    S = torch.as_tensor(psd, dtype=F64)
    S = S.expand(*n) if S.ndim <= nd else S
    eye = torch.eye(size, dtype=C128).reshape(size, *n)
    dims = tuple(range(1, nd + 1))

    def circulant(power):
        return (
            torch.fft.ifftn(torch.fft.fftn(eye, dim=dims) * power, dim=dims).reshape(size, size).mT
        )

    if R is None:
        R = torch.eye(c)
    parts = [S] * c if S.ndim == nd else list(S)
    full = torch.zeros(c, size, c, size, dtype=C128)
    for i in range(c):
        for j in range(c):
            full[i, :, j] = R[i, j] * circulant(parts[i] if S.ndim > nd else S)
    full = full.reshape(c * size, c * size)
    return full if dtype.is_complex else full.real


def wiener_matrix(A: Tensor, S: Tensor, N: Tensor) -> Tensor:
    """S Aᴴ (A S Aᴴ + N)⁻¹ for dense covariances."""
    S, N = S.to(A.dtype), N.to(A.dtype)
    return S @ A.mH @ torch.linalg.inv(A @ S @ A.mH + N)
