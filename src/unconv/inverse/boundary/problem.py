"""One kernel of the *boundary* rung, ready to be factored in any form."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...convolve import grouped
from ...grid.geometry import Geometry
from ...grid.torus import Torus
from ...numerics.lanczos import largest_eigenvalue, random_start
from ...numerics.memory import return_freed_memory
from ...numerics.norms import in_unit
from ...numerics.precision import double_dtype
from ...operators.convolution import Convolution
from ...operators.linear_operator import AdjointOperator, LinearOperator, gigabytes
from ..diagonal.blocks import invert_regular
from ..facts import CannotServeError, SpectrumSummary
from ..request import Request
from .bordered import Bordered, Corners, augmented_inverse
from .embedding import Embedding
from .forms import AugmentedForm
from .ghost_system import GhostSystem, LuSolver, PseudoSolver, rounded
from .ghosts import Ghosts, find_ghosts
from .one_pass import tries_single
from .ring_system import RingSystem
from .sizes import (
    Needs,
    grid_of,
    needs,
    ring_axis,
    ring_grid,
    rings_of,
    with_axis_first,
)
from .zero_slices import without_zero_slices

MOST_GRIDS = 4
"""Grids tried for one on which C is far from singular: its zeros lie between those of the next."""

SINGULAR_GRID = 1e-6
"""σ_min(C)/σ_max at which a grid is as good as singular: ‖C⁻¹‖ meets the round-off of S there."""

RESOLUTION, SQUARE_RESOLUTION = 1e-6, 1e-8
"""Smallest σ/σ_max that damped ghost systems tell apart, in general and with a healthy square grid.

Where the grid itself has null vectors (tall, wide, or a singular grid) the round-off of 1/τ meets
τ: no better than √eps.  A healthy square grid sees further."""


@dataclass(frozen=True)
class Problem:
    """One kernel as a convolution, never transposed, in units near its largest weight."""

    A: LinearOperator
    geometry: Geometry
    weight: Tensor  # (1, g, r, c, *k) double, as a correlation
    scale: float
    damp: float  # in the unit of A, as the next two
    norm: float  # σ_max, from below
    tau: float  # the cut-off
    kernels: int  # that there are in all
    memory_limit: float
    needs: Needs
    by_rings: bool  # whether a damped system has its rings eliminated
    tries_single: bool  # whether a factor in float32 is tried, for its operator is in it
    dense_serves: bool = False  # the SVD of the whole matrix, if too many triples had to be found

    @property
    def real(self) -> bool:
        """Whether A is."""
        return not self.weight.is_complex()

    def one(self, value: float) -> Tensor:
        """A fact of this kernel, (1,)."""
        return torch.tensor([value], dtype=torch.float64, device=self.weight.device)

    def room_for_entries(self, beside: int, most: float) -> float:
        """At most how many entries of vectors may be taken out, beside so many bytes."""
        room = self.memory_limit - beside - (self.kernels - 1) * self.needs.kept
        return min(most, max(0.0, room) / self.needs.each * sum(self.A.shape))

    @property
    def is_tall(self) -> bool:
        """Whether A has more rows than columns; a square one counts as its operator would."""
        m, n = self.A.shape
        return m > n or (m == n and not isinstance(self.A, AdjointOperator))

    def ghosts(self, torus: Torus, *, all_pixels: bool) -> Ghosts:
        """All ghost pixels serve the square form, those that are read the augmented one."""
        return find_ghosts(
            self.geometry,
            torus,
            all_pixels=all_pixels,
            outputs_first=not all_pixels,
            device=self.weight.device,
        )

    def facts(
        self, floor: float, rank_how: str, *, dropped: int = 0, gap: float = math.inf
    ) -> SpectrumSummary:
        """What is known, in the unit of A."""
        return SpectrumSummary(
            norm=self.one(self.norm),
            floor=self.one(floor),
            rank=None if self.damp else self.one(min(self.A.shape) - dropped).long(),
            gap=self.one(gap),
            rank_how=rank_how,
            dropped=self.one(dropped).long(),
        )


def prepare(op: Convolution, request: Request, kernels: int) -> Problem:
    """Scale to order one, estimate σ_max, set the cut-off."""
    weight, of_weight = in_unit(op.weight.detach().to(double_dtype(op.dtype)), 0)
    unit, scale = op.without_bias(weight), float(of_weight)
    A: LinearOperator = unit.H if op.transposed else unit
    taps = unit.taps.conj().resolve_conj() if op.transposed else unit.taps
    geometry, taps = without_zero_slices(op.geometry, grouped(taps, op.geometry))
    # A cut-off that was asked for is relative to σ_max itself, others only to its order.
    sharp = request.rtol is not None
    norm = largest_eigenvalue(
        lambda v: A._rmatvec(A._matvec(v)),
        random_start((1, *A.domain_shape), weight),
        steps=30 if sharp else 8,
        rtol=1e-5 if sharp else 5e-2,
    ).sqrt()
    cutoff = replace(request, damp=0.0).cutoff(op, norm * scale) / scale
    return Problem(
        A=A,
        geometry=geometry,
        weight=taps,
        scale=scale,
        damp=request.damp / scale,
        norm=float(norm),
        tau=float(cutoff),
        kernels=kernels,
        memory_limit=request.memory_limit,
        needs=needs(op, request),
        by_rings=rings_of(op, request) is not None,
        tries_single=tries_single(op, request),
        dense_serves=request.dense_serves,
    )


@dataclass(frozen=True)
class HealthyGrid:
    """A grid on which C is far from singular, the blocks of C⁻¹, and a lower bound of σ_min(C)."""

    torus: Torus
    inverse: Tensor
    floor: float


def healthy_grids(p: Problem) -> Iterator[HealthyGrid]:
    """The healthy ones of the smallest few grids, for blocks that are square."""
    for larger in range(MOST_GRIDS):
        torus = grid_of(p.geometry, p.real, larger)
        blocks = torus.spectrum(p.weight, p.geometry)
        inverse = torch.empty_like(blocks.mT, memory_format=torch.contiguous_format)
        r, c = blocks.shape[-2:]
        floor, _ = invert_regular(blocks.reshape(-1, r, c), inverse.view(-1, c, r))
        smallest = float(floor.amin())
        if smallest > SINGULAR_GRID * p.norm:
            yield HealthyGrid(torus, inverse, smallest)


def check_memory(p: Problem, need: int, why: str) -> None:
    """Refuse a way that takes more bytes, beside the other kernels' factors, than are allowed."""
    need += (p.kernels - 1) * p.needs.kept
    if need > p.memory_limit:
        raise CannotServeError(
            f"{why}, for which it needs {gigabytes(need)}; memory_limit is "
            f"{gigabytes(p.memory_limit)}"
        )


