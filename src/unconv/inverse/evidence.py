"""How far a computed x can be from x*, judged from A alone, round-off of the judgement included.

x* minimises ‖Ax − y‖² + λ‖x‖², λ = damp²; without damping it is A_r⁺y, A_r being A without the
singular values that were cut.  Its error has two parts at right angles, x − x* = kept + beyond.

*Kept*, in the span of the r right singular vectors that count.  With M = [A; damp·I], the residual
s = [y − Ax; −damp·x] and σ² + λ ≥ floor² for those that count, for any z and any w

    kept = M⁺s,   ‖M⁺s‖ ≤ ‖Mᴴs‖/floor²                                   the normal equations
                        ≤ ‖s‖/floor,  λ = 0                              consistent data
                        ≤ ‖s − w‖/floor + ‖Mᴴw‖/floor²                   w: the solver's residual
                        ≤ ‖z‖ + ‖Mᴴ(s − Mz)‖/floor²                      z: nearly M⁺s

The last costs a solve more and is sharp for every y; it is taken where the others leave too much.

*Beyond*, in the null space of A (and along what was cut), of which a residual knows nothing.  But
x* is in the range of Aᴴ, and so is Aᴴw for any w:

    ‖beyond‖ ≤ ‖x − Aᴴw‖ + σ_{r+1}·(what of w is along singular vectors that were cut)

with w from the adjoint of the inverse, applied to x and again to what Aᴴw has missed.  A damped x
has −λ·beyond in its gradient, which serves where damp is not small.

*Round-off.*  Computing Ax loses at most a few eps·‖|A|‖·‖x‖, ‖|A|‖ ≤ √(‖A‖₁‖A‖_∞); every bound
adds what its own evaluation may have lost.  Singular values of a factorisation are known up to
LAPACK's backward error (and what an outer product or a symmetric kernel misses of the weight), by
which the floor is lowered, and the kept directions are turned by at most that over σ_r − σ_{r+1}.

Source: Björck, "Numerical Methods for Least Squares Problems", SIAM 1996, §1.4 and §2.9; Wedin,
"Perturbation bounds in connection with singular value decomposition", BIT 12 (1972).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ..convolve import grouped
from ..convolve.bounds import kernel_bound
from ..numerics.norms import in_unit, norms, ratio
from ..numerics.precision import doubled
from ..operators.convolution import Convolution
from .diagonal.rungs import RUNGS, values_error
from .operator import InverseOperator
from .orthogonal_data import annihilated

_EPS = torch.finfo(torch.float64).eps
# Round-off of a product with A in eps·‖|A|‖‖x‖, plain, times √terms and times log₂ of the samples.
# Seen are at most 2.1 in FFTs of 30,000 samples (allowed: 3.2) and 3.1 in sums of 648 terms (6.5).
_NOISE, _NOISE_OF_SUMS, _NOISE_OF_FFTS = 1.0, 0.15, 0.12
_ALLOWED = 100  # round-off of a solve and of its judge, in units of eps times the condition
_MOST_PASSES = 8
_GOOD_ENOUGH = 1e-3  # relative error above which it is worth a solve to know better
_HARDLY = 10.0  # times damp is the floor where damping is a small change


class Evidence(NamedTuple):
    """What is known of x, one entry per image; errors and sizes in units of one scale per image.

    Attributes
    ----------
    residual, optimality : as in `Certificate`
    size : ‖x‖
    error : at least ‖x − x*‖
    allowed : what ‖x − x*‖ the round-off of the factor's dtype accounts for, as this judge sees it
    condition : ‖A‖/√(σ_r² + λ)
    vanishes : whether x is zero to round-off, though the condition is good
    """

    residual: Tensor
    optimality: Tensor
    size: Tensor
    error: Tensor
    allowed: Tensor
    condition: Tensor
    vanishes: Tensor


def gather(
    op: Convolution,
    inverse: InverseOperator,
    x: Tensor,
    y: Tensor,
    witness: Tensor | None = None,
    tol: float = math.inf,
) -> Evidence:
    """All that is known of x as the solution of min ‖Ax − y‖² + damp²‖x‖².

    Parameters
    ----------
    x : (N, *domain_shape), as computed
    witness : (N, *range_shape) the solver's own y − Ax
    tol : relative error beyond which more evidence is looked for
    """
    return _Trial(op, inverse, x, y).verdict(witness, tol)


class _Trial:
    """One batch of x on trial, in units in which A and every y are of order one.

    Weights of 1e-170 or data of 1e200 must neither pass nor fail for their unit: no norm may
    underflow to a perfect zero.
    """

    def __init__(self, op: Convolution, inverse: InverseOperator, x: Tensor, y: Tensor) -> None:
        facts, self.inverse = inverse.summary, inverse
        A = op.in_double()
        weight, self.unit = in_unit(A.weight, 0)
        self.A, unit = A.with_weight(weight), self.unit
        A = self.A
        self.y, units = in_unit(doubled(y))
        self.of_y = units.reshape(-1, *[1] * (y.ndim - 1))
        self.x, self.eps = doubled(x) / self.of_y * unit, torch.finfo(x.dtype).eps
        self.damp, self.norm, floor = (v / unit for v in (inverse.damp, facts.norm, facts.floor))
        self.above = kernel_bound(grouped(A.taps, A.geometry), A.geometry)  # of ‖|A|‖
        terms = A.weight[0].numel() if A.batch_size is None else A.weight[0, 0].numel()
        samples = math.prod(max(a.m, a.n) for a in A.geometry.axes)
        self.ulps = _EPS * (
            _NOISE + _NOISE_OF_SUMS * math.sqrt(terms) + _NOISE_OF_FFTS * math.log2(samples + 1)
        )
        self.most = torch.minimum(self.above, 2 * self.norm)  # of ‖A‖
        slack = self._slack(op, _EPS)
        σ = ((floor - self.damp).clamp(min=0) * (floor + self.damp)).sqrt()
        self.floor = torch.hypot((σ - slack).clamp(min=0), self.damp.expand_as(σ))
        self.hardly_damped = self.floor > _HARDLY * self.damp
        # directions that a residual knows nothing of; where n ≤ m damping by a σ of 0 is in floor
        n, self.blind = op.shape[1], torch.full_like(floor, op.shape[1] > op.shape[0]).bool()
        if not inverse.damp and facts.rank is not None:
            self.blind = facts.rank < n
        # σ_{r+1}, and the sine by which round-off has turned the kept directions towards it
        self.cut = bool(facts.dropped.any())
        cut = torch.where(facts.gap.isfinite(), floor / facts.gap, 0.0) + slack
        self.largest_cut = torch.where(facts.dropped.to(cut.device) > 0, cut, 0.0)
        turned = self._slack(op, self.eps) / (floor - self.largest_cut).clamp(min=0)
        self.turned = torch.where(turned.isnan(), 1.0, turned).clamp(max=1)
        self.norm_x, self.norm_y = norms(self.x), norms(self.y)
        self.r = self.y - A._matvec(self.x)
        self.damped_x = self.damp * (self.damp * self.norm_x)
        self.g = A._rmatvec(self.r) - self.damp * (self.damp * self.x)
        self.norm_r, self.norm_g = norms(self.r), norms(self.g)
        # round-off of r, and that of g beyond what it has from r
        self.noise_r = self._noise(self.x, self.norm_y)
        self.noise_g = self._noise(self.r, self.damped_x)

    def _slack(self, op: Convolution, eps: float) -> Tensor:
        """By how much singular values of the factorisation may be wrong, (B,)."""
        rung = RUNGS.get(self.inverse.method)
        if rung is not None:
            return values_error(rung, op, self.norm * self.unit, eps) / self.unit
        g = op.geometry
        return (16 + math.sqrt(max(g.c_in, g.c_out) // g.groups)) * eps * self.norm

    def _noise(self, v: Tensor, more: Tensor | float = 0.0) -> Tensor:
        """Round-off of a product of A or Aᴴ with v, and of a sum with something of this size."""
        return self.ulps * (self.above * norms(v) + more)

    def verdict(self, witness: Tensor | None, tol: float) -> Evidence:
        """The best of all bounds."""
        optimality = ratio(ratio(self.norm_g, self.norm), self.norm * self.norm_x + self.norm_y)
        condition = ratio(self.norm.expand_as(self.floor), self.floor)
        allowed = self._allowed()
        pairs = self._pairs(witness)
        kept = self._least(pairs, self.floor)
        enough = torch.minimum(allowed, min(tol, _GOOD_ENOUGH) * self.norm_x)
        if not self.inverse.iterates and bool((kept > enough).any()):
            kept = torch.minimum(kept, self._by_probe(enough))
        whole = torch.full_like(self.norm_x, torch.inf)
        if self.inverse.damp:  # λ bends every direction
            whole = self._least(pairs, self.damp)
            whole = torch.where(self.floor > self.damp, whole, torch.minimum(whole, kept))
        beyond, more = self._beyond(kept, torch.minimum(self.norm_x, whole))
        error = torch.minimum(torch.hypot(kept, beyond), whole)
        allowed = torch.hypot(allowed, more)
        exact = self.norm_x == 0
        if bool((exact & (error > 0)).any()):
            error = torch.where(exact & annihilated(self.A, self.y), 0.0, error)
        residual = ratio(self.norm_r, self.norm_y)
        condition = condition.expand_as(error)
        round_off = _ALLOWED * self.eps * condition
        vanishes = (self.norm_x * self.norm <= round_off * self.norm_y) & (round_off < 1e-2)
        return Evidence(residual, optimality, self.norm_x, error, allowed, condition, vanishes)

    def _allowed(self) -> Tensor:
        """The error of the kept part that round-off explains, (N,).

        It is eps times the condition of a least-squares problem (Wedin).

        Damping of the size of σ_r leaves g as the only evidence, whose round-off has its square.
        """
        size, eps = self.norm * self.norm_x + self.norm_y, _ALLOWED * self.eps
        s = torch.where(self.hardly_damped, self.norm_r, size)
        g = eps * self.norm * s + self.noise_g + 2 * self.cut * self.turned * self.norm_g
        return self._over(self.floor, eps * size + self.noise_r, g)

    def _pairs(self, witness: Tensor | None) -> list[tuple[Tensor, Tensor]]:
        """(r, g) with x* − x = M⁺[r; 0] + (MᴴM)⁻¹g, from A and x alone."""
        pairs = [(self.noise_r, self._kept(self.g) + self.noise_g)]
        if not self.inverse.damp:
            pairs.append((self.norm_r + self.noise_r, torch.zeros_like(self.norm_r)))
        if witness is not None:
            w = doubled(witness.detach()) / self.of_y
            rest = norms(self.A._rmatvec(w) - self.damp * (self.damp * self.x))
            r = norms(self.r - w) + self.noise_r
            pairs.append((r, rest + self._noise(w, self.damped_x)))
        return pairs

    def _least(self, pairs: list[tuple[Tensor, Tensor]], floor: Tensor) -> Tensor:
        return torch.stack([self._over(floor, r, g) for r, g in pairs]).amin(0)

    def _over(self, floor: Tensor, r: Tensor, g: Tensor) -> Tensor:
        """What M⁺[r; 0] and (MᴴM)⁻¹g may be where σ² + λ ≥ floor²."""
        r = ratio(r, floor)
        return torch.minimum(r, ratio(r * self.most, floor)) + ratio(ratio(g, floor), floor)

    def _kept(self, g: Tensor) -> Tensor:
        """‖g‖, or that of its part in the kept directions where some were cut."""
        whole = norms(g)
        if not self.cut:
            return whole
        part = norms(self._inverse(self.A._matvec(g)))
        return torch.minimum(whole, part + 2 * self.turned * whole)

    def _by_probe(self, enough: Tensor) -> Tensor:
        """‖z‖ + ‖Mᴴ(s − Mz)‖/floor², z the inverse of s, then of the gradient that it has left."""
        A, damp = self.A, self.damp
        z = self._of_gradient(self.g) if self.inverse.damp else self._inverse(self.r)
        best = torch.full_like(self.norm_x, torch.inf)
        for _ in range(_MOST_PASSES):
            a, left = self.r - A._matvec(z), damp * (damp * (self.x + z))
            g = A._rmatvec(a) - left
            noise = self._noise(z, self.norm_r) + self.noise_r
            bound = norms(z) + self._over(
                self.floor, noise, self._kept(g) + self._noise(a, norms(left))
            )
            better = bound < best / 2
            best = torch.minimum(best, torch.where(bound.isnan(), torch.inf, bound))
            if bool(((best <= enough) | ~better).all()):
                break
            z = z + self._of_gradient(g)
        return best

    def _of_gradient(self, g: Tensor) -> Tensor:
        """Nearly (MᴴM)⁻¹g: BBᴴg, which is that but for λ/σ², or (g − AᴴBᴴg)/λ."""
        back = self._adjoint(g)
        easy = self.hardly_damped
        if bool(easy.all()):
            return self._inverse(back)
        found = (g - self.A._rmatvec(back)) / self.damp / self.damp
        easy = easy.reshape(-1, *[1] * (g.ndim - 1))
        return torch.where(easy, self._inverse(back), found) if bool(easy.any()) else found

    def _beyond(self, kept: Tensor, best: Tensor) -> tuple[Tensor, Tensor]:
        """The part of x in the null space or along what was cut, and what round-off allows."""
        zero = torch.zeros_like(self.norm_x)
        if not bool(self.blind.any()) or not bool((self.floor > 0).any()):
            return zero, zero
        allowed = self.norm_x
        if self.inverse.damp:
            size = self.norm * self.norm_x + self.norm_y
            of_g = _ALLOWED * self.eps * self.norm * size + self.noise_g
            allowed = of_g / self.damp / self.damp
        doubtful = self.blind & self.hardly_damped & (best > kept)
        if not self.inverse.iterates and bool(doubtful.any()):
            found, of_w = self._by_representation(kept)
            better = self.hardly_damped & (found < best)
            best, allowed = torch.where(better, found, best), torch.where(better, of_w, allowed)
        return torch.where(self.blind, best, zero), torch.where(self.blind, allowed, zero)

    def _by_representation(self, enough: Tensor) -> tuple[Tensor, Tensor]:
        """‖x − Aᴴw‖ and what is along the directions that were cut."""
        w, rest, best = torch.zeros_like(self.y), self.x, torch.full_like(self.norm_x, torch.inf)
        for _ in range(_MOST_PASSES):
            w = w + self._adjoint(rest)
            rest = self.x - self.A._rmatvec(w)
            along = self.turned * self.largest_cut * norms(w) + self._noise(w, self.norm_x)
            bound = norms(rest) + along
            better = bound < best / 2
            best = torch.minimum(best, torch.where(bound.isnan(), torch.inf, bound))
            if bool(((best <= torch.maximum(enough, 2 * along)) | ~better).all()):
                break
        return best, _ALLOWED * self.eps * self.norm * norms(w) + along

    def _inverse(self, v: Tensor) -> Tensor:
        return self._solved(v, adjoint=False)

    def _adjoint(self, v: Tensor) -> Tensor:
        return self._solved(v, adjoint=True)

    def _solved(self, v: Tensor, *, adjoint: bool) -> Tensor:
        """The inverse in the unit of the trial; a solution that overflowed proves nothing."""
        v = torch.where(v.isfinite(), v, 0.0) * self.unit
        return doubled(self.inverse.evaluate(v, adjoint=adjoint))
