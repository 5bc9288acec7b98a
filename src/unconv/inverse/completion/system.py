"""The *completion* rung: what was not seen is filled in, at the price of some pairs of FFTs.

For operators whose padding invents nothing, with damp > 0: a photograph whose surroundings nobody
knows, dead pixels (`observed`), patches, strides, several channels.  On a periodic grid that holds
the whole domain the problem is block-diagonal but for the outputs that are missing there; these are
solved for by conjugate gradients (completion.py) with a proven bound of the error, until that is
below tol.  Steps grow as some root of σ_max/damp and not with the size.

A transposed operator is the adjoint of such a one, and solved as the adjoint of its inverse.

Set-up: a few FFTs and small factorisations.  Solve: a pair of FFTs a step.
Not for: damp = 0, padding that invents pixels, or damp so small that more than `MOST_STEPS` steps
are expected (some 1e-3·σ_max).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...convolve import grouped
from ...numerics.norms import in_unit, quotient_in_halves, ratio
from ...numerics.precision import double_dtype
from ...numerics.progress import Watch, parts_of, watch_of
from ...operators.convolution import Convolution
from ..derivative import LeastSquares
from ..facts import CannotServeError, Companions, Effort, SpectrumSummary, warn_of_accuracy
from ..normal_equations import refinements_for
from ..operator import InverseOperator
from ..request import Request
from .completion import Completion
from .missing import missing_outputs
from .precision import Precision
from .preconditioner import Preconditioner
from .rounds import Completed
from .sizes import cost, images_at_once, memory, most_steps, obstacle, operations, structure

__all__ = ["CompletionInverse", "factor", "memory", "obstacle", "operations"]

_FARTHEST_APART = 1e100  # of damp to the weight: its square is in range
_LIKE = 1.25  # damps within this factor share a preconditioner: it costs ten pairs of FFTs
_MOST_PRECONDITIONERS = 12


def factor(op: Convolution, request: Request) -> InverseOperator:
    """Precision and preconditioner on the grid, in units in which every kernel is of order one."""
    return CompletionFamily(op, request).at(request)


class CompletionFamily:
    """Completions of one operator for many damps, which share what does not depend on damp.

    Of the precisions of two damps one is at most (damp/damp')² times the other.  So the
    preconditioner of the one serves the other, while they are alike, at some steps more.

    Raises
    ------
    CannotServeError
        If the rung does not serve `op`.
    """

    def __init__(self, op: Convolution, request: Request) -> None:
        why = structure(op)
        if why is not None or not request.damp:
            raise CannotServeError(why or "it completes data by damp > 0")
        self.op, self.torus = op, cost(op, request).torus
        self._preconditioners: list[tuple[float, Preconditioner]] = []
        with torch.no_grad():
            weight = op.weight.detach().to(double_dtype(op.dtype))
            kernels = weight if op.batch_size else weight[None]
            if not bool(kernels.isfinite().all()):
                raise CannotServeError("the weight is not finite")
            kernels, self._unit = in_unit(kernels)
            plain = op.with_weight(kernels.reshape(weight.shape))
            taps = plain.taps.conj().resolve_conj() if op.transposed else plain.taps
            self._blocks = self.torus.spectrum(grouped(taps, op.geometry), op.geometry)
            self._norm = torch.linalg.vector_norm(self._blocks.flatten(2), dim=2).amax(0)
            self._missing = missing_outputs(op.geometry, self.torus, op.seen, op.device)

    def at(self, request: Request) -> CompletionInverse:
        """The inverse for the damp of a request."""
        op, found = self.op, cost(self.op, request)
        unit_damp = request.damp / float(op.weight.detach().abs().amax().double() or 1.0)
        if not unit_damp < _FARTHEST_APART:
            raise CannotServeError("damp is too large beside the weight for double precision")
        with torch.no_grad():
            precision = Precision(self.torus, self._blocks, request.damp / self._unit)
            preconditioner = self._like(request.damp)
            completion = Completion(precision, self._missing, found.reach, preconditioner)
        if preconditioner is None:
            kept = [*self._preconditioners, (request.damp, completion.preconditioner)]
            self._preconditioners = kept[-_MOST_PRECONDITIONERS:]
        facts = SpectrumSummary.damped(self._norm * self._unit, request.damp)
        most = most_steps(found.steps, request)
        return CompletionInverse(op, completion, self._unit, request, facts, most)

    def _like(self, damp: float) -> Preconditioner | None:
        """The preconditioner of the nearest damp, if that is near."""
        if not self._preconditioners:
            return None
        nearest = min(self._preconditioners, key=lambda kept: abs(math.log(kept[0] / damp)))
        return nearest[1] if max(nearest[0] / damp, damp / nearest[0]) < _LIKE else None


class CompletionInverse(InverseOperator):
    """A damped inverse, or a Wiener filter, by completion of the data, in double precision.

    unit : (B,) what the weight of each kernel was divided by
    """

    method = "completion"
    keeps_double = True
    iterates = True
    unit: Tensor

    def __init__(
        self,
        op: Convolution,
        completion: Completion,
        unit: Tensor,
        request: Request,
        facts: SpectrumSummary,
        maxiter: int,
    ) -> None:
        super().__init__(op, request, facts)
        self.completion, self.transposed = completion, op.transposed
        self.geometry = op.geometry
        self.tol, self.maxiter = request.tol, maxiter
        self.register_buffer("unit", unit)

    @property
    def device(self) -> torch.device:
        """Device of the factor."""
        return self.unit.device

    def _solve(self, y: Tensor) -> Tensor:
        return self._in_slices(y, backward=self.transposed, recorded=False)[0]

    def _solve_adjoint(self, x: Tensor) -> Tensor:
        return self._in_slices(x, backward=not self.transposed, recorded=False)[0]

    def _solve_recorded(self, y: Tensor) -> tuple[Tensor, Effort]:
        return self._in_slices(y, backward=self.transposed, recorded=True)

    def evaluate_with_companion(self, v: Tensor, *, adjoint: bool) -> tuple[Tensor, Tensor | None]:
        """B v or Bᴴ v, and the residual, of which the derivatives of damped least squares live."""
        if not isinstance(self.derivative, LeastSquares):
            return self.evaluate(v, adjoint=adjoint), None
        backward = adjoint != self.transposed
        x, effort = self._evaluated(
            v, lambda t: self._in_slices(t, backward=backward, recorded=True), adjoint
        )
        return x, effort.residual

    def companions(self, companion: Tensor | None, *, adjoint: bool) -> Companions:
        """The residual, which is damp² times the solution of the normal equations.

        Of data it is known as such.  Of an image of the domain it is a difference, which loses
        (σ_max/damp)² of all digits.
        """
        if companion is None or not isinstance(self.derivative, LeastSquares):
            return Companions()
        ratio = float(self.summary.norm.max()) / self.damp
        exact = adjoint == self.transposed or not refinements_for(ratio, torch.float64)
        return Companions(companion, 1.0, self.damp**-2 if exact else 0.0)

    def companions_of(self, effort: Effort) -> Companions:
        """The residual of a recorded solve of data, and what follows from it."""
        return self.companions(effort.residual, adjoint=False)

    def _in_slices(self, v: Tensor, *, backward: bool, recorded: bool) -> tuple[Tensor, Effort]:
        torus = self.completion.precision.torus
        at_once = len(v) if self.batch_size else images_at_once(self.geometry, torus)
        work = self._adjoint if backward else self._estimate
        watch = watch_of(self.progress, self.method, len(v))
        parts, sizes, ends, residuals = [], [], [], []
        for part in parts_of(v.split(at_once), watch):
            grid, size = self._placed(part, outputs=not backward)
            x, found, residual = work(grid, recorded, watch)
            del grid
            parts.append(x)
            sizes.append(size)
            error = ratio(found.error, found.size)
            ends.append((found.steps, error, found.meets(self.tol)))
            if residual is not None:
                residuals.append(residual)
        size = torch.cat(sizes)
        up, down = quotient_in_halves(size, self.unit.expand_as(size))
        each = (-1, *[1] * (v.ndim - 1))
        x = torch.cat(parts) * up.reshape(each) * down.reshape(each)
        residual = torch.cat(residuals) * size.reshape(each) if residuals else None
        steps, error, met = (torch.cat(entries) for entries in zip(*ends, strict=True))
        effort = Effort(iterations=steps, residual=residual, evidence=error, met=met)
        advice = self.advice(effort)
        if advice:
            warn_of_accuracy(advice)
        return x, effort

    def _placed(self, v: Tensor, *, outputs: bool) -> tuple[Tensor, Tensor]:
        """Data or images of the domain on the grid, each in a unit of its own, and these units."""
        p = self.completion.precision
        shape = p.shape if outputs else (v.shape[1], *p.torus.fine)
        v, size = in_unit(v)
        grid = v.new_zeros(len(v), *shape)
        grid[self._frame(outputs=outputs)] = v
        return grid, size

    def _estimate(
        self, y: Tensor, recorded: bool, watch: Watch | None
    ) -> tuple[Tensor, Completed, Tensor | None]:
        """(x, what was found, y − Ax) of the convolution, for data on the grid."""
        c = self.completion
        c.put_(y, y.new_zeros(len(y), len(c.where)))
        x, found = c.estimate(y, self.tol, self.maxiter, watch)
        residual = None
        if recorded:
            residual = c.precision.of_noise(found.w)[self._frame(outputs=True)]
        return x[self._frame(outputs=False)], found, residual

    def _adjoint(
        self, x: Tensor, recorded: bool, watch: Watch | None
    ) -> tuple[Tensor, Completed, Tensor | None]:
        """(w, what was found, x − Aᴴw) of the convolution, for an image on the grid."""
        c, frame = self.completion, self._frame(outputs=False)
        found = c.adjoint(x, self.tol, self.maxiter, watch)
        residual = None
        if recorded:
            complete = c.put_(found.w.clone(), found.left)
            residual = (x - c.precision.carried(complete))[frame]
        return found.w[self._frame(outputs=True)], found, residual

    def _frame(self, *, outputs: bool) -> tuple[slice, ...]:
        """Where data or domain lie on the grid."""
        shape = self.domain_shape if outputs != self.transposed else self.range_shape
        return (slice(None), slice(None), *(slice(n) for n in shape[1:]))

    def advice(self, effort: Effort) -> str | None:
        """What is to be said of the image that is known least, if one falls short."""
        return shortfall(effort, self.maxiter, self.tol)


def shortfall(effort: Effort, maxiter: int, tol: float) -> str | None:
    """What is to be said of the image of an iteration that is known least, if one falls short."""
    if effort.iterated is None:
        return None
    iterations, errors, met = effort.iterated
    if bool((met | errors.isnan()).all()):
        return None
    short = torch.where(met | errors.isnan(), -1.0, errors)
    most, worst = int(iterations.max()), float(short.max())
    more = "raise maxiter or tol" if most >= maxiter else "raise tol"
    return (
        f"stopped after {most:,} steps with error_bound {worst:.1e}, above tol={tol:g}: "
        f"use a larger damp, or {more}"
    )
