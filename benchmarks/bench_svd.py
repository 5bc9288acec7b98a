"""Differentiable SVD: forward and backward beside torch's and the older ones, and the gap sweep.

Speed is a ratio to torch.linalg.svd in the same run, float32: of a loss on the factors for `svd`
and its rivals, and of singular value thresholding for `svt`.  Must hold: at most 1.1 for both.
Accuracy is the largest error of a gradient of order 1 on 8 × 8 matrices with two close pairs of
singular values, against divided differences in 60 digits.  Must hold at every gap, also 0: 2·10⁻⁶
for `svt` in float32, 10⁻¹⁰ for all three functions in float64.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable
from typing import NamedTuple

import mpmath
import torch
from torch import Tensor

from benchmarks.svd_rivals import RIVALS
from unconv.linalg import spectral_apply, svd, svt

from .common import against, device, milliseconds, ratio, table, turns

SHAPES = ((64, 32, 32), (1, 256, 256), (1, 1024, 512), (1, 2048, 64))
SLOWEST = 1.1
GAPS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-10, 1e-12, 0.0)
TAU = 0.5
LIMITS = {torch.float32: 2e-6, torch.float64: 1e-10}


def thin(A: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return tuple(torch.linalg.svd(A, full_matrices=False))


class Function(NamedTuple):
    """f and its derivative, on tensors and on numbers of mpmath."""

    f: Callable[[Tensor], Tensor]
    df: Callable[[Tensor], Tensor]
    exact_f: Callable[[mpmath.mpf], mpmath.mpf]
    exact_df: Callable[[mpmath.mpf], mpmath.mpf]


FUNCTIONS = {
    "svt": Function(
        lambda s: (s - TAU).clamp(min=0),
        lambda s: (s >= TAU).to(s.dtype),
        lambda s: max(s - TAU, 0),
        lambda s: mpmath.mpf(s >= TAU),
    ),
    "√s": Function(
        torch.sqrt, lambda s: 0.5 / torch.sqrt(s), mpmath.sqrt, lambda s: 0.5 / mpmath.sqrt(s)
    ),
    "s² over s² + 0.1": Function(
        lambda s: s**2 / (s**2 + 0.1),
        lambda s: 0.2 * s / (s**2 + 0.1) ** 2,
        lambda s: s**2 / (s**2 + mpmath.mpf(0.1)),
        lambda s: 2 * mpmath.mpf(0.1) * s / (s**2 + mpmath.mpf(0.1)) ** 2,
    ),
}


# --- speed
def factor_losses(shape: tuple[int, ...]) -> dict[str, Callable[[], object]]:
    """A loss with cotangents for U, S and V, by every SVD."""
    *_, m, n = shape
    A = torch.randn(shape, device=device()).requires_grad_()
    wU = torch.randn(m, min(m, n), device=device())
    wV = torch.randn(n, min(m, n), device=device())

    def step(factorize: Callable[[Tensor], tuple[Tensor, Tensor, Tensor]], rival: bool) -> object:
        U, S, V = factorize(A)
        V = V if rival else V.mH
        return torch.autograd.grad((U * wU).sum() + S.sum() + (V * wV).sum(), A)

    runs: dict[str, Callable[[], object]] = {
        "torch": lambda: step(thin, False),
        "unconv svd": lambda: step(svd, False),
    }
    return runs | {name: (lambda r=rival: step(r, True)) for name, rival in RIVALS.items()}


def thresholdings(shape: tuple[int, ...]) -> dict[str, Callable[[], object]]:
    """Singular value thresholding by torch's factors and by `svt`."""
    A = torch.randn(shape, device=device()).requires_grad_()
    W = torch.randn(shape, device=device())
    tau = 0.3 * shape[-1] ** 0.5
    functions = {"torch": lambda: by_factors(A, lambda s: (s - tau).clamp(min=0))}
    functions["unconv svt"] = lambda: svt(A, tau)
    return {
        name: (lambda function=function: torch.autograd.grad((function() * W).sum(), A))
        for name, function in functions.items()
    }


def by_factors(A: Tensor, f: Callable[[Tensor], Tensor]) -> Tensor:
    """U f(S) Vᴴ by torch."""
    U, S, Vh = thin(A)
    return (U * f(S)[..., None, :]) @ Vh


