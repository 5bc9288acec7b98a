"""`make bench`: print every table, fail when a figure is missed.

    python -m benchmarks [NAME ...] [--quick] [--json FILE] [--against FILE] [OPTION ...]

Each benchmark runs in a process of its own, on an idle machine one after the other; those that
judge pictures, on one thread each, two at a time after the others.  `--quick` is `make
bench-quick`, `--json` keeps the tables with the environment, `--against` holds the ratios beside
those of such a file.  OPTIONs go to the benchmarks: `python -m benchmarks boundary --only=question`
prints one table of one, `blur --all` every picture.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from .common import THREADS
from .compare import worse
from .environment import environment

BENCHES = (
    "calls",
    "adjoint",
    "fourier",
    "boundary",
    "spectrum",
    "spectral_norm",
    "blur",
    "missing",
    "growth",
    "damp",
    "pictures",
    "gradient",
    "svd",
    "matrix",
    "inverse_kernel",
    "psf_match",
    "poisson",
    "volume_beside",
    "psf_estimate",
    "psf_blind",
    "restoration",
    "posterior",
    "volume_passes",
    "volume_run",
)
PICTURES = ("damp", "pictures", "psf_match", "poisson", "psf_estimate", "psf_blind", "restoration")
"""Of these the answers count, and processor times of one thread at most: two run at a time."""
QUICK = ("calls", "fourier", "spectrum", "gradient", "svd", "inverse_kernel", "volume_passes")


def main() -> int:
    """Run the named benchmarks, or all; 1 if a figure was missed or became worse."""
    args, options = _arguments()
    told = environment()
    print(", ".join(f"{key} {value}" for key, value in told.items()))
    names = args.names or (QUICK if args.quick else BENCHES)
    alone = [name for name in names if name not in PICTURES]
    found = {name: _told(name, _run(name, options, THREADS)) for name in alone}
    pictures = [name for name in names if name in PICTURES]
    with ThreadPoolExecutor(THREADS) as pool:
        done = pool.map(lambda name: _run(name, options, 1), pictures)
        found |= {name: _told(name, ran) for name, ran in zip(pictures, done, strict=True)}
    missed = [name for name, each in found.items() if not each["reached"]]
    print(f"\nmissed figures in: {', '.join(missed)}" if missed else "\nall figures reached")
    if args.json:
        args.json.write_text(_written(told, found))
    slower = []
    if args.against:
        slower = worse(json.loads(args.against.read_text())["benchmarks"], found)
        print("\n".join(slower) if slower else f"no ratio is worse than in {args.against}")
    return bool(missed or slower)


def _arguments() -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHES))
    parser.add_argument("--quick", action="store_true", help=f"only {', '.join(QUICK)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the tables")
    parser.add_argument("--against", type=Path, metavar="FILE", help="tables kept before")
    args, options = parser.parse_known_args()
    if unknown := [name for name in args.names if name not in BENCHES]:
        parser.error(f"no benchmark {unknown[0]!r}; choose from {', '.join(BENCHES)}")
    return args, options


def _written(told: dict[str, str], found: dict[str, Any]) -> str:
    """JSON with a line for each benchmark, so that two files can be compared by eye."""
    lines = (
        f"{json.dumps(n)}: {json.dumps(each, ensure_ascii=False)}" for n, each in found.items()
    )
    tables = ",\n".join(lines)
    return f'{{"environment": {json.dumps(told)},\n"benchmarks": {{\n{tables}\n}}}}\n'


class Ran(NamedTuple):
    """What a benchmark left: its record, None if it came to no end, and what it printed."""

    record: dict[str, Any] | None
    printed: str


def _run(name: str, options: list[str], threads: int) -> Ran:
    """One benchmark in a process of its own; its progress goes on to the screen."""
    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder) / "record.json"
        command = [sys.executable, "-m", "benchmarks.one", name, *options]
        told = {"BENCHMARK_RECORD": str(record), "BENCHMARK_THREADS": str(threads)}
        ran = subprocess.run(
            command, env={**os.environ, **told}, stdout=subprocess.PIPE, text=True, check=False
        )
        return Ran(json.loads(record.read_text()) if record.exists() else None, ran.stdout)


def _told(name: str, ran: Ran) -> dict[str, Any]:
    """Print what a benchmark printed; its tables, seconds and peak of memory."""
    print(ran.printed, end="")
    if ran.record is None:
        print(f"\n{name} came to no end")
        return {"reached": False, "tables": [], "seconds": None, "peak_bytes": None}
    seconds, gigabytes = ran.record["seconds"], ran.record["peak_bytes"] / 1e9
    processor = ran.record["processor_seconds"]
    print(
        f"\n{name}: {seconds:.0f} s, {processor:.0f} s of the processor, at most "
        f"{gigabytes:.1f} GB",
        flush=True,
    )
    return ran.record


if __name__ == "__main__":
    raise SystemExit(main())
