"""The rung *krylov* (a rung is one way to invert A): any operator, by iterations with a proof.

    damp > 0   until ‖Aᴴ(y − Ax) − damp²x‖ ≤ tol·damp²‖x‖, a proof that x is known to tol;
    damp = 0   until ‖Aᴴ(y − Ax)‖ is round-off: optimal, but no bound on the error exists without
               the smallest singular value, and an iteration never knows it.

CGLS serves damp ≥ σ_max/100, LSMR the rest.  For tol = 1e-6 both take κ/2·ln(2/tol) steps with
κ = σ_max/damp (within 20 %: 235 and 218 for a 15-tap motion at κ = 33), LSMR 3 to 20 % fewer at
10 % more time per step; at κ = 1,000 and tol = 1e-3 it takes 2,290 against 3,593.

It is the last rung because its cost is the data's to decide: about σ_max/damp steps, each one FFT
pair for A and one for Aᴴ, and without damp as many as it takes.  It has no set-up but an estimate
of σ_max, and needs a few images of memory.  Images of a batch stop one by one (iteration.py); those
that end above tol say so in their `Effort` and in an `AccuracyWarning`.

All of it runs in double precision, whatever the data: a bound of 1e-6 at damp = 1e-3·σ_max is a
gradient of 1e-12.  Kernels and data are scaled to order one by powers of two, so that weights of
1e-170 or data of 1e200 neither under- nor overflow.

Left out after measurement: a circulant preconditioner (see docs/architecture.md).

Source: CGLS and LSMR as in cgls.py and lsmr.py.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..convolve.bounds import taps_bound
from ..convolve.by_fft import grouped
from ..numerics.cgls import Cgls
from ..numerics.iteration import (
    Iteration,
    Outcome,
    iterate,
)
from ..numerics.linear_map import Adjoint, LinearMap
from ..numerics.lsmr import Lsmr, largest_singular_value
from ..numerics.memory import BATCH_BYTES
from ..numerics.norms import in_unit, quotient_in_halves
from ..numerics.precision import double_dtype
from ..numerics.progress import Watch, parts_of, watch_of
from ..operators.convolution import Convolution
from .facts import Effort, SpectrumSummary, warn_of_accuracy
from .operator import InverseOperator
from .prepared import (
    Prepared,
    applied_flops,
    buffer_bytes,
    kernel_spectrum,
    spectrum_bytes,
)
from .request import Request

_MOST_DAMPED = 20_000
_MOST_PLAIN = 2_000
_LARGEST_RATIO = 100.0  # σ_max/damp above which the fewer steps of LSMR outweigh their cost
# Vectors of the images that run together.  On a CPU what leaves the cache costs a third more.
_SLICE_BYTES = {"cpu": BATCH_BYTES}
_SLICE_BYTES_ELSEWHERE = 512 * 2**20
_HELD_AT_ONCE = 9  # of the size of x and of y that an algorithm holds at once


def obstacle(op: Convolution, request: Request) -> str | None:
    """Why the rung cannot serve `op`, or None."""
    if not request.damp and (request.rtol is not None or request.atol):
        return "an iteration cannot cut singular values at rtol or atol; use damp > 0"
    return None


def memory(op: Convolution, request: Request) -> int:
    """Bytes of the images that run together: their vectors, their grids, the kernel's spectrum."""
    images = op.batch_size or min(max(1, request.expected_solves), _images_at_once(op))
    return images * _bytes_an_image(op) + buffer_bytes(op, images) + 2 * spectrum_bytes(op)


def operations(op: Convolution, request: Request) -> tuple[float, float]:
    """Floating-point operations of (the estimate of σ_max, one solve of one image)."""
    step = applied_flops(op) + 16.0 * sum(op.shape)
    return 12 * step * (op.batch_size or 1), expected_iterations(op, request) * step


