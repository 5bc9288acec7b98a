"""The fourier rung against its floor: bare LU inverses, bare FFTs and one batched product.

Must hold for K = randn(32, 32, 3, 3) on 128×128, circular: set-up within 2 times one batched LU
inverse of the 8,320 half-spectrum blocks in the same dtype, apply within 1.5 times one FFT pair and
one batched block product of the same sizes, 2 times in float32.
"""

from __future__ import annotations

import statistics

import torch
from torch import Tensor

import unconv

from .common import device, milliseconds, ratio, table, turns

CHANNELS, SIZE = 32, 128
SETUP_LIMIT = 2.0
APPLY_LIMIT = {torch.float64: 1.5, torch.float32: 2.0}


def measure_setup(A: unconv.ConvOperator, blocks: Tensor) -> tuple[list[str], float]:
    """One row and the ratio to one batched LU inverse."""
    each = turns(
        {
            "ours": A.pinv,
            "LU": lambda: torch.linalg.inv_ex(blocks),
            "pinv": lambda: torch.linalg.pinv(blocks[::16]),
        },
        rounds=5,
        seconds=4,
    )
    times = {name: statistics.median(values) for name, values in each.items()}
    found = ratio(each, "ours", "LU")
    shown = times["LU"], 16 * times["pinv"], times["ours"]
    return [
        str(A.dtype),
        *map(milliseconds, shown),
        found.shown(SETUP_LIMIT),
        f"{SETUP_LIMIT}",
    ], found.value


def measure_apply(A: unconv.ConvOperator, blocks: Tensor, N: int) -> tuple[list[str], float]:
    """One row and the ratio to an FFT pair and one batched product."""
    pinv = A.pinv()
    x = torch.randn(N, *A.domain_shape, dtype=A.dtype, device=device())
    y = A(x)
    vectors = torch.randn(len(blocks), CHANNELS, N, dtype=blocks.dtype, device=device())
    error = float((pinv(y) - x).norm() / x.norm())
    each = turns(
        {
            "ours": lambda: pinv(y),
            "FFT pair": lambda: torch.fft.irfft2(torch.fft.rfft2(y), s=(SIZE, SIZE)),
            "product": lambda: blocks @ vectors,
        },
        seconds=1.0,
    )
    times = {name: statistics.median(values) for name, values in each.items()}
    found = ratio(each, "ours", "FFT pair", "product")
    shown = times["FFT pair"], times["product"], times["ours"]
    limit = APPLY_LIMIT[A.dtype]
    row = [str(A.dtype), str(N), *map(milliseconds, shown), found.shown(limit), f"{limit}"]
    row.append(f"{error:.1e}")
    return row, found.value


def main() -> bool:
    """Print both tables; whether all are within the limits."""
    good = True
    setups, applies = [], []
    for dtype in (torch.float64, torch.float32):
        torch.manual_seed(0)
        K = torch.randn(CHANNELS, CHANNELS, 3, 3, dtype=dtype, device=device())
        A = unconv.ConvOperator(K, (SIZE, SIZE), padding=1, padding_mode="circular")
        spectrum = torch.fft.rfft2(K, s=(SIZE, SIZE)).permute(2, 3, 0, 1)
        blocks = spectrum.reshape(-1, CHANNELS, CHANNELS).contiguous()
        row, found = measure_setup(A, blocks)
        setups.append(row)
        good &= found <= SETUP_LIMIT
        for N in (1, 16):
            row, found = measure_apply(A, blocks, N)
            applies.append(row)
            good &= found <= APPLY_LIMIT[dtype]
    title = f"{CHANNELS} channels, 3×3, {SIZE}×{SIZE}, circular"
    header = ["dtype", "LU of all blocks", "linalg.pinv of all (from 1/16)", "ours", "ours/LU"]
    header.append("limit")
    print(table(f"set-up, {title}, ms", header, setups))
    header = ["dtype", "batch", "FFT pair", "block product", "ours", "ours/floor", "limit"]
    header.append("relative error")
    print(table(f"apply, {title}, ms", header, applies), flush=True)
    return good
