"""x = A⁺y and its relatives: certificates, plain answers, one-call forms and layers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import unconv.nn
from unconv.inverse.lstsq import in_precision_of
from unconv.inverse.operator import InverseOperator
from unconv.inverse.request import default_rtol

from .oracle import EPS, Array, Oracle
from .question import Question, warned

MARGIN = 1000.0
"""How often a backward stable answer may lose what perturbation theory says of one rounding."""

_GROWN = 1 + 1e-6


@dataclass
class Truth:
    """‖x − A⁺y‖/‖A⁺y‖: at least `least`, at most `most`, of which rounding explains `allowed`."""

    least: float
    most: float
    allowed: float


def compare(o: Oracle, y: Array, x: Array, eps: float, rank: int, *, adjoint: bool) -> Truth:
    """Of one image, flattened, in units of its matrix; in 190 digits where float64 cannot tell."""
    true = o.adjoint(rank, y) if adjoint else o.pinv(rank, y)
    size = float(np.linalg.norm(true))
    error = float(np.linalg.norm(x - true))
    doubt = 8 * math.sqrt(o.p) * o.doubt(rank, y, true, adjoint=adjoint)
    allowed = MARGIN * o.doubt(rank, y, true, eps=eps, adjoint=adjoint)
    if not size:
        return Truth(*(0.0 if error <= doubt else math.inf,) * 2, math.inf)
    return Truth(max(0.0, error - doubt) / size, (error + doubt) / size, allowed / size)


def compare_precisely(o: Oracle, y: Array, x: Array, rank: int, *, adjoint: bool) -> float | None:
    """‖x − A⁺y‖/‖A⁺y‖, or None where the cut has no gap."""
    precise = o.precise(rank)
    if precise is None:
        return None
    true = precise.adjoint(y) if adjoint else precise.pinv(y)
    size = float(np.linalg.norm(true))
    if size <= 1e-40 * float(np.linalg.norm(y)) / o.smallest(rank, adjoint=adjoint):
        size, true = 0.0, 0 * true  # y is annihilated, but for the last of the 190 digits
    error = float(np.linalg.norm(x - true))
    return error / size if size else (0.0 if error == 0 else math.inf)


_ITERATED = ("completion", "krylov")  # known to a tolerance


def scaled(o: Oracle, y: Tensor, x: Tensor) -> tuple[Array, Array]:
    """y of order one, and x = A⁺y in the same units."""
    wide = torch.complex128 if y.is_complex() or x.is_complex() else torch.float64
    b, a = y.detach().to(wide).flatten().numpy(), x.detach().to(wide).flatten().numpy()
    size = float(np.abs(b).max(initial=0.0))
    unit = 2.0 ** math.frexp(size)[1] if size else 1.0
    return b / unit, a / unit * o.unit


def _judge_claims(q: Question, o: Oracle, c: Any) -> None:
    """What the certificate says beside its bound."""
    bound = f"error_bound {c.error_bound:.1e}"
    if c.rank is not None and c.rank not in o.ranks:
        q.report.fail("rank", "lstsq", f"{c.rank} for {o.rank}; {bound}", c.method)
    if c.converged and not c.error_bound < 1:
        q.report.fail("false", "converged", f"converged with {bound}", c.method)
    if not c.error_bound < 0.1 and _is_easy(q, o):
        q.report.vain.append(f"lstsq {c.method}: {bound}")


def bound_is_false(o: Oracle, y: Array, x: Array, bound: float, ranks: list[int]) -> float | None:
    """The least error over the ranks that are open, if it exceeds the bound."""
    least = math.inf
    for rank in ranks:
        if 0 < rank < o.p and o.gap(rank) < 1 + 1e-3:
            return None  # A⁺ itself is not unique
        rough = compare(o, y, x, EPS, rank, adjoint=False)
        if rough.most <= bound * _GROWN:
            return None
        error = compare_precisely(o, y, x, rank, adjoint=False)
        least = min(least, rough.least if error is None else error)
    return least if least > bound * _GROWN + 1e-300 else None


def lstsq(q: Question) -> None:
    """Rank, error_bound and rung of `lstsq` for the case's damp and rtol."""
    case, r = q.case, q.report
    rtol = None if case.damp else case.rtol
    cut = default_rtol(in_precision_of(q.op, q.y)) if rtol is None else rtol
    with q.asking("lstsq"):
        result = q.op.lstsq(q.y, case.damp, rtol=rtol)
        x, c = result
        r.rungs.append(c.method)
        if case.data_dtype is None:  # the data decide the precision of the factor
            plan = q.op.plan(damp=case.damp, rtol=rtol)
            if plan.method != c.method and not _gives_up(q, plan.method, c.method, rtol):
                r.fail("plan", "lstsq", f"{plan.method} planned, {c.method} answered", c.method)
        for i, o in enumerate(q.each(q.oracles(case.damp, cut), len(q.y))):
            _judge_certificate(q, o, q.y[i], x[i], c[i])


