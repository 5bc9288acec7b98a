"""The response F(ω) of a kernel to waves, and where it vanishes.

F(ω) is the block of the kernel at a frequency, whatever the boundary, and |F| the range from its
smallest to its largest singular value.  Its zeros are found by Newton's method from the minima on
a grid:  for a simple σ = uᴴF(ω)v, dσ = Re uᴴ(∂F)v and uᴴ(∂F)v = 0 solves for both parts.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

from ..convolve import grouped
from ..doors import ConvOperator
from ..grid.torus import Torus
from ..numerics.checks import check_all_finite, check_kind
from ..numerics.compiled import outside_graphs
from ..numerics.threads import singular_values
from .records import Transfer

OPERATIONS = 1.5e10
"""Flop of one step: some seconds of one core."""

_GRID = {1: 1024, 2: 256, 3: 64}  # frequencies an axis
_NEWTON_STARTS = 64  # minima on the grid that Newton's method starts from
_LISTED = 8  # zeros that are listed; more of them are a curve
_NEWTON_STEPS = 40  # of Newton's method, which has converged long before at simple zeros
_ZERO_RESPONSE = 1e-12  # of the largest |F|: zero but for round-off


class Response:
    """F(ω) = Σ_t w[t] e^{2πi ω·o_t} at any frequencies, a column for each phase of a stride.

    ω is in cycles per sample of the domain, o_t the offset of tap t.
    """

    def __init__(self, op: ConvOperator) -> None:
        axes = op.geometry.axes
        weight = grouped(op.taps.detach(), op.geometry)[0]
        weight = weight.to(torch.promote_types(weight.dtype, torch.complex128)).cpu()
        self.taps = weight.flatten(3).movedim(3, 1).contiguous()  # (g, T, r, c)
        self.stride = [a.stride for a in axes]
        lines = [torch.arange(a.k) * a.dilation - a.before for a in axes]
        self.offsets = torch.cartesian_prod(*lines).reshape(-1, len(axes))  # (T, nd)
        self.groups, self.phases = len(self.taps), math.prod(self.stride)
        index = self._ravel(tuple(self.offsets.T))
        self.columns = torch.nn.functional.one_hot(index, self.phases).to(weight.dtype)  # (T, s^nd)

    def phase_of(self, sizes: list[int]) -> Tensor:
        """The phase that each sample of the domain belongs to."""
        return self._ravel(torch.meshgrid(*map(torch.arange, sizes), indexing="ij"))

    def blocks(self, f: Tensor, group: Tensor) -> tuple[Tensor, Tensor]:
        """F (q, r, C) and its gradient (q, nd, r, C) at f (q, nd), each of its own group."""
        offsets = self.offsets.to(f)
        waves = torch.polar(torch.ones_like(f[:, :1]), 2 * math.pi * (f @ offsets.T))
        slopes = 2j * math.pi * offsets.T * waves[:, None]  # (q, nd, T)
        both = torch.cat([waves[:, None], slopes], 1)
        blocks = torch.einsum("qat,qtrc,tp->qarcp", both, self.taps[group], self.columns)
        blocks = blocks.flatten(3)
        return blocks[:, 0], blocks[:, 1:]

    def svd(self, f: Tensor, group: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """SVD (U, σ, Vᴴ) of the blocks F at f (q, nd), each of its own group."""
        U, S, Vh = torch.linalg.svd(self.blocks(f, group)[0], full_matrices=False)
        return U, S, Vh

    def newton(self, f: Tensor, group: Tensor) -> tuple[Tensor, Tensor]:
        """σ_min (q,) and the shortest step (q, nd) that makes uᴴF v zero to first order."""
        F, slopes = self.blocks(f, group)
        U, S, Vh = torch.linalg.svd(F, full_matrices=False)
        u, v = U[:, :, -1].conj(), Vh[:, -1].conj()
        g = torch.einsum("qr,qarc,qc->qa", u, slopes, v)
        J = torch.stack([g.real, g.imag], 1)  # (q, 2, nd)
        value = torch.stack([S[:, -1], torch.zeros_like(S[:, -1])], 1)
        # Relative to the taps: where F is flat, a step would be round-off over round-off.
        step = torch.linalg.pinv(J, rtol=1e-6) @ value[..., None]
        return S[:, -1], -step[..., 0]

    def _ravel(self, positions: tuple[Tensor, ...]) -> Tensor:
        index = torch.zeros_like(positions[0])
        for position, s in zip(positions, self.stride, strict=True):
            index = index * s + position % s
        return index


@outside_graphs
def transfer_function(op: ConvOperator) -> Transfer:
    """|F(ω)| on a grid and its zeros.

    Parameters
    ----------
    op : with one kernel for all samples; its boundary does not matter

    Returns
    -------
    Transfer
        Frequencies in cycles per sample, the largest and the smallest |F| at each, the extremes
        and where they are, and the zeros nearest to frequency 0.

    Raises
    ------
    ValueError, TypeError
        If op is no ConvOperator, has one kernel for each sample, or its weight holds NaN.

    Examples
    --------
    >>> import torch, unconv
    >>> op = unconv.ConvOperator(torch.ones(1, 1, 3).double(), (9,), padding=1)
    >>> T = transfer_function(op)
    >>> round(T.maximum, 12), [round(v, 6) for v in T.zeros[0]]
    (3.0, [0.333333])
    """
    check_kind("op", op, ConvOperator, "build one from the weight")
    if op.batch_size is not None:
        raise ValueError(
            f"the operator has {op.batch_size} kernels, one per sample; look at one of them, "
            "op.of_sample(i)."
        )
    check_all_finite("weight", op.weight, "a response needs finite numbers")
    torus = _grid(op)
    S, group = _on_grid(op, torus)
    frequencies = []
    for M, s in zip(torus.coarse, torus.stride, strict=True):
        index = torch.arange(M) - M // 2
        frequencies.append(index.double() / (s * M))
    largest, smallest = S[..., 0], S[..., 1]
    top, lowest = float(largest.amax()), float(smallest.amin())
    middle = torch.unravel_index(smallest.argmin(), smallest.shape)
    at = tuple(float(f[i]) for f, i in zip(frequencies, middle, strict=True))
    zeros: list[tuple[float, ...]] = []
    if top > 0:
        found = _refined(op, torus, smallest, group, frequencies, top)
        if found is not None:
            f, values = found
            if float(values.amin()) < lowest:
                lowest = float(values.amin())
                at = _canonical(f[values.argmin()], torus.stride)
            zeros = _nearest(f[values <= _ZERO_RESPONSE * top], torus.stride)
    return Transfer(tuple(frequencies), largest, smallest, top, lowest, at, tuple(zeros))


def _grid(op: ConvOperator) -> Torus:
    """Sizes of the grid of frequencies, as fine as the time allows."""
    g, axes = op.geometry, op.geometry.axes
    stride = tuple(a.stride for a in axes)
    r, c = g.c_out // g.groups, g.c_in // g.groups * math.prod(stride)
    work = 1 if min(r, c) == 1 else 50 * min(r, c)
    M = _GRID[len(axes)]
    while M > 8 and M ** len(axes) * g.groups * r * c * work > OPERATIONS / 8:
        M //= 2
    return Torus((M,) * len(axes), stride, real=False)


def _on_grid(op: ConvOperator, torus: Torus) -> tuple[Tensor, Tensor]:
    """(*M, 2): σ_max and σ_min over the groups; (*M): the group of σ_min.  Zero in the middle."""
    real = not op.dtype.is_complex
    weight = grouped(op.taps.detach().cpu(), op.geometry)
    weight = weight.to(torch.float64 if real else torch.complex128)
    half = Torus(torus.coarse, torus.stride, real)
    blocks = half.spectrum(weight, op.geometry)  # (F, 1, g, r, c)
    F, _, g, r, c = blocks.shape
    values = singular_values(blocks.reshape(F * g, r, c)).reshape(F, g, -1)
    lowest, group = values[..., -1].min(1)
    S = torch.stack([values[..., 0].amax(1), lowest, group.to(lowest)], -1)
    S = S.unflatten(0, half.spectrum_shape)
    dims = tuple(range(len(torus.coarse)))
    if real:  # |F(−ω)| = |F(ω)|
        M = torus.coarse[-1]
        mirror = S.flip(dims)
        for dim in dims[:-1]:
            mirror = mirror.roll(1, dim)
        S = torch.cat([S, mirror[..., (M + 1) % 2 : (M + 1) % 2 + (M - 1) // 2, :]], -2)
    S = torch.fft.fftshift(S, dim=dims)
    return S[..., :2], S[..., 2].long()


def _refined(
    op: ConvOperator,
    torus: Torus,
    smallest: Tensor,
    group: Tensor,
    frequencies: list[Tensor],
    top: float,
) -> tuple[Tensor, Tensor] | None:
    """Frequencies (q, nd) and σ_min (q,) at the minima, moved off the grid by Newton's method."""
    response_cost = op.taps.numel() * torus.phases / op.geometry.groups
    g = op.geometry
    r, c = g.c_out // g.groups, g.c_in // g.groups * torus.phases
    count = int(min(_NEWTON_STARTS, 4e6 // (response_cost + 10 * max(r, c) * min(r, c) ** 2)))
    places = _minima(smallest, frequencies, top)[:count]
    if len(places) == 0:
        return None
    f = torch.stack([w[i] for w, i in zip(frequencies, places.T, strict=True)], 1)
    groups = group[tuple(places.T)]
    response = Response(op)
    reach = torch.tensor([2 / (s * M) for s, M in zip(torus.stride, torus.coarse, strict=True)])
    value, step = response.newton(f, groups)
    length = torch.ones(len(f), 1, dtype=f.dtype)
    for _ in range(_NEWTON_STEPS):
        trial = f + length * torch.clamp(step, -reach, reach)
        new, new_step = response.newton(trial, groups)
        better = new < value
        f = torch.where(better[:, None], trial, f)
        step = torch.where(better[:, None], new_step, step)
        value = torch.where(better, new, value)
        length = torch.where(better[:, None], (2 * length).clamp(max=1), length / 4)
    return f, value


def _minima(smallest: Tensor, frequencies: list[Tensor], top: float) -> Tensor:
    """Indices (q, nd) of the lowest point and of where zeros may be: the nearest and the lowest.

    Zeros of symmetric kernels lie on curves, along which the grid need not show a minimum: one
    along some axis will do.  |F| grows linearly from a simple zero, which is at most half a step
    away, so the farther neighbour is at least twice as high; valleys above zero are flatter.
    """
    likely = torch.zeros_like(smallest, dtype=torch.bool)
    for dim in range(smallest.ndim):
        before, behind = smallest.roll(1, dim), smallest.roll(-1, dim)
        least, most = torch.minimum(before, behind), torch.maximum(before, behind)
        likely |= (smallest <= least) & (2 * smallest <= most)
    places = (likely & (smallest <= 0.05 * top)).nonzero()
    lowest = torch.stack(torch.unravel_index(smallest.argmin(), smallest.shape))[None]
    radius = torch.stack([w[i] for w, i in zip(frequencies, places.T, strict=True)], 1).norm(dim=1)
    orders = smallest[tuple(places.T)].argsort(), radius.argsort()
    mixed = itertools.chain.from_iterable(zip(*(order.tolist() for order in orders), strict=True))
    return torch.cat([lowest, places[list(dict.fromkeys(mixed))]])


def _canonical(f: Tensor, stride: tuple[int, ...]) -> tuple[float, ...]:
    """f moved into (−½, ½]/s, of ±f the one whose first entry that is not zero is positive."""
    width = 1 / torch.tensor(stride, dtype=f.dtype)
    f = f - width * torch.ceil(f / width - 0.5 - 1e-9)
    entries = [0.0 if abs(v) < 1e-9 else v for v in f.tolist()]
    sign = next((math.copysign(1, v) for v in entries if v), 1.0)
    edges = (width / 2).tolist()  # where +ω and −ω are the same
    folded = [
        abs(v) if abs(abs(v) - edge) < 1e-9 else sign * v
        for v, edge in zip(entries, edges, strict=True)
    ]
    return tuple(round(v, 9) + 0.0 for v in folded)


def _nearest(f: Tensor, stride: tuple[int, ...]) -> list[tuple[float, ...]]:
    """Frequencies that differ from each other, nearest to zero first."""
    different = {tuple(round(v, 5) for v in z): z for z in (_canonical(row, stride) for row in f)}
    return sorted(different.values(), key=lambda z: (round(math.hypot(*z), 6), z))[:_LISTED]
