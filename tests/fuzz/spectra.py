"""Singular values and vectors, rank, determinant and projectors."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from unconv.inverse.diagonal import cosine, separable
from unconv.inverse.request import default_rtol
from unconv.spectrum.values import exact_rung

from .oracle import EPS, Array, Oracle
from .question import Question, warned
from .solutions import MARGIN, scaled


def spectrum(q: Question) -> None:
    """norm, svdvals at both ends, cond and rank, with their brackets."""
    oracles, p = q.oracles(), min(q.op.shape)
    k = min(p, 3)
    for what, ask in (
        ("norm", lambda b: q.op.norm(bracket=b)),
        ("svdvals largest", lambda b: q.op.svdvals(k, bracket=b)),
        ("svdvals smallest", lambda b: q.op.svdvals(k, "smallest", bracket=b)),
        ("cond", lambda b: q.op.cond(bracket=b)),
        ("matrix_rank", lambda b: q.op.matrix_rank(rtol=q.case.rtol, bracket=b)),
    ):
        bracketed = q.case.seed % 2 == 1
        with q.asking(what) as heard:
            answer = ask(bracketed)
            values = list(answer[:3]) if bracketed else [answer] * 3
            rows = [v if q.op.batch_size else v[None] for v in values]
            for i, o in enumerate(oracles):
                value, lower, upper = (row[i].double().numpy() for row in rows)
                if bracketed and not ((lower <= value) & (value <= upper)).all():
                    q.report.fail("false", what, f"{value} outside [{lower}, {upper}]")
                if bracketed or not warned(heard):
                    _judge_value(q, what, o, value, (lower, upper) if bracketed else None, k)


def _judge_value(
    q: Question, what: str, o: Oracle, value: Array, bounds: tuple[Array, Array] | None, k: int
) -> None:
    slack = 8 * o.slack / o.norm if o.norm else 0.0
    if exact_rung(q.op, math.inf, 1) in (cosine, separable):  # the weight misses its structure
        slack += 4 * q.eps
    S = o.S / o.norm if o.norm else o.S
    unit = o.unit * (o.norm or 1.0)
    if what == "matrix_rank":
        if not o.ranks[0] <= value <= o.ranks[-1]:
            q.report.fail("rank", what, f"{int(value)} for {o.rank}")
        elif bounds and not (bounds[0] <= o.ranks[-1] and bounds[1] >= o.ranks[0]):
            q.report.fail("false", what, f"[{bounds[0]}, {bounds[1]}] for {o.rank}")
        return
    if what == "cond":
        _judge_cond(q, S, slack, float(value), bounds and (float(bounds[0]), float(bounds[1])))
        return
    true = {"norm": S[0], "svdvals largest": S[:k], "svdvals smallest": S[len(S) - k :]}[what]
    loose = 5e-9 * true if what == "norm" else 0.0
    if what.startswith("svdvals") and k > 1 and exact_rung(q.op, math.inf, 1) is None:
        loose = 1e-11 * true  # in clusters, as documented
    off = np.abs(value / unit - true)
    if (off > slack + loose).any():
        q.report.fail("silent", what, f"{value / unit} for {true}, in units of σ_max")
    if bounds is None:
        return
    lower, upper = (b / unit for b in bounds)
    if ((lower > true + slack) | (upper < true - slack)).any():
        q.report.fail("false", what, f"[{lower}, {upper}] for {true}")


def _judge_cond(
    q: Question, S: Array, slack: float, value: float, bounds: tuple[float, float] | None
) -> None:
    least, tau = float(S[-1]), default_rtol(q.op)
    if not S[0]:
        ok = math.isinf(value)
    elif least > tau + slack:
        ok = abs(1 / value - least) <= slack + 1e-8 * least
    elif least < tau - slack:
        ok = math.isinf(value)
    else:
        return
    if not ok:
        q.report.fail("silent", "cond", f"{value:.3e} for {1 / least if least else math.inf:.3e}")
    if bounds is None or not S[0]:
        return
    lower, upper = bounds
    high, low = 1 / max(least - slack, 1e-300), 1 / (least + slack)
    if lower > high * (1 + 1e-8) or upper < low * (1 - 1e-8):
        q.report.fail(
            "false", "cond", f"[{lower:.3e}, {upper:.3e}] for {1 / max(least, 1e-300):.3e}"
        )


def logabsdet(q: Question) -> None:
    """Against the logarithms of all singular values, each known to round-off of the largest."""
    damp = q.case.damp
    with q.asking("logabsdet") as heard:
        answer = q.op.logabsdet(damp)
        rows = answer if q.op.batch_size else answer[None]
        if warned(heard):
            return
        for found, o in zip(rows.tolist(), q.oracles(damp), strict=True):
            n = q.op.shape[1]
            slack = 4 * o.slack
            high, low = (np.hypot(np.maximum(o.S + s, 0), o.damp) for s in (slack, -slack))
            if not damp and o.S[-1] <= slack:
                continue  # singular or not: float64 cannot tell, and primes have
            shift = o.p * math.log(o.unit)
            if damp:
                shift += (n - o.p) * math.log(damp)
            top, bottom = (float(np.log(np.maximum(v, 1e-300)).sum()) + shift for v in (high, low))
            room = 1e-9 * (abs(top) + abs(bottom) + abs(shift) + o.p)  # nine digits
            if not bottom - room <= found <= top + room:
                q.report.fail("silent", "logabsdet", f"{found:.12g} for {bottom:.12g}…{top:.12g}")


def svd(q: Question) -> None:
    """Triples at either end: residuals, values, orthonormal vectors."""
    k, which = min(3, min(q.op.shape)), ("largest", "smallest")[q.case.seed % 2]
    with q.asking(f"svd {which}") as heard:
        U, S, V = (t if q.op.batch_size else t[None] for t in q.op.svd(k, which))
        if warned(heard):
            return
        for i, o in enumerate(q.oracles()):
            A, unit = o.A, o.unit
            u, v = (t[i].flatten(1).numpy().T for t in (U, V))
            s = S[i].numpy() / unit
            true = o.S[:k] if which == "largest" else o.S[o.p - k :]
            slack = 32 * o.slack + 1e-290
            if exact_rung(q.op, math.inf, 1) in (cosine, separable):
                slack += 4 * q.eps * o.norm
            wrong = max(
                float(np.abs(s - true).max()) / 8,
                float(np.linalg.norm(A @ v - u * s, 2)) / 4,
                float(np.linalg.norm(A.conj().T @ u - v * s, 2)) / 4,
            )
            shorter, longer = (v, u) if o.m >= o.n else (u, v)
            real = s > 1e4 * slack  # the longer side's vectors, where the value determines them
            orthogonal = max(_off_unit(shorter), _off_unit(longer[:, real]))
            if wrong > max(slack, 2e-12 * o.norm):
                q.report.fail("silent", "svd", f"triples off by {wrong / (o.norm or 1):.1e}·σ_max")
            if orthogonal > 1e-9:
                q.report.fail("silent", "svd", f"vectors off orthonormal by {orthogonal:.1e}")


def _off_unit(v: Array) -> float:
    gram = v.conj().T @ v
    return float(np.abs(gram - np.eye(len(gram))).max(initial=0.0))


def projectors(q: Question) -> None:
    """Onto the range and the null space."""
    for what, on_range in (("range_projector", True), ("null_projector", False)):
        with q.asking(what) as heard:
            P = getattr(q.op, what)(rtol=q.case.rtol)
            v = q.y if on_range else q.case_vector()
            if not bool(v.isfinite().all()):
                continue  # data of a lower precision have overflowed
            w = P(v)
            if warned(heard):
                continue
            for i, o in enumerate(q.each(q.oracles(), len(v))):
                _judge_projection(q, what, o, v[i], w[i], on_range)


def _judge_projection(
    q: Question, what: str, o: Oracle, v: Tensor, w: Tensor, on_range: bool
) -> None:
    b, a = scaled(o, v, w)
    a = a / o.unit
    size = float(np.linalg.norm(b))
    best, room = math.inf, 0.0
    # A float32 weight with a structure but for its rounding is taken for the nearest that has it.
    structured = exact_rung(q.op, math.inf, 1) in (cosine, separable)
    missed = MARGIN * EPS + (4 * q.eps if structured else 0.0)
    for rank in o.ranks:
        Q = o.U[:, :rank] if on_range else o.Vh[:rank].conj().T
        kept = Q @ (Q.conj().T @ b)
        error = float(np.linalg.norm(a - (kept if on_range else b - kept)))
        gap = float(o.S[rank - 1]) if rank else 1.0
        gap -= float(o.S[rank]) if rank < o.p and o.S[rank] > o.slack else 0.0
        allowed = missed * o.norm / max(gap, 1e-300) if rank else 0.0
        if error - allowed * size < best:
            best, room = error - allowed * size, allowed
    info = torch.finfo(w.dtype)
    spacing = info.smallest_normal * info.eps * math.sqrt(w.numel())  # where w underflows
    precision = info.eps + spacing / float(torch.linalg.vector_norm(v.abs().double()) or 1.0)
    if best > (100 * EPS * math.sqrt(o.p) + 4 * precision) * size and room < 0.1:
        q.report.fail("silent", what, f"off by {best / size:.1e} beyond {room:.1e} of the vector")
