"""Where a benchmark ran: figures without it say nothing."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from datetime import date
from pathlib import Path

from .common import THREADS

PEERS = ("deepinv", "pylops", "scikit-image", "scipy", "sparseqr", "scikit-sparse", "pypardiso",
         "photutils", "redlionfish")  # fmt: skip


def environment() -> dict[str, str]:
    """Processor, threads, versions and load; a peer that is not installed is told as that."""
    return {
        "date": date.today().isoformat(),
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "threads": str(THREADS),
        "load": f"{os.getloadavg()[0]:.2f}",
        "python": platform.python_version(),
        **{name: _version(name) for name in ("torch", "numpy", *PEERS)},
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    named = (line.partition(": ")[2] for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or "unknown")


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
