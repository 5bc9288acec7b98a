"""What the completion of missing outputs asks of a precision, or of what takes its place."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from ...grid.torus import Torus


class Circulant(Protocol):
    """A Hermitian positive map q of images of outputs that is a product per frequency.

    torus : the grid; kernels, groups, channels : B, g and c_out/g
    """

    torus: Torus
    kernels: int
    groups: int
    channels: int

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of an image, (c_out, *coarse)."""

    def between(self, b: int, g: int, o: int, i: int) -> Tensor:
        """q of a kernel between two channels of a group, (*spectrum) complex."""

    def times_q(self, grid: Tensor) -> Tensor:
        """q∗grid, (N, c_out, *coarse), in the precision of the grid."""
