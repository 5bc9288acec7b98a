"""Which form of ghost system an operator needs, and its factorisation.

Full rank is believed where Lanczos on the inverse finds the smallest singular value well above the
cut-off.  Near it, the inverse of a square A serves to find the few that are dropped.  Otherwise
small singular values are counted and taken out: on the ghosts where they are null or lie far below
those of the grid (truncation.py), as images where they are few (deflation.py).

Whatever a form believes of its rank, its factor must hold the Penrose conditions for random vectors
(probe.py) to the accuracy that its facts promise; one that does not is dropped for the next.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from ...grid.torus import Torus
from ...numerics.lanczos import random_start
from ...numerics.memory import return_freed_memory
from ...numerics.norms import norms
from ..facts import GIVES_UP, CannotServeError, SpectrumSummary
from ..probe import refuse_unproven
from .bordered import Bordered, Corners
from .deflation import Deflation, Triples, count_above, orthonormal
from .embedding import Embedding
from .forms import Answer, AugmentedForm, ConstantForm, SquareForm
from .ghost_system import LuSolver, PseudoSolver
from .ghosts import Ghosts
from .problem import (
    MOST_GRIDS,
    RESOLUTION,
    SQUARE_RESOLUTION,
    HealthyGrid,
    Problem,
    augmented,
    augmented_by_rings,
    check_memory,
    healthy_grids,
)
from .sizes import RINGS_FROM, TAKEN_OUT, grid_of, sizes_of
from .small_triples import (
    in_batches,
    polished,
    smallest_singular_value,
    smallest_triples,
    triples_up_to,
)
from .truncation import (
    Sources,
    TruncatedForm,
    core_of,
    cut_sources,
    null_sources,
)

# All in units of σ_max but where said otherwise.
_CORNER = 0.3  # for tall and wide A without damping; any from 0.01 to 10 gives the same digits
_BELIEVED = 1e-9  # left and right null vectors of an LU need not match below
_HEALTHY, _REFINABLE = 1e-10, 1e-4  # backward errors of one pass: good to know σ by, to refine from
_LITTLE = 1e-6  # damping under which a bound by damp alone proves nothing
_SAFETY = 10.0  # times the cut-off: σ_min above that is believed without a count; Lanczos errs by 2
_FAR_BELOW = 1e-4  # of σ_min(C): cuts there are exact but for its square (truncation.py)
_LEVELS = 1e-2, 1e-4  # thresholds under which triples are taken out, if they are few
_MU = 0.1  # of the threshold that inertia has counted at: all triples to be found lie under 10 μ
_VANISHING = 0.1  # of μ: σ so far under it answers by ρ/μ
_MOST_ENTRIES = 3e7  # of singular vectors kept as images, 240 MB
_LEAVES = 2e-14  # what A makes of null vectors that small σ do not contaminate
_NULL = 1e-15  # what a null vector of the ghosts leaves of A, for the gap that is stated
_DEFICIENT = "A is rank-deficient"  # why more memory is needed

Form = SquareForm | AugmentedForm | TruncatedForm | ConstantForm


def damped_form(p: Problem) -> tuple[Form, SpectrumSummary]:
    """The augmented form with both corners damp: by rings, or whole on the best balanced grid."""
    corners, facts = Corners(p.damp, p.damp), p.facts(p.damp, "not needed: damp > 0")
    shown = f"{p.damp / p.norm:.1e} of σ_max"
    if p.by_rings:
        form = augmented_by_rings(p, corners)
        form.try_one_pass(p.weight)
        if form.trial.change <= _REFINABLE:
            return form, facts
        del form  # before the next one is allocated
        return_freed_memory(p.needs.kept)
        check_memory(
            p,
            p.needs.without_rings,
            f"at damp = {shown} it must factor all border unknowns at once",
        )
    for larger in range(MOST_GRIDS):
        whole = augmented(p, grid_of(p.geometry, p.real, larger), corners)
        if whole.contracts(p.weight, _REFINABLE):
            if p.damp >= RINGS_FROM * p.norm:  # with less, one pass is never enough
                whole.try_one_pass(p.weight)
            return whole, _damped_facts(p, whole)
    raise CannotServeError(f"its system of border unknowns is singular at damp = {shown}")


def _damped_facts(p: Problem, form: AugmentedForm) -> SpectrumSummary:
    """√(σ_r² + damp²) from below: beside little damping what A itself holds counts for more."""
    floor = p.damp
    if p.damp < _LITTLE * p.norm and form.contracts(p.weight, _HEALTHY):
        smallest = _smallest_value(p, form)
        # A form of that backward error knows no smaller one; Lanczos errs upwards.
        if smallest > max(100 * _HEALTHY * p.norm, 4 * p.damp):
            floor = smallest / 2
    return p.facts(floor, "not needed: damp > 0")


def constant_form(p: Problem) -> tuple[Form, SpectrumSummary]:
    """The inverse of a kernel that is zero, cut as a whole, or not finite."""
    form = ConstantForm(p.A, 0.0 if p.norm <= p.tau else math.nan)
    count = 0 if p.damp else min(p.A.shape)
    return form, p.facts(p.damp or math.inf, "no singular value above zero", dropped=count)


def pseudo_inverse_form(p: Problem) -> tuple[Form, SpectrumSummary]:
    """The first form that serves and whose factor passes its probe.

    A⁺ of full rank if the smallest singular value says so; without null vectors that the ghosts
    know; with a cut-off on the ghosts; without triples that are taken out as images.
    """
    healthy = _healthy_grid(p)
    roughly = partial(_square_null, leaves=math.inf)  # rather than nothing
    square = (_square, _square_null, _truncated, _deflated, roughly)
    other = (_augmented, _augmented_null)
    given_up = []
    for way in (*other, _deflated) if healthy is None else square:
        return_freed_memory(p.needs.kept)  # of the way before
        try:
            return _proven(p, *way(p, healthy))
        except GIVES_UP as why:
            given_up.append(str(why))
    raise CannotServeError("; ".join(dict.fromkeys(given_up)))


def _proven(p: Problem, form: Form, facts: SpectrumSummary) -> tuple[Form, SpectrumSummary]:
    """A form whose factor holds what its facts promise."""
    solve, solve_adjoint = partial(_apply, form.pinv), partial(_apply, form.pinv_adjoint)
    refuse_unproven(p.A, solve, solve_adjoint, facts, p.one(p.tau), p.weight)
    return form, facts


def _apply(solve: Callable[..., Answer], v: Tensor) -> Tensor:
    return solve(v, careful=False).value


def regular_form(p: Problem) -> SquareForm | AugmentedForm:
    """A⁻¹, or A⁺ of full rank, where that factor is healthy."""
    return _regular(p, _healthy_grid(p))[0]


def _healthy_grid(p: Problem) -> HealthyGrid | None:
    """The smallest grid on which C⁻¹ is good, if A is square and there is one."""
    return next(healthy_grids(p), None) if sizes_of(p.geometry, p.real).square else None


def _regular(p: Problem, healthy: HealthyGrid | None) -> tuple[SquareForm | AugmentedForm, float]:
    """The form for full rank and the smallest singular value that its inverse shows."""
    resolution = RESOLUTION if healthy is None else _BELIEVED
    form = _full_rank(p) if healthy is None else _square_form(p, healthy)
    if form.system.singular or (
        isinstance(form, AugmentedForm) and not form.contracts(p.weight, _HEALTHY)
    ):
        raise CannotServeError("its system of border unknowns is singular")
    smallest = _smallest_value(p, form)
    if smallest <= resolution * p.norm:
        shown = f"{smallest / p.norm:.1e} of σ_max"
        raise CannotServeError(f"its smallest singular value, {shown}, is not resolved")
    return form, smallest


def _square(p: Problem, healthy: HealthyGrid | None) -> tuple[Form, SpectrumSummary]:
    form, smallest = _regular(p, healthy)
    assert isinstance(form, SquareForm)
    form.try_one_pass(p.weight)
    if smallest <= _SAFETY * p.tau:
        return _cut(p, form)
    return form, _full(p, smallest)


def _augmented(p: Problem, healthy: HealthyGrid | None) -> tuple[Form, SpectrumSummary]:
    form, smallest = _regular(p, healthy)
    if smallest <= _SAFETY * p.tau:
        raise CannotServeError("singular values lie near the cut-off")
    return form, _full(p, smallest)


def _full(p: Problem, smallest: float) -> SpectrumSummary:
    # Lanczos errs upwards, by less than a factor of 2 but once in 500 starts.
    return p.facts(smallest / 2, "full: smallest singular value by Lanczos on the inverse")


def _full_rank(p: Problem, factor: type[LuSolver] | type[PseudoSolver] = LuSolver) -> AugmentedForm:
    """The augmented form with one corner, for tall and wide operators."""
    s = sizes_of(p.geometry, p.real)
    if s.rows != s.columns and p.is_tall != (s.rows > s.columns):
        raise CannotServeError("its blocks have no inverse")
    corner = _CORNER * p.norm
    corners = Corners(corner, 0.0) if p.is_tall else Corners(0.0, corner)
    return augmented(p, grid_of(p.geometry, p.real), corners, factor=factor)


def _cut(p: Problem, form: SquareForm) -> tuple[Form, SpectrumSummary]:
    """A⁻¹ is trustworthy, and the cut-off lies above or near its smallest singular values."""
    most = p.room_for_entries(p.needs.first, _MOST_ENTRIES)
    found = triples_up_to(p.tau, p.A, form.inverse_of_gram, p.norm, most)
    lost = p.tau >= found.S
    dropped, kept = int(lost.sum()), float(found.S[~lost].amin())
    how = "the smallest singular values by subspace iteration on the inverse"
    facts = p.facts(0.95 * kept, how, dropped=dropped, gap=_gap(kept, found.S[lost]))
    if not dropped:
        return form, facts
    U, S, V = (t[lost] for t in (found.U, found.S, found.V))
    form.take_out(Deflation(Triples(U, S, V), torch.zeros_like(S)))
    return form, facts


def _square_null(
    p: Problem, healthy: HealthyGrid | None, leaves: float = _LEAVES
) -> tuple[Form, SpectrumSummary]:
    """Every singular value is round-off or far above the cut-off: null vectors on the ghosts."""
    check_memory(p, p.needs.null_vectors, _DEFICIENT)
    form, sources = _on_ghosts(p, healthy, null_sources)
    null = form.null_vectors(random_start((1, *sources.v.shape[::2]), sources.v))
    images = p.A._matvec(null)
    most = leaves * p.norm * float(norms(null).amin())
    if sources.dropped and float(norms(images).amax()) > most:
        raise CannotServeError("its null vectors are not known to round-off")
    return form, _null_facts(p, form, null, images, sources.dropped)


def _augmented_null(p: Problem, healthy: HealthyGrid | None) -> tuple[Form, SpectrumSummary]:
    """Every σ of tall or wide A is round-off or far above the cut-off: null vectors as images."""
    check_memory(p, p.needs.null_vectors, _DEFICIENT)
    form = _full_rank(p, PseudoSolver)
    return_freed_memory(p.needs.kept)
    null = form.null_vectors(p.room_for_entries(p.needs.first, _MOST_ENTRIES))
    seen = in_batches(p.A._matvec if p.is_tall else p.A._rmatvec)
    if len(null):
        form.take_out(_dropped(p, null))
        # What A still sees of them lies along small σ: there they are wrong by that over σ.
        alone = in_batches(partial(form.alone, adjoint=not p.is_tall))
        null = orthonormal(null - alone(seen(null)))
        form.take_out(_dropped(p, null))
    images = seen(null)
    facts = _null_facts(p, form, null, images, len(null))
    if facts.floor <= RESOLUTION * p.norm:
        raise CannotServeError("its smallest singular values are not resolved")
    return form, facts


def _dropped(p: Problem, null: Tensor) -> Deflation:
    """Null vectors of the shorter side and no gain."""
    S = torch.zeros(len(null), dtype=torch.float64, device=null.device)
    other = null.new_zeros(len(null), *(p.A.range_shape if p.is_tall else p.A.domain_shape))
    return Deflation(Triples(*((other, S, null) if p.is_tall else (null, S, other))), S)


def _null_facts(
    p: Problem, form: TruncatedForm | AugmentedForm, null: Tensor, images: Tensor, dropped: int
) -> SpectrumSummary:
    """What is dropped lies under the cut-off, what is kept clear of it, by Lanczos on the inverse.

    null, images : some null vectors of A, or of Aᴴ, and what A, or Aᴴ, makes of them
    """
    smallest = _smallest_value(p, form)
    if smallest <= _SAFETY * p.tau:
        raise CannotServeError("singular values lie near the cut-off")
    how = "null vectors at the border; the smallest singular value kept by Lanczos on the inverse"
    if not dropped:
        return p.facts(smallest / 2, how)
    left = float(norms(images).amax() / norms(null).amin())
    if left > p.tau:
        raise CannotServeError("its null vectors are not known to the cut-off")
    gap = smallest / max(math.sqrt(dropped) * left, _NULL * p.norm)
    return p.facts(smallest / 2, how, dropped=dropped, gap=gap)


def _truncated(p: Problem, healthy: HealthyGrid | None) -> tuple[Form, SpectrumSummary]:
    """The cut-off lies far below the grid's own singular values: cut on the ghosts."""
    assert healthy is not None
    if p.tau > _FAR_BELOW * healthy.floor:
        raise CannotServeError("the cut-off lies among the grid's own singular values")
    check_memory(p, p.needs.cut, _DEFICIENT)
    values = []

    def cut(torus: Torus, inverse: Tensor, ghosts: Ghosts) -> Sources:
        core = core_of(torus, inverse, ghosts)
        values.append(core.S)
        return cut_sources(core, p.tau)

    form, sources = _on_ghosts(p, healthy, cut)
    S = values[0]
    lost = p.tau >= S
    # The core knows all values far below the grid's; if it keeps nothing, the grid's bound holds.
    kept = min(float(torch.where(lost, math.inf, S).amin()), healthy.floor)
    gap = _gap(kept, S[lost])
    return form, p.facts(kept, "singular values at the border", dropped=sources.dropped, gap=gap)


