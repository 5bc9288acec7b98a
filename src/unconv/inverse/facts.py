"""What a factorisation and a solve have to tell, and the words for what is in doubt."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from ..operators.convolution import Convolution
from ..operators.linear_operator import gigabytes


@dataclass(frozen=True)
class SpectrumSummary:
    """What the factorisation learned about the singular values, one entry a kernel (B or 1).

    Attributes
    ----------
    norm : (B,) lower bound of σ_max, within a few percent of it as a rule, never under half;
        of the rung *completion* an upper bound: that of the grid which holds the domain
    floor : (B,) lower bound of √(σ_r² + damp²) over the kept directions; inf if there are none
    rank : (B,) number of kept singular values, None where damp > 0 made it moot
    gap : (B,) σ_r/σ_{r+1} from below or to a percent, inf when nothing was dropped
    rank_how : how the rank is known
    dropped : (B,) number of singular values that were cut
    above_zero : (B,) where some singular values are zero to round-off, a lower bound of the least
        of the others; inf where none is zero, or nobody has looked
    """

    norm: Tensor
    floor: Tensor
    rank: Tensor | None
    gap: Tensor
    rank_how: str
    dropped: Tensor = field(default_factory=lambda: torch.zeros(1, dtype=torch.long))
    above_zero: Tensor = field(default_factory=lambda: torch.full((1,), math.inf))

    @classmethod
    def damped(cls, norm: Tensor, floor: float, by: str = "damp") -> SpectrumSummary:
        """Facts of a map that damping or noise keeps from zero: nothing is cut, no rank sought."""
        return cls(
            norm=norm,
            floor=torch.full_like(norm, floor),
            rank=None,
            gap=torch.full_like(norm, math.inf),
            rank_how=f"not needed: {by} > 0",
        )


def least_above_zero(S: Tensor, cutoff: Tensor) -> Tensor:
    """(B, k) singular values and (B,) -> (B,): the least above the cut-off; inf if all are."""
    above = cutoff[:, None] < S
    least = torch.where(above, S, torch.inf).amin(1)
    return torch.where(above.all(1), torch.inf, least)


class Effort(NamedTuple):
    """What one solve took and found out, one entry per image; None is zero, or nothing.

    Attributes
    ----------
    iterations, refinements : (N,) integers
    residual : (N, *range_shape) the solver's own y − Ax, a second witness for the certificate
    evidence : (N,) what an iteration proved: a bound of its error, or an optimality without damping
    met : (N,) bool, whether that is what was asked of the iteration
    """

    iterations: Tensor | None = None
    refinements: Tensor | None = None
    residual: Tensor | None = None
    evidence: Tensor | None = None
    met: Tensor | None = None

    @property
    def iterated(self) -> tuple[Tensor, Tensor, Tensor] | None:
        """(iterations, evidence, met) of an iteration, None of anything else."""
        if self.iterations is None or self.evidence is None or self.met is None:
            return None
        return self.iterations, self.evidence, self.met

    def joined(self, other: Effort) -> Effort:
        """The worse of two efforts, image by image: for Re y and for Im y, solved one by one."""
        return Effort(
            _merged(torch.maximum, self.iterations, other.iterations),
            _merged(torch.maximum, self.refinements, other.refinements),
            _merged(torch.complex, self.residual, other.residual),
            _merged(torch.maximum, self.evidence, other.evidence),
            _merged(torch.logical_and, self.met, other.met),
        )

    def halved(self) -> Effort:
        """The worse of both halves of a batch [Re y; Im y], image by image."""
        re, im = (
            Effort(*(None if t is None else t.chunk(2)[half] for t in self)) for half in (0, 1)
        )
        return re.joined(im)


class Companions(NamedTuple):
    """What a solve x = B y has found beside x, as values.

    Attributes
    ----------
    found : an image of the shape of y, or None
    residual_over, normal_over : y − Ax and u = (AAᴴ + damp²)⁻¹y in units of it; 0: it tells nothing
    """

    found: Tensor | None = None
    residual_over: float = 0.0
    normal_over: float = 0.0

    @property
    def residual(self) -> Tensor | None:
        """y − Ax."""
        return self._times(self.residual_over)

    @property
    def normal(self) -> Tensor | None:
        """(AAᴴ + damp²)⁻¹ y, to all its digits."""
        return self._times(self.normal_over)

    def _times(self, factor: float) -> Tensor | None:
        if self.found is None or not 0 < factor < math.inf:
            return None
        return self.found if factor == 1 else self.found * factor


def _merged(
    merge: Callable[[Tensor, Tensor], Tensor], a: Tensor | None, b: Tensor | None
) -> Tensor | None:
    return None if a is None or b is None else merge(a, b)


class FactorPrecision(NamedTuple):
    """In which precision a rung keeps its factor of an operator.

    Attributes
    ----------
    real : the real dtype, as a rule
    why : in words, when or why that; empty where it keeps no other for the operator's dtype
    dearer_if : when it takes more memory than as a rule, in words
    """

    real: torch.dtype
    why: str = ""
    dearer_if: str = "if A is rank-deficient"


@dataclass(frozen=True)
class Plan:
    """Which rung (way to invert A) answers, why, and what it will cost; `print(plan)` shows it.

    Attributes
    ----------
    method, reason : the rung and why it was taken
    memory : bytes at the peak of the factorisation and of one solve, for A of full rank or damped
    memory_if_deficient
        Bytes at the peak for A that turns out to be rank-deficient, or so ill-conditioned that
        its answers are in doubt, and for a damped one whose factor turns out to be needed in double
        precision; for `boundary` of the dearest way that it then takes and that fits memory_limit.
        Every such way asks again before it allocates: what does not fit leaves the answer to the
        next way, at last to the next rung.
    factor_operations, apply_operations : flop of the set-up and of one solve of one image
    factor_dtype : dtype in which the factor is kept
    factor_why : in words, when or why it is that one; empty where the rung keeps no other
    dearer_if : when it takes memory_if_deficient, in words
    rejected : (rung, reason) for each rung above
    """

    method: str
    reason: str
    memory: int
    memory_if_deficient: int
    factor_operations: float
    apply_operations: float
    expected_solves: int
    factor_dtype: torch.dtype
    rejected: tuple[tuple[str, str], ...]
    factor_why: str
    dearer_if: str

    @property
    def total_operations(self) -> float:
        """Flop of the set-up and all expected solves."""
        return self.factor_operations + self.expected_solves * self.apply_operations

    def __str__(self) -> str:
        memory = f"{gigabytes(self.memory)} at the peak of the set-up"
        if self.memory_if_deficient != self.memory:
            memory += f", {gigabytes(self.memory_if_deficient)} {self.dearer_if}"
        how = f"computed in double precision, kept in {self.factor_dtype}"
        if self.factor_why:
            how = f"kept in {self.factor_dtype}, {self.factor_why}"
        lines = [
            f"method   {self.method}: {self.reason}",
            f"memory   {memory}",
            f"set-up   {self.factor_operations:.2g} flop",
            f"solve    {self.apply_operations:.2g} flop per image, {self.expected_solves} expected",
            f"factor   {how}",
        ]
        return "\n".join(lines + [f"not      {name}: {why}" for name, why in self.rejected])


def image_bytes(op: Convolution) -> int:
    """Bytes of one image for each kernel, of the larger side and in double precision."""
    return (16 if op.dtype.is_complex else 8) * max(op.shape) * (op.batch_size or 1)


UNSEEN = "some of its outputs were not observed"
"""Why a method that needs all of them cannot serve."""


class CannotServeError(ValueError):
    """A rung found while factoring that it cannot answer; the ladder then tries the next one."""


# torch documents this error, but its stubs do not export it.
GIVES_UP = (CannotServeError, torch.linalg.LinAlgError)  # type: ignore[attr-defined]
"""What ends one way to factor and hands over to the next: its own refusal, or LAPACK's."""


class AccuracyWarning(UserWarning):
    """An answer that is less certain than was asked, with the figures."""


def warn_of_accuracy(sentence: str) -> None:
    """An `AccuracyWarning` at the line outside of this package (and torch) that asked."""
    frame, level = inspect.currentframe(), 1
    while frame is not None and frame.f_globals.get("__name__", "").split(".")[0] in _INSIDE:
        frame, level = frame.f_back, level + 1
    warnings.warn(sentence, AccuracyWarning, stacklevel=level)


_INSIDE = ("unconv", "torch")
