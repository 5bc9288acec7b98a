"""Teams of one thread: for LAPACK of many small matrices, and for bits that stay the same.

Two OpenMP threads inside one 32×32 factorisation cost up to ten times what one does.  The team size
is set for single threads: `torch.set_num_threads` would change the whole process, and calling
it with more than one thread breaks some LAPACK calls of the CPU build (pytorch#142815).
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

_WORTH_A_SLICE = 2**12  # entries of the blocks of a slice
ENTRIES_A_SLICE = 2**14
"""Entries of small matrices that one thread factors at a time: they stay in its cache."""


def run_in_slices(
    work: Callable[[slice], None], count: int, step: int, device: torch.device
) -> None:
    """`work` on consecutive slices of range(count), on a CPU one worker thread each."""
    slices = [slice(i, min(i + step, count)) for i in range(0, count, step)]
    if device.type != "cpu":
        for part in slices:
            work(part)
        return
    list(_pool(torch.get_num_threads(), os.getpid()).map(work, slices))


def singular_values(blocks: Tensor, which: Tensor | None = None) -> Tensor:
    """`torch.linalg.svdvals` of many small blocks, a slice of them in each thread.

    (F, r, c), and the indices of those that are wanted if not all -> (F, min(r, c))
    """
    count = len(blocks) if which is None else len(which)
    values = blocks.new_empty(count, min(blocks.shape[1:]), dtype=blocks.dtype.to_real())

    def compute(part: slice) -> None:
        values[part] = torch.linalg.svdvals(blocks[part if which is None else which[part]])

    # Some slices a thread even out their loads; a slice is worth at least a wake-up.
    step = max(1, -(-count // (4 * torch.get_num_threads())))
    step = max(step, _WORTH_A_SLICE // max(1, blocks[:1].numel()))
    run_in_slices(compute, count, step, blocks.device)
    return values


@contextmanager
def one_thread() -> Iterator[None]:
    """A block whose arithmetic has one thread, so that its bits are those of any machine.

    It holds for the calling thread; where torch has no OpenMP it changes nothing.
    """
    openmp = _openmp()
    if openmp is None:
        yield
        return
    kept = torch.get_num_threads()
    openmp.omp_set_num_threads(1)
    try:
        yield
    finally:
        openmp.omp_set_num_threads(kept)


@lru_cache(maxsize=4)
def _pool(threads: int, process: int) -> ThreadPoolExecutor:
    """The worker threads, kept: a new one takes tens of milliseconds; a fork makes its own."""
    return ThreadPoolExecutor(threads, "unconv", initializer=_one_thread)


def _one_thread() -> None:
    torch.get_num_threads()  # torch sets a new thread's team size on its first use: before ours
    openmp = _openmp()
    if openmp is not None:
        openmp.omp_set_num_threads(1)


@lru_cache(maxsize=1)
def _openmp() -> ctypes.CDLL | None:
    """The OpenMP runtime that torch ships and has loaded; None where it has another."""
    folder = Path(torch.__file__).parent / "lib"
    for pattern in ("libgomp*", "libiomp5*", "libomp*"):
        for path in sorted(folder.glob(pattern)):
            try:
                return ctypes.CDLL(str(path))
            except OSError:
                continue
    return None
