"""Data and domain of a convolution on the periodic grid of its ghost system, and back."""

from __future__ import annotations

import torch
from torch import Tensor

from ...grid.geometry import Geometry
from ...grid.torus import Torus


class Embedding:
    """Data (N, c_out, *m) and domain (N, c_in, *n) on the grid of their system and back.

    Geometry and grid may have another order of the axes: their first one is axis `first` of the
    images.
    """

    def __init__(self, geometry: Geometry, torus: Torus, first: int = 0) -> None:
        self.torus, self.groups, self.first = torus, geometry.groups, first
        whole = (slice(None), slice(None))
        self.data = (*whole, *(slice(a.m) for a in geometry.axes))
        self.domain = (*whole, *(slice(a.n) for a in geometry.axes))

    def grid_of_data(self, y: Tensor) -> Tensor:
        """(N, c_out, *m) -> (N, c_out, *coarse), zeros behind."""
        grid = y.new_zeros(*y.shape[:2], *self.torus.coarse)
        grid[self.data] = y.movedim(2 + self.first, 2)
        return grid

    def grid_of_domain(self, x: Tensor) -> Tensor:
        """(N, c_in, *n) -> (N, c_in·phases, *coarse), zeros behind."""
        phases = self.torus.to_phases(x.movedim(2 + self.first, 2))
        grid = x.new_zeros(*phases.shape[:2], *self.torus.coarse)
        grid[tuple(slice(n) for n in phases.shape)] = phases
        return grid

    def data_of(self, grid: Tensor) -> Tensor:
        """Adjoint of `grid_of_data`."""
        return grid[self.data].movedim(2, 2 + self.first)

    def domain_of(self, grid: Tensor) -> Tensor:
        """Adjoint of `grid_of_domain`."""
        return self.torus.from_phases(grid)[self.domain].movedim(2, 2 + self.first)

    def join(self, data: Tensor, domain: Tensor) -> Tensor:
        """Both rows of the augmented system, group by group."""
        parts = (part.unflatten(1, (self.groups, -1)) for part in (data, domain))
        return torch.cat(tuple(parts), 2).flatten(1, 2)

    def split(self, u: Tensor, rows: int) -> tuple[Tensor, Tensor]:
        """The inverse of `join`; `rows` output channels a group come first."""
        u = u.unflatten(1, (self.groups, -1))
        return u[:, :, :rows].flatten(1, 2), u[:, :, rows:].flatten(1, 2)