def expected_iterations(op: Convolution, request: Request) -> int:
    """κ/2·ln(2/tol) with κ an upper bound of σ_max/damp, or maxiter.

    With the true κ this is within 20 % of what blurs and random kernels take; the bound exceeds it
    up to fourfold where taps have mixed signs.
    """
    κ = norm_bound(op) / request.damp if request.damp else math.inf
    return int(min(_maxiter(op, request, κ), _needed(request, κ)))


def _needed(request: Request, κ: float) -> float:
    """Iterations for a bound of tol: the rate of CG on AᴴA + damp² is 1 − 2/κ."""
    if not κ < 1e9:  # nor is NaN
        return math.inf
    return math.ceil(max(1.0, κ / 2 * math.log(max(math.e, 2 / request.tol))))


def _maxiter(op: Convolution, request: Request, κ: float) -> int:
    if request.maxiter is not None:
        return request.maxiter
    if not request.damp:
        return min(4 * max(op.shape), _MOST_PLAIN)
    return int(min(4 * _needed(request, κ) + 50, _MOST_DAMPED))


def norm_bound(op: Convolution) -> float:
    """σ_max ≤ √(‖A‖₁‖A‖_∞) without the copies of a mirrored edge, the largest of all kernels."""
    if op.device.type == "meta":
        return math.inf
    weight = op.weight.detach().abs().double()  # sums of float32 round by more than a bound may
    return float(taps_bound(grouped(weight, op.geometry)).amax().cpu())


def _bytes_an_image(op: Convolution) -> int:
    return _HELD_AT_ONCE * sum(op.shape) * (16 if op.dtype.is_complex else 8)


