"""`python -m benchmarks.one NAME [OPTION ...]`: one benchmark, and what came of it as a file."""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from pathlib import Path

import torch

from .common import TABLES, THREADS, peak_memory


def main() -> int:
    """1 if a figure was missed."""
    torch.set_num_threads(int(os.environ.get("BENCHMARK_THREADS", THREADS)))
    began = time.perf_counter()
    reached = importlib.import_module(f"benchmarks.bench_{sys.argv[1]}").main()
    told = {
        "reached": bool(reached),
        "seconds": time.perf_counter() - began,
        "processor_seconds": _processor_seconds(),
        "peak_bytes": peak_memory(),
        "tables": TABLES,
    }
    if file := os.environ.get("BENCHMARK_RECORD"):
        Path(file).write_text(json.dumps(told))
    return not reached


def _processor_seconds() -> float:
    """Of this process and of those that it has waited for."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


if __name__ == "__main__":
    raise SystemExit(main())
