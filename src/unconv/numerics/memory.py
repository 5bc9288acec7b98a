"""How much a buffer may hold before fresh memory costs more than the arithmetic."""

import ctypes

import torch

# glibc returns blocks above 32 MiB to the system when they are freed, and faulting them in again
# costs more than the arithmetic (measured: 37 MB im2col, 6 ms of products, 18 ms of page faults).
# What would come near that is worked off in slabs of the size that measured best.
LARGEST_KEPT = 24e6
SLAB_BYTES = 6 * 2**20
# Of images that go through transforms at once: 8 MiB takes as long, 30 MiB up to two thirds longer,
# for what a transform holds beside them is faulted in anew.
BATCH_BYTES = 16 * 2**20
# Of small blocks that one thread hands to LAPACK: with its copies they stay in the cache; 2 and
# 8 MiB take as long.
LAPACK_BYTES = 4 * 2**20
_SMALL_FACTOR = 4 * 2**20  # set up in less time than it takes to search a large heap


def keep_freed_memory() -> None:
    """Have glibc keep the temporaries of one apply for the next.

    malloc returns the free end of the heap to the system once it exceeds twice the largest mapped
    block ever freed, and fresh pages cost as much as the arithmetic on them.  Freeing one block
    just under its limit of 32 MiB, never touched, raises that threshold to 62 MiB.
    """
    torch.empty(31 * 2**20, dtype=torch.uint8)


def return_freed_memory(factor: float) -> None:
    """Have glibc give all that is free to the system, before what takes most of a set-up's memory.

    factor : bytes of the matrix or the blocks in question; small ones are not worth the search

    The heap keeps freed blocks under 32 MiB, and where small ones lie between them not even the
    next matrix of the same size finds its place there: without this a set-up holds up to twice
    what it uses.
    """
    if _libc is not None and factor > _SMALL_FACTOR:
        _libc.malloc_trim(0)


def _find_glibc() -> ctypes.CDLL | None:
    try:
        found = ctypes.CDLL(None)
    except (OSError, TypeError):  # no such library, or Windows
        return None
    return found if hasattr(found, "malloc_trim") else None


_libc = _find_glibc()
