"""How the boundary rung grows: its set-up with the cube of the ghosts, its solve like an FFT.

K = randn(c, c, 3, 3) on n×n with zero padding and damp 1e-3·σ_max, so that every size is regular:
2·c·(2n + 1) ghost unknowns.  Sizes whose ghost matrix exceeds 0.3 GB are left out.  Exponents
are least-squares fits in logarithms.  Must hold: set-up at most like the cube of the ghosts, solves
at most like N·log N with the ghosts' own squares beside it.

A second table holds time and memory of the pseudo-inverse beside sparse direct solvers, an
iteration and one FFT pair of the data, the floor, each in a process of its own, until a problem
takes some seconds: what `python -m benchmarks.plots` draws.  There the kernel's centre outweighs
the rest, so that all of them solve it to round-off, and iterations take few steps.
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
MOST_BYTES, DAMP = 3e8, 1e-3
LARGE = 1500  # ghosts from which the cube shows over the transforms
SETUP_LIMIT, SOLVE_LIMIT = 3.2, 1.2
BESIDE = {1: [32, 64, 128, 256, 512, 1024], 8: [16, 32, 64, 128, 256]}
BESIDE_TITLE = "growth beside others, float64, processor time of one thread"
METHODS = peers.OURS, peers.FLOOR, *peers.DIRECT, "SciPy lsqr"


def exponent(x: list[float], y: list[float]) -> float:
    """p of y ∝ x^p."""
    logs = torch.tensor([x, y], dtype=torch.float64).log()
    logs = logs - logs.mean(1, keepdim=True)
    return float((logs[0] @ logs[1]) / (logs[0] @ logs[0]))


def main() -> bool:
    """Print the tables; whether what they must hold is held."""
    only = [a.removeprefix("--only=") for a in sys.argv if a.startswith("--only=")]
    parts = {"rung": rung, "beside": beside}
    return all([run() for name, run in parts.items() if not only or name in only])


def beside() -> bool:
    """Time and memory of ours, others and the floor, by size; whether ours is exact."""
    rows, good = [], True
    for c, sizes in BESIDE.items():
        for method in METHODS:
            for n, found in peers.grown(method, c, TAPS, sizes).items():
                error = "–" if method == peers.FLOOR else f"{found.error:.1e}"
                good &= method != peers.OURS or found.error <= 1e-10
                row = [str(c), f"{n}²", f"{c * n * n:,}", method, seconds_of(found.first)]
                again = "–" if math.isnan(found.again) else milliseconds(found.again)
                rows.append([*row, again, f"{found.peak_bytes / 1e6:.3g}", error])
                print(" | ".join(rows[-1]), file=sys.stderr, flush=True)
    header = ["channels", "size", "N", "method", "set-up and one solve, s", "next solve, ms"]
    header += ["peak, MB", "relative error"]
    print(table(BESIDE_TITLE, header, rows), flush=True)
    return good


def rung() -> bool:
    """The boundary rung by size and the exponents; whether they hold."""
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
