"""Operators that pad nothing, drawn at random, and what is missing of their outputs."""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch
from torch import Tensor

from unconv import ConvOperator

from ...helpers import C128, F64

_MOST = {1: 24, 2: 9, 3: 4}  # samples beyond the kernel


@dataclass
class Drawn:
    """An operator, damp in its unit, and the dense matrices of its kernels."""

    op: ConvOperator
    damp: float
    N: int

    def matrices(self) -> Tensor:
        """(N, m, n)."""
        A = self.op.to_dense()
        return A if self.op.batch_size else A.expand(self.N, *A.shape)

    def images(self, shape: tuple[int, ...], seed: int = 0) -> Tensor:
        """(N, *shape), random."""
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(self.N, *shape, dtype=self.op.dtype, generator=generator)


def drawn(seed: int, *, holes: bool | None = None, transposed: bool = False) -> Drawn:
    """One of all kinds: axes, groups, channels, kernels, strides, dilations, masks, dtypes."""
    draw = random.Random(seed)
    torch.manual_seed(seed)
    nd = draw.choice([1, 2, 2, 3])
    g, r, c = draw.choice([1, 1, 2]), draw.choice([1, 1, 2, 3]), draw.choice([1, 2])
    k = [draw.choice([1, 2, 3, 4]) for _ in range(nd)]
    options = {
        "stride": [draw.choice([1, 1, 2]) for _ in range(nd)],
        "dilation": [draw.choice([1, 2]) if taps > 1 else 1 for taps in k],
        "groups": g,
    }
    extent = [d * (taps - 1) + 1 for d, taps in zip(options["dilation"], k, strict=True)]
    n = [e + draw.randint(1, _MOST[nd]) for e in extent]
    B, dtype = draw.choice([None, None, None, 2]), draw.choice([F64, F64, C128])
    weight = torch.randn(*([B] if B else []), g * r, c, *k, dtype=dtype)
    if transposed:
        op = ConvOperator(weight, [draw.randint(2, 4) for _ in k], transposed=True, **options)
    else:
        op = ConvOperator(weight, n, **options)
    if holes is None:
        holes = draw.random() < 0.6
    if holes and not transposed:
        channels = draw.choice([1, g * r])
        mask = torch.rand(channels, *op.range_shape[1:]) > draw.choice([0.1, 0.3])
        mask = mask.expand(op.range_shape) if channels > 1 else mask[0]
        if bool(mask.any()):
            op = op.observed(mask)
    damp = 10 ** draw.uniform(-2, 0) * float(op.norm().max())
    return Drawn(op, damp, B or draw.choice([1, 3]))
