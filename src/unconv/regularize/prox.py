"""The proximal map of a data term: what splittings, plug-and-play and diffusion ask of an operator.

    argmin_x ½‖Ax − y‖² + (ρ/2)‖x − v‖² = v + (AᴴA + ρ)⁻¹Aᴴ(y − Av)

One damped solve, with damp = √ρ, on whichever rung of the ladder serves; what ρ does not change is
kept (damp_path.py).

Source: Parikh & Boyd, "Proximal Algorithms", Foundations and Trends in Optimization 1 (2014), §1.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ..inverse import InverseOperator, Request
from ..operators.convolution import Convolution
from .damp_path import DampPath


class Prox:
    """The map of one operator; copies and pickles of it are without factors."""

    def __init__(self) -> None:
        self.path = DampPath()

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
        inverse = self.inverse(op, damp, request)
        return v + inverse(y - op(v))

    def inverse(self, op: Convolution, damp: Tensor, request: Request) -> InverseOperator:
        """y ↦ argmin ‖Ax − y‖² + damp²‖x‖², with gradients in the weight and damp."""
        asked = replace(request.undamped(), damp=damp.item())
        return self.path.at(op, asked).bound_to(op.weight, damp)


def damp_of(rho: float | Tensor, device: torch.device) -> Tensor:
    """√ρ as a tensor of one element."""
    return torch.as_tensor(rho, dtype=torch.float64, device=device).reshape(()).sqrt()
