"""The two ghost systems of a convolution, each with the refinement that makes it exact.

SquareForm      x = A⁺y for square nonsingular A by K = C alone: half the ghosts of the other form
AugmentedForm   everything else, by the scaled augmented system

    [ α·I    A   ] [ ρ ]   [ a ]         x = (AᴴA + αβ)⁻¹(Aᴴa − αb)
    [ Aᴴ   −β·I  ] [ x ] = [ b ]         ρ = (a − Ax)/α

A⁺ is a → x, its adjoint b → ρ.

Refinement works on both rows of the residual, computed with A itself.  It is part of the method:
cond(S) may approach σ_max²/λ.  Left out is it only where a trial at set-up shows that it changes
nothing that matters, and never for an answer that is to be certified.

Source: Björck, "Numerical Methods for Least Squares Problems", SIAM 1996, §2.9 (augmented system,
iterative refinement of both rows).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ...numerics.lanczos import random_start
from ...numerics.norms import norms
from ...numerics.precision import doubled
from ...numerics.refine import Unknowns, refine
from ...operators.linear_operator import LinearOperator
from ..facts import CannotServeError
from .bordered import Corners
from .deflation import Deflation, orthonormal, project_off
from .embedding import Embedding
from .ghost_system import GhostSystem, rounded
from .one_pass import Trial, corners, limit_in_single, part_of, random_pairs, worst

_Map = Callable[[Tensor], Tensor]

_ONE_PASS = 1e-13  # backward error of a pass that refinement need not improve: some hundred eps


class Answer(NamedTuple):
    """A⁺ y or (A⁺)ᴴ b, the number of refinements, and the residual if the form carries it."""

    value: Tensor
    refinements: int
    residual: Tensor | None = None


def refined_solve(solve: _Map, apply: _Map, y: Tensor, norm: float) -> tuple[Tensor, int]:
    """x with apply(x) = y as far as `solve` reaches, and the refinements it took.

    solve : what one pass makes of (N, ...)
    y : taken to double precision
    norm : σ_max of `apply`
    """
    y = doubled(y)

    def step(found: Unknowns) -> Unknowns:
        return (solve(y - apply(found[0])),)

    (x,), done = refine((solve(y),), step, 0, norms(y) / norm)
    return x, done


class SquareForm(nn.Module):
    """A⁻¹ of a square nonsingular A, or its A⁺ without a few singular triples.

    With U, V the vectors of the triples that were taken out, A⁺ = (I − VVᴴ) A⁻¹ (I − UUᴴ): what
    round-off leaves on U is amplified along V alone, where it is taken off again.

    After `try_one_pass` a solve that need not be careful may take one pass, of a factor in single
    precision only for data of that.

    Parameters
    ----------
    norm : σ_max of A, to its order
    """

    def __init__(
        self, A: LinearOperator, embedding: Embedding, system: GhostSystem, norm: float
    ) -> None:
        super().__init__()
        self.A, self.embedding, self.system, self.norm = A, embedding, system, norm
        self.deflation: Deflation | None = None
        self.trial = Trial()

    def take_out(self, deflation: Deflation) -> None:
        """Let a deflation answer for its triples from now on."""
        self.deflation = deflation

    def rounded(self) -> SquareForm:
        """This form with its factor rounded to single precision, not yet tried."""
        return SquareForm(self.A, self.embedding, rounded(self.system), self.norm)

    def try_one_pass(self, like: Tensor, condition: float = 1.0) -> None:
        """Leave refinement to the careful, if a `trial` of one pass allows it.

        A factor in double precision is held to a backward error, which no data spoil; one in single
        precision to what a first refinement changes.

        condition : of A, for a factor in single precision
        """
        if not self.system.single:
            y = random_start((1, *self.A.range_shape), like)
            x = self._pass(y)
            size = norms(y - self.A._matvec(x)) / (self.norm * norms(x) + norms(y))
            self.trial = Trial(worst(float(size.amax())), loss=0.0, limit=_ONE_PASS)
            return
        a, b = random_pairs(self.A, like)
        change = loss = 0.0
        for v, solve, apply in (
            (a, self._pass, self.A._matvec),
            (b, self._pass_adjoint, self.A._rmatvec),
        ):
            found = solve(v)
            missed = solve(v - apply(found))
            change = worst(change, part_of(missed, found))
            loss = worst(loss, part_of(missed, v))
            at = corners(v[:1])
            loss = worst(loss, part_of(solve(at - apply(solve(at))), at))
        limit = limit_in_single(condition)
        self.trial = Trial(change, loss=loss, single=True, limit=limit)

    def pinv(self, y: Tensor, *, careful: bool) -> Answer:
        """A⁺ y, refined if it is to be `careful` or if one pass is not stable."""
        return self._answer(y, adjoint=False, careful=careful)

    def pinv_adjoint(self, b: Tensor, *, careful: bool) -> Answer:
        """(A⁺)ᴴ b, refined if it is to be `careful` or if one pass is not stable."""
        return self._answer(b, adjoint=True, careful=careful)

    def inverse_of_gram(self, v: Tensor, *, of_data: bool) -> Tensor:
        """(AAᴴ)⁻¹ v if it is data, (AᴴA)⁻¹ v if not, without refinement; no triple is taken out."""
        if of_data:
            return self._pass_adjoint(self._pass(v))
        return self._pass(self._pass_adjoint(v))

    def _pass(self, y: Tensor) -> Tensor:
        e = self.embedding
        return self.system.solve(e.grid_of_data(y), e.domain_of)

    def _pass_adjoint(self, b: Tensor) -> Tensor:
        e = self.embedding
        return self.system.solve_adjoint(e.grid_of_domain(b), e.data_of)

    def _answer(self, v: Tensor, *, adjoint: bool, careful: bool) -> Answer:
        solve = self._pass_adjoint if adjoint else self._pass
        apart: Tensor | float = 0.0
        if self.deflation is not None:
            v, apart = self.deflation.take_out(v, adjoint=adjoint)
        quick = solve(v) if not careful and self.trial.answers(v) else None
        if quick is not None and self.trial.is_enough(v, quick):
            x, done = quick, 0
        else:
            apply = self.A._rmatvec if adjoint else self.A._matvec
            x, done = refined_solve(solve, apply, v, self.norm)
        if self.deflation is not None:
            x = project_off(x, self.deflation.U if adjoint else self.deflation.V) + apart
        return Answer(x, done)


class ConstantForm(nn.Module):
    """The inverse of a zero kernel, which is zero; NaN for one that is not finite."""

    def __init__(self, A: LinearOperator, value: float) -> None:
        super().__init__()
        self.A, self.value = A, value

    def pinv(self, y: Tensor, *, careful: bool = True) -> Answer:
        """The constant."""
        return Answer(y.new_full((len(y), *self.A.domain_shape), self.value), 0)

    def pinv_adjoint(self, b: Tensor, *, careful: bool = True) -> Answer:
        """The constant."""
        return Answer(b.new_full((len(b), *self.A.range_shape), self.value), 0)


class AugmentedForm(nn.Module):
    """A⁺ or a damped inverse by the augmented system, with small singular values taken out.

    Parameters
    ----------
    corners : α and β that were factored
    wanted
        The corners of the system that is solved.  Where they differ, the factor preconditions: a
        refinement shrinks the error along σ by (αβ − wanted αβ)/(σ² + αβ).  For A⁺ of tall A they
        are (μ, 0), of wide A (0, μ): then no null space is left to round-off.
    norm : σ_max of A, to its order

    After `try_one_pass` a solve that need not be careful may take one pass, of a factor in single
    precision only for data of that.
    """

    def __init__(
        self,
        A: LinearOperator,
        embedding: Embedding,
        system: GhostSystem,
        rows: int,
        corners: Corners,
        wanted: Corners,
        norm: float,
    ) -> None:
        super().__init__()
        self.A, self.embedding, self.system, self.rows = A, embedding, system, rows
        self.corners, self.wanted, self.norm = corners, wanted, norm
        self.deflation: Deflation | None = None
        self.trial = Trial()

    def take_out(self, deflation: Deflation) -> None:
        """Let a deflation answer for its triples from now on."""
        self.deflation = deflation

    def rounded(self) -> AugmentedForm:
        """This form with its factor rounded to single precision, not yet tried."""
        system, corners, wanted = rounded(self.system), self.corners, self.wanted
        return AugmentedForm(self.A, self.embedding, system, self.rows, corners, wanted, self.norm)

    def try_one_pass(self, like: Tensor, condition: float = 1.0) -> None:
        """Leave refinement to the careful, if a `trial` of one pass allows it.

        Solves are refined, too, where the inverse keeps so little of their data that what one pass
        misses counts (one_pass.py).

        condition : of what is inverted, damping included, for a factor in single precision
        """
        a, b = random_pairs(self.A, like)
        change = beside = loss = 0.0
        for right, mine in (((a, 0 * b), 1), ((0 * a, b), 0)):
            found = self.once(*right)
            missed = self.once(*self._residuals(right, found))
            change = worst(change, part_of(missed[mine], found[mine]))
            beside = worst(beside, part_of(missed[1 - mine], found[1 - mine]))
            loss = worst(loss, part_of(missed[mine], right[1 - mine]))
            if self.system.single:
                at = tuple(corners(t[:1]) for t in right)
                lost = self.once(*self._residuals((at[0], at[1]), self.once(at[0], at[1])))
                loss = worst(loss, part_of(lost[mine], at[1 - mine]))
        if self.system.single:
            self.trial = Trial(change, beside, loss, single=True, limit=limit_in_single(condition))
        else:
            self.trial = Trial(change, beside, loss)

    def _in_one_pass(self, v: Tensor, *, adjoint: bool) -> Tensor | None:
        """A⁺ v or (A⁺)ᴴ v without refinement, if that is enough for v."""
        if not self.trial.answers(v):
            return None
        e, (data, domain) = self.embedding, self._parts
        if adjoint:
            found = self.system.solve(e.grid_of_domain(v), e.data_of, domain, data)
        else:
            found = self.system.solve(e.grid_of_data(v), e.domain_of, data, domain)
        return found if self.trial.is_enough(v, found) else None

    def both(self, v: Tensor, *, adjoint: bool) -> tuple[Tensor, Tensor]:
        """(x, ρ) for data v of A⁺, (ρ, −x) for an image v of (A⁺)ᴴ, both to their last digits.

        What stands beside the answer is the residual over the wanted α or β, and β or α times the
        solution of the normal equations for v.
        """
        e, parts, mine = self.embedding, self._parts, 0 if adjoint else 1
        if self.trial.answers(v) and self.trial.passed_for_both:
            f = e.grid_of_domain(v) if adjoint else e.grid_of_data(v)
            rho, x = e.split(self.system.solve(f, lambda u: u, parts[1 - mine]), self.rows)
            found = e.data_of(rho), e.domain_of(x)
            if self.trial.is_enough(v, found[mine]):
                return (found[0], -found[1]) if adjoint else (found[1], found[0])
        v = doubled(v)
        if adjoint:
            rho, x, _ = self.refined(v.new_zeros(len(v), *self.A.range_shape), v, 0, both=True)
            return rho, -x
        rho, x, _ = self.refined(v, v.new_zeros(len(v), *self.A.domain_shape), 1, both=True)
        return x, rho

    def pinv(self, y: Tensor, *, careful: bool = True) -> Answer:
        """A⁺ y, refined if it is to be `careful` or if one pass is not enough."""
        x = None if careful else self._in_one_pass(y, adjoint=False)
        if x is not None:
            return Answer(x, 0)
        y = doubled(y)
        apart: Tensor | float = 0.0
        if self.deflation is not None:
            y, apart = self.deflation.take_out(y, adjoint=False)
        rho, x, done = self.refined(y, y.new_zeros(len(y), *self.A.domain_shape), wanted=1)
        residual = self.wanted.alpha * rho if self.deflation is None and self.wanted.alpha else None
        return Answer(x + apart, done, residual)

    def pinv_adjoint(self, b: Tensor, *, careful: bool = True) -> Answer:
        """(A⁺)ᴴ b, refined if it is to be `careful` or if one pass is not enough."""
        rho = None if careful else self._in_one_pass(b, adjoint=True)
        if rho is not None:
            return Answer(rho, 0)
        b = doubled(b)
        apart: Tensor | float = 0.0
        if self.deflation is not None:
            b, apart = self.deflation.take_out(b, adjoint=True)
        rho, x, done = self.refined(b.new_zeros(len(b), *self.A.range_shape), b, wanted=0)
        residual = -self.wanted.beta * x if self.deflation is None and self.wanted.beta else None
        return Answer(rho + apart, done, residual)

    @property
    def _parts(self) -> tuple[slice, slice]:
        """Data and domain in the vector of a frequency's block."""
        return slice(self.rows), slice(self.rows, None)

    def alone(self, v: Tensor, *, adjoint: bool) -> Tensor:
        """A⁺ v or (A⁺)ᴴ v without what the deflation answers."""
        if adjoint:
            return self.refined(v.new_zeros(len(v), *self.A.range_shape), v, wanted=0)[0]
        return self.refined(v, v.new_zeros(len(v), *self.A.domain_shape), wanted=1)[1]

    def inverse_of_gram(self, v: Tensor, *, of_data: bool) -> Tensor:
        """(AAᴴ + αβ)⁻¹ v if it is data, (AᴴA + αβ)⁻¹ v if not, without what was taken out."""
        if of_data:
            zero = v.new_zeros(len(v), *self.A.domain_shape)
            return self._corrected(v, zero)[0] / self.corners.beta
        zero = v.new_zeros(len(v), *self.A.range_shape)
        return self._corrected(zero, v)[1] / -self.corners.alpha

    def null_vectors(self, most_entries: float) -> Tensor:
        """Null vectors of A if α > 0, of Aᴴ if not, where S is singular.

        They are orthonormal images (k, ...).
        S z = 0 leaves [ρ; x] = K⁻¹Jᴴz, with ρ = 0 for tall A and x = 0 for wide A.
        """
        shape = self.A.domain_shape if self.corners.alpha else self.A.range_shape
        size, count, e = math.prod(shape), self.system.null_count, self.embedding
        if not count:
            return self.system.blocks.new_zeros(0, *shape, dtype=self.A.dtype)
        if count > size:
            raise CannotServeError("its system of border unknowns is singular")
        if count * size > most_entries:
            raise CannotServeError(f"{count:,} null vectors are too many for images")
        rho, x = e.split(self.system.null_fields(), self.rows)
        return orthonormal(e.domain_of(x) if self.corners.alpha else e.data_of(rho))

    def once(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        """(ρ, x) of the factored system, without refinement."""
        e = self.embedding
        f = e.join(e.grid_of_data(a), e.grid_of_domain(b))
        rho, x = e.split(self.system.solve(f, lambda u: u), self.rows)
        return e.data_of(rho), e.domain_of(x)

    def contracts(self, like: Tensor, limit: float) -> bool:
        """Whether the backward error of one pass is within a limit; a bad S fails."""
        a = random_start((1, *self.A.range_shape), like)
        rho, x = self._corrected(a, a.new_zeros(1, *self.A.domain_shape))
        f = a - self.corners.alpha * rho - self.A._matvec(x)
        g = self.A._rmatvec(rho) - self.corners.beta * x
        data = self.corners.alpha * norms(rho) + self.norm * norms(x) + norms(a)
        least = torch.finfo(x.dtype).tiny * math.sqrt(x[0].numel())  # x may underflow
        domain = self.norm * norms(rho) + self.corners.beta * (norms(x) + least / limit)
        return bool(((norms(f) <= limit * data) & (norms(g) <= limit * domain)).all())

    def refined(
        self, a: Tensor, b: Tensor, wanted: int, *, both: bool = False
    ) -> tuple[Tensor, Tensor, int]:
        """(ρ, x) for both right-hand sides, refined until ρ (0) or x (1) is settled; the steps.

        both : until the other is settled too
        """
        rho, x = self._corrected(a, b)
        other = self.wanted.alpha * norms(rho) if wanted else self.wanted.beta * norms(x)

        def step(found: Unknowns) -> Unknowns:
            rho, x = found
            return self._corrected(*self._residuals((a, b), (rho, x)))

        beside = 1 - wanted if both else None
        (rho, x), done = refine((rho, x), step, wanted, other / self.norm, beside)
        return rho, x, done

    def _residuals(
        self, right: tuple[Tensor, Tensor], found: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Residuals of both rows of the system that is wanted."""
        (a, b), (rho, x) = right, found
        f = a - self.wanted.alpha * rho - self.A._matvec(x)
        return f, b - self.A._rmatvec(rho) + self.wanted.beta * x

    def _corrected(self, f: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
        if self.deflation is None:
            return self.once(f, g)
        f, g = self.deflation.without(f, g)
        return self.deflation.without(*self.once(f, g))