def _on_ghosts(
    p: Problem, healthy: HealthyGrid | None, find: Callable[[Torus, Tensor, Ghosts], Sources]
) -> tuple[TruncatedForm, Sources]:
    assert healthy is not None
    torus, inverse = healthy.torus, healthy.inverse
    ghosts = p.ghosts(torus, all_pixels=True)
    sources = find(torus, inverse, ghosts)
    return_freed_memory(p.needs.kept)
    embedding = Embedding(p.geometry, torus)
    return TruncatedForm(p.A, embedding, torus, inverse, ghosts, sources, p.norm), sources


def _gap(kept: float, lost: Tensor) -> float:
    largest = float(lost.amax()) if len(lost) else 0.0
    return kept / largest if largest else math.inf


def _square_form(p: Problem, healthy: HealthyGrid) -> SquareForm:
    torus, inverse = healthy.torus, healthy.inverse
    system = Bordered.square(torus, inverse, p.ghosts(torus, all_pixels=True)).factored()
    return SquareForm(p.A, Embedding(p.geometry, torus), system, p.norm)


def _without_vanishing(p: Problem, t: Triples, lost: Tensor, mu: float) -> Triples:
    """Triples of which, where dropped, the longer side, A v/σ, is kept only for σ near μ.

    Far below, they carry the rounding of A as eps·σ_max/σ, and the factor does without them: what
    it makes of that direction is ρ/μ, which A does not see.
    """
    m, n = p.A.shape
    vanishing = (lost & (_VANISHING * mu > t.S)).to(t.U.dtype)
    U, V = (side * (1 - vanishing).reshape(-1, *[1] * (side.ndim - 1)) for side in (t.U, t.V))
    return Triples(U if m > n else t.U, t.S, V if n > m else t.V)


