"""The *boundary* rung: any boundary, exactly, at the price of one dense system on the ghosts.

A differs from a circular convolution only on the ghosts, thin strips around the picture.  Solve on
the periodic grid, where everything is block-diagonal, with free sources on the ghosts, and choose
the sources such that the constraints there hold (ghosts.py, bordered.py):

    square A, λ = 0     sources on the ghost outputs, constraints on the ghost pixels
    damped              augmented system with corners α = β = damp; in two dimensions or more
                        without the ghosts of one axis, which form rings (ring_system.py)
    tall, wide, λ = 0   the same with corners (α, 0) or (0, β), 0.3 of σ_max
    square, some σ cut  A⁻¹ between projectors past the few dropped triples (small_triples.py)
    rank-deficient      the damped system with a small μ, σ ≤ 10 μ taken out (deflation.py)

Unknowns: c_in·|ghost pixels| + c_out·|ghost outputs|, half of that for the square form, and
c_in·|ghost pixels| more where ghosts copy samples; without the rings, those of the other axes, and
where these copy c_out·|edges| + c_in·|pads| there (ring_coupling.py).  Set-up: their cube.  Apply:
FFTs and one triangular solve, refined with A itself until round-off where that is not shown to
change nothing.

Full rank is known from a Lanczos bound of the smallest singular value, a smaller rank by inertia.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn

from ...numerics.precision import doubled, real_working_dtype
from ...operators.convolution import Convolution
from ..facts import UNSEEN, CannotServeError, Companions, Effort, Plan, SpectrumSummary
from ..operator import InverseOperator
from ..request import Request
from .candidates import Form, constant_form
from .forms import AugmentedForm
from .one_pass import precision
from .problem import prepare
from .single import Kept, damped, is_single, pseudo_inverse
from .sizes import (
    memory,
    memory_if_deficient,
    obstacle,
    operations,
)

__all__ = [
    "BoundaryInverse",
    "factor",
    "memory",
    "memory_if_deficient",
    "obstacle",
    "operations",
    "precision",
]

_DATA_BYTES = 256 * 2**20  # of images that are solved at once; a pass holds ten grids beside them


def factor(op: Convolution, request: Request) -> InverseOperator:
    """Fill and factor, kernel by kernel, the ghost system of the form that it needs."""
    if op.seen is not None:
        raise CannotServeError(UNSEEN)
    kept, scales = [], []
    kernels = op.batch_size or 1
    for i in range(kernels):
        problem = prepare(op.of_sample(i), request, kernels)
        cut = 0.0 if request.damp else problem.tau
        if not cut < problem.norm < math.inf:  # zero, all cut, or not finite
            kept.append(Kept(*constant_form(problem)))
        else:
            kept.append(damped(problem) if request.damp else pseudo_inverse(problem))
        scales.append(problem.scale)
    scale = torch.tensor(scales, dtype=torch.float64, device=op.device)
    return BoundaryInverse(op, kept, scale, request)


def _joined(facts: Sequence[SpectrumSummary], scale: Tensor) -> SpectrumSummary:
    """All kernels' facts in one, in the unit of the weight."""
    stacked = {
        name: torch.cat([getattr(f, name) for f in facts])
        for name in ("norm", "floor", "gap", "dropped")
    }
    ranks = [f.rank for f in facts if f.rank is not None]
    hows = dict.fromkeys(f.rank_how for f in facts)
    return SpectrumSummary(
        norm=stacked["norm"] * scale,
        floor=stacked["floor"] * scale,
        rank=torch.cat(ranks) if ranks else None,
        gap=stacked["gap"],
        rank_how="; ".join(hows),
        dropped=stacked["dropped"],
    )


