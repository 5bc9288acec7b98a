"""Pictures of one camera, one after the other: what one picture needs, the next may need again.

A factor depends on the psf, the size, the damp and what was seen, not on the picture.  Where these
are the same it is made once: half of the time of a grey picture, for its set-up costs what its
solve does.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor

from ..doors import ConvOperator
from ..inverse import Certificate, InverseOperator, Request, factorize, request_of, solve
from ..inverse.cache import FactorCache
from ..operators.convolution import Convolution

_LEAST_SOLVES = 10  # are expected of a factor that is kept


class Series:
    """Factors that `deblur` keeps from one picture to the next, the latest four.

    Examples
    --------
    >>> import torch
    >>> from unconv import psf
    >>> from unconv.pictures import Series, deblur
    >>> series = Series()
    >>> pictures = torch.rand(3, 1, 40, 40).double()
    >>> sharp = [deblur(y, psf.disk(2), damp=0.1, series=series).planes for y in pictures]
    >>> series.made
    1
    """

    def __init__(self) -> None:
        self._factors = FactorCache()
        self.made = 0
        """How many factors have been made so far."""

    def lstsq(
        self, op: ConvOperator, y: Tensor, damp: float, **limits: Any
    ) -> tuple[Tensor, Certificate]:
        """`op.lstsq`, with a factor that is kept."""
        memory_limit, tol = limits["memory_limit"], limits["tol"]
        solves = max(_LEAST_SOLVES, limits["expected_solves"])
        told = limits["progress"]
        request = request_of(damp, None, 0.0, memory_limit, solves, tol, progress=told)
        return solve(op, y, request, self._factor)

    def _factor(self, op: Convolution, request: Request) -> InverseOperator:
        tensors = [op.weight] if op.seen is None else [op.weight, op.seen]

        def make() -> InverseOperator:
            self.made += 1
            return factorize(op, replace(request, progress=None), judged=True)

        kept = self._factors.get((op.geometry, request, len(tensors)), tensors, make)
        return kept.watched_by(request.progress)
