"""First divided differences of a function of the singular values, to full precision at every gap.

The derivative of U f(S) Vᴴ needs, for every pair of singular values,

    D_ij = (f_i − f_j)/(s_i − s_j),  D_ii = f′_i,        M_ij = (f_i + f_j)/(s_i + s_j),

which are f[s_i, s_j] and f[s_i, −s_j] of the odd extension of f.  For thresholding and inversion
they are written without cancellation.  For any other f the quotient D loses what s_i − s_j cancels,
some eps·(|f_i| + |f_j| + s_i|f′_i| + s_j|f′_j|)/|s_i − s_j|.  The integral

    f[x, y] = ∫₀¹ f′(x + t(y − x)) dt

by three Gauss points loses nothing where f is smooth between x and y (error 4·10⁻⁵·h⁶ for √s at a
relative gap of h), and is wrong across a kink.  Neither needs a threshold: where both agree to what
the quotient may have lost, the integral is the better one, elsewhere the quotient.  For √s the
larger error of the two is 10⁻¹³ at the worst gap, h ≈ 0.04.

The second derivative needs f[x, y, z] of every triple, signs included.  All of them are quotients
of D, M and R (second_differences.py) but for three points next to each other; there

    f[x, y, z] = ∫∫ f″(x + t(y − x) + u(z − x)) dt du    over t, u ≥ 0, t + u ≤ 1

by the seven points of Radon, to the fifth degree, takes the place of the quotient by the same rule.

Source: Higham, "Functions of Matrices" (SIAM 2008), Theorem 3.11 (Daleckiĭ-Kreĭn) and (B.25), the
integral; Noferini, "A formula for the Fréchet derivative of a generalized matrix function",
SIAM J. Matrix Anal. Appl. 38 (2017), for D and M; Radon, "Zur mechanischen Kubatur", Monatsh. Math.
52 (1948), for the seven points.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Differences = tuple[Tensor, Tensor, Tensor]
"""D and M (..., k, k), and f(s)/s (..., k)."""

_ROUNDING_UNITS = 16  # units in the last place of f(s), after a few operations
_GAUSS_POINT = math.sqrt(0.15)  # of the outer two Gauss points from the middle of [0, 1]
# Nodes and weights on [0, 1].
_GAUSS = ((0.5 - _GAUSS_POINT, 5 / 18), (0.5, 4 / 9), (0.5 + _GAUSS_POINT, 5 / 18))
_ROOT = math.sqrt(15)  # of Radon's nodes and weights
_RADON = [(1 / 3, 1 / 3, 9 / 80)] + [
    (*node, (155 + sign * _ROOT) / 2400)
    for sign in (-1, 1)
    for a in [(6 + sign * _ROOT) / 21]
    for node in ((a, a), (1 - 2 * a, a), (a, 1 - 2 * a))
]  # t, u and weight


def divided_differences(
    S: Tensor, zero: Tensor, f: Callable[[Tensor], Tensor], df: Callable[[Tensor], Tensor]
) -> Differences:
    """D, M and R of any f, in float64, from f and its derivative.

    Where only zeros meet, all three are f′(0) if f(0) = 0 and f′(0) is finite.  Otherwise f has no
    derivative there; it counts as f(0) = 0, as an odd function must, and gets 0.

    Parameters
    ----------
    S : (..., k), float32 or float64
    zero : (..., k), which of them are zero but for round-off
    f, df : elementwise on (..., any) of float64, and differentiable by torch if the result is to be
    """
    safe = torch.where(
        zero, 1.0, S.double()
    )  # a slope that is infinite at 0 stays out of the graph
    origin = torch.zeros_like(safe)
    slope = df(origin)
    slope = torch.where((f(origin) == 0) & slope.isfinite(), slope, 0.0)
    s, F = _with_zeros(safe, f(safe), zero, slope)
    eps = torch.finfo(s.dtype).eps
    lost = _ROUNDING_UNITS * eps * (F.abs() + s * df(safe).abs()).detach()
    (x, y), (fx, fy), (lx, ly), (zx, zy) = _pairs(s), _pairs(F), _pairs(lost), _pairs(zero)
    gap, change, zeros = x - y, fx - fy, zx & zy
    integral = torch.where(
        zeros, slope[..., None], _mean_slope(torch.where(zeros, 1.0, x), gap, df)
    )
    agree = (integral * gap - change).abs() <= lx + ly
    D = torch.where(agree, integral, change / torch.where(agree, 1.0, gap))
    return D, (fx + fy) / (x + y), F / s


def close_triple(x: Tensor, y: Tensor, z: Tensor, df: Callable[[Tensor], Tensor]) -> Tensor:
    """f[x, y, z] of the odd extension by its integral, for points (..., any) of either sign."""
    total = torch.zeros_like(x)
    for t, u, weight in _RADON:
        points = x + t * (y - x) + u * (z - x)
        slope, pull = pullback(df, points.abs())
        total = total + weight * points.sign() * pull(torch.ones_like(slope))[0]
    return total


def soft_close_triple(x: Tensor, y: Tensor, z: Tensor, tau: Tensor) -> Tensor:
    """f[x, y, z] of max(s − tau, 0), which is straight but for its kink."""
    return torch.zeros_like(x)


def inverse_close_triple(x: Tensor, y: Tensor, z: Tensor, cut: Tensor) -> Tensor:
    """f[x, y, z] of 1/s above the cut: 1/(x y z)."""
    product = torch.ones_like(x)
    for s in (x, y, z):
        product = product * s.sign() * invert(s.abs(), cut)
    return product


def soft_differences(S: Tensor, zero: Tensor, tau: Tensor) -> Differences:
    """D, M, R of max(s − tau, 0) in the dtype of S: D is 0, 1, or (s − tau)/(s − s′) at the kink.

    S and zero (..., k), tau (..., 1).
    """
    above = tau <= S
    s, F = _with_zeros(S, soften(S, tau).to(S.dtype), zero, above.to(S.dtype))
    (x, y), (fx, fy), (ax, ay) = _pairs(s), _pairs(F), _pairs(above)
    across = ax ^ ay
    slopes = (fx - fy) / torch.where(across, x - y, 1.0)
    return torch.where(across, slopes, ax & ay), (fx + fy) / (x + y), F / s


def inverse_differences(S: Tensor, zero: Tensor, cut: Tensor) -> Differences:
    """D, M, R of 1/s above `cut`, else 0, in the dtype of S: D is −1/(s s′), 1/(s(s − s′)) or 0.

    S and zero (..., k), cut (..., 1).
    """
    kept = (cut < S) & ~zero
    s, F = _with_zeros(S, torch.where(kept, invert(S, cut), 0.0).to(S.dtype), zero, 0.0)
    (x, y), (fx, fy), (kx, ky) = _pairs(s), _pairs(F), _pairs(kept)
    across = kx ^ ky
    slopes = (fx - fy) / torch.where(across, x - y, 1.0)
    return torch.where(across, slopes, -fx * fy), (fx + fy) / (x + y), F / s


def soften(s: Tensor, tau: Tensor) -> Tensor:
    """max(s − tau, 0)."""
    return (s - tau).clamp(min=0)


def invert(s: Tensor, cut: Tensor) -> Tensor:
    """1/s above the cut, 0 below it."""
    kept = s > cut
    return torch.where(kept, 1 / torch.where(kept, s, 1.0), 0.0)


def pullback(function: Callable[..., Any], *at: Tensor) -> tuple[Any, Any]:
    """`torch.func.vjp` without an auxiliary output: the value and the transposed derivative."""
    found = torch.func.vjp(function, *at)
    return found[0], found[1]


def _with_zeros(S: Tensor, F: Tensor, zero: Tensor, slope: Tensor | float) -> tuple[Tensor, Tensor]:
    """(s, f) with the zeros as (δ, f′(0)·δ) for a δ that no other value notices: no 0/0 in M."""
    info = torch.finfo(S.dtype)
    delta = info.tiny / info.eps
    return torch.where(zero, delta, S), torch.where(zero, slope * delta, F)


def _pairs(v: Tensor) -> tuple[Tensor, Tensor]:
    return v[..., :, None], v[..., None, :]


def _mean_slope(x: Tensor, gap: Tensor, df: Callable[[Tensor], Tensor]) -> Tensor:
    """∫₀¹ df(x − t·gap) dt."""
    total = torch.zeros_like(gap)
    for node, weight in _GAUSS:
        points = torch.sub(x, gap, alpha=node)
        total = torch.add(total, df(points.flatten(-2)).view_as(gap), alpha=weight)
    return total