class BoundaryInverse(InverseOperator):
    """A⁺ or a damped inverse by a ghost system, refined with A in double precision.

    `forms` holds one for each kernel, in units of `scale` (B,).  Where a factor in single precision
    serves, data in that take one pass of it where one is enough, and all others are refined to the
    last digits of double precision.  Whatever the factor, images come in double precision, to be
    rounded to the dtype of operator and data once.
    """

    method = "boundary"
    keeps_double = True
    backward_stable = False  # two eliminations in a row: tried, not proven
    scale: Tensor

    def __init__(
        self, op: Convolution, kept: Sequence[Kept], scale: Tensor, request: Request
    ) -> None:
        super().__init__(op, request, _joined([k.facts for k in kept], scale))
        self.forms, self.transposed = nn.ModuleList(k.form for k in kept), op.transposed
        self.why = "; ".join(dict.fromkeys(k.why for k in kept if k.why))
        self.single = all(is_single(k.form) for k in kept)
        self.register_buffer("scale", scale)

    def made_by(self, plan: Plan | None) -> None:
        """Remember the plan that was carried out, with the precision that the factor has."""
        if plan is not None and self.why:
            real = torch.float32 if self.single else torch.float64
            plan = replace(
                plan,
                factor_dtype=real.to_complex() if self.dtype.is_complex else real,
                factor_why=f"as {self.why}",
            )
            if self.damp and not self.single:
                plan = replace(plan, memory=plan.memory_if_deficient)
        super().made_by(plan)

    def _data_dtype(self, data: torch.dtype) -> torch.dtype:
        """Single data of a single operator stay so where that is what a pass computes in."""
        given = torch.promote_types(real_working_dtype(self.dtype), real_working_dtype(data))
        return given if self.single else super()._data_dtype(data)

    @property
    def device(self) -> torch.device:
        """Device of the factor."""
        return self.scale.device

    def _solve(self, y: Tensor) -> Tensor:
        return self._in_slices(y, self.transposed, careful=False)[0]

    def _solve_adjoint(self, x: Tensor) -> Tensor:
        return self._in_slices(x, not self.transposed, careful=False)[0]

    def _solve_recorded(self, y: Tensor) -> tuple[Tensor, Effort]:
        return self._in_slices(y, self.transposed, careful=True)

    def evaluate_with_companion(self, v: Tensor, *, adjoint: bool) -> tuple[Tensor, Tensor | None]:
        """B v or Bᴴ v, and the other unknown of an augmented system, of which derivatives live."""
        form = self.forms[0]
        if self.batch_size or not isinstance(form, AugmentedForm) or form.deflation is not None:
            return self.evaluate(v, adjoint=adjoint), None

        def solve(v: Tensor) -> tuple[Tensor, Effort]:
            parts = v.split(self._at_once(v))
            pairs = [form.both(part, adjoint=adjoint != self.transposed) for part in parts]
            x, companion = (_joined_images(each) for each in zip(*pairs, strict=True))
            return x.div_(self.scale), Effort(residual=companion)

        x, effort = self._evaluated(v, solve, adjoint)
        return x, effort.residual

    def companions(self, companion: Tensor | None, *, adjoint: bool) -> Companions:
        """The residual, and the solution of the normal equations, from the other unknown."""
        form = self.forms[0]
        if companion is None or not isinstance(form, AugmentedForm):
            return Companions()
        mine, other = form.wanted.alpha, form.wanted.beta
        if adjoint != self.transposed:
            mine, other = other, mine
        unit = other * float(self.scale) ** 2
        return Companions(companion, mine, 1 / unit if unit else 0.0)

    @staticmethod
    def _at_once(v: Tensor) -> int:
        return max(1, _DATA_BYTES // max(1, v[:1].numel() * v.element_size()))

    def _in_slices(self, v: Tensor, adjoint: bool, *, careful: bool) -> tuple[Tensor, Effort]:
        """A⁺ of the convolution or its adjoint, slice by slice or kernel by kernel."""
        answers = []
        for i, part in enumerate(v.split(1 if self.batch_size else self._at_once(v))):
            form = cast(Form, self.forms[i if self.batch_size else 0])
            answers.append((form.pinv_adjoint if adjoint else form.pinv)(part, careful=careful))
        x = _joined_images([a.value for a in answers])
        done = [a.refinements for a in answers for _ in range(len(a.value))]
        residuals = [a.residual for a in answers if a.residual is not None]
        residual = _joined_images(residuals) if len(residuals) == len(answers) else None
        x = x.div_(self.scale.reshape(-1, *[1] * (v.ndim - 1)))
        return x, Effort(refinements=torch.tensor(done, device=v.device), residual=residual)


def _joined_images(parts: Sequence[Tensor]) -> Tensor:
    """One batch of several, in double precision."""
    return doubled(parts[0] if len(parts) == 1 else torch.cat(list(parts)))
