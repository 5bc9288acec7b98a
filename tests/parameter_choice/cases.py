"""Small operators of every kind with data, and the textbook: A_λ⁺ from the matrix."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from unconv import ConvOperator
from unconv.parameter_choice import choose_damp

from ..helpers import C128, F64, randn

# weight shape, input shape, options; the rung that serves it is the part in front of the dash
_CASES: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "fourier-one": ((1, 1, 3, 3), (6, 5), {"padding_mode": "circular"}),
    "fourier-channels": ((2, 3, 3, 3), (6, 5), {"padding_mode": "circular"}),
    "fourier-strided": (
        (4, 2, 3, 3),
        (6, 6),
        {"padding_mode": "circular", "stride": 2, "groups": 2},
    ),
    "fourier-volume": (
        (2, 2, 3, 1, 3),
        (3, 4, 3),
        {"padding_mode": "circular", "padding": (1, 0, 1)},
    ),
    "fourier-per sample": ((2, 2, 1, 3, 3), (6, 5), {"padding_mode": "circular"}),
    "cosine-channels": ((2, 3, 3, 3), (6, 5), {"padding_mode": "symmetric"}),
    "separable-channels": ((2, 3, 3, 4), (9, 8), {}),
    "dense-strided": ((2, 2, 3, 3), (6, 5), {"stride": 2}),
    "dense-full": ((2, 2, 3, 3), (6, 5), {"groups": 2, "padding": "full"}),
    "dense-reflect": ((2, 1, 3, 3), (6, 5), {"padding_mode": "reflect"}),
    "dense-per sample": ((2, 2, 1, 3, 3), (6, 5), {"padding_mode": "replicate"}),
}
NAMES = tuple(_CASES)


def operator(name: str, dtype: torch.dtype = F64, transposed: bool = False) -> ConvOperator:
    shape, size, options = _CASES[name]
    w = randn(*shape, dtype=dtype)
    if name.startswith("cosine"):
        w = w + w.flip(2) + w.flip(3) + w.flip((2, 3))
    if name.startswith("separable"):
        parts = (randn(*s, dtype=dtype) for s in (shape[:2], shape[2:3], shape[3:]))
        w = torch.einsum("oi,a,b->oiab", *parts)
    options = {"padding": 1, "transposed": transposed, **options}
    if name == "fourier-strided" and transposed:
        size, options = (3, 3), {**options, "output_padding": 1}
    return ConvOperator(w, size, **options)


DAMPS = (0.03, 1.0, 20.0)


def data_of(op: ConvOperator, dtype: torch.dtype = F64) -> Tensor:
    return randn(op.batch_size or 2, *op.range_shape, dtype=dtype, seed=7)


def least_risk_damp(op: ConvOperator, y: Tensor, noise_std: float | None = None) -> float:
    """Where the risk is least, also where that is no minimum inside and another rule decides."""
    choice = choose_damp(op, y, "risk", noise_std=noise_std)
    if choice.decided_by == "risk":
        return choice.damp
    damps, risks = choice.curve.T
    return float(damps[risks.argmin()])


class Dense(NamedTuple):
    """Summed over the batch."""

    residual: float
    norm: float
    left: float


def dense(op: ConvOperator, y: Tensor, damp: float) -> Dense:
    A = op.to_dense()
    A = A if A.ndim == 3 else A[None]
    A, v = A.to(C128), y.flatten(1)[..., None].to(C128)
    m, n = A.shape[1:]
    gram = A.mH @ A + damp**2 * torch.eye(n, dtype=F64)
    P = torch.linalg.solve(gram, A.mH)
    x = P @ v
    left = (torch.eye(m, dtype=F64) - A @ P).diagonal(dim1=1, dim2=2).sum(1).real.mean() * len(y)
    return Dense(
        float((v - A @ x).abs().square().sum()), float(x.abs().square().sum()), float(left)
    )
