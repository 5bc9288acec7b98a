"""How many singular values of one operator lie above τ, by inertia, and what the grid bounds.

The count is exact up to round-off in σ (inverse/boundary/deflation.py): of the Hermitian matrix of
all ghosts at τ, which has to be solvable there, so that τ keeps away from the singular values of
the grid.

Cost: an LDLᴴ of all ghosts a count; the blocks of the grid once.
"""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from ..convolve.bounds import extension_norm, kernel_bound
from ..grid.torus import Torus
from ..inverse.boundary.deflation import count_above
from ..inverse.boundary.problem import RESOLUTION, SINGULAR_GRID, SQUARE_RESOLUTION, Problem
from ..inverse.boundary.sizes import grid_of, sizes_of
from ..numerics.threads import singular_values
from ..operators.convolution import Convolution

_PLACES = 4  # tried for a count, of which the one farthest from the grid's own σ is taken


class Count:
    """The counts of one problem.

    Parameters
    ----------
    op, p : one kernel, and made ready
    memory_limit : bytes for a count
    """

    def __init__(self, op: Convolution, p: Problem, memory_limit: float) -> None:
        self.op, self.p, self.memory_limit = op, p, memory_limit

    @property
    def serves(self) -> bool:
        """Whether every output is seen, and S, its LDLᴴ and the blocks fit the limit."""
        if self.op.seen is not None:
            return False
        s, g = sizes_of(self.p.geometry, self.p.real), self.p.geometry.groups
        order = s.outputs + s.pixels * (2 if s.copies else 1)
        need = g * 3 * order**2 * self.p.weight.element_size() + self._blocks_bytes
        return need <= self.memory_limit

    def above(self, value: float, factor: float) -> tuple[float, int]:
        """(τ, number of singular values above τ): value·factor, or the next that can be resolved.

        τ moves a little further if the grid has a singular value there.
        """
        places = value * (1 + (factor - 1) * torch.arange(1.0, 1 + _PLACES, dtype=torch.float64))
        on_grid = self._grid_values.cpu()
        apart = (on_grid - places[:, None]).abs().amin(1) / value if value else places
        tau = max(float(places[int(apart.argmax())]), self.resolution)
        torus, blocks = self._blocks
        ghosts = self.p.ghosts(torus, all_pixels=False)
        return tau, count_above(tau, torus, blocks, ghosts)

    @cached_property
    def resolution(self) -> float:
        """The smallest τ at which a count is exact."""
        healthy = float(self._grid_values.amin()) > SINGULAR_GRID * self.p.norm
        square = sizes_of(self.p.geometry, self.p.real).square
        return (SQUARE_RESOLUTION if square and healthy else RESOLUTION) * self.p.norm

    def bound_of_norm(self) -> tuple[float, str]:
        """The better upper bound of σ_max that costs next to nothing, and its name."""
        sums = float(kernel_bound(self.p.weight, self.p.geometry).amax())
        if self._blocks_bytes <= self.memory_limit:
            on_grid = float(self._grid_values.amax()) * extension_norm(self.p.geometry)
            if on_grid <= sums:
                return on_grid, "the norms of the circular convolution and of the padding"
        return sums, "row and column sums"

    @cached_property
    def _blocks(self) -> tuple[Torus, Tensor]:
        torus = grid_of(self.p.geometry, self.p.real)
        return torus, torus.spectrum(self.p.weight, self.p.geometry)

    @cached_property
    def _grid_values(self) -> Tensor:
        blocks = self._blocks[1]
        return singular_values(blocks.reshape(-1, *blocks.shape[-2:])).flatten()

    @property
    def _blocks_bytes(self) -> int:
        s = sizes_of(self.p.geometry, self.p.real)
        return self.p.geometry.groups * s.frequencies * 16 * 3 * (s.rows + s.columns) ** 2
