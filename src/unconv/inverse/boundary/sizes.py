"""What the *boundary* rung will cost, from the geometry alone."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from ...grid.fft import largest_prime_factor
from ...grid.geometry import Axis, Geometry
from ...grid.seam import seam_counts
from ...grid.torus import Torus
from ...numerics.memory import LARGEST_KEPT
from ...operators.convolution import Convolution
from .. import krylov
from ..facts import UNSEEN
from ..request import Request
from .one_pass import tries_single
from .ring_schur import SCRATCH_BYTES
from .small_triples import guards
from .zero_slices import needed_geometry

_MEMORY_BOUND = 12.0  # a flop of an FFT or a triangular solve costs as much as these of an LU
# Of the order of S, while LAPACK decomposes it: S, its copy, U and Vᴴ, and the workspace.
_OF_SVD, _REAL_SVD, _COMPLEX_SVD = 4, 3.6, 2.5
_PACKED = 12 * 2**20  # what an LU and products pack of S
_SLICES = 16 * 2**20  # of the blocks that threads invert at once
_LANCZOS = 8  # vectors that a bound of σ_min or σ_max keeps
_GRIDS = 10  # on the grid at once in a pass
_IMAGES_A_VECTOR = 8  # of the larger side for each of them
_FILL = 4.0  # and one of the small products and transforms that fill S' as these

TAKEN_OUT = 32
"""Singular vectors up to which taking them out is cheaper than a smaller μ (candidates.py)."""

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
        copies=not geometry.pads_zeros,
        square=r == c * torus.phases and r * outputs == c * every,
        rows=r,
        columns=c * torus.phases,
        frequencies=torus.frequencies,
    )


def grid_of(geometry: Geometry, real: bool, larger: int = 0) -> Torus:
    """The smallest grid, or one that is `larger` along every axis that has ghosts."""
    coarse = (a.smallest_grid + (0 if a.on_torus else larger) for a in geometry.axes)
    return Torus(tuple(coarse), tuple(a.stride for a in geometry.axes), real)


def obstacle(op: Convolution, request: Request) -> str | None:
    """Why the rung is not taken by itself for `op`, or None: it can serve every operator."""
    if op.seen is not None:
        return UNSEEN
    if not request.damp:
        return None
    solves = request.expected_solves
    setup, apply = operations(op, request)
    prepare, iterate = krylov.operations(op, request)
    if setup + solves * _MEMORY_BOUND * apply < _MEMORY_BOUND * (prepare + solves * iterate):
        return None
    steps = krylov.expected_iterations(op, request)
    return (
        f"its LU takes {setup:.1e} flop, and {steps:,} iterations are cheaper for "
        f"expected_solves={solves}"
    )


@dataclass(frozen=True)
class RingSizes:
    """Sizes, a group, of the ghost system of a damped problem whose rings are eliminated.

    Attributes
    ----------
    unknowns : order of S'
    inside : X, components and samples inside along the first axis
    order : h, of a block of S_HH
    frequencies : F, of the grid
    others : F', of the other axes
    taps : entries of the sparse T (ring_coupling.py), 0 without a seam
    """

    unknowns: int
    inside: int
    order: int
    frequencies: int
    others: int
    taps: int

    @property
    def setup(self) -> float:
        """Flops of the factorisation of S' and of what fills it, in those of an LU."""
        products = self.others * 8.0 * self.order * (self.inside**2 + 2 * self.order**2)
        return _factorisation(self.unknowns) + _FILL * products


def _factorisation(n: int) -> float:
    return 2 / 3 * float(n) ** 3


def rings_of(op: Convolution, request: Request) -> RingSizes | None:
    """The ghost system with its rings eliminated, where that is stable and cheaper; else None."""
    real = not op.dtype.is_complex
    if not request.damp or request.damp < RINGS_FROM * krylov.norm_bound(op) < math.inf:
        return None
    geometry = needed_geometry(op)
    rings = ring_sizes(geometry, real)
    whole = sizes_of(geometry, real).unknowns(request.damp)
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
    outputs, pixels, taps = _left_over(others, torus.coarse[1:], torus.fine[1:])
    phases = torus.phases // torus.stride[0]
    return RingSizes(
        unknowns=r * axis.m * outputs + c * axis.n * pixels,
        inside=(r * axis.m if outputs else 0) + (c * phases * axis.n if pixels else 0),
        order=sum(_ring_order(geometry, torus, 0)),
        frequencies=torus.frequencies,
        others=torus.frequencies // torus.coarse[0],
        taps=r * c * axis.k * axis.m * taps,
    )