def _gives_up(q: Question, planned: str, answered: str, rtol: float | None) -> bool:
    """Whether the rung that was planned refuses, which only factoring shows."""
    if planned == "boundary" and answered in ("dense", "krylov"):
        return True  # forced, it tries ways that it leaves to these
    try:
        q.op.lstsq(q.y, q.case.damp, rtol=rtol, method=planned)
    except ValueError:
        return True
    return False


def _judge_certificate(q: Question, o: Oracle, y: Tensor, x: Tensor, c: Any) -> None:
    r, ranks = q.report, list(o.ranks)
    b, a = scaled(o, y, x)
    if not np.isfinite(a).all():
        if math.isfinite(c.error_bound):
            r.fail("false", "lstsq", f"x is not finite, bound {c.error_bound:.1e}", c.method)
        return
    _judge_claims(q, o, c)
    if not math.isfinite(c.error_bound):
        return
    if c.rank in ranks:
        ranks.sort(key=lambda rank: rank != c.rank)
    if len(ranks) > 4:
        r.open += 1
        return
    error = bound_is_false(o, b, a, c.error_bound, ranks)
    if error is not None:
        detail = f"off by {error:.2e} under {c.error_bound:.2e}, rank {c.rank} of {o.rank}, "
        kind = "tight" if error < 100 * EPS else "false"
        r.fail(kind, "lstsq", detail + f"κ {o.kappa(o.rank):.0e}, {q.case.data} data", c.method)


def _is_easy(q: Question, o: Oracle) -> bool:
    """Nothing about the rank or the data leaves a doubt."""
    clear = len(o.ranks) == 1 and o.gap(o.rank) > 1e3
    return (
        clear and o.kappa(o.rank) < 1e3 and q.case.data in ("consistent", "zero") and q.eps < 1e-10
    )


def _judge_solution(
    q: Question, what: str, o: Oracle, y: Tensor, x: Tensor, inverse: Any, *, adjoint: bool = False
) -> None:
    """An answer without a certificate and without a warning."""
    r = q.report
    rung = inverse.method if isinstance(inverse, InverseOperator) else str(inverse)
    b, a = scaled(o, y, x)
    info = torch.finfo(x.dtype)
    rounding = max(q.eps, info.eps)
    worst = (math.inf, math.inf)
    if not np.isfinite(a).all():
        true = o.adjoint(o.rank, b) if adjoint else o.pinv(o.rank, b)
        if not _overflows(true, b, y, o, info):
            r.fail("silent", what, "not finite", rung)
        return
    for rank in o.ranks:
        if 0 < rank < o.p and o.gap(rank) < 2:
            r.open += 1
            return
        t = compare(o, b, a, rounding, rank, adjoint=adjoint)
        allowed = t.allowed + 4 * info.eps + (1e-5 if rung in _ITERATED else 0.0)
        least = _size_of_least(x, b, o, rank, adjoint=adjoint)
        if t.least <= allowed + least or not math.isfinite(allowed):
            return
        error = compare_precisely(o, b, a, rank, adjoint=adjoint)
        error = t.least if error is None else error
        if error <= allowed + least:
            return
        worst = min(worst, (error, allowed))
    if not o.ranks:
        return
    detail = f"off by {worst[0]:.2e} beyond {worst[1]:.2e}, κ {o.kappa(o.rank):.0e}"
    r.fail("silent", what, detail, rung)


def _size_of_least(x: Tensor, b: Array, o: Oracle, rank: int, *, adjoint: bool) -> float:
    """What underflow to the dtype of x may cost, relative to it."""
    size = float(torch.linalg.vector_norm(x.detach().abs().double()))
    tiny = torch.finfo(x.dtype).smallest_normal * math.sqrt(x.numel())
    return 4 * tiny / size if size else math.inf


def _overflows(true: Array, b: Array, y: Tensor, o: Oracle, info: torch.finfo) -> bool:
    unit = float(y.abs().max()) / max(float(np.abs(b).max(initial=0.0)), 1e-300) / o.unit
    return float(np.abs(true).max(initial=0.0)) * unit > info.max / 4


def pinv(q: Question) -> None:
    """`pinv()(y)` and `pinv().H(x)`, believed where nothing was warned."""
    with q.asking("pinv") as heard:
        inverse = q.op.pinv(rtol=q.case.rtol)
        q.report.rungs.append(inverse.method)
        x = inverse(q.y)
        v = q.case_vector()
        u = inverse.H(v)
        o = q.oracles()[0]
        if (
            warned(heard)
            and inverse.method not in _ITERATED
            and o.kappa(o.rank) < 1e3
            and _is_easy(q, o)
        ):
            q.report.vain.append(f"pinv {inverse.method}: a warning, κ {o.kappa(o.rank):.0e}")
        if not warned(heard):
            for i, o in enumerate(q.each(q.oracles(), len(q.y))):
                rank = inverse.summary.rank
                mine = None if rank is None else int(rank[i if q.op.batch_size else 0])
                if mine is not None and mine not in _open_ranks(q, o, inverse.method):
                    q.report.fail("rank", "pinv", f"{mine} for {o.rank}", inverse.method)
                _judge_solution(q, "pinv", o, q.y[i], x[i], inverse)
                _judge_solution(q, "pinv.H", o, v[i], u[i], inverse, adjoint=True)


