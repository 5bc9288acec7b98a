"""`make bench`: print every table, fail when a figure is missed.

`python -m benchmarks boundary --only=question` prints one table of a benchmark, `blur --all` every
picture.
"""

from __future__ import annotations

import importlib
import sys

import torch

from .common import THREADS

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
    "volume_passes",
    "volume_run",
)


def main() -> int:
    """Run the named benchmarks, or all."""
    torch.set_num_threads(THREADS)
    names = [a for a in sys.argv[1:] if not a.startswith("--")] or list(BENCHES)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    results = {n: importlib.import_module(f"benchmarks.bench_{n}").main() for n in names}
    missed = [n for n, good in results.items() if not good]
    print(f"\nmissed figures in: {', '.join(missed)}" if missed else "\nall figures reached")
    return bool(missed)


if __name__ == "__main__":
    raise SystemExit(main())
