"""What CGLS and LSMR share: images that stop by themselves, on true evidence.

Both algorithms minimise ‖Ax − y‖² + damp²‖x‖² for a batch, one set of scalars an image.  They know
the gradient g = Aᴴ(y − Ax) − damp²x only by recurrence, which in floating point drifts from the
truth; so a recurrence only ever *proposes* to stop.  Then r and g are computed from A and x, and

    damp > 0   ‖g‖ ≤ tol·damp²‖x‖, which bounds the error:  x* − x = (AᴴA + damp²)⁻¹g;
    damp = 0   ‖g‖ ≤ c·eps‖A‖‖r‖  or  ‖r‖ ≤ c·eps(‖A‖‖x‖ + ‖y‖): x solves a problem that differs
               from the given one by round-off (nothing bounds the error).

An image that is not there yet starts anew from its x, with the true r and g; one whose true
gradient has not halved since the last time has met the floor of rounding and is given up.

Finished images leave the batch: a step of an image costs fifty times what moving it does.  With one
kernel per sample they cannot, and go on unread.

Source of the rules for damp = 0: Fong & Saunders, "LSMR: an iterative algorithm for sparse
least-squares problems", SIAM J. Sci. Comput. 33(5), 2011, §6.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from .linear_map import LinearMap
from .progress import Watch

EPS = torch.finfo(torch.float64).eps
_GRADIENT_FLOOR = 2 * EPS  # of ‖g‖/(‖A‖‖r‖): recurrences do not go below it
_LOSS = 16 * EPS  # what A and Aᴴ themselves lose, mostly in transforms
_CONVERGED = 100 * EPS  # optimality that a certificate calls converged
_MARGIN = 0.9  # of tol: another evaluation of the same bound must not fall on its other side


class Iteration:
    """The state of a batch: flat vectors (N, ·) and scalars (N, 1), row i for one image.

    Attributes
    ----------
    x : (N, n)
    gradient, residual : (N, 1) norms of g and r by recurrence
    norm, size : (N, 1) a lower bound of ‖A‖, and ‖y‖
    place : (N,) where the image stands in the batch; open : (N,) whether it goes on
    """

    patience: float = math.inf
    """Steps in which the gradient must halve once; inf where it falls steadily by construction."""

    x: Tensor
    gradient: Tensor
    residual: Tensor

    def __init__(self, A: LinearMap, y: Tensor, norm: Tensor, damp: Tensor, shrink: Tensor) -> None:
        self.A, self.y = A, y.flatten(1)
        N, device = len(y), y.device
        self.norm, self.damp, self.shrink = (t.expand(N, 1) for t in (norm, damp, shrink))
        self.size = norms(self.y)
        self.x = self.y.new_zeros(N, math.prod(A.domain_shape))
        self.place = torch.arange(N, device=device)
        self.open = torch.ones(N, dtype=torch.bool, device=device)
        self.start(self.place, self.y.clone(), self.rmatvec(self.y))
        # the gradient when it was last true, its least half by recurrence, and the step of that
        self.last, self.best = self.gradient.clone(), self.gradient.clone()
        self.best_at = torch.zeros(N, 1, device=device)

    # --- to be given by an algorithm
    def start(self, index: Tensor, r: Tensor, g: Tensor) -> None:
        """Begin anew at x[index], where the residual is r and the gradient g."""
        raise NotImplementedError

    def step(self) -> None:
        """One iteration of every image."""
        raise NotImplementedError

    # --- shared
    def matvec(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """A on flat vectors."""
        domain, range_ = self.A.domain_shape, self.A.range_shape
        out = None if out is None else out.reshape(-1, *range_)
        return self.A.matvec(x.reshape(-1, *domain), out).flatten(1)

    def rmatvec(self, y: Tensor, out: Tensor | None = None) -> Tensor:
        """Aᴴ on flat vectors."""
        domain, range_ = self.A.domain_shape, self.A.range_shape
        out = None if out is None else out.reshape(-1, *domain)
        return self.A.rmatvec(y.reshape(-1, *range_), out).flatten(1)

    def truth(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """(r, g) at x[index], from A."""
        here = slice(None) if self.A.per_sample else index  # one kernel per sample: all or none
        x, y, damp, shrink = (t[here] for t in (self.x, self.y, self.damp, self.shrink))
        r = torch.addcmul(y, shrink, self.matvec(x), value=-1)
        g = torch.addcmul(self.rmatvec(r), damp**2, x, value=-1)
        return (r[index], g[index]) if self.A.per_sample else (r, g)

    def put(self, index: Tensor, **values: Tensor) -> None:
        """Replace rows of the state; its first call sets it up."""
        for name, value in values.items():
            if len(index) == len(self.x):
                setattr(self, name, value)
            else:
                getattr(self, name)[index] = value

    def keep(self, index: Tensor) -> None:
        """Go on with these images only."""
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(self, name, value[index])


class Outcome(NamedTuple):
    """Where every image ended.

    Attributes
    ----------
    x : (N, n)
    iterations : (N,) long
    evidence : (N,) true error bound, or optimality where damp = 0
    met : (N,) whether that is what was asked for
    """

    x: Tensor
    iterations: Tensor
    evidence: Tensor
    met: Tensor


def iterate(run: Iteration, tol: float, maxiter: int, watch: Watch | None = None) -> Outcome:
    """Step until every image is done, and tell of every step who watches."""
    N, x = len(run.x), run.x
    ended = Outcome(
        torch.zeros_like(x),
        torch.zeros(N, dtype=torch.long, device=x.device),
        x.new_zeros(N, dtype=torch.float64),
        torch.zeros(N, dtype=torch.bool, device=x.device),
    )
    for k in range(maxiter + 1 if N else 0):
        aims = _aims(run, tol)
        if k and watch is not None:
            watch.look(k, *_above(run, tol, aims))
        due = (_proposed(run, k, aims) | (k == maxiter)) & run.open
        if due.any():
            _settle(run, due.nonzero()[:, 0], k, tol, k == maxiter, ended)
            if not run.open.any():
                break
            if not (run.A.per_sample or run.open.all()):
                run.keep(run.open.nonzero()[:, 0])
        run.step()
    return ended


class _Aims(NamedTuple):
    """What the gradient by recurrence is to come down to, (N, 1) each.

    Attributes
    ----------
    norm_x : ‖x‖
    bound : ‖g‖ at which the error is tol, with a margin
    floor : ‖g‖ that recurrences do not go below
    """

    norm_x: Tensor
    bound: Tensor
    floor: Tensor


def _aims(run: Iteration, tol: float) -> _Aims:
    norm_x = norms(run.x)
    bound = _MARGIN * tol * run.damp**2 * norm_x
    return _Aims(norm_x, bound, _GRADIENT_FLOOR * run.norm * run.residual)


def _above(run: Iteration, tol: float, aims: _Aims) -> tuple[Tensor, float]:
    """How many times its aim the error or optimality of each image is, (n,), and the largest."""
    bound, floor = ratio(run.gradient, aims.bound), ratio(run.gradient, aims.floor)
    largest = torch.where(run.damp > 0, _MARGIN * tol * bound, _GRADIENT_FLOOR * floor)
    return torch.minimum(bound, floor)[run.open, 0], float(largest[run.open].amax())


def _proposed(run: Iteration, k: int, aims: _Aims) -> Tensor:
    """Whether the recurrences say that an image is done, (N,); NaN is done."""
    halved = run.gradient < run.best / 2
    run.best = torch.where(halved, run.gradient, run.best)
    run.best_at = torch.where(halved, float(k), run.best_at)
    goes_on = (run.gradient > aims.bound) & (run.gradient > aims.floor)
    fits = run.residual <= EPS * (run.norm * aims.norm_x * run.shrink + run.size)
    return (~goes_on | fits | (k - run.best_at >= run.patience))[:, 0]


def _settle(
    run: Iteration, index: Tensor, k: int, tol: float, is_last: bool, ended: Outcome
) -> None:
    """Judge these images by the truth: record them in `ended`, or start them anew."""
    r, g = run.truth(index)
    x, norm, size, damp, shrink, last = (
        t[index] for t in (run.x, run.norm, run.size, run.damp, run.shrink, run.last)
    )
    norm_r, norm_g, norm_x = norms(r), norms(g), norms(x)
    scale = norm * norm_x * shrink + size
    bound, optimality = ratio(norm_g, damp**2 * norm_x), ratio(norm_g, norm * scale)
    backward = (norm_g <= _LOSS * norm * norm_r) | (norm_r <= _LOSS * scale)
    reached = torch.where(damp > 0, bound <= _MARGIN * tol, backward) | (norm_g == 0)
    done = (reached | ~(norm_g <= last / 2))[:, 0] | is_last

    evidence = torch.where(damp > 0, bound, optimality)
    met = torch.where(damp > 0, bound <= tol, optimality <= _CONVERGED)
    place = run.place[index[done]]
    ended.x[place] = torch.where(evidence.isnan(), torch.nan, x)[done]  # NaN spreads all over
    ended.iterations[place] = k
    ended.evidence[place], ended.met[place] = evidence[done, 0], met[done, 0]
    run.open[index[done]] = False

    again = index[~done]
    if len(again):
        run.start(again, r[~done], g[~done])
        run.last[again] = run.best[again] = norm_g[~done]
        run.best_at[again] = float(k)


def norms(t: Tensor) -> Tensor:  # (N, n) -> (N, 1)
    """‖t[i]‖ of each flat vector, (N, ·) -> (N, 1)."""
    return torch.linalg.vector_norm(t, dim=1, keepdim=True)


def ratio(a: Tensor, b: Tensor) -> Tensor:
    """a/b, with 0/0 = 0."""
    return torch.where(a == 0, 0.0, a / b)
