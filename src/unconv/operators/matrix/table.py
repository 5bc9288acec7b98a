"""What stands at the entries: the weight, or its sums over sets of taps.

    F[s₀, s₁, …, s_nd] = Σ w[t₀, t₁, …, t_nd]   over t₀ ∈ s₀, t₁ ∈ s₁, …      (t₀: the channels)

with each term times the coefficients of its taps, where they are not all 1.

The terms are added one by one in C order of the taps of the correlation, so that a value does not
depend on its neighbours, its layout or the size of the picture: the same bits as summing up the
matrix tap by tap.
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor

from ...numerics.precision import working_dtype
from .factors import Factor


def value_table(taps: Tensor, factors: list[Factor]) -> Tensor:
    """F for taps (a, b, *k) and the factors of their geometry: (labels₀, labels₁, …).

    Half precisions are summed in float32 and rounded once.  Differentiable.
    """
    weight = taps.flatten(0, 1)
    if all(
        f.taps.shape == (size, 1) and f.coefficients is None
        for f, size in zip(factors, weight.shape, strict=True)
    ):
        return weight  # every tap is a set of its own
    weight = weight.to(working_dtype(taps.dtype, taps.dtype))
    weight = F.pad(weight, (0, 1) * weight.ndim)  # the tap that fills short sets is zero
    total = weight.new_zeros([len(factor.taps) for factor in factors])
    for slots in itertools.product(*(range(factor.taps.shape[1]) for factor in factors)):
        part = weight
        for dim, (factor, slot) in enumerate(zip(factors, slots, strict=True)):
            part = part.index_select(dim, torch.from_numpy(factor.taps[:, slot]).to(part.device))
            if factor.coefficients is not None:
                c = torch.from_numpy(factor.coefficients[:, slot]).to(part.device, part.dtype)
                part = part * c.reshape(-1, *[1] * (part.ndim - 1 - dim))
        total = total + part
    return total.to(taps.dtype)
