"""Factors in single precision, where one pass of them is as good as float32 data allow.

An operator in float32 is asked about float32 data.  A pass in float32 takes half of the time of one
in float64, and its factor half of the memory; but two of them, with a residual between that has to
be computed in float64, take longer than one in float64.  So a factor in float32 is kept exactly
where a trial (one_pass.py) shows that its passes need no refinement.

    damped     S is written in float32, from tables in float64, factored in float32 and tried; a
               bad one is made anew in float64, or refined where memory_limit leaves no room for
               that.  Not tried where damp is so small that none has passed.
    A⁺         factored in float64, which decides ranks and proves the factor; then rounded, if A is
               conditioned well enough for a trial.

Whatever is kept, data in float64 and answers that are certified are refined with A in float64 to
their last digits.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from ...numerics.memory import return_freed_memory
from ..facts import CannotServeError, SpectrumSummary
from .bordered import Corners
from .candidates import Form, damped_form, pseudo_inverse_form
from .forms import AugmentedForm, SquareForm
from .one_pass import Trial
from .problem import Problem, augmented, augmented_by_rings, check_memory
from .sizes import grid_of

_CONVERGES = 1e-2  # of an answer by its first refinement: seven more, and it is right to round-off
_MOST_CONDITION = 4096.0  # of A for which a pass in float32 was ever seen to be enough


def is_single(form: Form) -> bool:
    """Whether the factor of a form is in single precision."""
    return isinstance(form, SquareForm | AugmentedForm) and form.system.single


class Kept(NamedTuple):
    """A form, what is known of A, and why its factor is in the precision that it is in.

    `why` is empty where nothing else was thought of.
    """

    form: Form
    facts: SpectrumSummary
    why: str = ""


def damped(p: Problem) -> Kept:
    """The damped inverse, in single precision if that serves."""
    if not p.tries_single:
        return Kept(*damped_form(p))
    corners = Corners(p.damp, p.damp)
    if p.by_rings:
        form = augmented_by_rings(p, corners, single=True)
    else:
        form = augmented(p, grid_of(p.geometry, p.real), corners, single=True)
    form.try_one_pass(p.weight, math.hypot(p.norm, p.damp) / p.damp)
    facts = p.facts(p.damp, "not needed: damp > 0")
    if form.trial.passed:
        return Kept(form, facts, _right(form.trial))
    why = _wrong(form.trial)
    try:
        check_memory(p, p.needs.in_double, why)
    except CannotServeError:
        if form.trial.change <= _CONVERGES:
            return Kept(form, facts, "memory_limit leaves no room for more; each answer is refined")
        raise
    del form  # before the next one is allocated
    return_freed_memory(p.needs.kept)
    return Kept(*damped_form(p), why)


def pseudo_inverse(p: Problem) -> Kept:
    """A⁺, its factor rounded to single precision if that serves."""
    form, facts = pseudo_inverse_form(p)
    if not p.tries_single:
        return Kept(form, facts)
    single, why = _rounded(p, form, facts)
    return Kept(form if single is None else single, facts, why)


def _rounded(
    p: Problem, form: Form, facts: SpectrumSummary
) -> tuple[SquareForm | AugmentedForm | None, str]:
    """A form of A⁺ in single precision, or None if that does not serve; why, or why not."""
    if not isinstance(form, SquareForm | AugmentedForm) or form.deflation is not None:
        return None, "small singular values of A were taken out"
    condition = p.norm / float(facts.floor)
    if not condition <= _MOST_CONDITION:
        return None, f"cond {condition:.0e} leaves a pass in float32 too few digits"
    if p.needs.in_both + (p.kernels - 1) * p.needs.kept > p.memory_limit:
        return None, "memory_limit leaves no room to round it"
    return_freed_memory(p.needs.kept)
    single = form.rounded()
    single.try_one_pass(p.weight, condition)
    if single.trial.passed:
        return single, _right(single.trial)
    return None, _wrong(single.trial)


def _right(trial: Trial) -> str:
    return f"one pass of it is right to {trial.change:.0e}"


def _wrong(trial: Trial) -> str:
    return f"one pass in float32 is wrong by {trial.change:.0e}, more than {trial.limit:.0e}"