def _images_at_once(op: Convolution) -> int:
    size = _SLICE_BYTES.get(op.device.type, _SLICE_BYTES_ELSEWHERE)
    return max(1, size // _bytes_an_image(op))


def factor(op: Convolution, request: Request) -> InverseOperator:
    """Scale the kernel, take its spectrum, estimate σ_max."""
    wide = double_dtype(op.dtype)
    with torch.no_grad():
        weight = op.weight.detach().to(wide)
        kernels = weight if op.batch_size else weight[None]
        kernels, unit = in_unit(kernels)
        A = op.with_weight(kernels.reshape(weight.shape))
        blocks = kernel_spectrum(A)
        norm = largest_singular_value(Prepared(A, blocks), len(kernels), A.weight)
    return KrylovInverse(op, A.weight, blocks, unit, norm, request)


class KrylovInverse(InverseOperator):
    """A⁺ or a damped inverse, iterated anew for every y."""

    method = "krylov"
    keeps_double = True
    iterates = True
    weight: Tensor
    blocks: Tensor | None
    unit: Tensor
    norm: Tensor

    def __init__(
        self,
        op: Convolution,
        weight: Tensor,
        blocks: Tensor | None,
        unit: Tensor,
        norm: Tensor,
        request: Request,
    ) -> None:
        damp = request.damp
        summary = SpectrumSummary(
            norm=norm * unit,
            floor=torch.full_like(norm, damp),
            rank=None,
            gap=torch.full_like(norm, torch.inf),
            rank_how="not needed: damp > 0" if damp else "not known: iterated",
            dropped=torch.zeros(len(norm), dtype=torch.long, device=norm.device),
        )
        super().__init__(op, request, summary)
        ratio = norm / (damp / unit)  # inf without damp, NaN for neither
        κ = math.inf if ratio.isnan().any() else float(ratio.amax())
        self.tol, self.maxiter = request.tol, _maxiter(op, request, κ)
        self.patience = max(200.0, min(_MOST_DAMPED, _needed(request, κ)) / 2)
        lsmr = κ > _LARGEST_RATIO and bool((ratio > 1e-6).all())
        self.algorithm: type[Iteration] = Lsmr if lsmr or not damp else Cgls
        # The weights and their spectrum are this inverse's own buffers, which follow `.to`; the
        # operator around them is built for each solve from one that has no weight.
        self._template = (op.without_bias(op.weight.new_empty(0)),)
        self.register_buffer("weight", weight)  # of order one: times `unit` it is the operator's
        self.register_buffer("blocks", blocks)
        self.register_buffer("unit", unit)
        self.register_buffer("norm", norm)

    @property
    def device(self) -> torch.device:
        """Device of the kernel."""
        return self.weight.device

    def _solve(self, y: Tensor) -> Tensor:
        return self._warned(*self._iterated(y, adjoint=False))

    def _solve_adjoint(self, x: Tensor) -> Tensor:
        return self._warned(*self._iterated(x, adjoint=True))

    def _solve_recorded(self, y: Tensor) -> tuple[Tensor, Effort]:
        x, effort = self._iterated(y, adjoint=False)
        advice = self.advice(effort)
        if advice:
            warn_of_accuracy(advice)
        return x, effort

    def _warned(self, x: Tensor, effort: Effort) -> Tensor:
        """x, for which no certificate will speak."""
        advice = self.advice(effort)
        if advice is None and not self.damp and x.any():
            assert effort.evidence is not None  # of an iteration
            optimality = float(effort.evidence.nan_to_num().max())
            advice = (
                f"iterated to an optimality of {optimality:.1e}, which is round-off, but without "
                "damp no bound on the error is known: use damp > 0, or raise memory_limit for a "
                "direct method"
            )
        if advice:
            warn_of_accuracy(advice)
        return x

    def _iterated(self, y: Tensor, *, adjoint: bool) -> tuple[Tensor, Effort]:
        """(A⁺)ᴴ = (Aᴴ)⁺, damped too: the same iteration on Aᴴ."""
        prepared = Prepared(self._template[0].with_weight(self.weight), self.blocks)
        A: LinearMap = Adjoint(prepared) if adjoint else prepared
        at_once = len(y) if self.batch_size else _images_at_once(prepared.op)
        watch = watch_of(self.progress, self.method, len(y))
        parts = parts_of(y.split(max(1, at_once)), watch)
        ends = [self._slice(A, part, watch) for part in parts]
        x = torch.cat([e.x for e in ends]).reshape(len(y), *A.domain_shape)
        iterations, evidence, met = (torch.cat(f) for f in list(zip(*ends, strict=True))[1:])
        return x, Effort(iterations=iterations, evidence=evidence, met=met)

    def _slice(self, A: LinearMap, y: Tensor, watch: Watch | None) -> Outcome:
        """Solve in units in which the kernel and every y are of order one, and scale back."""
        y, size = in_unit(y)
        damp = (self.damp / self.unit)[:, None]
        norm = self.norm[:, None]
        if self.algorithm is Lsmr:
            μ = torch.ones_like(damp)
            run: Iteration = Lsmr(A, y, norm, damp)
        else:  # beyond σ_max, λ = damp² is divided out: see cgls.py
            μ = damp.clamp(min=1)
            run = Cgls(A, y, norm, torch.where(damp > 1, 1.0, damp), μ**-2, self.patience)
        ended = iterate(run, self.tol, self.maxiter, watch)
        a, b = quotient_in_halves(size, self.unit)
        return ended._replace(x=ended.x * a[:, None] / μ * b[:, None] / μ)

    def advice(self, effort: Effort) -> str | None:
        """What is to be said of the image that is furthest from what was asked, if any is."""
        if effort.iterated is None:  # no image
            return None
        iterations, evidences, met = effort.iterated
        short = ~met & ~evidences.isnan()
        if not short.any():
            return None
        worst = torch.where(short, evidences, -1.0).argmax()
        k, evidence = int(iterations[worst]), float(evidences[worst])
        many = f" for {int(short.sum())} of {len(short)} images" if len(short) > 1 else ""
        more = "maxiter or " if k >= self.maxiter else ""
        if not self.damp:
            return (
                f"stopped after {k:,} iterations with optimality {evidence:.1e}{many}, which is "
                f"above round-off: use damp > 0, or raise {more}memory_limit"
            )
        return (
            f"stopped after {k:,} iterations with error_bound {evidence:.1e}{many}, above "
            f"tol={self.tol:g}: use a larger damp, or raise {more or 'tol or '}memory_limit"
        )
