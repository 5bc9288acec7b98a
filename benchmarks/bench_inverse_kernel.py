"""Best FIR inverses: direct solves against gradient descent, and against dense least squares.

Must hold: the residuals of the plus kernel, 201×201 taps for an 11×7 kernel in under 5 s with half
the squared residual 1.784393e-3, and an exact 4×4 inverse of random 1→3 channels to 1e-12.
"""

from __future__ import annotations

import time

import numpy as np
import scipy.linalg
import torch
from torch import Tensor

from unconv import ConvOperator
from unconv.fir import approximate_pinv, inverse_kernel, residuals_by_size

from .common import against, medians, milliseconds, table, timed

PLUS = torch.tensor([[0, 1, 0], [1, 1, 1], [0, 1, 0]], dtype=torch.float64)
KNOWN = {
    5: 0.486993,
    7: 0.450560,
    9: 0.402284,
    11: 0.361936,
    15: 0.315580,
    21: 0.272329,
    31: 0.226503,
}
LARGE, HALF_SQUARED, SECONDS, EXACT = 201, 1.784393e-3, 5.0, 1e-12
DESCENT_SECONDS = 20.0
DENSE = 31  # taps along a side; a dense matrix of 201 × 201 would take 14 GB


def operator(f: Tensor, size: int) -> ConvOperator:
    return ConvOperator(f[None, None], (size, size), padding="full", flip=True)


def delta(op: ConvOperator) -> Tensor:
    d = torch.zeros(1, *op.range_shape, dtype=torch.float64)
    d[(0, 0, *((m - 1) // 2 for m in op.range_shape[1:]))] = 1
    return d


def descent(f: Tensor, size: int) -> tuple[float, int]:
    """½‖f ∗ g − δ‖² after some seconds of Adam at its best rate of three, and the steps."""
    found = []
    for rate in (1e-1, 1e-2, 1e-3):
        op, g, steps = operator(f, size), torch.zeros(1, 1, size, size, dtype=torch.float64), 0
        d = delta(op)
        g.requires_grad_()
        adam = torch.optim.Adam([g], lr=rate)
        begin = time.perf_counter()
        while time.perf_counter() - begin < DESCENT_SECONDS / 3:
            adam.zero_grad()
            loss = (op(g) - d).square().sum() / 2
            loss.backward()
            adam.step()
            steps += 1
        found.append((float(loss.detach()), steps))
    return min(found)


def dense(f: Tensor, size: int) -> float:
    """½‖f ∗ g − δ‖² by LAPACK's least squares."""
    op = operator(f, size)
    A, d = op.to_dense().numpy(), delta(op).flatten().numpy()
    g = scipy.linalg.lstsq(A, d, lapack_driver="gelsy")[0]
    return float(((A @ g - d) ** 2).sum() / 2)


def stable() -> list[list[str]]:
    """g in the place of A⁺: its error and its time, on a picture."""
    f = PLUS.clone()
    f[1, 1] = 8  # |F| from 4 to 12
    A = ConvOperator(f[None, None], (256, 256), padding=1, padding_mode="circular")
    y = A(torch.randn(1, 1, 256, 256, dtype=torch.float64))
    pinv = A.pinv()
    rows = []
    for size in (3, 5, 9, 15):
        G, error, g = approximate_pinv(A, size)
        seconds = medians({"G": lambda G=G: G(y)})["G"]
        name = f"{size}×{size}"
        rows.append([name, f"{g.residual:.1e}", f"{error:.1e}", milliseconds(seconds)])
    seconds = medians({"A⁺": lambda: pinv(y)})["A⁺"]
    return [*rows, ["A⁺", "–", "0", milliseconds(seconds)]]


def main() -> bool:
    """Print the tables; whether the figures hold."""
    residuals = [(size[0], r) for size, r in residuals_by_size(PLUS, KNOWN)]
    rows = [[f"{s}×{s}", f"{r:.6f}", f"{KNOWN[s]:.6f}"] for s, r in residuals]
    print(table("plus kernel, ‖f ∗ g − δ‖", ["size", "found", "known"], rows))
    good = all(abs(r - KNOWN[s]) < 1e-6 for s, r in residuals)

    f = torch.from_numpy(np.random.default_rng(0).random((11, 7)))
    rows = []
    for size in (DENSE, LARGE):
        seconds, g = timed(lambda size=size: inverse_kernel(f, size))
        half = float(g.residual) ** 2 / 2
        rows.append([f"{size}×{size}", f"{half:.6e}", against(seconds, SECONDS)])
        best_seconds, best = timed(lambda size=size: inverse_kernel(f, size, delay="best"))
        rows.append(
            [
                f"{size}×{size}, best delay {best.delay}",
                f"{float(best.residual) ** 2 / 2:.6e}",
                f"{best_seconds:.2f}",
            ]
        )
        if size == DENSE:
            dense_seconds, value = timed(lambda: dense(f, DENSE))
            rows.append([f"{size}×{size}, dense gelsy", f"{value:.6e}", f"{dense_seconds:.2f}"])
    good &= abs(half - HALF_SQUARED) < 1e-9 and seconds < SECONDS
    value, steps = descent(f, LARGE)
    rows.append([f"{LARGE}×{LARGE}, Adam, {steps} steps", f"{value:.2e}", f"{DESCENT_SECONDS:.0f}"])
    header = ["11×7 random kernel", "½‖f ∗ g − δ‖²", "seconds"]
    print(table("one kernel, centre delay unless said", header, rows))

    generator = torch.Generator().manual_seed(0)
    f = torch.randn(3, 1, 3, 3, dtype=torch.float64, generator=generator)
    residual = float(inverse_kernel(f, 4).residual)
    print(f"\nrandom 1→3 channels, 4×4: ‖f ∗ g − δ‖ = {against(residual, EXACT, '.1e')}")
    header = ["g", "residual", "measured error", "ms, one 256²"]
    print(table("a stable kernel, circular: g in the place of A⁺", header, stable()), flush=True)
    return good and residual <= EXACT