def speed(
    title: str, runs: Callable[[tuple[int, ...]], dict[str, Callable[[], object]]], ours: str
) -> bool:
    """Print milliseconds of torch and ratios to it."""
    rows, good = [], True
    for shape in SHAPES:
        times = turns(runs(shape), seconds=3.0, warm=True)
        names = [name for name in times if name != "torch"]
        found = {name: ratio(times, name, "torch") for name in names}
        good &= found[ours].value <= SLOWEST
        row = [f.shown(SLOWEST if name == ours else math.inf) for name, f in found.items()]
        base = statistics.median(times["torch"])
        rows.append(["×".join(map(str, shape)), milliseconds(base), *row])
    header = ["shape", "torch, ms", *(f"{name}/torch" for name in names)]
    print(table(title, header, rows), flush=True)
    return good


# --- accuracy
def exact_gradient(A: Tensor, G: Tensor, function: Function) -> Tensor:
    """Gradient of ⟨G, U f(S) Vᵀ⟩ at a square matrix in 60 digits (Daleckiĭ-Kreĭn)."""
    with mpmath.workdps(60):
        U, S, Vh = mpmath.svd_r(mpmath.matrix(A.tolist()))
        P = U.T * mpmath.matrix(G.tolist()) * Vh.T
        values = [function.exact_f(s) for s in S]
        for i, j in itertools.combinations_with_replacement(range(len(S)), 2):
            gap, size = S[i] - S[j], S[i] + S[j]
            tied = abs(gap) < mpmath.mpf(10) ** -40
            D = function.exact_df(S[i]) if tied else (values[i] - values[j]) / gap
            both = D * (P[i, j] + P[j, i]) / 2
            opposed = (values[i] + values[j]) / size * (P[i, j] - P[j, i]) / 2
            P[i, j], P[j, i] = both + opposed, both - opposed
        return torch.tensor((U * P * Vh).tolist(), dtype=torch.float64)


def close_pairs(gap: float) -> tuple[Tensor, Tensor]:
    """An 8 × 8 matrix with singular values 2, 2 − gap and 1, 1 − gap/2, and a cotangent."""
    random = torch.Generator().manual_seed(0)
    Q, W, G = torch.randn(3, 8, 8, generator=random, dtype=torch.float64)
    S = torch.tensor([3, 2, 2 - gap, 1, 1 - gap / 2, 0.7, 0.4, 0.2], dtype=torch.float64)
    return (torch.linalg.qr(Q).Q * S) @ torch.linalg.qr(W).Q, G


def gradient(A: Tensor, G: Tensor, apply: Callable[[Tensor], Tensor]) -> Tensor:
    A = A.clone().requires_grad_()
    return torch.autograd.grad((apply(A) * G).sum(), A)[0].double()


def by_svd_inv(A: Tensor, f: Callable[[Tensor], Tensor]) -> Tensor:
    U, S, V = RIVALS["SVD-inv"](A)
    return (U * f(S.diagonal())) @ V.mH


def sweep(dtype: torch.dtype) -> bool:
    """Print the largest errors of ours, torch and SVD-inv at every gap."""
    rows, good = [], True
    for gap in GAPS:
        A, G = (v.to(dtype) for v in close_pairs(gap))
        row = [f"{gap:g}"]
        for name, (f, df, *_) in FUNCTIONS.items():
            exact = exact_gradient(A, G, FUNCTIONS[name])
            ours, theirs, inv = (
                float((gradient(A, G, apply) - exact).abs().amax())
                for apply in (
                    lambda A, f=f, df=df: spectral_apply(A, f, df),
                    lambda A, f=f: by_factors(A, f),
                    lambda A, f=f: by_svd_inv(A, f),
                )
            )
            limit = LIMITS[dtype] if name == "svt" or dtype == torch.float64 else torch.inf
            good &= ours <= limit
            row += [against(ours, limit, ".0e"), f"{theirs:.0e}", f"{inv:.0e}"]
        rows.append(row)
    header = [label for name in FUNCTIONS for label in (name, "torch", "SVD-inv")]
    print(table(f"largest error of the gradient, {dtype}", ["gap", *header], rows), flush=True)
    return good


def main() -> bool:
    """Print all tables; whether the figures hold."""
    good = [sweep(dtype) for dtype in LIMITS]
    good.append(speed("loss on U, S and V, relative to torch", factor_losses, "unconv svd"))
    good.append(speed("thresholding, relative to torch", thresholdings, "unconv svt"))
    return all(good)
