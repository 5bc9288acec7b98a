"""What completion will cost, from the geometry and the damping alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ...grid.fft import fast_size
from ...grid.geometry import Geometry
from ...grid.torus import Torus
from ...operators.convolution import Convolution
from .. import krylov
from ..boundary import system as boundary
from ..request import Request
from .missing import sizes_of_holes
from .preconditioner import LARGEST_BLOCK

MOST_STEPS = 200
"""Expected steps above which the ghosts of the *boundary* rung serve better."""

# Steps to 1e-6 with rows alone are these times √(σ_max/damp): from 3 (a disk) to 8 (a motion) for
# blurs of 15 samples, random kernels like a motion.  A digit more of tol takes a tenth more.
_STEPS, _A_DIGIT = 8.0, 0.1
_OF_CORNERS = 0.4  # of the steps, which corners save that reach as far as the kernel
# Of the expected steps, those for which corners are chosen: a disk takes a third and gains nothing.
_LIKELY = 0.5
_IDLE = 2  # samples of their reach that save nothing
_REACHES = (4, 8, 16, 32)  # samples around the corners that are tried
# A flop of a step costs as much as these of a factorisation: it is an FFT, in single precision; one
# of the other rungs' solves is in double precision.
_A_FLOP, _A_FLOP_OF_OTHERS = 3.0, 12.0
# An inverse of order n, in flop of a step, is so many n³: a corner, and a frequency of the rows.
_A_CUBE, _A_SMALL_CUBE = 2.0, 12.0
_OVERHEAD = 1.3  # of a step, over its pair of FFTs
_MORE, _SOME = 6, 60  # times the expected steps, and some, are the most that are taken
_CHECKS = 4  # pairs of FFTs for the start, the proof and the estimate
# Images of the data and of the domain on the grid that a solve holds at once, spectra and what is
# in single precision included, as measured.
_OF_DATA, _OF_DOMAIN = 10, 3
_SLICE_BYTES = 32 * 2**20  # of the images of the grid that are solved for at once
_COVERED = 2.8  # windows that an output of a large hole lies in: (24 + 2·8)²/24²
_FILLING = 6 * 16 * 2**21  # bytes of the matrices of blocks that are filled and inverted at once


@dataclass(frozen=True)
class Cost:
    """What is solved for of one kernel, how, and what it takes.

    Attributes
    ----------
    torus : the grid
    missing : outputs behind the frame
    reach : samples around the corners, None for none
    corner : unknowns there
    steps : that are expected
    """

    torus: Torus
    missing: int
    reach: int | None
    corner: int
    steps: float

    def pair(self, geometry: Geometry) -> float:
        """Flop of a pair of FFTs and the product between, of one image."""
        points = math.prod(self.torus.coarse)
        each = 1 if self.torus.real else 2
        products = 8.0 * self.torus.frequencies * (geometry.c_out // geometry.groups)
        return geometry.c_out * (each * 5.0 * points * math.log2(points + 1) + products)


def grid(geometry: Geometry, real: bool) -> Torus:
    """The smallest fast grid on which nothing wraps onto an output."""
    coarse = (a.m if a.on_torus else fast_size(a.smallest_grid) for a in geometry.axes)
    return Torus(tuple(coarse), tuple(a.stride for a in geometry.axes), real)


def structure(op: Convolution) -> str | None:
    """Why data of `op` cannot be completed, or None."""
    if any(not a.on_torus and (a.before or a.after) for a in op.geometry.axes):
        return "its padding invents pixels, which are no missing data"
    if op.seen is not None and op.transposed:
        return "it is transposed, and some of its outputs were not observed"
    if op.seen is None and all(a.on_torus for a in op.geometry.axes):
        return "none of its outputs is missing"
    return None


def cost(op: Convolution, request: Request) -> Cost:
    """What a damped inverse takes on the smallest fast grid, with σ_max from above."""
    bound = krylov.norm_bound(op)
    κ = bound / request.damp if request.damp and math.isfinite(bound) else math.inf
    return cost_on(grid(op.geometry, not op.dtype.is_complex), op.geometry, κ, request)


def cost_on(torus: Torus, geometry: Geometry, κ: float, request: Request) -> Cost:
    """With the corners that make set-up and all expected solves cheapest.

    κ : σ_max/damp, or the root of the largest ratio of signal to noise of the data
    """
    g = geometry
    rows = [M - a.m for M, a in zip(torus.coarse, g.axes, strict=True)]
    missing = g.c_out * (math.prod(torus.coarse) - math.prod(a.m for a in g.axes))
    digits = -math.log10(min(request.tol, 0.1)) - 6
    steps = _STEPS * math.sqrt(max(1.0, κ)) * (1 + _A_DIGIT * digits)
    if g.c_out > g.c_in * torus.phases:  # v is s² wherever C reaches nothing
        steps *= math.sqrt(max(1.0, κ))
    best = Cost(torus, missing, None, 0, steps)
    if g.nd != 2 or not all(rows):
        return best
    r, extent = g.c_out // g.groups, max(a.extent / a.stride for a in g.axes)
    entry = 1 if torus.real else 4

    def total(c: Cost) -> float:
        step = _OVERHEAD * c.pair(g) + g.groups * 2.0 * c.corner**2
        setup = _A_CUBE * g.groups * entry * float(c.corner) ** 3
        return setup + request.expected_solves * _LIKELY * c.steps * step

    for reach in _REACHES:
        corner = r * (rows[0] * rows[1] + 2 * reach * (rows[0] + rows[1]))
        if corner <= LARGEST_BLOCK and 2 * reach + max(rows) < min(torus.coarse):
            share = 1 - _OF_CORNERS * min(1.0, (reach - _IDLE) / extent)
            best = min(best, Cost(torus, missing, reach, corner, steps * share), key=total)
    return best


def most_steps(expected: float, request: Request) -> int:
    """Steps that may be taken: what was asked for, or several times what is expected."""
    return request.maxiter or int(_MORE * min(expected, 1e4)) + _SOME


def obstacle(op: Convolution, request: Request) -> str | None:
    """Why the rung cannot serve `op`, or another one serves it better; None if it is taken."""
    if not request.damp:
        return "it completes data by damp > 0"
    why = structure(op)
    if why is not None or request.method == "completion":
        return why
    found = cost(op, request)
    if found.steps > MOST_STEPS:
        return f"some {found.steps:,.0f} steps are expected; {MOST_STEPS} are the most"
    if op.seen is not None:
        return None
    solves = request.expected_solves
    setup, apply = operations(op, request)
    mine = _A_FLOP * (setup + solves * apply)
    if boundary.memory(op, request) <= request.memory_limit:
        setup, apply = boundary.operations(op, request)
        if setup + solves * _A_FLOP_OF_OTHERS * apply < mine:
            return f"the factor of boundary is cheaper for expected_solves={solves}"
    setup, apply = krylov.operations(op, request)
    if _A_FLOP_OF_OTHERS * (setup + solves * apply) < mine:
        return f"plain iterations are cheaper for expected_solves={solves}"
    return None


def operations(op: Convolution, request: Request) -> tuple[float, float]:
    """Flop of (the set-up, one solve of one image)."""
    c, g = cost(op, request), op.geometry
    r, entry = g.c_out // g.groups, 1 if c.torus.real else 4
    pair = c.pair(g)
    setup = (r + 8) * pair + _A_CUBE * g.groups * entry * float(c.corner) ** 3
    for M, a in zip(c.torus.coarse, g.axes, strict=True):
        order = r * (M - a.m)
        others = c.torus.frequencies / M
        setup += _A_SMALL_CUBE * g.groups * others * order**3
    step = _OVERHEAD * pair + 2.0 * g.groups * entry * c.corner**2
    return (op.batch_size or 1) * setup, (c.steps + _CHECKS) * step


def images_at_once(geometry: Geometry, torus: Torus) -> int:
    """How many images are solved for together."""
    return max(1, _SLICE_BYTES // _image_bytes(geometry, torus, 1, 1))


def _image_bytes(geometry: Geometry, torus: Torus, of_data: int, of_domain: int) -> int:
    """Bytes of so many images of the data and of the domain."""
    components = of_data * geometry.c_out + of_domain * geometry.c_in * torus.phases
    return (8 if torus.real else 16) * math.prod(torus.coarse) * components


def memory(op: Convolution, request: Request) -> int:
    """Bytes at the peak of the set-up and of a solve."""
    return memory_of(cost(op, request), op, request)


def memory_of(c: Cost, op: Convolution, request: Request) -> int:
    """Bytes at the peak of the set-up and of a solve on one grid."""
    g, kernels, F = op.geometry, op.batch_size or 1, c.torus.frequencies
    r, q = g.c_out // g.groups, g.c_in * c.torus.phases // g.groups
    item, each = (8 if c.torus.real else 16), kernels * g.groups
    spectrum = 16 * F * each * r * q
    precision = F * each * (16 if r == 1 else 40 * r * r)  # q, in single precision, and R
    rows, lines = 0, 0
    for M, a in zip(c.torus.coarse, g.axes, strict=True):
        s = M - a.m
        rows += 8 * each * F // M * (r * s) ** 2  # half, where the precision is even
        lines += 16 * each * F // M * 2 * s * r * r
    squares = c.corner**2 + (0 if op.seen is None else _squares_of_holes(op, r))
    blocks = each * item // 2 * squares
    kept = spectrum + precision + rows + blocks + 16 * c.missing
    solve = _image_bytes(g, c.torus, _OF_DATA, _OF_DOMAIN)
    images = kernels if op.batch_size else min(request.expected_solves, images_at_once(g, c.torus))
    filling = min(_FILLING, 12 * blocks)
    setup = spectrum + max(lines, filling) + 4 * item * math.prod(c.torus.coarse)
    return kept + max(setup, images * solve)


def _squares_of_holes(op: Convolution, r: int) -> int:
    """Σ n² over the groups of neighbouring holes, or over the windows of large ones."""
    sizes = [r * n for n in sizes_of_holes(op.seen)]
    small = sum(n * n for n in sizes if n <= LARGEST_BLOCK)
    return small + int(sum(_COVERED * n * LARGEST_BLOCK for n in sizes if n > LARGEST_BLOCK))