def augmented(
    p: Problem,
    torus: Torus,
    corners: Corners,
    wanted: Corners | None = None,
    factor: type[LuSolver] | type[PseudoSolver] = LuSolver,
    *,
    single: bool = False,
) -> AugmentedForm:
    """The augmented form with its ghost system factored.

    single : whether S is factored, and all of it kept, in single precision
    """
    C, ghosts = torus.spectrum(p.weight, p.geometry), p.ghosts(torus, all_pixels=False)
    bordered = Bordered.augmented(torus, C, ghosts, corners)
    del C  # before S is allocated
    return_freed_memory(p.needs.kept)
    system = bordered.factored(factor, single=single)
    rows = p.geometry.c_out // p.geometry.groups
    embedding = Embedding(p.geometry, torus)
    return AugmentedForm(p.A, embedding, system, rows, corners, wanted or corners, p.norm)


def augmented_by_rings(p: Problem, corners: Corners, *, single: bool = False) -> AugmentedForm:
    """The damped form on the smallest grid with its rings eliminated.

    single : whether S' is factored, and all of it kept, in single precision
    """
    first = ring_axis(p.geometry, p.real)
    assert first is not None
    geometry = with_axis_first(p.geometry, first)
    torus = ring_grid(geometry, p.real)
    weight = p.weight.movedim(4 + first, 4)
    C = torus.spectrum(weight, geometry)
    blocks = augmented_inverse(C, corners.alpha, corners.beta)
    del C  # before S' is allocated
    return_freed_memory(p.needs.kept)
    real = torch.float32 if single else torch.float64
    system: GhostSystem = RingSystem(geometry, torus, blocks, weight, real)
    rows = geometry.c_out // geometry.groups
    embedding = Embedding(geometry, torus, first)
    system = rounded(system) if single else system
    return AugmentedForm(p.A, embedding, system, rows, corners, corners, p.norm)