def _smallest_value(
    p: Problem, form: SquareForm | AugmentedForm | TruncatedForm, *, sharp: bool = False
) -> float:
    """The smallest singular value that a form answers for, from above: to its order, or sharply."""
    steps, rtol = (30, 1e-6) if sharp else (8, 0.2)
    invert, on_data = form.inverse_of_gram, not p.is_tall
    return smallest_singular_value(p.A, invert, on_data=on_data, steps=steps, rtol=rtol)


def _deflated(p: Problem, healthy: HealthyGrid | None) -> tuple[Form, SpectrumSummary]:
    """The damped form with a small μ, and every σ ≤ 10 μ taken out by hand.

    The larger μ, the better conditioned the ghosts and the more there is to take out.
    """
    check_memory(p, p.needs.deflated, _DEFICIENT)
    torus = grid_of(p.geometry, p.real) if healthy is None else healthy.torus
    resolution = RESOLUTION if healthy is None else SQUARE_RESOLUTION
    blocks = torus.spectrum(p.weight, p.geometry)
    ghosts = p.ghosts(torus, all_pixels=False)
    small, threshold = 0, 0.0
    for level in (*_LEVELS, resolution):
        threshold = max(p.tau, level * p.norm)
        small = min(p.A.shape) - count_above(threshold, torus, blocks, ghosts)
        if small <= TAKEN_OUT:
            break
    shown = f"{threshold / p.norm:.1e} of σ_max"
    if small * sum(p.A.shape) > _MOST_ENTRIES or (small > TAKEN_OUT and p.dense_serves):
        raise CannotServeError(
            f"{small:,} singular values lie at or under {shown}, too many to take out one by one"
        )
    check_memory(p, p.needs.with_vectors(small) if small else p.needs.deflated, _DEFICIENT)
    return_freed_memory(p.needs.kept)
    mu = _MU * threshold
    wanted = Corners(mu, 0.0) if p.is_tall else Corners(0.0, mu)
    form = augmented(p, torus, Corners(mu, mu), wanted)
    if small:
        return form, _take_out(p, form, small, threshold)
    return form, p.facts(threshold, f"full: inertia finds no singular value under {shown}")


def _take_out(p: Problem, form: AugmentedForm, small: int, threshold: float) -> SpectrumSummary:
    """Find the small triples, drop those under the cut-off and let the others answer by 1/σ."""
    found = smallest_triples(p.A, form.inverse_of_gram, small, p.norm)
    for _ in range(2):
        form.take_out(Deflation(found, torch.zeros_like(found.S)))
        found = polished(p.A, found, form.alone, p.norm)
    lost = p.tau >= found.S
    gains = torch.where(lost, 0.0, 1 / torch.where(lost, 1.0, found.S))
    form.take_out(Deflation(_without_vanishing(p, found, lost, form.corners.alpha), gains))
    dropped, kept = int(lost.sum()), math.inf
    if dropped < small:
        kept = float(found.S[~lost].amin())
    elif small < min(p.A.shape):  # inertia proves that it exceeds the threshold
        kept = max(_smallest_value(p, form, sharp=True), threshold)
    gap = _gap(kept, found.S[lost])
    how = "inertia, and the smallest singular values by subspace iteration"
    # A Ritz value errs upwards, by a percent where its neighbours are close.
    floor = kept if dropped < small else max(0.95 * kept, threshold)
    return p.facts(floor, how, dropped=dropped, gap=gap)