def _open_ranks(q: Question, o: Oracle, rung: str) -> range:
    """The ranks that rounding of the weight to its structure leaves open, too."""
    if rung not in ("separable", "cosine"):
        return o.ranks
    # what the search for the structure itself may miss: 64 eps, and half of the default cut-off
    missed = (4 * q.eps + min(64, max(o.m, o.n) / 2) * EPS) * o.norm
    least = int((o.tau + missed + o.slack < o.S).sum())
    return range(least, max(o.ranks[-1], int((o.tau - missed < o.S).sum())) + 1)


def tikhonov(q: Question) -> None:
    """`tikhonov(damp)` and its adjoint."""
    if not q.case.damp:
        return
    with q.asking("tikhonov") as heard:
        inverse = q.op.tikhonov(q.case.damp)
        q.report.rungs.append(inverse.method)
        x, v = inverse(q.y), q.case_vector()
        u = inverse.H(v)
        if not warned(heard):
            for i, o in enumerate(q.each(q.oracles(q.case.damp), len(q.y))):
                _judge_solution(q, "tikhonov", o, q.y[i], x[i], inverse)
                _judge_solution(q, "tikhonov.H", o, v[i], u[i], inverse, adjoint=True)


def tsvd(q: Question) -> None:
    """`tsvd(rtol)` at a cut-off in the widest gap of the spectrum."""
    S = q.oracles()[0].S
    if len(S) < 3 or not S[0]:
        return
    ratios = S[:-1] / np.maximum(S[1:], 1e-30 * S[0])
    k = int(np.argmax(ratios[: max(1, 2 * len(S) // 3)]))
    cut = float(math.sqrt(S[k] * max(S[k + 1], 1e-24 * S[k])) / S[0])
    if not cut > q.rtol or ratios[k] < 1.01:
        return
    with q.asking("tsvd") as heard:
        inverse = q.op.tsvd(cut)
        q.report.rungs.append(inverse.method)
        x = inverse(q.y)
        if not warned(heard):
            for i, o in enumerate(q.each(q.oracles(0.0, cut), len(q.y))):
                _judge_solution(q, "tsvd", o, q.y[i], x[i], inverse)


def functional(q: Question) -> None:
    """conv*d_pinv, where it can express the operator."""
    o, op = q.case.options, q.op
    if o.get("transposed") or o.get("flip") or q.case.rtol is not None or q.case.data_dtype:
        return
    nd = op.geometry.nd
    plain = {k: v for k, v in o.items() if k != "flip"}
    with q.asking("functional") as heard:
        call = getattr(unconv, f"conv{nd}d_pinv")
        x = call(q.y, op.weight, input_shape=op.domain_shape[1:], **plain)
        if not warned(heard):
            for i, oracle in enumerate(q.each(q.oracles(), len(q.y))):
                _judge_solution(q, f"conv{nd}d_pinv", oracle, q.y[i], x[i], "functional")


def layer(q: Question) -> None:
    """unconv.nn.PinvConv*d of the torch layer with this weight, where there is one."""
    o, g = q.case.options, q.op.geometry
    even = all(a.before == a.after and (a.mode != "circular" or a.before <= a.n) for a in g.axes)
    own = g.axes[0].mode in ("symmetric", "antireflective")  # which torch.nn has not
    odd = o.get("transposed") or o.get("flip") or q.op.batch_size or own
    if odd or not even or q.case.rtol is not None or q.case.data_dtype:
        return
    shape = {
        name: tuple(getattr(a, name if name != "padding" else "before") for a in g.axes)
        for name in ("stride", "dilation", "padding")
    }
    shape |= {"groups": g.groups, "padding_mode": g.axes[0].mode}
    size = tuple(a.k for a in g.axes)
    kind = getattr(nn, f"Conv{g.nd}d")
    conv = kind(g.c_in, g.c_out, size, **shape, bias=False, dtype=q.op.dtype)
    conv.weight = nn.Parameter(q.op.weight)
    with q.asking("layer") as heard, torch.no_grad():
        undo = getattr(unconv.nn, f"PinvConv{g.nd}d").from_conv(
            conv, input_shape=q.case.input_shape
        )
        x = undo(q.y)
        if not warned(heard):
            for i, oracle in enumerate(q.each(q.oracles(), len(q.y))):
                _judge_solution(q, "layer", oracle, q.y[i], x[i], "layer")
