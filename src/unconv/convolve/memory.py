"""How much a buffer may hold before fresh memory costs more than the arithmetic."""

import torch

# glibc returns blocks above 32 MiB to the system when they are freed, and faulting them in again
# costs more than the arithmetic (measured: 37 MB im2col, 6 ms of products, 18 ms of page faults).
# What would come near that is worked off in slabs of the size that measured best.
LARGEST_KEPT = 24e6
SLAB_BYTES = 6 * 2**20


def keep_freed_memory() -> None:
    """Have glibc keep the temporaries of one apply for the next.

    malloc returns the free end of the heap to the system once it exceeds twice the largest mapped
    block ever freed, and fresh pages cost as much as the arithmetic on them.  Freeing one block
    just under its limit of 32 MiB, never touched, raises that threshold to 62 MiB.
    """
    torch.empty(31 * 2**20, dtype=torch.uint8)
