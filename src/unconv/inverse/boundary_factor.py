"""Which form of ghost system an operator needs, and its factorisation.

Full rank is believed where Lanczos on the inverse finds the smallest singular value well above the
cut-off.  Near it, the inverse of a square A serves to find the few that are dropped.  Otherwise
small singular values are counted and taken out: on the ghosts where they lie far below those of the
grid (ghost_truncation.py), as images where they are few (deflation.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..torus import Torus
from .base import CannotServeError, SpectrumSummary
from .boundary_forms import AugmentedForm, ConstantForm, Corners, Embedding, SquareForm
from .boundary_problem import Problem, augmented, augmented_by_rings, check_memory
from .boundary_sizes import RINGS_FROM, grid_of, sizes_of
from .deflation import (
    Deflation,
    Triples,
    count_above,
    polished,
    smallest_triples,
)
from .ghost_system import GhostSystem, LuSolver, ghost_matrix
from .ghost_truncation import TruncatedForm, core_of
from .lanczos import largest_eigenvalue, random_start
from .small_blocks import invert_regular
from .square_cut import ProjectedForm, triples_up_to

CORNER = 0.3  # of σ_max, for tall and wide operators without damping
# What the ghost systems resolve, of σ_max.  Where the grid itself has null vectors (tall, wide, or
# a singular torus) the round-off of 1/τ meets τ: √eps.  A healthy square grid sees further.
_RESOLUTION, _SQUARE_RESOLUTION = 1e-6, 1e-8
_BELIEVED = 1e-9  # of σ_max: left and right null vectors of an LU need not match below
_SAFETY = 10.0  # σ_min must clear the cut-off by this factor to be believed without a count
_LEVELS, _FEW = (1e-2, 1e-4), 32  # of σ_max; triples that are cheaper than a smaller μ
_MOST_ENTRIES = 3e7  # of singular vectors kept as images
MOST_GRIDS = 4  # tried for one on which C is far from singular
SINGULAR_GRID = 1e-6  # of σ_max
_FAR_BELOW = 1e-4  # of σ_min(C): cuts there are exact but for relative errors of the square
_HEALTHY, _REFINABLE = 1e-10, 1e-4  # backward errors of one pass
_CORE_MATRICES = 12  # of the order of the ghosts, at the peak of `core_of`

Form = SquareForm | ProjectedForm | AugmentedForm | TruncatedForm | ConstantForm


def damped_form(p: Problem) -> tuple[Form, SpectrumSummary]:
    """The augmented form with both corners damp: by rings, or whole on the best balanced grid."""
    corners, facts = Corners(p.damp, p.damp), p.facts(p.damp, "not needed: damp > 0")
    shown = f"{p.damp / p.norm:.1e} of σ_max"
    if p.by_rings:
        form = augmented_by_rings(p, corners)
        if form.try_one_pass(p.weight) <= _REFINABLE:
            return form, facts
        del form  # before the next one is allocated
        n = sizes_of(p.geometry, p.real).unknowns(p.damp)
        check_memory(p, n**2, f"at damp = {shown} it must factor all ghosts at once")
    for larger in range(MOST_GRIDS):
        whole = augmented(p, grid_of(p.geometry, p.real, larger), corners)
        if whole.contracts(p.norm, p.weight, _REFINABLE):
            if p.damp >= RINGS_FROM * p.norm:  # with less, one pass is never enough
                whole.try_one_pass(p.weight)
            return whole, facts
    raise CannotServeError(f"its ghost system is singular at damp = {shown}")


def constant_form(p: Problem) -> tuple[Form, SpectrumSummary]:
    """Of a kernel that is zero, cut as a whole, or not finite."""
    form = ConstantForm(p.A, 0.0 if p.norm <= p.tau else math.nan)
    count = 0 if p.damp else min(p.A.shape)
    return form, p.facts(p.damp or math.inf, "no singular value above zero", dropped=count)


def pseudo_inverse_form(p: Problem) -> tuple[Form, SpectrumSummary]:
    """The form for full rank if the smallest singular value says so, one with a cut-off if not."""
    healthy, torus = None, grid_of(p.geometry, p.real)
    resolution, smallest = _RESOLUTION, 0.0
    form: SquareForm | AugmentedForm | None = None
    s = sizes_of(p.geometry, p.real)
    if not s.square:
        corner = CORNER * p.norm
        corners = Corners(corner, 0.0) if p.is_tall else Corners(0.0, corner)
        if s.rows == s.columns or p.is_tall == (
            s.rows > s.columns
        ):  # or the blocks have no inverse
            form = augmented(p, torus, corners)
    elif (healthy := _healthy_grid(p)) is not None:
        torus, resolution = healthy.torus, _BELIEVED
        form = _square(p, healthy)
    if form is not None and _is_usable(p, form):
        smallest = _smallest_singular_value(p, form)
    if isinstance(form, SquareForm) and smallest > resolution * p.norm:
        form.try_one_pass(random_start((1, *p.A.range_shape), p.weight), p.norm)
        if smallest <= _SAFETY * p.tau:
            try:
                return _cut(p, form)
            except CannotServeError:  # too many to drop one by one
                pass
    if form is None or smallest <= max(_SAFETY * p.tau, resolution * p.norm):
        del form  # before the next one is allocated
        return _rank_deficient(p, torus, healthy)
    # Lanczos errs upwards, by less than a factor of 2 but once in 500 starts.
    return form, p.facts(smallest / 2, "full: smallest singular value by Lanczos on the inverse")


def _is_usable(p: Problem, form: SquareForm | AugmentedForm) -> bool:
    if form.system.singular:
        return False
    return isinstance(form, SquareForm) or form.contracts(p.norm, p.weight, _HEALTHY)


def _cut(p: Problem, form: SquareForm) -> tuple[Form, SpectrumSummary]:
    """A⁻¹ is trustworthy, and the cut-off lies above or near its smallest singular values."""
    found = triples_up_to(p.tau, p.A, form.inverse_of_gram, p.norm, _MOST_ENTRIES)
    lost = p.tau >= found.S
    dropped, kept = int(lost.sum()), float(found.S[~lost].amin())
    how = "the smallest singular values by subspace iteration on the inverse"
    facts = p.facts(0.95 * kept, how, dropped=dropped, gap=_gap(kept, found.S[lost]))
    if not dropped:
        return form, facts
    U, S, V = (t[lost] for t in (found.U, found.S, found.V))
    return ProjectedForm(form, Deflation(Triples(U, S, V), torch.zeros_like(S))), facts


def _rank_deficient(
    p: Problem, torus: Torus, healthy: _Healthy | None
) -> tuple[Form, SpectrumSummary]:
    s = sizes_of(p.geometry, p.real)
    if healthy is not None and p.tau <= _FAR_BELOW * healthy.floor:
        try:
            check_memory(p, _CORE_MATRICES * s.unknowns(0.0) ** 2, "A is rank-deficient")
            return _truncated(p, healthy)
        except CannotServeError:  # dependent ghosts: singular vectors as images then
            pass
    check_memory(p, 2 * s.unknowns(1.0) ** 2, "A is rank-deficient")
    return _deflated(p, torus, _RESOLUTION if healthy is None else _SQUARE_RESOLUTION)


def _truncated(p: Problem, healthy: _Healthy) -> tuple[Form, SpectrumSummary]:
    """The cut-off lies far below the grid's own singular values: cut on the ghosts."""
    ghosts = p.ghosts(healthy.torus, all_pixels=True)
    core = core_of(healthy.torus, healthy.inverse, ghosts)
    embedding = Embedding(p.geometry, healthy.torus)
    form = TruncatedForm(p.A, embedding, healthy.torus, healthy.inverse, ghosts, core, p.tau)
    lost = p.tau >= core.S
    # The core knows all values far below the grid's; if it keeps nothing, the grid's bound holds.
    kept = min(float(torch.where(lost, math.inf, core.S).amin()), healthy.floor)
    gap = _gap(kept, core.S[lost])
    return form, p.facts(kept, "singular values on the ghosts", dropped=int(lost.sum()), gap=gap)


