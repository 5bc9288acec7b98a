"""Singular values of a layer, 64 → 64 channels, 3×3, on 32×32.

Must hold: all 65,536 of the circular layer within 1.2 times a bare batched svdvals of the half
spectrum; with zero padding a proven bracket of the condition that is narrower than 1e-7.
"""

from __future__ import annotations

import statistics
from functools import partial

import torch
from torch import Tensor

import unconv

from .common import THREADS, against, milliseconds, ratio, seconds_of, table, timed, turns

CHANNELS, SIZE, LIMIT, DIGITS = 64, 32, 1.2, 1e-7


def bare(K: Tensor) -> Tensor:
    """The half spectrum's singular values, called plainly."""
    blocks = torch.fft.rfft2(K.double(), s=(SIZE, SIZE)).flatten(2).movedim(2, 0).contiguous()
    return torch.linalg.svdvals(blocks)


def main() -> bool:
    """Print both tables; whether the figures hold."""
    torch.manual_seed(0)
    rows, good = [], True
    for dtype in (torch.float64, torch.float32):
        K = torch.randn(CHANNELS, CHANNELS, 3, 3, dtype=dtype)
        op = unconv.ConvOperator(K, (SIZE, SIZE), padding=1, padding_mode="circular")
        times = turns({"bare": partial(bare, K), "ours": op.svdvals}, rounds=4, seconds=4)
        found = ratio(times, "ours", "bare")
        good &= found.value <= LIMIT
        shown = (milliseconds(statistics.median(times[name])) for name in ("bare", "ours"))
        rows.append([str(dtype), *shown, found.shown(LIMIT), str(LIMIT)])
    header = ["dtype", f"bare svdvals, {THREADS} threads", "ours", "ours/bare", "limit"]
    print(table("all 65,536 singular values, circular, ms", header, rows), flush=True)
    op = unconv.ConvOperator(K.double(), (SIZE, SIZE), padding=1)
    rows = []
    for name, ask in {
        "largest": op.norm,
        "smallest": partial(op.svdvals, 1, "smallest"),
        "both, proven": partial(op.cond, bracket=True),
    }.items():
        seconds, answer = timed(ask)
        width = "–"
        if name == "both, proven":
            value, lower, upper, _ = answer
            spread = float((upper - lower) / value)
            good &= spread <= DIGITS
            width = against(spread, DIGITS, ".1e")
            answer = value
        rows.append([name, f"{float(answer):.10g}", width, seconds_of(seconds)])
    header = ["zero padding", "value (condition)", f"bracket (limit {DIGITS})", "s"]
    print(table("the ends of the spectrum", header, rows), flush=True)
    return good
