"""Zero padding undone exactly, against the factorisations and transforms that nobody can avoid.

Must hold for K = randn(32, 32, 3, 3), 128×128, padding 1, float64 (524,288 unknowns):

    x        to 1e-10 in one pass, to 1e-11 with refinement
    set-up   1.3 times an LU of 8,224² and the inverses of 8,385 complex blocks of 32×32
    memory   1.5 GB above the inputs
    solve    1.3 times one solve with that LU, two FFT pairs and two block products; a sixteenth of
             a batch of 16 at most half of that allowance

for numerically singular kernels: certified answers within the seconds of `SINGULAR`, and for eight
colour images, damped, padded in three ways: set-up and all solves, certified, in 4 s; batches in
float32 1.5 times as fast as with a factor in float64, where one in float32 is kept.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
import warnings
from functools import partial
from typing import Any

import torch
from torch import Tensor

import unconv
from unconv import psf
from unconv.inverse.certificate import certify

from . import peers
from .common import (
    THREADS,
    against,
    fft_pair,
    least_processor_times,
    medians,
    milliseconds,
    peak_memory,
    relative_error,
    seconds_of,
    sigma_max,
    table,
    timed,
)

CHANNELS, SIZE, TAPS = 32, 128, 3
GHOSTS, GRID = CHANNELS * (2 * SIZE + 1), SIZE + 1
SETUP_LIMIT, SOLVE_LIMIT, BATCH_LIMIT, MEMORY_LIMIT = 1.3, 1.3, 0.65, 1.5
ONE_PASS, REFINED, FLOAT32_WEIGHT = 1e-10, 1e-11, 1e-9

SINGLE_LIMIT = 1.5  # times as many images in float32 as with a factor in float64

BATCH, BATCH_SIZE, BATCH_DAMP, BATCH_SECONDS = 8, 256, 0.01, 4.0
BATCH_GHOSTS = {"zeros": 4, "reflect": 8, "replicate": 8}  # times channels and size: order of S'

REGULAR = [(8, 64), (32, 32)]
SINGULAR = {(3, 256): (1.0, 30.0), (1, 512): (0.3, 10.0)}  # seconds: damped, with a cut-off
DAMP, RTOL = 1e-9, 1e-8  # of σ_max


def operator(K: Tensor, size: int) -> unconv.ConvOperator:
    return unconv.ConvOperator(K, (size, size), padding=K.shape[-1] // 2)


# --- the question
def question() -> bool:
    """Its accuracy, set-up and solves beside the floor."""
    K, x, y = peers.random_problem(CHANNELS, SIZE, TAPS)
    op = operator(K, SIZE)
    kept: dict[str, Any] = {}
    matrix = torch.randn(GHOSTS, GHOSTS, dtype=torch.float64)
    blocks = torch.randn(GRID * (GRID // 2 + 1), CHANNELS, CHANNELS, dtype=torch.complex128)
    setup = medians(
        {
            "ours": lambda: kept.update(ours=op.pinv()),
            "LU": lambda: kept.update(LU=torch.linalg.lu_factor(matrix)),
            "inverses": lambda: torch.linalg.inv(blocks),
        },
        rounds=2,
        seconds=20,
        warm=True,
    )
    floor = setup["LU"] + setup["inverses"]
    ratio = setup["ours"] / floor
    shown = setup["LU"], setup["inverses"], setup["ours"]
    title = f"randn({CHANNELS}, {CHANNELS}, 3, 3), {SIZE}×{SIZE}, zero padding, float64"
    row = [*map(seconds_of, shown), against(ratio, SETUP_LIMIT), f"{SETUP_LIMIT}"]
    header = ["LU of 8,224²", "8,385 inverses of 32×32", "ours", "ours/floor", "limit"]
    print(table(f"set-up, {title}, s", header, [row]), flush=True)
    good = ratio <= SETUP_LIMIT
    good &= _solves(kept["ours"], kept["LU"], blocks, op, x, y)
    return good


def _solves(
    pinv: Any, lu: Any, blocks: Tensor, op: unconv.ConvOperator, x: Tensor, y: Tensor
) -> bool:
    good, rows = True, []
    x16 = torch.randn(16, *x.shape[1:], dtype=x.dtype)
    for X, Y in ((x, y), (x16, op(x16))):
        N = len(X)
        ghosts = torch.randn(GHOSTS, N, dtype=torch.float64)
        vectors = torch.randn(len(blocks), CHANNELS, N, dtype=torch.complex128)
        grid = torch.randn(N, CHANNELS, GRID, GRID, dtype=torch.float64)
        parts = medians(
            {
                "ours": partial(pinv, Y),
                "lu_solve": partial(torch.linalg.lu_solve, *lu, ghosts),
                "FFT pair": partial(fft_pair, grid),
                "product": partial(torch.matmul, blocks, vectors),
            },
            rounds=5,
            seconds=3,
        )
        parts = {name: seconds / N for name, seconds in parts.items()}
        floor = parts["lu_solve"] + 2 * parts["FFT pair"] + 2 * parts["product"]
        if N == 1:
            alone, limit = floor, SOLVE_LIMIT
        else:
            limit = BATCH_LIMIT
        ratio, error = parts["ours"] / alone, relative_error(pinv(Y), X)
        good &= ratio <= limit and error <= ONE_PASS
        shown = parts["lu_solve"], parts["FFT pair"], parts["product"], parts["ours"]
        row = [str(N), *map(milliseconds, shown), against(ratio, limit), str(limit)]
        rows.append([*row, f"{parts['ours'] / floor:.2f}", against(error, ONE_PASS, ".1e")])
    header = ["batch", "LU solve", "FFT pair", "block product", "ours", "ours/floor at batch 1"]
    header += ["limit", "ours/own floor", "relative error"]
    print(table("solve, ms an image", header, rows), flush=True)
    return good


def accuracy() -> bool:
    """The certified answer and the peak of memory, in a fresh process."""
    found = _fresh("refined")
    memory = _fresh("memory")["gigabytes"]
    good = found["error"] <= REFINED and found["method"] == "boundary" and found["converged"]
    good &= memory <= MEMORY_LIMIT and found["error"] <= found["error_bound"]
    row = [found["method"], str(found["rank"]), str(found["refinements"])]
    row += [against(found["error"], REFINED, ".1e"), f"{found['error_bound']:.1e}"]
    row += [f"{found['optimality']:.1e}", against(memory, MEMORY_LIMIT)]
    header = ["method", "rank", "refinements", f"error (limit {REFINED})", "error_bound"]
    header += ["optimality", f"peak of set-up and solve, GB (limit {MEMORY_LIMIT})"]
    print(table("op.lstsq(y) on the same problem", header, [row]), flush=True)
    return good


def float32() -> bool:
    """K rounded to float32: data in float64, and rounded as well."""
    rows, good = [], True
    for name, title in FLOAT32.items():
        found = _fresh(name)
        if "failure" in found:
            rows.append([title, "–", "–", "–", "–", found["failure"]])
            good = False
            continue
        limit = FLOAT32_WEIGHT if name == "weight32" else found["error_bound"]
        good &= found["error"] <= limit and found["method"] == "boundary"
        row = [title, found["factor_dtype"], against(found["error"], limit, ".1e")]
        row += [f"{found['error_bound']:.1e}", str(found["rank"]), seconds_of(found["seconds"])]
        rows.append(row)
    header = ["weight, data", "factor", "error", "error_bound", "rank", "op.lstsq(y), s"]
    print(table("the same with K in float32", header, rows), flush=True)
    return good


FLOAT32 = {
    "weight32": "float32, float64 (limit 1e-9)",
    "data32": "float64, float32 (limit error_bound)",
    "both32": "float32, float32 (limit error_bound)",
}


def _measure(name: str) -> dict[str, Any]:
    """One solve of the question; run by `_fresh` in its own process."""
    torch.set_num_threads(THREADS)
    K, x, y = peers.random_problem(CHANNELS, SIZE, TAPS)
    if name in FLOAT32:
        K = K.float()
        y = torch.nn.functional.conv2d(x, K.double(), padding=1)
        K = K.double() if name == "data32" else K
        y = y if name == "weight32" else y.float()
    op = operator(K, SIZE)
    if name == "memory":
        before = peak_memory()
        op.pinv()(y)
        return {"gigabytes": (peak_memory() - before) / 1e9}
    seconds, (solution, certificate) = timed(lambda: op.lstsq(y))
    facts = certificate[0].as_dict()
    facts |= {"error": relative_error(solution, x), "seconds": seconds}
    return facts | {"factor_dtype": str(certificate.plan.factor_dtype)}


def _fresh(name: str) -> dict[str, Any]:
    command = [os.path.basename(sys.executable), "-m", "benchmarks.bench_boundary", name]
    try:
        ran = subprocess.run(
            command, env=peers.environment(), capture_output=True, text=True, timeout=peers.SECONDS
        )
    except subprocess.TimeoutExpired:
        return {"failure": f"> {peers.SECONDS} s"}
    if ran.returncode:
        return {"failure": ran.stderr.strip().splitlines()[-1][:60] if ran.stderr else "killed"}
    return json.loads(ran.stdout.splitlines()[-1])


# --- random kernels beside sparse direct solvers
def random_kernels() -> bool:
    """Set-up, solve and error of ours and of every sparse direct solver."""
    rows, good = [], True
    for c, n in REGULAR:
        K, x, y = peers.random_problem(c, n, TAPS)
        op = operator(K, n)
        pinv = op.pinv()
        good &= pinv.method == "boundary"
        setup = medians({"ours": op.pinv}, rounds=5)["ours"]
        again = medians({"ours": partial(pinv, y)})["ours"]
        error = relative_error(pinv(y), x)
        good &= error <= 1e-9
        name = f"{c}×{n}²"
        rows.append([name, f"ours ({pinv.method})", *_three(setup + again, again, error)])
        rows += _peer_rows(name, c, n)
    header = ["input", "method", "set-up and one solve, s", "next solve, s", "relative error"]
    print(table("randn(c, c, 3, 3), zero padding, float64", header, rows), flush=True)
    return good


def _three(first: float, again: float, error: float) -> list[str]:
    return [seconds_of(first), seconds_of(again), f"{error:.1e}"]


def _peer_rows(name: str, c: int, n: int) -> list[list[str]]:
    rows = []
    for peer in peers.DIRECT:
        found = peers.direct(peer, c, n, TAPS)
        if found is None:
            cells = ["–", "–", "–"]
        elif found.failure:
            cells = [found.failure, "–", "–"]
        else:
            cells = _three(*found[:3])
        rows.append([name, peer, *cells])
    return rows


def singular() -> bool:
    """Numerically singular kernels, damped by next to nothing and with a cut-off."""
    rows, good, against_peers = [], True, []
    for (c, n), limits in SINGULAR.items():
        K, x, y = peers.random_problem(c, n, TAPS)
        op = operator(K, n)
        norm = sigma_max(op)
        makes = {
            f"damp {DAMP:.0e}·σ_max": partial(op.tikhonov, DAMP * norm),
            f"A⁺, rtol {RTOL:.0e}": partial(op.pinv, rtol=RTOL),
        }
        for (title, make), limit in zip(makes.items(), limits, strict=True):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                begin = time.perf_counter()
                inverse = make()
                setup = time.perf_counter() - begin
                solve, (found, effort) = timed(partial(inverse.solution, y))
            evidence = certify(op, inverse, found, y, effort)[0]
            direct = inverse.method == "boundary"
            good &= direct and evidence.converged and setup + solve <= limit
            rows.append(
                [
                    f"{c}×{n}²",
                    title,
                    inverse.method + ("" if direct else " !"),
                    seconds_of(setup),
                    seconds_of(solve),
                    against(setup + solve, limit),
                    f"{limit}",
                    str(evidence.dropped),
                    f"{evidence.gap:.3g}",
                    f"{evidence.optimality:.1e}",
                    f"{evidence.error_bound:.1e}",
                    "yes" if evidence.converged else "no !",
                    f"{relative_error(found, x):.1e}",
                ]
            )
        against_peers += _peer_rows(f"{c}×{n}²", c, n)
    header = ["input", "asked", "method", "set-up, s", "solve, s", "both", "limit", "dropped"]
    header += ["gap", "optimality", "error_bound", "converged", "distance to the x that made y"]
    print(table("numerically singular kernels, randn(c, c, 3, 3), float64", header, rows))
    header = ["input", "method", "set-up and one solve, s", "next solve, s", "distance to that x"]
    print(table("sparse direct solvers on them", header, against_peers), flush=True)
    return good


# --- a batch of images, damped
def batch() -> bool:
    """Eight images at once, with their set-up and certificate, beside an LU of the same order."""
    torch.manual_seed(0)
    K, y = torch.randn(3, 3, 5, 5), torch.randn(BATCH, 3, BATCH_SIZE, BATCH_SIZE)
    rows, good = [], True
    for mode, ghosts in BATCH_GHOSTS.items():
        op = unconv.ConvOperator(K, (BATCH_SIZE, BATCH_SIZE), padding=2, padding_mode=mode)
        n = 3 * BATCH_SIZE * ghosts
        matrix = torch.randn(n, n, dtype=torch.float64).mT
        inverse = op.tikhonov(BATCH_DAMP)
        took = medians(
            {
                "LU": partial(torch.linalg.lu_factor, matrix),
                "set-up": partial(op.tikhonov, BATCH_DAMP),
                "solve": partial(inverse, y),
                "all": partial(op.lstsq, y, BATCH_DAMP),
            },
            rounds=2,
            seconds=20,
            warm=True,
        )
        evidence = op.lstsq(y, BATCH_DAMP).certificate
        good &= took["all"] <= BATCH_SECONDS and all(evidence.converged)
        row = [mode, f"{n:,}", *map(seconds_of, (took["LU"], took["set-up"], took["solve"]))]
        row += [against(took["all"], BATCH_SECONDS), f"{took['all'] / took['LU']:.2f}"]
        row += [f"{max(evidence.error_bound):.1e}", "yes" if all(evidence.converged) else "no !"]
        rows.append(row)
    header = ["padding", "ghosts", "their LU, s", "set-up, s", "eight solves, s"]
    header += [
        f"op.lstsq(y, damp), s (limit {BATCH_SECONDS})",
        "of an LU",
        "error_bound",
        "converged",
    ]
    title = "eight images 3×256², randn(3, 3, 5, 5), padding 2, float32, damp 0.01"
    print(table(title, header, rows), flush=True)
    return good


# --- batches in float32
def near_identity(channels: int) -> Tensor:
    """A layer whose inverse is well-conditioned: the identity and a third of its norm of noise."""
    K = 0.3 * torch.randn(channels, channels, 3, 3) / math.sqrt(9 * channels)
    K[range(channels), range(channels), 1, 1] += 1
    return K


def single() -> bool:
    """Float32 images solved with the factor that their operator keeps, and with one in float64."""
    torch.manual_seed(0)
    blur = psf.gaussian(2.0, truncate=2.0)[None, None].float()
    rows, good = [], True
    for title, K, size, mode, damp, images in (
        ("gaussian 9×9, zeros", blur, 256, "zeros", 0.05, 16),
        ("gaussian 9×9, zeros", blur, 256, "zeros", 0.05, 64),
        ("gaussian 9×9, reflect", blur, 256, "reflect", 0.05, 16),
        ("randn 9×9 / 9, zeros", torch.randn(1, 1, 9, 9) / 9, 256, "zeros", 0.05, 16),
        ("near identity 3×3", near_identity(8), 64, "zeros", 0.0, 16),
        ("randn 3×3, 16 to 8", torch.randn(8, 16, 3, 3), 64, "zeros", 0.0, 16),
        ("near identity 3×3", near_identity(32), 128, "zeros", 0.0, 16),
    ):
        op = unconv.ConvOperator(K, (size, size), padding=K.shape[-1] // 2, padding_mode=mode)
        ours, double = (
            A.tikhonov(damp, method="boundary") if damp else A.pinv(method="boundary")
            for A in (op, op.in_double())
        )
        y = op(torch.randn(images, K.shape[1], size, size))
        runs = {"ours": partial(ours, y), "double": partial(double, y)}
        took = least_processor_times(runs, rounds=4, seconds=20)
        kept = str(ours.plan.factor_dtype).removeprefix("torch.")
        ratio, error = took["double"] / took["ours"], relative_error(ours(y).double(), double(y))
        good &= ratio >= SINGLE_LIMIT and kept == "float32"
        row = [f"{K.shape[0]}×{size}² {title}", f"{damp:g}", str(images), kept]
        row += [f"{sum(b.nbytes for b in i.buffers()) / 1e6:.1f}" for i in (double, ours)]
        row += [milliseconds(took[name] / images) for name in ("double", "ours")]
        rows.append(
            [*row, f"{ratio:.2f}" + ("" if ratio >= SINGLE_LIMIT else " !"), f"{error:.1e}"]
        )
    header = ["picture", "damp", "images", "kept in", "float64 factor, MB", "ours, MB"]
    header += ["float64 factor, ms an image", "ours, ms", f"ratio (limit {SINGLE_LIMIT})", "error"]
    print(table("float32 batches, processor time of one thread", header, rows), flush=True)
    return good


TABLES = {
    "question": question,
    "accuracy": accuracy,
    "float32": float32,
    "random": random_kernels,
    "singular": singular,
    "batch": batch,
    "single": single,
}


def main() -> bool:
    """Print the tables that were asked for; whether every figure holds."""
    only = [a.removeprefix("--only=") for a in sys.argv if a.startswith("--only=")]
    names = only[0].split(",") if only else list(TABLES)
    return all([TABLES[name]() for name in names if name in TABLES])


if __name__ == "__main__":
    print(json.dumps(_measure(sys.argv[1])))
