"""Choosing the damp of min ‖Ax − y‖² + damp²‖x‖² from the data.

    'gcv', 'lcurve', 'discrepancy', 'sure'     any operator (rules.py)
    'risk'                                     pictures under circular operators (minimum_risk.py)

Where a method of `pinv` diagonalises A (*fourier*, *cosine*, *separable*, *dense*) its factor
answers for all damps, which then cost a sum each (picard.py).  Elsewhere every damp is a
factorisation or an iteration: nine damps at most (seven for iterations), in steps of four from
large to small, until the rule has risen ('lcurve' looks at all), and six more around the best.  The
trace that 'gcv' and 'sure' need is exact where padding touches few samples, and estimated from
random signs elsewhere, with its standard error (trace.py).

A batch is one problem: its images share one damp, and residuals, norms and traces are sums.

A rule without a minimum inside the damps that were tried has nothing to say.  'risk' answers in its
place where it applies, else 'discrepancy', and `advice` says so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..inverse import Request
from ..inverse.diagonal.rungs import RUNGS
from ..numerics.checks import (
    check_choice,
    check_count,
    check_kind,
    check_memory_limit,
    check_number,
)
from ..numerics.compiled import outside_graphs
from ..operators.convolution import Convolution
from ..operators.images import batched
from ..operators.linear_operator import DEFAULT_MEMORY_LIMIT, MemoryLimitError, gigabytes
from .evidence import Evidence
from .minimum_risk import check_data, obstacle
from .rules import RULES
from .trials import Asked

_METHODS = ("auto", *RUNGS, "completion", "boundary", "krylov")


@dataclass(frozen=True, eq=False)
class DampChoice:
    """A damp and the evidence for it.

    Attributes
    ----------
    damp : for min ‖Ax − y‖² + damp²‖x‖²
    rule : the rule that was asked; of 'auto' the one that it stood for
    decided_by : the rule whose damp it is, another one where that had no minimum
    curve : (K, 2) float64, the damps that were tried, ascending, and at each the number that the
        rule looks at (rules.py)
    noise_std : standard deviation of the noise that was used; None where none was needed
    noise_how : how it is known
    standard_error : of tr(A A_λ⁺) at the damp, where it is estimated; 0 where it is exact or not
        needed
    damp_error : standard error of the damp that follows from it (jackknife over the probes)
    advice : whether the rule found a minimum, and what was done if not
    """

    damp: float
    rule: str
    decided_by: str
    curve: Tensor
    noise_std: float | None
    noise_how: str
    standard_error: float
    damp_error: float
    advice: str


@outside_graphs
def choose_damp(
    op: Convolution,
    y: Tensor,
    rule: str = "auto",
    *,
    noise_std: float | None = None,
    tau: float = 1.0,
    method: str = "auto",
    memory_limit: float = DEFAULT_MEMORY_LIMIT,
    tol: float = 1e-3,
    probes: int = 4,
    seed: int = 0,
) -> DampChoice:
    """The damp that a rule chooses for min ‖Ax − y‖² + damp²‖x‖².

    Parameters
    ----------
    op : any operator
    y : (N, *range_shape), a batch that shares one damp, or one image without its batch axis
    rule
        'risk', the least expected error, for pictures under circular operators with one channel a
        group; 'gcv' (needs no noise level), 'lcurve', 'discrepancy' or 'sure'.  'auto' is 'risk'
        where that is known, and 'gcv' elsewhere.  Pictures are restored best with 'risk', next with
        'discrepancy' (benchmarks/bench_damp.py).
    noise_std
        Standard deviation of the noise in the unit of y, √E|n|² if y is complex.  None estimates it
        where the rule needs it (`estimate_noise_std`, and the weakest singular values if they are
        known).
    tau : the residual that 'discrepancy' asks for, in units of the noise's, squared
    method
        'auto', or the rung that shall give the trials: 'fourier', 'cosine', 'separable' and 'dense'
        from one factorisation, 'completion', 'boundary' and 'krylov' by solves.
    memory_limit : bytes that a factorisation may take
    tol : error bound of the solves where they iterate
    probes, seed : random signs that estimate the trace where it is not exact

    Returns
    -------
    DampChoice

    Raises
    ------
    ValueError, TypeError
        One sentence: what was expected, what came, the remedy.
    NotImplementedError
        If rule='risk' does not know this kind of operator.

    Examples
    --------
    >>> import torch, unconv
    >>> from unconv import psf
    >>> x = torch.zeros(1, 1, 64, 64).double()
    >>> x[..., 20:40, 10:50] = 1
    >>> K = psf.gaussian(1.5)[None, None]
    >>> A = unconv.ConvOperator(K, (64, 64), padding="same", padding_mode="reflect")
    >>> y = A(x) + 0.01 * torch.randn(1, 1, 64, 64, dtype=torch.float64)
    >>> choice = choose_damp(A, y, "discrepancy")
    >>> bool(torch.isclose((A(A.tikhonov(choice.damp)(y)) - y).std(), torch.tensor(0.01).double(),
    ...                    rtol=0.1))
    True
    """
    if isinstance(op, Convolution):
        y = batched(y, op.range_shape)
    _check(op, y, rule, noise_std, tau, method, memory_limit, probes, seed, tol)
    if rule == "auto":
        rule = "risk" if obstacle(op) is None else "gcv"
    with torch.inference_mode(False), torch.no_grad():
        asked = Asked(method, memory_limit, tol, probes, seed)
        evidence = Evidence(op, y, rule, noise_std, tau, asked)
        if rule == "discrepancy" and noise_std is not None:
            _check_reachable(evidence, noise_std)
        return _choice(evidence, rule)


def _choice(evidence: Evidence, rule: str) -> DampChoice:
    """Search, let another rule answer if need be, and put the evidence together."""
    found, values = evidence.search(rule)
    decided_by = rule
    damp, advice = found.damp, f"{rule} is decided inside the damps that were tried"
    error = damp_error = 0.0
    if found.failure is None:
        error, damp_error = evidence.errors(damp)
    else:
        damp, decided_by, instead = _fallback(evidence, rule, damp)
        advice = f"{rule} {found.failure}; {instead}"
    if evidence.remark:
        advice += f"; {evidence.remark}"
    noise_std, how = _noise(evidence, rule)
    unit = evidence.unit_of(rule)
    curve = [(evidence.of_weight * d, unit * value) for d, value in sorted(values.items())]
    return DampChoice(
        damp=damp * evidence.of_weight,
        rule=rule,
        decided_by=decided_by,
        curve=torch.tensor(curve, dtype=torch.float64),
        noise_std=noise_std,
        noise_how=how,
        standard_error=error,
        damp_error=damp_error * evidence.of_weight,
        advice=f"{advice}.",
    )


def _fallback(evidence: Evidence, failed: str, damp: float) -> tuple[float, str, str]:
    """What another rule says, else the damp at which the one that failed stood."""
    others = ["risk"] * (obstacle(evidence.op) is None) + ["discrepancy"]
    for rule in others:
        if rule == failed:
            continue
        try:
            found, _ = evidence.search(rule)
        except ValueError:  # no noise level can be read from these data
            continue
        if found.failure is None:
            return found.damp, rule, f"the damp is that of {rule!r}"
    return damp, failed, "no other rule finds one either, so the damp is where it stood"


def _noise(evidence: Evidence, rule: str) -> tuple[float | None, str]:
    """The noise level that the rule used, in the unit of y, and how it is known."""
    if rule == "risk":
        given = evidence.given is not None
        how = "given" if given else "spectrum of y where A transmits least"
        return evidence.risk.noise_std * evidence.of_data, how
    if not RULES[rule].wants_noise:
        return None, "not needed"
    variance, how = evidence.variance
    return math.sqrt(variance) * evidence.of_data, how


def _check_reachable(evidence: Evidence, noise_std: float) -> None:
    """Refuse a noise level above y: even damp → ∞ leaves no more than y itself."""
    asks = math.sqrt(evidence.tau * evidence.noise("discrepancy").energy)
    norm = float(torch.linalg.vector_norm(evidence.y))
    if asks >= norm:
        asks, norm = asks * evidence.of_data, norm * evidence.of_data
        raise ValueError(
            f"noise_std={noise_std:.3g} asks for ‖Ax − y‖ = {asks:.3g}, which no damp can bring "
            f"above ‖y‖ = {norm:.3g}; check its unit, or use 'gcv'."
        )


def _check(
    op: Convolution,
    y: Tensor,
    rule: str,
    noise_std: float | None,
    tau: float,
    method: str,
    memory_limit: float,
    probes: int,
    seed: int,
    tol: float,
) -> None:
    check_kind("op", op, Convolution, "build one from the weight")
    if op.seen is not None:
        raise NotImplementedError(
            "the rules count every output, and some of this operator's were not observed; choose "
            "the damp for the operator of all outputs, on data without such pixels, or give one."
        )
    check_choice("rule", rule, ["auto", *RULES, "risk"])
    check_choice("method", method, _METHODS)
    check_number("tau", tau, positive=True, why="; 1 is the discrepancy principle's")
    check_number("tol", tol, positive=True)
    check_memory_limit(memory_limit)
    check_count("probes", probes)
    check_count("seed", seed, 0)
    if rule == "risk" and (why := obstacle(op)) is not None:
        raise NotImplementedError(
            f"rule='risk' knows circular operators with one channel per group ({why}); use 'gcv' "
            "or 'discrepancy'."
        )
    check_data(op, y, noise_std)
    if method in RUNGS:
        _check_rung(op, method, memory_limit)


def _check_rung(op: Convolution, method: str, memory_limit: float) -> None:
    why = RUNGS[method].obstacle(op, Request())
    if why is not None and method != "dense":  # whose obstacle is only its cost
        raise ValueError(f"method={method!r} does not serve this operator: {why}; use 'auto'.")
    need = RUNGS[method].memory(op, Request())
    if need > memory_limit:
        raise MemoryLimitError(
            f"method={method!r} needs {gigabytes(need)}, memory_limit is "
            f"{gigabytes(memory_limit)}; raise it, or use 'auto'."
        )
