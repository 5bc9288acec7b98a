"""`make bench`: print every table, fail when a figure is missed.

    python -m benchmarks [NAME ...] [--quick] [--json FILE] [--against FILE] [OPTION ...]

Each benchmark runs in a process of its own, on an idle machine one after the other.  `--quick` is
`make bench-quick`, `--json` keeps the tables with the environment, `--against` holds the ratios
beside those of such a file.  OPTIONs go to the benchmarks: `python -m benchmarks boundary
--only=question` prints one table of one, `blur --all` every picture.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

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
QUICK = ("calls", "fourier", "spectrum", "gradient", "svd", "inverse_kernel", "volume_passes")


def main() -> int:
    """Run the named benchmarks, or all; 1 if a figure was missed or became worse."""
    args, options = _arguments()
    told = environment()
    print(", ".join(f"{key} {value}" for key, value in told.items()))
    names = args.names or (QUICK if args.quick else BENCHES)
    found = {name: _run(name, options) for name in names}
    missed = [name for name, each in found.items() if not each["reached"]]
    print(f"\nmissed figures in: {', '.join(missed)}" if missed else "\nall figures reached")
    if args.json:
        args.json.write_text(json.dumps({"environment": told, "benchmarks": found}, indent=1))
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


def _run(name: str, options: list[str]) -> dict[str, Any]:
    """One benchmark in a process of its own: its tables, seconds and peak of memory."""
    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder) / "record.json"
        command = [sys.executable, "-m", "benchmarks.one", name, *options]
        subprocess.run(command, env={**os.environ, "BENCHMARK_RECORD": str(record)}, check=False)
        if not record.exists():
            print(f"\n{name} came to no end")
            return {"reached": False, "tables": [], "seconds": None, "peak_bytes": None}
        told: dict[str, Any] = json.loads(record.read_text())
    print(
        f"\n{name}: {told['seconds']:.0f} s, at most {told['peak_bytes'] / 1e9:.1f} GB", flush=True
    )
    return told


if __name__ == "__main__":
    raise SystemExit(main())