def _gap(kept: float, lost: Tensor) -> float:
    largest = float(lost.amax()) if len(lost) else 0.0
    return kept / largest if largest else math.inf


@dataclass(frozen=True)
class _Healthy:
    """A grid on which C is far from singular, the blocks of C⁻¹, and a bound of σ_min(C)."""

    torus: Torus
    inverse: Tensor
    floor: float


def _healthy_grid(p: Problem) -> _Healthy | None:
    """The smallest of a few grids that is healthy."""
    for larger in range(MOST_GRIDS):
        torus = grid_of(p.geometry, p.real, larger)
        blocks = torus.spectrum(p.weight, p.geometry)
        inverse = torch.empty_like(blocks.mT, memory_format=torch.contiguous_format)
        r, c = blocks.shape[-2:]
        floor, _ = invert_regular(blocks.reshape(-1, r, c), inverse.view(-1, c, r))
        smallest = float(floor.amin())
        if smallest > SINGULAR_GRID * p.norm:
            return _Healthy(torus, inverse, smallest)
    return None


def _square(p: Problem, healthy: _Healthy) -> SquareForm:
    torus, inverse = healthy.torus, healthy.inverse
    ghosts = p.ghosts(torus, all_pixels=True)
    rows, columns = [ghosts.constraints], [ghosts.outputs]
    factor = LuSolver(ghost_matrix(torus, inverse, rows, columns, 0.0))
    system = GhostSystem(torus, inverse, rows, columns, factor)
    return SquareForm(p.A, Embedding(p.geometry, torus), system)


