"""How large A is beside its weight, for rungs that serve weights near a structure.

What a weight misses of a structure is small beside the weight; it must be small beside A.  On a
short axis taps may read padding alone, or meet on one sample and cancel: A is then smaller.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...numerics.norms import norms
from ...operators.convolution import Convolution

_LUCK = 4.0  # by which one vector may show too little of A


def share_of_weight(op: Convolution) -> Tensor:
    """(B,) in [0, 1]: about ‖A‖_F over what it is where every output reads every tap."""
    ones = torch.ones(op.batch_size or 1, dtype=torch.float64, device=op.device)
    if all(axis.shows_every_tap for axis in op.geometry.axes):
        return ones
    A = op.in_double()
    size = len(ones) * A.shape[1]
    chirp = torch.arange(size, dtype=torch.float64, device=op.device).square().cos()
    x = chirp.reshape(len(ones), *A.domain_shape).to(A.dtype)  # random would refuse vmap
    shown = norms(A._matvec(x)) / norms(x) * math.sqrt(A.shape[1])
    weights = A.weight if A.batch_size else A.weight[None]
    whole = norms(weights) * math.sqrt(math.prod(a.m for a in A.geometry.axes))
    return torch.where(whole > 0, (_LUCK * shown / whole).clamp(max=1), ones)
