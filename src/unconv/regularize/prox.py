"""The proximal map of a data term: what splittings, plug-and-play and diffusion ask of an operator.

    argmin_x ½‖Ax − y‖² + (ρ/2)‖x − v‖² = v + (AᴴA + ρ)⁻¹Aᴴ(y − Av)

One damped solve, with damp = √ρ, on whichever rung of the ladder serves; the factors of the last
few ρ are kept.

Source: Parikh & Boyd, "Proximal Algorithms", Foundations and Trends in Optimization 1 (2014), §1.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ..inverse import InverseOperator, Request, factorize
from ..inverse.cache import FactorCache
from ..operators.convolution import Convolution


class Prox:
    """The map of one operator; copies and pickles of it are without factors."""

    def __init__(self) -> None:
        self._factors = FactorCache()

    def __call__(
        self, op: Convolution, v: Tensor, y: Tensor, damp: Tensor, request: Request
    ) -> Tensor:
        """The map above.

        Parameters
        ----------
        v : (N, *domain_shape)
        y : (N, *range_shape)
        damp : () float64, √ρ, of which a gradient may be asked
        request : of the solve, but for damp
        """
        asked = replace(request.undamped(), damp=damp.item())

        def factor() -> InverseOperator:
            return factorize(op, asked)

        inverse = self._factors.get(asked, [op.weight], factor)
        return v + inverse.bound_to(op.weight, damp)(y - op(v))


def damp_of(rho: float | Tensor, device: torch.device) -> Tensor:
    """√ρ as a tensor of one element."""
    return torch.as_tensor(rho, dtype=torch.float64, device=device).reshape(()).sqrt()