def _left_over(
    axes: tuple[Axis, ...], coarse: tuple[int, ...], fine: tuple[int, ...]
) -> tuple[int, int, int]:
    """Counts a channel: ghost outputs and edges; ghost pixels or pads; taps from pads to edges."""
    outputs = math.prod(coarse) - math.prod(a.m for a in axes)
    if not all(a.pads_zeros for a in axes):
        seam = seam_counts(axes, fine)
        return outputs + seam.edges, seam.pads, seam.taps
    read = math.prod(_read(a, N) for a, N in zip(axes, fine, strict=True))
    return outputs, read - math.prod(a.n for a in axes), 0


@dataclass(frozen=True)
class Needs:
    """Bytes at the peak of one kernel's set-up and solve, for each way of this rung.

    Measured in processes of their own: what LAPACK and the transforms take beside their results is
    counted, and heaps that keep what was freed.

    Attributes
    ----------
    kept : of the factor of the way that is tried first, which stays
    first : full rank, or the damped system
    null_vectors : S⁺ in the place of S⁻¹ (truncation.py, forms.py)
    cut : all singular values on the ghosts (truncation.py), 0 where A is not square
    deflated : a damped system, before any vector is taken out (deflation.py)
    each : more for every vector that is taken out as an image
    without_rings : damped by rings: the same with all ghosts at once, where those are unstable
    in_double : damped in single precision: the same in double, where that is not enough
    in_both : full rank in double while it is rounded to single precision
    """

    kept: int
    first: int
    null_vectors: int = 0
    cut: int = 0
    deflated: int = 0
    each: int = 0
    without_rings: int = 0
    in_double: int = 0
    in_both: int = 0

    @property
    def later(self) -> tuple[int, ...]:
        """Bytes of the ways beside the first: for A that is rank-deficient, or in double."""
        if not self.deflated:
            return (self.in_double,) if self.in_double else ()
        return self.null_vectors, self.cut, self.with_vectors(TAKEN_OUT)

    def with_vectors(self, count: int) -> int:
        """Bytes of the deflated way with `count` vectors taken out."""
        return self.deflated + (count + guards(count)) * self.each


def memory(op: Convolution, request: Request) -> int:
    """Bytes at the peak of the set-up, of full rank or damped, and of a solve."""
    found = needs(op, request)
    others = ((op.batch_size or 1) - 1) * found.kept
    if found.first < found.in_both <= request.memory_limit - others:
        return found.in_both + others
    return found.first + others


def memory_if_deficient(op: Convolution, request: Request) -> int:
    """Bytes at the peak of the dearest way that fits memory_limit.

    That is for a rank-deficient A, or for damping that takes a factor in double precision.
    """
    found = needs(op, request)
    others = ((op.batch_size or 1) - 1) * found.kept
    every = [memory(op, request), *(need + others for need in found.later)]
    return max([need for need in every if need <= request.memory_limit], default=every[0])


