"""The proximal map of a data term: what splittings, plug-and-play and diffusion ask of an operator.

    argmin_x ½‖Ax − y‖² + (ρ/2)‖x − v‖² = v + (AᴴA + ρ)⁻¹Aᴴ(y − Av)

One damped solve, with damp = √ρ, on whichever rung of the ladder serves; the factor of the last few
ρ is kept.

Source: Parikh & Boyd, "Proximal Algorithms", Foundations and Trends in Optimization 1 (2014), §1.
"""

from __future__ import annotations

import math
from dataclasses import replace

from torch import Tensor

from ..inverse import Request
from ..inverse.cache import FactorCache
from ..inverse.plan import factorize
from ..operators.convolution import Convolution


def prox(
    op: Convolution, v: Tensor, y: Tensor, rho: float, request: Request, cache: FactorCache
) -> Tensor:
    """The map above; `request` is for any damp, `cache` keeps the factors."""
    request = replace(request, damp=math.sqrt(rho))
    key = (op.domain_shape, request)
    inverse = cache.get(key, [op.weight], lambda: factorize(op, request))
    inverse = inverse.bound_to(op.weight, *inverse.params[1:])
    return v + inverse(y - op(v))
