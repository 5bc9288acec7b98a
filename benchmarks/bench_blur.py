"""Photographs restored: which rung answers, what it costs and what it proves, beside iterations.

Tikhonov with 15×15 psfs.  Costs of a solve are given in FFT pairs of the picture's own size, timed
in turns with it.  Must hold

    error_bound   1e-6 wherever a direct rung was taken
    solves there  30 FFT pairs, 5 for a Gaussian
    all told      set-up and one solve at most what the best iteration takes to the same accuracy

and a Gaussian must be answered directly.  `--all` runs every size, boundary, damp and colour, for
hours: without their ghosts' factor, damps of 1e-4 take 20,000 iterations.
"""

from __future__ import annotations

import math
import statistics
import sys
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import skimage.data
import skimage.transform
import torch
from torch import Tensor

import unconv
from unconv import psf
from unconv.inverse.certificate import certify
from unconv.pictures.restoration import blur_operator

from . import peers
from .common import (
    against,
    fft_pair,
    medians,
    milliseconds,
    ratio,
    relative_error,
    seconds_of,
    table,
    timed,
    turns,
)

ERROR_LIMIT, DIRECT_PAIRS, GAUSSIAN_PAIRS = 1e-6, 30, 5
DAMPS = (3e-2, 1e-2, 1e-3, 1e-4)  # of σ_max, which is 1 for a psf but for a percent
DIRECT = ("fourier", "cosine", "separable", "dense", "boundary")
PSFS = {
    "gaussian": psf.gaussian(2.0, truncate=3.5),
    "motion": psf.motion(15 * math.sqrt(2), 45),
    "disk": psf.disk(7.0),
}
NOISE = 1e-3


class Case(NamedTuple):
    size: int
    boundary: str
    kernel: str
    damp: float
    colours: int = 1


def cases() -> Iterator[Case]:
    """The default selection, or with `--all` everything."""
    if "--all" in sys.argv:
        for size in (256, 512, 1024):
            for boundary in ("zeros", "reflect", "replicate", "symmetric", "valid"):
                for colours in (1, 3):
                    for kernel in PSFS:
                        yield from (Case(size, boundary, kernel, d, colours) for d in DAMPS)
        return
    for boundary in ("zeros", "reflect", "valid"):
        yield from (Case(512, boundary, "gaussian", d) for d in DAMPS[::3])
    for boundary, kernel, damp in (
        ("zeros", "motion", 1e-2),
        ("zeros", "disk", 3e-2),
        ("zeros", "disk", 1e-4),
        ("reflect", "motion", 3e-2),
        ("reflect", "disk", 3e-2),
        ("valid", "motion", 1e-3),
        ("valid", "disk", 1e-2),
    ):
        yield Case(512, boundary, kernel, damp)
    yield Case(128, "reflect", "motion", 1e-3)
    yield Case(128, "reflect", "disk", 1e-4)


def picture(colours: int, shape: tuple[int, ...]) -> Tensor:
    """(colours, 1, *shape), float64 in [0, 1]."""
    image = skimage.data.camera() if colours == 1 else skimage.data.astronaut()
    image = skimage.transform.resize(image, shape, anti_aliasing=True)
    planes = torch.from_numpy(image).reshape(*shape, colours)
    return planes.movedim(2, 0)[:, None].contiguous()


def problem(case: Case) -> tuple[unconv.ConvOperator, Tensor]:
    """The operator and a blurred, noisy picture."""
    op = blur_operator(PSFS[case.kernel], (case.size, case.size), case.boundary)
    y = op(picture(case.colours, op.domain_shape[1:]))
    noise = torch.randn(y.shape, generator=torch.Generator().manual_seed(0), dtype=y.dtype)
    return op, y + NOISE * noise


