"""What a damp gives, as a function of the damp: from Picard coefficients, or by solving."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ..inverse import (
    AccuracyWarning,
    InverseOperator,
    Request,
    factorize,
    make_plan,
    request_of,
)
from ..numerics.lanczos import largest_eigenvalue, random_start
from ..operators.convolution import Convolution
from .picard import Picard
from .rules import Rule, Trial
from .search import LARGEST, SMALLEST, grid
from .trace import (
    EXACT_LIMIT,
    exact_trace,
    ghost_count,
    signs,
)

_FINE, _REFINE_SUMS = 91, 50  # ten a decade: a value is a sum
_SMALLEST_SOLVED, _COARSE, _REFINE = 1.6e-4, 9, 6  # a value is a factorisation
_COARSE_ITERATED = 7  # 2.5e-3 of σ_max, which takes 1,500 iterations; each further one four times
_PATIENCE = 1  # a second rise would cost as much as all damps before it


class Trials(Protocol):
    """A trial for every damp, and how the damps are best gone through.

    Attributes
    ----------
    damps : a grid, the largest first
    patience, refine : as in search.py
    advice : what is to be said of the trials themselves
    """

    damps: list[float]
    patience: int | None
    refine: int
    advice: str | None

    def __call__(self, damp: float) -> Trial:
        """What this damp gives."""


class PicardTrials:
    """All trials from one factorisation: sums over one vector.

    Parameters
    ----------
    found : of the data, (N, K)
    """

    def __init__(self, found: Picard) -> None:
        images, kernels = len(found.power), len(found.sigma)
        counts = found.counts.double()
        # images that share a kernel share its singular values: their powers add
        power = found.power.view(kernels, -1, found.power.shape[1]).sum(1) * counts
        keep = found.counts > 0
        self.sigma = found.sigma[:, keep].flatten()
        self.power = power[:, keep].flatten()
        self.counts = (images / kernels * counts[keep]).repeat(kernels)
        self.outside = float(found.outside.sum())
        self.unseen = images * found.rows - float(self.counts.sum())  # left singular vectors
        self.norm = float(self.sigma.max())
        self.damps = grid(SMALLEST * self.norm, LARGEST * self.norm, _FINE)
        self.patience: int | None = None
        self.refine = _REFINE_SUMS
        self.advice: str | None = None

    def __call__(self, damp: float) -> Trial:
        """What this damp gives, by sums over the singular values."""
        lost = 1 / (1 + (self.sigma / damp) ** 2)  # λ/(σ² + λ)
        gain = 1 / (self.sigma + damp * (damp / self.sigma))  # σ/(σ² + λ), 0 for σ = 0
        ours = self.power * gain**2
        return Trial(
            damp=damp,
            residual=float(torch.dot(self.power, lost**2)) + self.outside,
            norm=float(ours.sum()),
            slope=-4 / damp * float(torch.dot(ours, lost)),
            left=self.unseen + float(torch.dot(self.counts, lost)),
        )


@dataclass(frozen=True)
class Asked:
    """How the solves are to be done.

    Attributes
    ----------
    method : 'auto', or the rung (way to invert A) that solves for every damp
    memory_limit : bytes that a factor may take
    tol : relative error that solves shall reach where they iterate
    probes, seed : of Hutchinson's estimate of the trace
    """

    method: str
    memory_limit: float
    tol: float
    probes: int
    seed: int


class SolvedTrials:
    """Every trial by its own factor or iteration, images and probes in one batch."""

    def __init__(self, op: Convolution, y: Tensor, rule: Rule, asked: Asked) -> None:
        self.op, self.y, self.rule, self.asked = op, y, rule, asked
        start = random_start((op.batch_size or 1, *op.domain_shape), op.weight)
        gram = largest_eigenvalue(lambda v: op._rmatvec(op._matvec(v)), start, steps=8, rtol=5e-2)
        self.norm = float(gram.amax().sqrt())
        self.damps = self._grid()
        self.patience = None if rule.wants_slope else _PATIENCE  # curvature has many minima
        self.refine = _REFINE
        self.advice: str | None = None
        self.exact = rule.wants_trace and self._is_exact()
        count = asked.probes if rule.wants_trace and not self.exact else 0
        self.signs = signs(op, count, asked.seed).to(y.device)

    def _grid(self) -> list[float]:
        damps = grid(_SMALLEST_SOLVED * self.norm, LARGEST * self.norm, _COARSE)
        request = self._request(damps[-1], len(self.y) + self.asked.probes)
        plan = make_plan(self.op, request)
        return damps[:_COARSE_ITERATED] if plan.method == "krylov" else damps

    def _request(self, damp: float, solves: int) -> Request:
        a = self.asked
        return request_of(damp, None, 0.0, a.memory_limit, solves, a.tol, method=a.method)

    def _is_exact(self) -> bool:
        if self.asked.method == "krylov" or self.op.seen is not None:
            return False
        count, groups = ghost_count(self.op), self.op.geometry.groups
        need = 4 * groups * count**2 * self.op.weight.element_size()
        return count <= EXACT_LIMIT and need <= self.asked.memory_limit

    def __call__(self, damp: float) -> Trial:
        """What this damp gives: a factorisation, a batched solve, an adjoint solve for a slope."""
        op, y = self.op, self.y
        request = self._request(damp, len(y) + len(self.signs))
        inverse = factorize(op, request)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            x, estimates = self._solved(inverse)
            r = y - op._matvec(x)
            # d‖x‖²/d damp = −4 damp xᴴ(AᴴA + λ)⁻¹x = −4/damp ⟨r, (A_λ⁺)ᴴx⟩: nothing cancels
            slope = math.nan
            if self.rule.wants_slope:
                slope = -4 / damp * float((r.conj() * inverse.H(x)).sum().real)
        self._heed(caught, damp)
        left = math.nan
        if self.exact:
            left = exact_trace(op, damp) * (1 if op.batch_size else len(y))
        elif estimates:
            left = math.fsum(estimates) / len(estimates)
        return Trial(damp, _energy(r), _energy(x), slope, left, estimates)

    def _heed(self, caught: list[warnings.WarningMessage], damp: float) -> None:
        """Keep what the solves say of their accuracy; pass on what is not about them."""
        for w in caught:
            if issubclass(w.category, AccuracyWarning):
                self.advice = f"at damp {damp:.3g}: {w.message}".rstrip(".")
            else:
                warnings.warn_explicit(w.message, w.category, w.filename, w.lineno)

    def _solved(self, inverse: InverseOperator) -> tuple[Tensor, tuple[float, ...]]:
        """The images' x, and an estimate of tr(I − A A_λ⁺) over the batch from every probe."""
        op, y, z = self.op, self.y, self.signs
        if op.batch_size is not None:  # one kernel per sample: a probe is a batch
            x = inverse(y)
            apart = [zi - op._matvec(inverse(zi)) for zi in z]
            return x, tuple(float((zi * a).sum().real) for zi, a in zip(z, apart, strict=True))
        x = inverse(torch.cat([y, z.to(y.dtype)]))
        x, w = x[: len(y)], x[len(y) :]
        if not len(z):
            return x, ()
        each = (z * (z - op._matvec(w))).flatten(1).sum(1).real
        return x, tuple((len(y) * each).tolist())


def _energy(v: Tensor) -> float:
    return float(torch.linalg.vector_norm(v)) ** 2
