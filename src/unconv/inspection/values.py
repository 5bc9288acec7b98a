"""The singular values of an operator as far as some seconds go, and what follows from them.

Where all σ of A take too long, those of the circular operator of the same kernel stand in their
place (they differ by what the boundary does, a part 1/n of all) and are called so; the extremes
remain those of A, at least as bounds: a wave that fades towards the edges is a trial vector.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..convolve.bounds import extension_norm
from ..doors import ConvOperator
from ..grid.geometry import Axis
from ..inverse import Plan
from ..inverse.request import default_rtol
from ..operators.linear_operator import MemoryLimitError, gigabytes
from .records import (
    NOISE_GAIN,
    Bounded,
    Level,
    Transfer,
)
from .response import OPERATIONS, Response

_FACTOR_BYTES = 4e8  # dense systems of this size take some seconds too: 8q² bytes, q³ flop
_RANKED = 5000  # min(m, n) up to which a rank is worth its factorisation
_LAPACK_SIDE = 2048  # min(m, n) of a group up to which LAPACK finds all σ in that time
_CIRCULAR = "the circular operator of the same kernel"


class Spectrum(NamedTuple):
    """All singular values of an operator on so many unknowns, and what is known of A itself."""

    values: Tensor
    unknowns: int
    values_of: str
    high: Bounded
    low: Bounded
    rank: Bounded
    skipped: tuple[str, ...]


def spectrum(op: ConvOperator, plan: Plan, transfer: Transfer, memory_limit: float) -> Spectrum:
    """All values of A, or those of its circular twin beside the extremes of A."""
    structured = plan.method in ("fourier", "cosine", "separable")
    groups = op.geometry.groups
    slow = structured and plan.factor_operations > OPERATIONS
    small = min(op.shape) ** 2 * max(op.shape) <= 3 * _LAPACK_SIDE**3 * groups**2
    if (structured or small) and not slow:
        found = _all_values(op, memory_limit)
        if found is not None:
            return found
    S, n, name = _circular_values(op, memory_limit)
    skipped: list[str] = []
    high = _largest(op, slow, transfer, skipped)
    low = _smallest(op, slow, high, transfer, skipped)
    rank = _rank(op, high, low, memory_limit, skipped)
    return Spectrum(S, n, name, high, low, rank, tuple(skipped))


def _all_values(op: ConvOperator, memory_limit: float) -> Spectrum | None:
    try:
        b = op.svdvals(bracket=True, memory_limit=memory_limit)
    except MemoryLimitError:
        return None
    high, low, rtol = _entry(b, 0), _entry(b, -1), default_rtol(op)
    rank = Bounded(
        int((b.value > rtol * high.value).sum()),
        int((b.lower > rtol * high.upper).sum()),
        int((b.upper > rtol * high.lower).sum()),
        b.how,
    )
    return Spectrum(b.value.cpu(), op.shape[1], "A", high, low, rank, ())


def _entry(bracket: Any, i: int) -> Bounded:
    value, lower, upper = (float(t[i]) for t in bracket[:3])
    return Bounded(value, lower, upper, bracket.how)


def _circular_values(op: ConvOperator, memory_limit: float) -> tuple[Tensor, int, str]:
    """All σ of the circular twin, on a coarser grid where the whole one takes too long."""
    own = [a.m if a.on_torus else -(-a.n // a.stride) for a in op.geometry.axes]
    coarse = list(own)
    while True:
        twin = _circular(op, coarse)
        plan = twin.plan(method="fourier", memory_limit=math.inf)
        fits = plan.factor_operations <= OPERATIONS and plan.memory <= memory_limit / 2
        if fits or max(coarse) == 1:
            break
        coarse[coarse.index(max(coarse))] = -(-max(coarse) // 2)
    sizes = " × ".join(map(str, twin.domain_shape[1:]))
    name = _CIRCULAR if coarse == own else f"{_CIRCULAR} on {sizes} samples"
    unknowns = twin.shape[0] if op.transposed else twin.shape[1]
    return twin.svdvals().cpu(), unknowns, name


def _circular(op: ConvOperator, coarse: list[int]) -> ConvOperator:
    """The circular twin of `op`: its taps on a periodic grid of `coarse` outputs."""
    axes = op.geometry.axes
    spare = [max(0, a.extent - a.stride) for a in axes]  # m·s samples, m outputs
    return ConvOperator(
        op.taps.detach(),
        [m * a.stride for m, a in zip(coarse, axes, strict=True)],
        stride=[a.stride for a in axes],
        dilation=[a.dilation for a in axes],
        padding=[(s // 2, s - s // 2) for s in spare],
        groups=op.geometry.groups,
        padding_mode="circular",
    )


def level(S: Tensor, n: int, rtol: float, top: float) -> Level:
    """What the cut-off rtol·top keeps of the values S of an operator on n unknowns."""
    kept = S[rtol * top < S]
    return Level(rtol, len(kept), len(S), math.sqrt(float((1 / kept).square().sum()) / n))


def damp_for(S: Tensor, n: int) -> tuple[float, float]:
    """The damp at which white noise grows `NOISE_GAIN`-fold, and that gain; 0 if it never does.

    In units of 1/σ_max, so that the unit of the weight does not matter.
    """
    if len(S) == 0:
        return 0.0, 0.0
    top, step = float(S[0]), 1 + len(S) // 2**20
    unit, n = S[::step] / top, n // step  # of millions of values some tell the sum

    def gain(damp: float) -> float:
        filtered = unit / (unit.square() + damp**2)
        return math.sqrt(float(filtered.square().sum()) / n)

    low, high = 1e-16, 1.0
    if gain(low) <= NOISE_GAIN:
        return 0.0, gain(low)
    for _ in range(60):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if gain(middle) > NOISE_GAIN else (low, middle)
    return high * top, gain(high)


def _largest(op: ConvOperator, slow: bool, transfer: Transfer, skipped: list[str]) -> Bounded:
    if not slow and _lanczos_operations(op) <= OPERATIONS:
        b = op.norm(bracket=True, memory_limit=_FACTOR_BYTES)
        return Bounded(float(b.value), float(b.lower), float(b.upper), b.how)
    skipped.append("σ_max to more digits: that takes too long")
    A, axes, f = _forward(op), op.geometry.axes, transfer.frequencies
    between = math.prod(_between_points(a, len(w)) for a, w in zip(axes, f, strict=True))
    upper = transfer.maximum * between * extension_norm(A.geometry)
    peak = torch.unravel_index(transfer.largest.argmax(), transfer.largest.shape)
    at = [float(w[i]) for w, i in zip(f, peak, strict=True)]
    lower = min(upper, _trial(A, at, largest=True))
    return Bounded(lower, lower, upper, "a fading wave from below, max |F|·‖E‖ from above")


def _smallest(
    op: ConvOperator, slow: bool, high: Bounded, transfer: Transfer, skipped: list[str]
) -> Bounded:
    plans = [op.plan(method="boundary", damp=d, memory_limit=math.inf) for d in (0.0, 1.0)]
    need = max(plan.memory for plan in plans)
    if slow or need > _FACTOR_BYTES:
        why = "that takes too long" if slow else f"its factor takes {gigabytes(need)}"
        skipped.append(f"σ_min itself: {why}")
        if slow or 500 * _product_operations(op) > OPERATIONS:
            upper = _trial(_forward(op), transfer.at, largest=False)
            how = "a fading wave from above; nothing is known from below"
            return Bounded(math.nan, 0.0, upper, how)
    b = _entry(op.svdvals(1, "smallest", bracket=True, memory_limit=_FACTOR_BYTES), 0)
    if need > _FACTOR_BYTES:
        return b._replace(value=math.nan)
    if b.lower == 0 and b.value > default_rtol(op) * high.value:
        skipped.append("a proof that σ_min > 0: too many border unknowns to count")
    return b


def _rank(
    op: ConvOperator, high: Bounded, low: Bounded, memory_limit: float, skipped: list[str]
) -> Bounded:
    """The rank of A at the default cut-off of `pinv`, where not all values are known."""
    total, tau = min(op.shape), default_rtol(op) * high.upper
    if low.lower > tau:
        return Bounded(total, total, total, "σ_min is above the cut-off")
    if total <= _RANKED:
        try:
            b = op.matrix_rank(bracket=False, memory_limit=memory_limit)
            return Bounded(float(b), 0, total, "the factorisation of pinv")
        except (MemoryLimitError, NotImplementedError):
            pass
    most = total - 1 if low.upper <= default_rtol(op) * high.lower else total
    if low.value > tau:
        return Bounded(total, 0, total, "σ_min, which is not proven, is above the cut-off")
    skipped.append("the rank of A: its factorisation takes too long")
    return Bounded(math.nan, 0, most, "σ_min alone")


def _product_operations(op: ConvOperator) -> float:
    """Floating-point operations of A and Aᴴ by FFT."""
    points = math.prod(a.smallest_grid * a.stride for a in op.geometry.axes)
    g = op.geometry
    transforms = 10 * points * math.log2(points + 1) * (g.c_in + g.c_out)
    return transforms + 8 * points * g.c_in * g.c_out / g.groups


def _lanczos_operations(op: ConvOperator) -> float:
    """Flop to find σ_max: a blur under zeros has its largest values in a cluster of width 1/n²."""
    longest = max(a.n for a in op.geometry.axes)
    slow = op.geometry.pads_zeros
    return _product_operations(op) * (4 * longest if slow else 100)


def _between_points(axis: Axis, points: int) -> float:
    """Bound of max |F| over all frequencies relative to the grid's (Ehlich & Zeller, 1964).

    A trigonometric polynomial of degree d ≤ N/2 on N points: 1/cos(πd/N).
    """
    degree = (axis.extent + axis.stride - 2) / axis.stride / 2
    return 1 / math.cos(math.pi * degree / points) if 2 * degree < points else math.inf


def _forward(op: ConvOperator) -> ConvOperator:
    """C with the geometry of A, in double precision on the CPU: σ(Cᵀ) = σ(C)."""
    taps, axes = op.taps.detach(), op.geometry.axes
    return ConvOperator(
        taps.cpu().to(torch.promote_types(taps.dtype, torch.float64)),
        [a.n for a in axes],
        stride=[a.stride for a in axes],
        dilation=[a.dilation for a in axes],
        padding=[(a.before, a.after) for a in axes],
        groups=op.geometry.groups,
        padding_mode=axes[0].mode,
    )


def _trial(A: ConvOperator, at: Any, *, largest: bool) -> float:
    """‖Ax‖/‖x‖ of the outermost wave at a frequency, faded out by half a sine towards the edges.

    At the small end the wave is on the shorter side, for wide A one of the outputs.
    """
    response, f = Response(A), torch.tensor([at], dtype=torch.float64)
    groups = torch.arange(response.groups)
    U, S, Vh = response.svd(f.expand(response.groups, -1), groups)
    g = int(S[:, 0].argmax() if largest else S[:, -1].argmin())
    i = 0 if largest else -1
    on_outputs = not largest and A.shape[0] < A.shape[1]
    axes = A.geometry.axes
    if on_outputs:
        sizes, steps, block = [a.m for a in axes], [a.stride for a in axes], U[g, :, i]
    else:
        sizes, steps, block = [a.n for a in axes], [1] * len(axes), Vh[g, i].conj()
    wave = torch.ones((), dtype=torch.complex128)
    for n, step, frequency in zip(sizes, steps, f[0], strict=True):
        t = torch.arange(n, dtype=torch.float64)
        fading = torch.sin(math.pi * (t + 0.5) / n)
        wave = wave[..., None] * torch.polar(fading, 2 * math.pi * float(frequency) * step * t)
    coefficients = block[:, None] if on_outputs else block.unflatten(0, (-1, response.phases))
    index = response.phase_of(sizes) if not on_outputs else torch.zeros(sizes, dtype=torch.long)
    part = coefficients[:, index] * wave
    x = torch.zeros(response.groups, *part.shape, dtype=part.dtype)
    x[g] = part
    x = x.flatten(0, 1)[None]
    return float((A.H(x) if on_outputs else A(x)).norm() / x.norm())


def condition(op: ConvOperator, high: Bounded, low: Bounded) -> Bounded:
    """σ_max/σ_min, inf where σ_min is round-off."""
    singular = low.value <= default_rtol(op) * high.value
    if math.isnan(low.value):
        singular = low.upper <= default_rtol(op) * high.lower
    value = math.inf if singular else high.value / low.value
    upper = high.upper / low.lower if low.lower > 0 and not singular else math.inf
    lower = high.lower / low.upper if low.upper > 0 else math.inf
    return Bounded(value, lower, upper, "σ_max/σ_min")
