"""A drawn operator taken apart on its periodic grid, for the tests of the ghosts."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from unconv import ConvOperator
from unconv.convolve import grouped
from unconv.grid.torus import Torus
from unconv.inverse.boundary.ghosts import Ghosts, Strip, find_ghosts
from unconv.inverse.boundary.sizes import grid_of

from ...helpers import C128, F64


class Parts(NamedTuple):
    """Of a convolution that is not transposed and has one kernel."""

    op: ConvOperator
    torus: Torus
    blocks: Tensor  # (F, 1, g, r, c) of C
    ghosts: Ghosts


def parts_of(op: ConvOperator, *, all_pixels: bool = False, larger: int = 0) -> Parts:
    torus = grid_of(op.geometry, not op.dtype.is_complex, larger)
    blocks = torus.spectrum(grouped(op.taps, op.geometry), op.geometry)
    ghosts = find_ghosts(
        op.geometry,
        torus,
        all_pixels=all_pixels,
        outputs_first=not all_pixels,
        device=torch.device("cpu"),
    )
    return Parts(op, torus, blocks, ghosts)


def dtype_of(torus: Torus) -> torch.dtype:
    return F64 if torus.real else C128


def matrix_of_strip(strip: Strip, components: int) -> Tensor:
    """(size, components · coarse) of one group, by reading off every unit vector."""
    coarse = strip.torus.coarse
    n = components * torch.Size(coarse).numel()
    units = torch.eye(n, dtype=dtype_of(strip.torus)).reshape(n, 1, components, *coarse)
    return strip.gather(units)[:, 0].mT


def matrix_of_blocks(blocks: Tensor, torus: Torus) -> Tensor:
    """(r · coarse, c · coarse) of the blocks (F, r, c) of one group, by columns."""
    r, c = blocks.shape[-2:]
    n = c * torch.Size(torus.coarse).numel()
    units = torch.eye(n, dtype=dtype_of(torus)).reshape(n, c, *torus.coarse)
    F = torus.transform(units).flatten(2)  # (n, c, F)
    U = torch.einsum("frc,ncf->nrf", blocks, F).reshape(n, r, *torus.spectrum_shape)
    return torus.inverse_transform(U).flatten(1).mT
