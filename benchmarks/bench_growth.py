"""How the boundary rung grows: its set-up with the cube of the ghosts, its solve like an FFT.

K = randn(c, c, 3, 3) on n×n with zero padding and damp 1e-3·σ_max, so that every size is regular:
2·c·(2n + 1) ghost unknowns.  Sizes whose ghost matrix exceeds one gigabyte are left out.  Exponents
are least-squares fits in logarithms.  Must hold: set-up at most like the cube of the ghosts, solves
at most like N·log N with the ghosts' own squares beside it.
"""

from __future__ import annotations

import math
import sys
from functools import partial

import torch

from unconv.inverse.certificate import certify

from . import peers
from .bench_boundary import operator
from .common import against, medians, milliseconds, seconds_of, sigma_max, table, timed

SIZES, CHANNELS, TAPS = (32, 64, 128, 256, 512), (1, 2, 4, 8, 16, 32), 3
MOST_BYTES, DAMP = 1e9, 1e-3
LARGE = 1500  # ghosts from which the cube shows over the transforms
SETUP_LIMIT, SOLVE_LIMIT = 3.2, 1.2


def exponent(x: list[float], y: list[float]) -> float:
    """p of y ∝ x^p."""
    logs = torch.tensor([x, y], dtype=torch.float64).log()
    logs = logs - logs.mean(1, keepdim=True)
    return float((logs[0] @ logs[1]) / (logs[0] @ logs[0]))


def main() -> bool:
    """Print the table and the exponents; whether they hold."""
    rows, good = [], True
    found: list[tuple[int, int, float, float]] = []
    for c in CHANNELS:
        for n in SIZES:
            ghosts = 2 * c * (2 * n + 1)
            if ghosts**2 * 8 > MOST_BYTES:
                continue
            K, _, y = peers.random_problem(c, n, TAPS)
            op = operator(K, n)
            damp = DAMP * sigma_max(op)
            setup, inverse = timed(partial(op.tikhonov, damp, method="boundary"))
            if setup < 0.5:
                setup = medians(
                    {"ours": partial(op.tikhonov, damp, method="boundary")},
                    rounds=2,
                    seconds=1,
                )["ours"]
            solve = medians({"ours": partial(inverse, y)}, rounds=5, seconds=1)["ours"]
            x, effort = inverse.solution(y)
            bound = float(certify(op, inverse, x, y, effort).error_bound.max())
            good &= inverse.method == "boundary" and bound <= 1e-6
            samples = c * n * n
            found.append((ghosts, samples, setup, solve))
            rows.append([str(c), f"{n}²", f"{samples:,}", f"{ghosts:,}", seconds_of(setup)])
            rows[-1] += [milliseconds(solve), f"{1e9 * solve / samples / math.log2(samples):.2f}"]
            rows[-1] += [f"{bound:.1e}"]
            print(" | ".join(rows[-1]), file=sys.stderr, flush=True)
    header = ["channels", "size", "N", "ghosts", "set-up, s", "solve, ms"]
    header += ["solve/(N log₂N), ns", "error_bound"]
    print(table(f"growth, damp {DAMP:.0e}·σ_max, float64", header, rows), flush=True)
    large = [f for f in found if f[0] >= LARGE]
    fits = []
    p = exponent([f[0] for f in large], [f[2] for f in large])
    fits.append(["set-up", f"ghosts, from {LARGE:,}", against(p, SETUP_LIMIT), f"{SETUP_LIMIT}"])
    good &= p <= SETUP_LIMIT
    for c in CHANNELS:
        mine = [f for f, r in zip(found, rows, strict=True) if r[0] == str(c)]
        if len(mine) < 3:
            continue
        q = exponent([f[1] * math.log2(f[1]) for f in mine], [f[3] for f in mine])
        good &= q <= SOLVE_LIMIT
        fits.append([f"solve, c = {c}", "N·log N", against(q, SOLVE_LIMIT), f"{SOLVE_LIMIT}"])
    print(table("fitted exponents", ["time", "of", "exponent", "limit"], fits), flush=True)
    return good
