"""What memory a picture takes, known from its size before any work."""

from __future__ import annotations

import contextlib
import math
from dataclasses import replace
from typing import Any

from torch import Tensor

from ..doors import ConvOperator
from ..grid.fft import fast_size
from ..inverse import request_of
from ..inverse.completion.sizes import cost_on, grid, memory_of
from ..numerics.checks import check_choice
from ..operators.linear_operator import MemoryLimitError, gigabytes
from .missing import checked_observed
from .operators import BOUNDARIES, PRIORS, blur_operator, check_sizes

MARGIN = 16
"""Samples of the grid of a Wiener filter beyond the scene: opposite edges are no neighbours."""

_USUAL_DAMP = 0.03  # of photographs


def memory_needed(
    planes: Tensor,
    psf: Tensor,
    *,
    boundary: str = "valid",
    observed: Tensor | None = None,
    prior: str = "wiener",
    tol: float = 1e-4,
) -> int:
    """Bytes with which `deblur` restores a picture: the `memory_limit` to give it at least.

    Parameters
    ----------
    planes, psf, boundary, observed, prior, tol
        As of `deblur`; of the planes only the shape matters, of the mask where it is False.

    Returns
    -------
    bytes of one solve, of the method that takes least; nothing is computed

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
    check_choice("boundary", boundary, BOUNDARIES)
    check_choice("prior", prior, PRIORS)
    op = blur_operator(psf, check_sizes(planes, psf, larger_psf=boundary == "valid"), boundary)
    if observed is not None:
        op = op.observed(checked_observed(observed, planes.shape[1:]))
    if prior != "damp" and boundary == "valid":
        return _of_wiener(op, tol)
    options: dict[str, Any] = {"expected_solves": len(planes), "tol": tol, "memory_limit": math.inf}
    needs = [op.plan(damp=_USUAL_DAMP, **options).memory]
    for method in ("completion", "krylov"):
        with contextlib.suppress(ValueError):  # completion is not for every boundary
            needs.append(op.plan(damp=_USUAL_DAMP, method=method, **options).memory)
    return min(needs)


def _of_wiener(op: ConvOperator, tol: float) -> int:
    """Bytes of a Wiener filter on the larger grid of its spectra."""
    sizes = tuple(fast_size(n + MARGIN) for n in op.domain_shape[1:])
    torus = replace(grid(op.geometry, True), coarse=sizes)
    request = request_of(1.0, None, 0.0, math.inf, 1, tol)
    return memory_of(cost_on(torus, op.geometry, 1.0, request), op, request)


def check_memory(need: int, memory_limit: float) -> None:
    """Refuse what will not fit, before any work."""
    if need > memory_limit:
        raise MemoryLimitError(
            f"restoring the picture takes {gigabytes(need)}, memory_limit={gigabytes(memory_limit)}"
            "; raise memory_limit, or crop the picture."
        )
