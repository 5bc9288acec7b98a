"""`make fuzz-files MUTANTS=5000`: damage files of every format and read them.

    python -m tests.mutants [--mutants 5000] [--seed 0] [--only PNG]

Mutant i of a format is a function of `--seed` and i alone; one that fails is named by its number.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from .kinds import KINDS, judged

HANGS = 20
"""Seconds after which a file is given up."""


def main() -> int:
    """A table of what became of the mutants; 1 if one failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--mutants", type=int, default=5000, help="of each format")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="begin with this mutant")
    parser.add_argument("--only", choices=[*KINDS], help="one format alone")
    args = parser.parse_args()
    signal.signal(signal.SIGALRM, _give_up)
    failed = 0
    print(f"{'':12} {'mutants':>8} {'refused':>8} {'read':>8} {'failed':>8} {'seconds':>8}")
    for name in [args.only] if args.only else KINDS:
        began = time.process_time()
        counts = _run(name, args.seed, range(args.first, args.first + args.mutants))
        failed += counts["failed"]
        row = [args.mutants, *(counts[key] for key in ("refused", "read", "failed"))]
        print(f"{name:12}", *(f"{n:8,}" for n in row), f"{time.process_time() - began:8.0f}")
    return bool(failed)


def _run(name: str, seed: int, numbers: range) -> Counter[str]:
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        for number in numbers:
            rng = np.random.default_rng([seed, zlib.crc32(name.encode()), number])
            signal.alarm(HANGS)
            try:
                said = judged(KINDS[name], rng, Path(folder))
                counts["read" if said is None else "refused"] += 1
            except Exception as error:  # whatever it is, this mutant has failed and the next comes
                counts["failed"] += 1
                if counts["failed"] <= 5:
                    why = f"{type(error).__name__}: {error}".strip().splitlines()
                    print(f"{name}, mutant {number}: {' '.join(why)[:300]}", file=sys.stderr)
            finally:
                signal.alarm(0)
    return counts


def _give_up(*_: Any) -> None:
    raise TimeoutError(f"not read within {HANGS} s")


if __name__ == "__main__":
    raise SystemExit(main())
