"""What the *boundary* rung will cost, from the geometry alone."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from ..geometry import Axis, Geometry
from ..operator import ConvOperator
from ..torus import Torus
from . import krylov
from .base import Options
from .grid_fft import largest_prime_factor
from .ring_schur import SCRATCH_BYTES
from .zero_slices import needed_geometry

_MEMORY_BOUND = 12.0  # a flop of an FFT or a triangular solve costs as much as these of an LU
_FILL = 4.0  # and one of the small products and transforms that fill S' as these
RINGS_FROM = 1e-4
"""damp/σ_max under which eliminating the rings loses too many digits (ring_system.py)."""


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
    read = math.prod(_read(a, N) for a, N in zip(axes, torus.fine, strict=True))
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


@dataclass(frozen=True)
class RingSizes:
    """Of the ghost system of a damped problem whose rings are eliminated, a group.

    Attributes
    ----------
    unknowns : order of S'
    inside : X, components and samples inside along the first axis
    order : h, of a block of S_HH
    frequencies : F, of the grid
    others : F', of the other axes
    """

    unknowns: int
    inside: int
    order: int
    frequencies: int
    others: int

    @property
    def setup(self) -> float:
        """Flops of the factorisation of S' and of what fills it, in those of an LU."""
        products = self.others * 8.0 * self.order * (self.inside**2 + 2 * self.order**2)
        return _factorisation(self.unknowns) + _FILL * products


def _factorisation(n: int) -> float:
    return 2 / 3 * float(n) ** 3


def rings_of(op: ConvOperator, options: Options) -> RingSizes | None:
    """The ghost system with its rings eliminated, where that is stable and cheaper; else None."""
    real = not op.dtype.is_complex
    if not options.damp or options.damp < RINGS_FROM * krylov.norm_bound(op) < math.inf:
        return None
    geometry = needed_geometry(op)
    rings = ring_sizes(geometry, real)
    whole = sizes_of(geometry, real).unknowns(options.damp)
    return rings if rings is not None and rings.setup < _factorisation(whole) else None


def ring_sizes(geometry: Geometry, real: bool) -> RingSizes | None:
    """Counted from the geometry alone; None if there are no rings."""
    first = ring_axis(geometry, real)
    if first is None:
        return None
    geometry = with_axis_first(geometry, first)
    torus = ring_grid(geometry, real)
    axis, others = geometry.axes[0], geometry.axes[1:]
    r, c = geometry.c_out // geometry.groups, geometry.c_in // geometry.groups
    kinds = 2 if axis.mode != "zeros" else 1
    read = math.prod(_read(a, N) for a, N in zip(others, torus.fine[1:], strict=True))
    outputs = math.prod(torus.coarse[1:]) - math.prod(a.m for a in others)
    pixels = read - math.prod(a.n for a in others)
    phases = torus.phases // torus.stride[0]
    return RingSizes(
        unknowns=r * axis.m * outputs + kinds * c * axis.n * pixels,
        inside=(r * axis.m if outputs else 0) + (c * phases * axis.n if pixels else 0),
        order=sum(_ring_order(geometry, torus, 0)),
        frequencies=torus.frequencies,
        others=torus.frequencies // torus.coarse[0],
    )


def memory(op: ConvOperator, options: Options) -> int:
    """Bytes at the peak of the set-up."""
    real = not op.dtype.is_complex
    s, groups = sizes_of(needed_geometry(op), real), op.geometry.groups
    kernels = op.batch_size or 1
    entry = 8 if real else 16
    rings = rings_of(op, options)
    if rings is None:
        n = s.unknowns(options.damp)
        blocks = s.frequencies * 16 * (s.rows * s.columns + 2 * s.block(options.damp) ** 2)
        return kernels * groups * (n * n * entry + blocks)
    h, blocks = rings.order, 16 * rings.frequencies * s.block(options.damp) ** 2
    kept = rings.unknowns**2 * entry + blocks + 16 * rings.others * h**2
    slices = min(2 * SCRATCH_BYTES, 32 * (rings.inside**2 * rings.others + rings.unknowns**2))
    scratch = 2 * blocks + 32 * rings.others * h * (rings.inside + h) + slices
    return kernels * groups * kept + scratch


def operations(op: ConvOperator, options: Options) -> tuple[float, float]:
    """Floating-point operations of (the factorisation, one solve of one image, refined once)."""
    real = not op.dtype.is_complex
    s, groups, each = sizes_of(needed_geometry(op), real), op.geometry.groups, 1 if real else 4
    rings = rings_of(op, options)
    size = s.block(options.damp)
    n, F = s.unknowns(options.damp), s.frequencies
    dense = _factorisation(n) if rings is None else rings.setup
    if rings is not None:
        n, F = rings.unknowns, rings.frequencies
    setup = each * dense + F * 8.0 * size**3
    points = F * (2 if real else 1)
    fft = 2.5 * each * points * max(points, 2).bit_length() * size
    apply = 4 * fft + 2 * each * float(n) ** 2 + 16 * F * size**2 * (1 if rings is None else 2)
    return (op.batch_size or 1) * groups * setup, 2 * groups * apply


def ring_axis(geometry: Geometry, real: bool) -> int | None:
    """The axis along which most ghosts lie outside: their rings are eliminated.

    None in one dimension, where there is nothing to run around, and without ghosts.
    """
    torus = grid_of(geometry, real)
    counts = []
    for a in range(geometry.nd):
        others = math.prod(torus.coarse) // torus.coarse[a]
        counts.append(sum(_ring_order(geometry, torus, a)) * others)
    return counts.index(max(counts)) if geometry.nd > 1 and any(counts) else None


def ring_grid(geometry: Geometry, real: bool) -> Torus:
    """The smallest grid, or one with a faster FFT along the first axis.

    More samples there only make the rings a little thicker, along the others S' larger.
    """
    torus = grid_of(geometry, real)
    smallest = torus.coarse[0]
    most = smallest + (smallest - geometry.axes[0].m) // 4
    fast = min(range(smallest, most + 1), key=lambda M: (max(13, largest_prime_factor(M)), M))
    return replace(torus, coarse=(fast, *torus.coarse[1:]))


def _ring_order(geometry: Geometry, torus: Torus, a: int) -> tuple[int, int]:
    """Functionals of the rings along an axis, on outputs and on pixels, a group."""
    axis, N = geometry.axes[a], torus.fine[a]
    r, c = geometry.c_out // geometry.groups, geometry.c_in // geometry.groups
    kinds = 2 if axis.mode != "zeros" else 1
    phases = torus.phases // torus.stride[a]
    return r * (torus.coarse[a] - axis.m), kinds * c * phases * (_read(axis, N) - axis.n)


def with_axis_first(geometry: Geometry, first: int) -> Geometry:
    """The same convolution with an axis moved to the front."""
    axes = list(geometry.axes)
    axes.insert(0, axes.pop(first))
    return replace(geometry, axes=tuple(axes))


def _read(axis: Axis, N: int) -> int:
    """Samples of the domain and of its ghosts that some output reads, of N on the grid."""
    return axis.n if axis.on_torus else min(axis.n + axis.before + axis.read_behind, N)