def measure(case: Case) -> tuple[list[str], bool]:
    """One row, and whether its figures hold."""
    op, y = problem(case)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        setup, inverse = timed(lambda: op.tikhonov(case.damp))
        first, (x, effort) = timed(lambda: inverse.solution(y))
        evidence = certify(op, inverse, x, y, effort)
    direct = inverse.method in DIRECT
    grid = torch.randn(case.colours, case.size, case.size, dtype=y.dtype)
    runs: dict[str, Callable[[], object]] = {"pair": partial(fft_pair, grid)}
    times = turns(runs | {"ours": lambda: inverse(y)} if direct else runs, rounds=15, seconds=1)
    times.setdefault("ours", [first])
    pairs, bound = ratio(times, "ours", "pair"), float(evidence.error_bound.max())
    row = [f"{case.size}²{' RGB' * (case.colours == 3)}", case.boundary, case.kernel]
    row += [f"{case.damp:.0e}", inverse.method, seconds_of(setup)]
    row += [milliseconds(statistics.median(times[name])) for name in ("pair", "ours")]
    if direct:
        limit = GAUSSIAN_PAIRS if case.kernel == "gaussian" else DIRECT_PAIRS
        good = pairs.value <= limit and bound <= ERROR_LIMIT
        row += [pairs.shown(limit, ".1f"), str(limit), "–"]
        row += [against(bound, ERROR_LIMIT, ".1e")]
    else:
        good = case.kernel != "gaussian"
        steps = int(torch.as_tensor(effort.iterations).max())
        row += [f"{pairs.value:.0f}{'' if good else ' !'}", "–", str(steps), f"{bound:.1e}"]
    return row, good


def restored() -> bool:
    """All cases."""
    rows, good = [], True
    for case in cases():
        row, held = measure(case)
        rows.append(row)
        good &= held
        print(" | ".join(row), file=sys.stderr, flush=True)
    header = ["picture", "boundary", "psf", "damp", "method", "set-up, s", "FFT pair, ms"]
    header += ["solve, ms", "in FFT pairs", "limit", "iterations", "error_bound"]
    print(table("Tikhonov, psfs 15×15, float64, grey unless RGB", header, rows), flush=True)
    return good


def beside_iterations() -> bool:
    """Total cost at one damp against the best iteration that reaches the same accuracy."""
    rows, good = [], True
    for kernel in PSFS:
        case = Case(512, "reflect", kernel, DAMPS[0])
        op, y = problem(case)
        # An iteration whose own bound proves 1e-12, not the rung under test.
        reference = op.lstsq(y, case.damp, method="krylov", tol=1e-12).solution
        seconds, result = timed(partial(op.lstsq, y, case.damp))
        bound = float(result.certificate.error_bound.max())
        error = relative_error(result.solution, reference)
        name = f"ours ({result.certificate.method})"
        found: dict[str, tuple[str, float, Callable[[], object]]] = {}
        found[name] = "–", error, partial(op.lstsq, y, case.damp)
        for peer, solve in peers.iterative(op, y, case.damp).items():
            found[peer] = _to_the_same(solve, reference, max(error, ERROR_LIMIT), seconds)
        times = medians({n: f[2] for n, f in found.items()}, rounds=3, seconds=3, warm=True)
        equals = [t for n, t in times.items() if n != name and found[n][1] <= ERROR_LIMIT]
        limit = min(equals, default=math.inf)
        good &= times[name] <= limit and error <= ERROR_LIMIT
        for method, (tol, reached, _) in found.items():
            time = f"{1e3 * times[method]:.0f}"
            mark = " !" if method == name and times[name] > limit else ""
            proof = f"{bound:.1e}" if method == name else "–"
            rows.append([kernel, method, tol, time + mark, f"{reached:.1e}", proof])
            print(" | ".join(rows[-1]), file=sys.stderr, flush=True)
    header = ["psf", "method", "its tol", "set-up and one solve, ms", "true error", "error_bound"]
    print(table("512² reflect, damp 3e-02, to a true error of 1e-6", header, rows), flush=True)
    return good


def _to_the_same(
    solve: peers.Iterative, reference: Tensor, error: float, ours: float
) -> tuple[str, float, Callable[[], Tensor]]:
    """At the loosest of its tolerances that reaches `error`, or that takes three times ours."""
    for tol in (1e-5, 1e-6, 1e-7, 1e-8):
        seconds, x = timed(partial(solve, tol))
        found = relative_error(x, reference)
        if found <= error or seconds > 3 * ours:
            break
    return f"{tol:.0e}", found, partial(solve, tol)


TABLES = {"restored": restored, "peers": beside_iterations}


def main() -> bool:
    """Print both tables; whether every figure holds."""
    only = [a.removeprefix("--only=") for a in sys.argv if a.startswith("--only=")]
    names = only[0].split(",") if only else list(TABLES)
    return all([TABLES[name]() for name in names if name in TABLES])
