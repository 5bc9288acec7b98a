"""Varying blurs as dense matrices, pixel by pixel from their definition."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor


def hat(nodes: Tensor, at: float, smooth: bool = False) -> list[float]:
    """The weight of each node of one axis at one position."""
    w = [0.0] * len(nodes)
    if at <= nodes[0]:
        w[0] = 1.0
    elif at >= nodes[-1]:
        w[-1] = 1.0
    else:
        i = max(i for i in range(len(nodes)) if nodes[i] <= at)
        t = float((at - nodes[i]) / (nodes[i + 1] - nodes[i]))
        t = t * t * (3 - 2 * t) if smooth else t
        w[i], w[i + 1] = 1 - t, t
    return w


def psf_at(psfs: Tensor, nodes: tuple[Tensor, ...], place: tuple[int, ...], smooth: bool) -> Tensor:
    """The psf at a place of the data, interpolated: (*grid, *k) -> (*k)."""
    lines = [hat(nodes_d, at, smooth) for nodes_d, at in zip(nodes, place, strict=True)]
    found = torch.zeros_like(psfs[(0,) * len(nodes)])
    for index in itertools.product(*(range(len(line)) for line in lines)):
        found += math.prod(line[i] for line, i in zip(lines, index, strict=True)) * psfs[index]
    return found


def matrix(
    by_source: bool,
    psfs: Tensor,
    nodes: tuple[Tensor, ...],
    n: tuple[int, ...],
    padding: str,
    mode: str,
    smooth: bool = False,
) -> Tensor:
    """The matrix of one channel; by_source: of ProductConvolution."""
    nd = len(n)
    k = tuple(psfs.shape[nd:])
    valid = padding == "valid"
    m = tuple(a - b + 1 for a, b in zip(n, k, strict=True)) if valid else n
    first = tuple((b - 1) // 2 if valid else 0 for b in k)  # of the scene under data sample 0
    A = torch.zeros(*m, *n, dtype=torch.float64)
    for i in itertools.product(*map(range, n)):
        source = tuple(a - f for a, f in zip(i, first, strict=True))
        of_source = psf_at(psfs, nodes, source, smooth)
        for t in itertools.product(*map(range, k)):
            o = tuple(s + a - b // 2 for s, a, b in zip(source, t, k, strict=True))
            if mode == "circular":
                o = tuple(a % b for a, b in zip(o, n, strict=True))
            if any(not 0 <= a < b for a, b in zip(o, m, strict=True)):
                continue
            h = of_source if by_source else psf_at(psfs, nodes, o, smooth)
            A[o + i] += h[t]
    return A.reshape(math.prod(m), math.prod(n))
