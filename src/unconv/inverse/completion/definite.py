"""Inverses of many Hermitian positive definite matrices."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ...numerics.threads import ENTRIES_A_SLICE, run_in_slices
from ..facts import CannotServeError


def invert(make: Callable[[slice], Tensor], inverse: Tensor) -> None:
    """Write the inverses of matrices, which are made slice by slice, into (count, n, n).

    Raises
    ------
    CannotServeError
        If one is not definite to round-off.
    """
    count, n, _ = inverse.shape
    failed = torch.zeros(count, dtype=torch.bool)

    def work(part: slice) -> None:
        factor, info = torch.linalg.cholesky_ex(make(part))
        failed[part] = (info != 0).cpu()
        if not bool(failed[part].any()):
            inverse[part] = torch.cholesky_inverse(factor)

    step = max(1, ENTRIES_A_SLICE // (n * n))
    if step > 1 or count >= 4 * torch.get_num_threads():
        run_in_slices(work, count, step, inverse.device)
    else:  # large ones, on all threads
        for i in range(count):
            work(slice(i, i + 1))
    if bool(failed.any()):
        raise CannotServeError("the precision of its missing outputs is not definite to round-off")