def needs(op: Convolution, request: Request) -> Needs:
    """Counted from the geometry alone, but for whether damp lets the rings be eliminated."""
    real, damp = not op.dtype.is_complex, request.damp
    geometry = needed_geometry(op)
    s, g, entry = sizes_of(geometry, real), geometry.groups, 8 if real else 16
    work = _work(op, s, request)
    n = s.unknowns(damp)
    C = 16 * s.frequencies * g * s.rows * s.columns
    K = 16 * s.frequencies * g * s.block(damp) ** 2
    matrix = g * n * n * entry
    packed = min(_PACKED, matrix // 3)
    whole = packed + matrix + K + max(work, C + min(_SLICES, 4 * C))
    single = tries_single(op, request)
    if damp:
        rings = rings_of(op, request)
        if rings is None:
            found = Needs(kept=matrix + K, first=whole)
            return _of_single_factor(found, matrix, K, op) if single else found
        dense, tables, scratch = _bytes_of_rings(rings, s, g, entry)
        kept = dense + tables
        found = Needs(kept=kept, first=kept + max(scratch, work), without_rings=whole)
        return _of_single_factor(found, dense, tables, op) if single else found
    svd = _OF_SVD * matrix + (_REAL_SVD if real else _COMPLEX_SVD) * matrix // g
    damped = g * s.unknowns(1.0) ** 2 * entry
    blocks = C + 16 * s.frequencies * g * (s.rows + s.columns) ** 2
    return Needs(
        kept=matrix + K,
        first=whole,
        null_vectors=packed + K + int(max(svd, 2 * matrix + 2 * K + work)),
        cut=packed + 2 * K + int(max(svd + 3 * matrix, 2 * matrix + work)) if s.square else 0,
        deflated=packed + 2 * damped + blocks + work,
        each=_IMAGES_A_VECTOR * entry * max(op.shape),
        in_both=packed + (matrix + K) * 3 // 2 + work if single else 0,
    )


def _of_single_factor(double: Needs, dense: int, tables: int, op: Convolution) -> Needs:
    """A damped factor in single precision, given what it takes in double.

    dense, tables : bytes of the matrix, factored in single precision, and of all else, rounded last
    """
    kept = (dense + tables) // 2
    more = ((op.batch_size or 1) - 1) * (double.kept - kept)  # of other kernels, also in double
    return replace(
        double,
        kept=kept,
        first=double.first - dense // 2 + tables // 2,
        without_rings=double.without_rings + more,
        in_double=double.first + more,
    )


def _bytes_of_rings(r: RingSizes, s: Sizes, groups: int, entry: int) -> tuple[int, int, int]:
    """(S', all else that is kept, beside it while S' is filled) with the rings eliminated."""
    h, blocks = r.order, 16 * r.frequencies * groups * s.block(1.0) ** 2
    tables = 16 * r.others * h**2 * (2 if r.taps else 1)
    kept = groups * (tables + 2 * (16 + entry) * r.taps) + blocks
    ghosts = r.unknowns // max(1, r.inside)
    table = entry * (r.inside // 2) ** 2 * (3 * r.others + 2 * ghosts**2)
    columns = 16 * r.others * h * (2 * r.inside + h)
    dense = groups * r.unknowns**2 * entry
    return dense, kept, blocks // groups + columns + min(SCRATCH_BYTES, table)


def _work(op: Convolution, s: Sizes, request: Request) -> int:
    """Bytes of the Lanczos vectors, of a product with A and of a pass on the grid."""
    entry, images = 16 if op.dtype.is_complex else 8, 2 if request.damp else 1
    grid = 16 * s.frequencies * op.geometry.groups * (s.rows + s.columns)
    g = op.geometry
    columns = math.prod(a.k * a.m for a in g.axes) * g.c_in // g.groups  # of an im2col matrix
    padded = math.prod(max(a.padded, a.m) for a in g.axes) * max(g.c_in, g.c_out)
    product = min(columns * entry, int(LARGEST_KEPT)) + 4 * images * padded * entry
    return _LANCZOS * entry * min(op.shape) + max(product, images * _GRIDS * grid)


def operations(op: Convolution, request: Request) -> tuple[float, float]:
    """Floating-point operations of (the factorisation, one solve of one image, refined once)."""
    real = not op.dtype.is_complex
    s, groups, each = sizes_of(needed_geometry(op), real), op.geometry.groups, 1 if real else 4
    rings = rings_of(op, request)
    size = s.block(request.damp)
    n, F = s.unknowns(request.damp), s.frequencies
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
    torus = _smallest_ring_grid(geometry, real)
    counts = []
    for a in range(geometry.nd):
        others = math.prod(torus.coarse) // torus.coarse[a]
        counts.append(sum(_ring_order(geometry, torus, a)) * others)
    return counts.index(max(counts)) if geometry.nd > 1 and any(counts) else None


def _smallest_ring_grid(geometry: Geometry, real: bool) -> Torus:
    """Across a seam outputs may wrap: the grid only holds domain and data (grid/seam.py)."""
    torus = grid_of(geometry, real)
    if geometry.pads_zeros:
        return torus
    return replace(torus, coarse=tuple(max(-(-a.n // a.stride), a.m) for a in geometry.axes))


def ring_grid(geometry: Geometry, real: bool) -> Torus:
    """The smallest grid, or one with a faster FFT along the first axis.

    More samples there only make the rings a little thicker, along the others S' larger.
    """
    torus = _smallest_ring_grid(geometry, real)
    axis, smallest = geometry.axes[0], torus.coarse[0]
    most = smallest
    if not axis.on_torus:
        most += _left_over((axis,), torus.coarse[:1], torus.fine[:1])[0] // 4
    fast = min(range(smallest, most + 1), key=lambda M: (max(13, largest_prime_factor(M)), M))
    return replace(torus, coarse=(fast, *torus.coarse[1:]))


def _ring_order(geometry: Geometry, torus: Torus, a: int) -> tuple[int, int]:
    """Functionals of the rings along an axis, on outputs and on pixels, a group."""
    r, c = geometry.c_out // geometry.groups, geometry.c_in // geometry.groups
    mine = slice(a, a + 1)
    outputs, pixels, _ = _left_over(geometry.axes[mine], torus.coarse[mine], torus.fine[mine])
    return r * outputs, c * torus.phases // torus.stride[a] * pixels


def with_axis_first(geometry: Geometry, first: int) -> Geometry:
    """A geometry with an axis moved to the front."""
    axes = list(geometry.axes)
    axes.insert(0, axes.pop(first))
    return replace(geometry, axes=tuple(axes))


def _read(axis: Axis, N: int) -> int:
    """Samples of the domain and of its ghosts that some output reads, of N on the grid."""
    return axis.n if axis.on_torus else min(axis.n + axis.before + axis.read_behind, N)
