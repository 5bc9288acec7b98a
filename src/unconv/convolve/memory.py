"""How much a buffer may hold before fresh memory costs more than the arithmetic."""

# glibc returns blocks above 32 MiB to the system when they are freed, and faulting them in again
# costs more than the arithmetic (measured: 37 MB im2col, 6 ms of products, 18 ms of page faults).
# What would come near that is worked off in slabs of the size that measured best.
LARGEST_KEPT = 24e6
SLAB_BYTES = 6 * 2**20
