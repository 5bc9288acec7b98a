"""What memory a picture takes, known from its size before any work."""

from __future__ import annotations

import contextlib
import math
from typing import Any

from torch import Tensor

from .missing import checked_observed
from .restoration import TOL, USUAL_DAMP, blur_operator, check_restorable


def memory_needed(
    planes: Tensor,
    psf: Tensor,
    *,
    boundary: str = "valid",
    observed: Tensor | None = None,
    tol: float = TOL,
) -> int:
    """Bytes with which `deblur` restores a picture: the `memory_limit` to give it at least.

    Parameters
    ----------
    planes, psf, boundary, observed, tol : as of `deblur`; only shapes and the mask matter

    Returns
    -------
    bytes of the solve, of the method that takes least; nothing is computed

    Raises
    ------
    ValueError, TypeError
        As `deblur` raises them.

    Examples
    --------
    >>> import torch
    >>> from unconv.psf import disk
    >>> 1e8 < memory_needed(torch.zeros(1, 1000, 1000), disk(4)) < 2e8
    True
    """
    op = blur_operator(psf, check_restorable(planes, psf, boundary), boundary)
    if observed is not None:
        op = op.observed(checked_observed(observed, planes.shape[1:]))
    options: dict[str, Any] = {"expected_solves": len(planes), "tol": tol, "memory_limit": math.inf}
    needs = [op.plan(damp=USUAL_DAMP, **options).memory]
    for method in ("completion", "krylov"):
        with contextlib.suppress(ValueError):  # completion is not for every boundary
            needs.append(op.plan(damp=USUAL_DAMP, method=method, **options).memory)
    return min(needs)
