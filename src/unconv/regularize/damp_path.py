"""Damped inverses of one operator for one damp after the other, as samplers and splittings ask.

    (AᴴA + damp²)⁻¹Aᴴ      and, of the same solve,      (AAᴴ + damp²)⁻¹

What does not depend on damp is computed once:

- where a method of `pinv` diagonalises A (circular, symmetric, separable, small), its singular
  vectors; a damp costs nothing;
- where data are completed (unknown surroundings, masks, strides), the transforms of the kernel and
  the preconditioners of damps that are alike (inverse/completion/system.py);
- elsewhere the factors for some damps, from which others are iterated (shifted.py).

Source: Hansen, "Rank-Deficient and Discrete Ill-Posed Problems", SIAM 1998, §4.2, for the first.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import replace

import torch
from torch import Tensor

from ..inverse import InverseOperator, Request, factorize, make_plan
from ..inverse.completion.sizes import MOST_STEPS, cost, memory, structure
from ..inverse.completion.system import CompletionFamily
from ..inverse.diagonal.filtered import cut_gains
from ..inverse.diagonal.protocol import Diagonal
from ..inverse.diagonal.rungs import RUNGS, diagonal_rung
from ..inverse.facts import GIVES_UP
from ..inverse.trust import warn_of_doubt
from ..numerics.checks import check_all_finite
from ..operators.convolution import Convolution
from .shifted import ShiftedInverse

_MOST_READY = 4  # the latest, ready
_NEAR_DAMP = 1.5  # damps within this factor of one that was factored are iterated from it
_PATH_BYTES = 2**30  # of factors for different damps that are kept


class DampPath:
    """The damped inverses of one operator; copies and pickles of it are without factors."""

    def __init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        self._weight: Tensor | None = None
        self._asked: Request | None = None
        self._diagonal: Diagonal | None = None
        self._family: CompletionFamily | None = None
        self._factors: list[InverseOperator] = []
        self._ready: OrderedDict[float, InverseOperator] = OrderedDict()

    def at(self, op: Convolution, request: Request) -> InverseOperator:
        """The inverse for the damp of a request, without gradients: bind it to those of a graph.

        The parts are kept as long as the weight and all of the request but damp stay as they are.
        """
        if torch._C._functorch.is_functorch_wrapped_tensor(op.weight):
            return factorize(op, request)  # a slice of a map: nothing of it can be kept
        self._begin(op, request)
        if request.damp not in self._ready:
            with torch.no_grad():
                self._ready[request.damp] = self._made(op.with_weight(op.weight.detach()), request)
        self._ready.move_to_end(request.damp)
        while len(self._ready) > _MOST_READY:
            self._ready.popitem(last=False)
        return self._ready[request.damp]

    def vectors(self, op: Convolution, request: Request) -> Diagonal | None:
        """The singular vectors, if a rung (way to invert A) has them and the request allows it."""
        self._begin(op, request)
        if self._diagonal is None and request.method in ("auto", *RUNGS):
            with torch.no_grad():
                self._diagonal = _diagonal(op.with_weight(op.weight.detach()), request)
        return self._diagonal

    def _begin(self, op: Convolution, request: Request) -> None:
        """Forget what was of another weight, or another request but for damp."""
        asked = replace(request, damp=0.0, live_damp=None)
        if not self._is_for(op.weight, asked):
            self._forget()
            self._weight, self._asked = op.weight.detach().clone(), asked
            if request.check_finite:
                check_all_finite("weight", op.weight.detach())

    def _is_for(self, weight: Tensor, asked: Request) -> bool:
        known = self._weight
        if known is None or self._asked != asked:
            return False
        same = known.dtype == weight.dtype and known.device == weight.device
        return same and torch.equal(known, weight.detach())

    def _made(self, op: Convolution, request: Request) -> InverseOperator:
        diagonal = self.vectors(op, request)
        if diagonal is not None:
            inverse = _filtered(op, diagonal, request)
            warn_of_doubt(inverse)
            return inverse
        if _is_completed(op, request):
            try:
                self._family = self._family or CompletionFamily(op, request)
                return self._family.at(request)
            except GIVES_UP:
                pass  # the ladder has what comes next
        near = self._nearest(request.damp)
        if near is not None:
            return ShiftedInverse(op, request, near)
        inverse = factorize(op, request)
        if inverse.method == "boundary":
            self._keep(inverse, make_plan(op, request).memory)
        return inverse

    def _nearest(self, damp: float) -> InverseOperator | None:
        """The factor of the damp that is nearest, if it is near."""

        def distance(inverse: InverseOperator) -> float:
            return abs(math.log(inverse.damp / damp))

        nearest = min(self._factors, key=distance, default=None)
        return nearest if nearest is not None and distance(nearest) < math.log(_NEAR_DAMP) else None

    def _keep(self, inverse: InverseOperator, size: int) -> None:
        most = max(1, _PATH_BYTES // max(1, size))
        self._factors = [*self._factors, inverse][-most:]

    def __deepcopy__(self, memo: dict[int, object]) -> DampPath:
        return DampPath()

    def __reduce__(self) -> tuple[type[DampPath], tuple[()]]:
        return DampPath, ()


def _is_completed(op: Convolution, request: Request) -> bool:
    """Whether data are completed, for every damp that some steps are enough for."""
    if request.method not in ("auto", "completion") or structure(op) is not None:
        return False
    if memory(op, request) > request.memory_limit:
        return False
    return request.method == "completion" or cost(op, request).steps <= MOST_STEPS


def _diagonal(op: Convolution, request: Request) -> Diagonal | None:
    """U, Σ and V, where a rung (way to invert A) has them and the memory holds them."""
    if request.method == "auto":
        name = diagonal_rung(op, request.memory_limit / 2)  # the SVDs beside what the factor takes
    elif request.method == "dense" or RUNGS[request.method].obstacle(op, Request()) is None:
        name = request.method
    else:
        name = None
    if name is None or RUNGS[name].memory(op, request) > request.memory_limit / 2:
        return None
    return RUNGS[name].diagonalise(op)


def _filtered(op: Convolution, diagonal: Diagonal, request: Request) -> InverseOperator:
    sigma = diagonal.sigma
    (gains,), summary = cut_gains([sigma], sigma.new_ones(len(sigma)), op, request, "")
    return diagonal.filter(gains, request, summary)