def _smallest_singular_value(
    p: Problem, form: SquareForm | AugmentedForm, steps: int = 8, rtol: float = 0.2
) -> float:
    """From above, by Lanczos on the inverse of AᴴA or AAᴴ; 0 where that overflows."""
    shape = p.A.domain_shape if p.is_tall else p.A.range_shape
    largest = largest_eigenvalue(
        lambda v: form.inverse_of_gram(v, of_data=not p.is_tall),
        random_start((1, *shape), p.weight),
        steps=steps,
        rtol=rtol,
    )
    smallest = float(1 / largest.sqrt())
    return smallest if math.isfinite(smallest) else 0.0


def _deflated(p: Problem, torus: Torus, resolution: float) -> tuple[Form, SpectrumSummary]:
    """The damped form with a small μ, and every σ ≤ 10 μ taken out by hand.

    The larger μ, the better conditioned the ghosts and the more there is to take out.
    """
    blocks = torus.spectrum(p.weight, p.geometry)
    ghosts = p.ghosts(torus, all_pixels=False)
    counts = torus.multiplicity(blocks.device)
    small, threshold = 0, 0.0
    for level in (*_LEVELS, resolution):
        threshold = max(p.tau, level * p.norm)
        small = min(p.A.shape) - count_above(threshold, blocks, ghosts, torus, counts)
        if small <= _FEW:
            break
    shown = f"{threshold / p.norm:.1e} of σ_max"
    if small * sum(p.A.shape) > _MOST_ENTRIES:
        raise CannotServeError(
            f"{small:,} singular values lie at or under {shown}, too many to take out one by one"
        )
    mu = threshold / 10
    wanted = Corners(mu, 0.0) if p.is_tall else Corners(0.0, mu)
    form = augmented(p, torus, Corners(mu, mu), wanted)
    if small:
        return form, _take_out(p, form, small, threshold)
    return form, p.facts(threshold, f"full: inertia finds no singular value under {shown}")


def _take_out(p: Problem, form: AugmentedForm, small: int, threshold: float) -> SpectrumSummary:
    """Find the small triples, drop those under the cut-off and let the others answer by 1/σ."""
    found = smallest_triples(p.A, form.inverse_of_gram, small, p.norm)
    for _ in range(2):
        form.deflation = Deflation(found, torch.zeros_like(found.S))
        found = polished(p.A, found, form.alone, p.norm)
    lost = p.tau >= found.S
    form.deflation = Deflation(found, torch.where(lost, 0.0, 1 / torch.where(lost, 1.0, found.S)))
    dropped, kept = int(lost.sum()), math.inf
    if dropped < small:
        kept = float(found.S[~lost].amin())
    elif small < min(p.A.shape):  # inertia proves that it exceeds the threshold
        kept = max(_smallest_singular_value(p, form, steps=30, rtol=1e-6), threshold)
    gap = _gap(kept, found.S[lost])
    how = "inertia, and the smallest singular values by subspace iteration"
    # A Ritz value errs upwards, by a percent where its neighbours are close.
    floor = kept if dropped < small else max(0.95 * kept, threshold)
    return p.facts(floor, how, dropped=dropped, gap=gap)
