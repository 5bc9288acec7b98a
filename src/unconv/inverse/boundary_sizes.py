"""What the *boundary* rung will cost, from the geometry alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..geometry import Geometry
from ..operator import ConvOperator
from ..torus import Torus
from . import krylov
from .base import Options

_MEMORY_BOUND = 12.0  # a flop of an FFT or a triangular solve costs as much as these of an LU


@dataclass(frozen=True)
class Sizes:
    """Unknowns of the dense system a group, and of a frequency's block."""

    outputs: int
    pixels: int
    copies: bool
    square: bool
    rows: int
    columns: int
    frequencies: int

    def unknowns(self, damp: float) -> int:
        """Order of S in the form that is tried first."""
        if self.square and not damp:
            return self.outputs
        third = self.copies and (damp > 0 or self.rows < self.columns)
        return self.outputs + self.pixels * (2 if third else 1)

    def block(self, damp: float) -> int:
        """Order of a frequency's block."""
        return self.rows if self.square and not damp else self.rows + self.columns


def sizes_of(geometry: Geometry, real: bool) -> Sizes:
    """Counted from the geometry alone."""
    axes, g = geometry.axes, geometry.groups
    torus = grid_of(geometry, real)
    read = math.prod(
        a.n if a.on_torus else min(a.n + a.before + a.read_behind, N)
        for a, N in zip(axes, torus.fine, strict=True)
    )
    r, c = geometry.c_out // g, geometry.c_in // g
    outputs = math.prod(torus.coarse) - math.prod(a.m for a in axes)
    every = math.prod(torus.fine) - math.prod(a.n for a in axes)
    return Sizes(
        outputs=r * outputs,
        pixels=c * (read - math.prod(a.n for a in axes)),
        copies=axes[0].mode != "zeros",
        square=r == c * torus.phases and r * outputs == c * every,
        rows=r,
        columns=c * torus.phases,
        frequencies=torus.frequencies,
    )


def grid_of(geometry: Geometry, real: bool, larger: int = 0) -> Torus:
    """The smallest grid, or one that is `larger` along every axis that has ghosts."""
    coarse = (a.smallest_grid + (0 if a.on_torus else larger) for a in geometry.axes)
    return Torus(tuple(coarse), tuple(a.stride for a in geometry.axes), real)


def obstacle(op: ConvOperator, options: Options) -> str | None:
    """Why the rung is not taken by itself for `op`, or None: it can serve every operator."""
    if not options.damp:
        return None
    solves = options.expected_solves
    setup, apply = operations(op, options)
    prepare, iterate = krylov.operations(op, options)
    if setup + solves * _MEMORY_BOUND * apply < _MEMORY_BOUND * (prepare + solves * iterate):
        return None
    steps = krylov.expected_iterations(op, options)
    return (
        f"its LU takes {setup:.1e} flop, and {steps:,} iterations are cheaper for "
        f"expected_solves={solves}"
    )


def memory(op: ConvOperator, options: Options) -> int:
    """Bytes at the peak of the set-up."""
    s = sizes_of(op.geometry, not op.dtype.is_complex)
    systems = (op.batch_size or 1) * op.geometry.groups
    n, entry = s.unknowns(options.damp), 16 if op.dtype.is_complex else 8
    blocks = s.frequencies * 16 * (s.rows * s.columns + 2 * s.block(options.damp) ** 2)
    return systems * (n * n * entry + blocks)


def operations(op: ConvOperator, options: Options) -> tuple[float, float]:
    """Floating-point operations of (the factorisation, one solve of one image)."""
    s = sizes_of(op.geometry, not op.dtype.is_complex)
    n, size = s.unknowns(options.damp), s.block(options.damp)
    each = 4 if op.dtype.is_complex else 1
    groups = op.geometry.groups
    points = s.frequencies * (1 if op.dtype.is_complex else 2)
    setup = each * 2 / 3 * float(n) ** 3 + s.frequencies * 8.0 * size**3
    fft = 2.5 * each * points * max(points, 2).bit_length() * size
    apply = 4 * fft + 2 * each * float(n) ** 2 + 16 * s.frequencies * size**2
    return (op.batch_size or 1) * groups * setup, 2 * groups * apply
