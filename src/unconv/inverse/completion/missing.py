"""Which outputs of a periodic grid nobody saw, and how they are arranged.

An operator that invents nothing by padding is A = P·C: C a circular convolution on a periodic
grid, P the outputs that were seen.  The outputs behind the frame and those under a dead pixel are
the same thing, *missing outputs*.  Two arrangements of them can be solved for apart:

    rows    of a channel along one axis, at which nothing was seen: behind the frame, dead lines.
            They run around the whole grid, so that they are circulant over the other axes.
    holes   all others, in groups of neighbours
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...grid.geometry import Geometry
from ...grid.torus import Torus

Side = tuple[int, int]  # first and last + 1 along an axis


class MissingOutputs:
    """The missing outputs on a grid, in the order of their vector.

    Parameters
    ----------
    unseen : (c_out, *coarse) bool, True where an output is missing
    groups : of channels
    frames : for each channel, (first, last + 1) along each axis of the outputs that decide whether
        it has seen nothing at an index of another axis

    Attributes
    ----------
    where : (K,) their places in a grid (c_out, *coarse) that is laid flat
    rows : for each axis, for each group of channels, the (s, 2) pairs of a channel in the group
        and an index along the axis at which it has seen nothing
    """

    def __init__(self, unseen: Tensor, groups: int, frames: Sequence[Sequence[Side]]) -> None:
        self.sizes, self.groups = tuple(unseen.shape[1:]), groups
        self.where = unseen.flatten().nonzero()[:, 0]
        self._place = torch.full((unseen.numel(),), -1, device=unseen.device)
        self._place[self.where] = torch.arange(len(self.where), device=unseen.device)
        self._place = self._place.reshape(groups, -1, *self.sizes)
        by_group = unseen.unflatten(0, (groups, -1))
        self._in_rows = torch.zeros_like(by_group)
        self.rows: list[list[Tensor]] = []
        for a in range(len(self.sizes)):
            empty = _along(unseen, a, frames).unflatten(0, (groups, -1))  # (g, c_out/g, size)
            self.rows.append([one.nonzero() for one in empty])
            shape = [size if a == d else 1 for d, size in enumerate(self.sizes)]
            self._in_rows |= empty.reshape(*empty.shape[:2], *shape)
        self.holes = by_group & ~self._in_rows

    def __len__(self) -> int:
        """Number of missing outputs."""
        return len(self.where)

    def strip(self, axis: int, group: int) -> Tensor:
        """Places in the vector of a group's rows along an axis, (s, *others); -1 where seen."""
        channel, index = self.rows[axis][group].T
        return self._place[group].movedim(1 + axis, 1)[channel, index]

    @property
    def channels(self) -> int:
        """Number of channels of all groups."""
        return self.groups * self.holes.shape[1]

    def lines_of(self, channel: int) -> list[tuple[Tensor, Tensor]] | None:
        """For each axis (s,) indices of a channel's rows, and their places, (s, *others).

        None if the channel has holes beside them; -1 where something was seen after all.
        """
        group, inner = divmod(channel, self.holes.shape[1])
        if bool(self.holes[group, inner].any()):
            return None
        found = []
        for axis, rows in enumerate(self.rows):
            mine = rows[group][:, 0] == inner
            found.append((rows[group][mine, 1], self.strip(axis, group)[mine]))
        return found

    def of(self, group: int, positions: Tensor) -> Tensor:
        """Places in the vector of all channels of a group at (n, nd) positions; -1 where seen."""
        return self._place[(group, slice(None), *positions.T)]

    def most_at(self, positions: Tensor) -> int:
        """Missing outputs at (n, nd) positions, in the group that has most."""
        return max(int((self.of(g, positions) >= 0).sum()) for g in range(self.groups))

    def crossing(self, reach: int) -> Tensor:
        """(n, nd) positions in rows, at most `reach` samples from rows of every axis."""
        near = self._in_rows.any(0).any(0)
        for a, (rows, size) in enumerate(zip(self.rows, self.sizes, strict=True)):
            index = torch.cat(rows)[:, 1]
            close = torch.zeros(size, dtype=torch.bool, device=index.device)
            steps = torch.arange(-reach, reach + 1, device=index.device)
            close[((index[:, None] + steps) % size).flatten()] = True
            near &= close.reshape([size if a == d else 1 for d in range(len(self.sizes))])
        return near.nonzero()

    def rows_beside(self, positions: Tensor, reach: int) -> Tensor:
        """(n, nd) positions in rows, at most `reach` samples from the box around `positions`."""
        rows = self._in_rows.any(0).any(0).nonzero()
        low, high = positions.amin(0), positions.amax(0)
        sizes = torch.tensor(self.sizes, device=rows.device)
        return rows[((rows - low + reach) % sizes <= high - low + 2 * reach).all(1)]

    def groups_of_holes(self) -> tuple[Tensor, Tensor]:
        """(n, nd) positions of holes of any channel, and the ascending number of their group."""
        anywhere = self.holes.any(0).any(0)
        if not bool(anywhere.any()):
            return anywhere.nonzero(), self.where.new_zeros(0)
        labels = _labels(anywhere) - 1
        order = labels.argsort(stable=True)
        return anywhere.nonzero()[order], labels[order]


def sizes_of_holes(observed: Tensor | None) -> list[int]:
    """Outputs in each group of neighbours that some channel has not seen, but for dead lines."""
    if observed is None:
        return []
    holes = ~observed.all(0)
    for axis in range(holes.ndim):
        others = [d for d in range(holes.ndim) if d != axis]
        holes &= observed.any(0).any(dim=others, keepdim=True) if others else observed.any(0)
    sizes: list[int] = _labels(holes).bincount()[1:].tolist() if bool(holes.any()) else []
    return sizes


def _labels(anywhere: Tensor) -> Tensor:
    """The number, from 1 on, of the group of neighbours of each True, (count,)."""
    from scipy import ndimage  # a quarter of a second, for whoever has holes

    around = torch.ones([3] * anywhere.ndim).numpy()
    labels, _ = ndimage.label(anywhere.cpu().numpy(), around)
    return torch.from_numpy(labels).to(anywhere.device)[anywhere].long()


def _along(unseen: Tensor, axis: int, frames: Sequence[Sequence[Side]]) -> Tensor:
    """(c_out, *coarse) -> (c_out, size): where a channel has seen nothing of its frame."""
    empty = []
    for channel, frame in zip(unseen, frames, strict=True):
        sides = [slice(None) if d == axis else slice(*side) for d, side in enumerate(frame)]
        lines = channel[tuple(sides)].movedim(axis, 0)[:, None]
        empty.append(lines.flatten(1).all(1))
    return torch.stack(empty)


def missing_outputs(
    geometry: Geometry, torus: Torus, observed: Tensor | None, device: torch.device
) -> MissingOutputs:
    """Those of an operator that pads nothing.

    Parameters
    ----------
    geometry : of the operator
    torus : at least as large as its data
    observed : (c_out or 1, *m) bool, True where an output was seen; None for all of them
    device : of what is made of it
    """
    unseen = torch.ones(geometry.c_out, *torus.coarse, dtype=torch.bool, device=device)
    frame = [(0, a.m) for a in geometry.axes]
    seen = False if observed is None else ~observed.to(device)
    unseen[(slice(None), *(slice(*side) for side in frame))] = seen
    return MissingOutputs(unseen, geometry.groups, [frame] * geometry.c_out)
