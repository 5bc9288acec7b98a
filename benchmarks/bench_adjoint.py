"""The operator's forward and adjoint against every way that torch has to compute them.

Must hold: the adjoint costs at most 1.15 times the fastest of conv_transpose, the vjp and a
convolution with the flipped, transposed weight.  Ratios with their quartiles.
"""

from __future__ import annotations

import statistics

import torch
import torch.nn.functional as F
from torch import Tensor

import unconv

from .common import Ratio, device, milliseconds, ratio, table, turns

CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
TRANSPOSE = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
LAST = {2: torch.channels_last, 3: torch.channels_last_3d}
LIMIT = 1.15

# nd, batch, channels, size, taps an axis, groups, stride
CASES = [
    (2, 1, 32, 128, 3, 1, 1),
    (2, 8, 64, 56, 3, 1, 1),
    (2, 1, 64, 32, 3, 1, 1),
    (2, 1, 128, 28, 3, 1, 1),
    (2, 1, 64, 56, 1, 1, 1),
    (2, 1, 8, 256, 3, 1, 1),
    (2, 8, 3, 256, 3, 1, 1),
    (2, 1, 3, 256, 7, 1, 1),
    (2, 1, 1, 512, 3, 1, 1),
    (2, 1, 1, 512, 7, 1, 1),
    (2, 1, 1, 512, 15, 1, 1),
    (2, 3, 1, 256, 31, 1, 1),
    (2, 1, 16, 128, 7, 1, 1),
    (2, 1, 64, 256, 3, 64, 1),
    (2, 1, 64, 256, 15, 64, 1),
    (2, 1, 64, 128, 3, 4, 1),
    (2, 1, 32, 128, 3, 1, 2),
    (2, 1, 1, 512, 9, 1, 4),
    (2, 1, 64, 256, 15, 64, 2),
    (1, 8, 16, 4096, 5, 1, 1),
    (1, 1, 1, 65536, 129, 1, 1),
    (3, 1, 1, 64, 3, 1, 1),
    (3, 1, 1, 64, 7, 1, 1),
    (3, 1, 16, 32, 3, 1, 1),
    (3, 1, 8, 32, 3, 1, 2),
]


def adjoints(
    x: Tensor, y: Tensor, w: Tensor, op: unconv.ConvOperator, g: int, s: int
) -> dict[str, object]:
    """Ours and every rival, each as a closure."""
    nd, k = w.ndim - 2, w.shape[-1]
    p, c = k // 2, x.shape[1]
    extra = [(n + 2 * p - k) % s for n in x.shape[2:]]
    dims = tuple(range(-nd, 0))

    def flipped() -> Tensor:
        turned = w.flip(dims).unflatten(0, (g, -1)).transpose(1, 2).flatten(0, 1)
        return CONV[nd](y, turned, padding=p, groups=g)

    def vjp() -> Tensor:
        return torch.ops.aten.convolution_backward(
            y, x, w, None, [s] * nd, [p] * nd, [1] * nd, False, [0] * nd, g, [True, False, False]
        )[0]

    H = op.H
    runs = {
        "ours": lambda: H(y),
        "transpose": lambda: TRANSPOSE[nd](
            y, w, padding=p, groups=g, stride=s, output_padding=extra
        ),
        "vjp": vjp,
    }
    if s == 1:
        runs["flipped"] = flipped
    if nd > 1 and c > 1:
        runs["channels_last"] = lambda: TRANSPOSE[nd](
            y.contiguous(memory_format=LAST[nd]),
            w,
            padding=p,
            groups=g,
            stride=s,
            output_padding=extra,
        ).contiguous()
    return runs


def measure(case: tuple[int, ...], dtype: torch.dtype) -> tuple[list[str], Ratio]:
    """One row of the table and the adjoint's ratio to the fastest rival."""
    nd, N, c, n, k, g, s = case
    torch.manual_seed(0)
    x = torch.randn(N, c, *[n] * nd, dtype=dtype, device=device())
    w = torch.randn(c, c // g, *[k] * nd, dtype=dtype, device=device())
    op = unconv.ConvOperator(w, [n] * nd, padding=k // 2, stride=s, groups=g)
    each = turns(adjoints(x, op(x), w, op, g, s), seconds=1.0)
    forward = turns(
        {
            "ours": lambda: op(x),
            "torch": lambda: CONV[nd](x, w, padding=k // 2, stride=s, groups=g),
        },
        seconds=0.5,
    )
    times = {name: statistics.median(values) for name, values in each.items()}
    best = min((n for n in ("transpose", "vjp", "flipped") if n in times), key=times.__getitem__)
    found = ratio(each, "ours", best)
    shown = ("transpose", "vjp", "flipped", "channels_last", "ours")
    row = [
        *(f"{N}×{c}×{n}^{nd}", f"{k}^{nd}", str(g), str(s)),
        *(milliseconds(times[q]) if q in times else "–" for q in shown),
        found.shown(LIMIT),
        ratio(forward, "ours", "torch").shown(),
    ]
    return row, found


def main() -> bool:
    """Print the tables; whether every adjoint is within the limit."""
    worst = 0.0
    for dtype in (torch.float32, torch.float64):
        rows = []
        for case in CASES:
            row, found = measure(case, dtype)
            rows.append(row)
            worst = max(worst, found.value)
        header = ["input", "kernel", "groups", "stride", "conv_transpose", "vjp", "flipped conv"]
        header += ["channels_last", "ours", "ours/best", "forward ours/torch"]
        print(table(f"adjoint, {dtype}, ms", header, rows), flush=True)
    return worst <= LIMIT
