"""The *separable* rung: kernels that are outer products, by the SVDs of 1-D matrices.

Where weight[o, i, t] = M[o, i] · k₁[t₁] · k₂[t₂] · … in every group (Gaussian, box, motion along an
axis; all 1-D kernels of one channel), boundary, stride and dilation act axis by axis too, and

    A = M ⊗ A₁ ⊗ A₂ ⊗ …,    A_a = U_a Σ_a V_aᴴ,    σ(A) = all products σ_M · σ₁ · σ₂ · …,

    A⁺ = V f(σ) Uᴴ with f(σ) = 1/σ where σ > max(atol, rtol·σ_max), else 0; damped σ/(σ² + damp²).

The cut-off is one for all products of all groups.  A_a⁺ with cut-offs of their own would keep
products far below it: 254 times the right answer for a Gaussian.  The whole spectrum is known.

An axis whose kernel is its own flip, centred, has a matrix that commutes with reversal.  Sums and
differences of opposite samples then split it into two halves that are factored and applied apart,
for a quarter of the set-up and half of each apply.

Cost: n³ an axis once, then two products of n^nd · n an axis and one gain a product; memory n² an
axis and n^nd gains.
Accuracy: a weight that is an outer product but for rounding counts as one, and A is replaced by the
nearest: w changes by at most 2.4e-7 of its norm in float32, 1.5e-14 in float64 (`TOLERANCE`).
Not for: axes beyond `LIMIT`; disks, oblique motion, learned kernels.

Source: Hansen, Nagy & O'Leary, "Deblurring Images", SIAM 2006, §4.4; Van Loan & Pitsianis,
"Approximation with Kronecker products", 1993; Andrew, "Eigenvectors of certain matrices", Linear
Algebra Appl. 7 (1973), for centrosymmetric matrices.
"""

from __future__ import annotations

import math
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor

from ...convolve import grouped
from ...grid.geometry import Axis
from ...numerics.kronecker import (
    Basis,
    contract,
    merge_axes,
    parity_svds,
    split_axes,
    thin_svd,
)
from ...numerics.precision import double_dtype, real_working_dtype
from ...operators.convolution import Convolution
from ..facts import SpectrumSummary, image_bytes, least_above_zero
from ..operator import InverseOperator
from ..request import Request
from .outer_product import (
    OuterProduct,
    axis_matrix,
    is_centrosymmetric,
    nearest_outer_product,
)
from .share import share_of_weight

TOLERANCE = 2
"""A weight counts as an outer product within this many eps of its working dtype, relative to its
norm; products rounded and normalised entry by entry stay under 0.6."""

_SEARCH = 64 * torch.finfo(torch.float64).eps  # rounding of the search for the nearest one

LIMIT = 2048
"""Longest side of a matrix given to an SVD, after the split in halves: seconds on two cores."""

LINE_LIMIT = 1024
"""The same for operators with one spatial axis, where an FFT and a small boundary are cheaper."""

_CORNER = 2  # channels of a group that are looked at first
_SPLIT = 256  # shorter axes are applied whole: the sums and differences cost more than they save
_PROOF, _DOUBT = 9.5, 15.0  # images that a solve and its proof hold at once, as measured
_SPLIT_PROOF = 1.3  # more where sums and differences are held
_SLICE_BYTES = 16 * 2**20  # larger batches go in slices: fresh buffers are slower than warm ones


def obstacle(op: Convolution, request: Request) -> str | None:
    """Why the rung cannot serve `op`, or None."""
    if op.device.type == "meta":
        return "the weight has no values to look at"
    weight = _weight(op)
    eps = torch.finfo(real_working_dtype(op.dtype)).eps
    tolerance = request.departure(TOLERANCE * eps + _SEARCH, _SEARCH)
    tolerance = max(_SEARCH, tolerance * float(share_of_weight(op).amin()))
    corner = weight[:, :, :_CORNER, :_CORNER]
    if corner.shape != weight.shape:  # refuses nearly every layer at next to no cost
        error = nearest_outer_product(corner).error
        share = _largest(corner) / _largest(weight) / math.sqrt(weight[0, 0].numel())
        if bool((error * share > tolerance).any()):  # a lower bound of the whole kernel's error
            return _not_separable(op, error * (error * share > tolerance), tolerance)
    found = nearest_outer_product(weight)
    if bool((found.error > tolerance).any()):
        return _not_separable(op, found.error, tolerance)
    limit = LIMIT if op.geometry.nd > 1 else LINE_LIMIT
    for task in _tasks(op, found):
        side = max(task.m, task.n)
        if side > limit:
            return f"axis {task.axis} needs the SVD of a matrix of side {side:,}, above {limit:,}"
    return None


def _weight(op: Convolution) -> Tensor:  # (B, g, o, i, *k)
    return grouped(op.taps.detach(), op.geometry)


def _largest(weight: Tensor) -> Tensor:  # (B, g); 1 for a zero kernel
    largest = weight.abs().flatten(2).amax(2).double()
    return torch.where(largest == 0, 1.0, largest)


def _not_separable(op: Convolution, error: Tensor, tolerance: float) -> str:
    b, g = divmod(int(error.argmax()), op.geometry.groups)
    which = [f" of sample {b}"] * bool(op.batch_size) + [f" of group {g}"] * (error.shape[1] > 1)
    return (
        f"the weight{''.join(which)} is no outer product: the nearest one is "
        f"{float(error.max()):.1e} of its norm away, more than {tolerance:.1e}"
    )


class _Task(NamedTuple):
    """The SVDs of one axis: `number` matrices of m × n for each of `parts` parities."""

    axis: int
    parts: int
    number: int
    m: int
    n: int


def _tasks(op: Convolution, found: OuterProduct) -> list[_Task]:
    """One a distinct axis; nothing for an axis on which A is the identity."""
    tasks = []
    for i, (axis, k) in enumerate(zip(op.geometry.axes, found.kernels, strict=True)):
        if _first_alike(op, found, i) == i and not _is_identity(axis):
            parts = _parities(axis, k)
            sides = -(-axis.m // parts), -(-axis.n // parts)
            tasks.append(_Task(i, parts, k.shape[0] * k.shape[1], *sides))
    return tasks


def _first_alike(op: Convolution, found: OuterProduct, i: int) -> int:
    """The first axis with the matrices of axis i."""
    axes, kernels = op.geometry.axes, found.kernels
    same = (j for j in range(i) if axes[j] == axes[i] and torch.equal(kernels[j], kernels[i]))
    return next(same, i)


def _is_identity(axis: Axis) -> bool:
    """One tap at every sample; the kernel of length one is [1] there."""
    return axis.k == axis.stride == 1 and axis.before == 0 and axis.m == axis.n


def _parities(axis: Axis, k: Tensor) -> int:
    """2 where the axis is split into sums and differences."""
    return 2 if min(axis.m, axis.n) >= _SPLIT and is_centrosymmetric(axis, k) else 1


def _values(op: Convolution) -> int:
    """Number of products of singular values, of one kernel set."""
    g = op.geometry
    return min(g.c_out, g.c_in) * math.prod(min(a.m, a.n) for a in g.axes)


def memory(op: Convolution, request: Request) -> int:
    """Bytes at the peak of the factorisation and its proof, for A of full rank."""
    return _bytes(op, _PROOF)


def memory_if_deficient(op: Convolution, request: Request) -> int:
    """The same for A that is rank-deficient, or so ill-conditioned that answers are in doubt."""
    return _bytes(op, _DOUBT)


def _bytes(op: Convolution, images: float) -> int:
    """The bases, beside them LAPACK at work, the gains being made, or the images of a proof."""
    stored, workspace, split = 0, 0.0, False
    for _, parts, count, m, n in _tasks(op, nearest_outer_product(_weight(op))):
        r = min(m, n)
        mine = parts * count * (m + n) * r
        at_once = m * n + 3.6 * r * r  # a copy and the workspace of the SVD of one matrix
        whole = count * m * n * (parts**2 + 1)
        workspace = max(workspace, whole + at_once)
        stored, split = stored + mine, split or parts == 2
    kinds = 2 if op.dtype.is_complex else 1
    values = 8 * (op.batch_size or 1) * _values(op)
    bases = 8 * kinds * stored
    kept = real_working_dtype(op.dtype).itemsize * kinds * stored + values
    proof = (images + (_SPLIT_PROOF if split else 0)) * image_bytes(op)
    return max(bases + int(8 * kinds * workspace), bases + 5 * values, kept + int(proof))


def operations(op: Convolution, request: Request) -> tuple[float, float]:
    """Floating-point operations of (the factorisation, one apply to one image)."""
    found, g = nearest_outer_product(_weight(op)), op.geometry
    kind = 4.0 if op.dtype.is_complex else 1.0
    setup = 0.0
    for _, parts, count, m, n in _tasks(op, found):
        setup += kind * parts * count * (6.0 * max(m, n) + 20.0 * min(m, n)) * min(m, n) ** 2
    sides = [
        (a.m + a.n) / _parities(a, k)
        for a, k in zip(g.axes, found.kernels, strict=True)
        if not _is_identity(a)
    ]
    channels = (g.c_out + g.c_in) / g.groups
    return setup, 2 * kind * (sum(sides) + (channels if channels > 2 else 0)) * _values(op)


def factor(op: Convolution, request: Request) -> InverseOperator:
    """SVD of the channel matrix and of every axis's matrix."""
    with torch.no_grad():
        found = nearest_outer_product(_weight(op))
        channels, bases = _svds(op, found)
        values = _products(channels, bases)
        gains, summary = _gains(values, found.scale, op, request)
    return SeparableInverse(op, channels, bases, gains, request, summary)


def _svds(op: Convolution, found: OuterProduct) -> tuple[Basis, list[list[Basis]]]:
    """Of the channel matrix, and one a parity for every axis."""
    channels = thin_svd(found.channels.mT if op.transposed else found.channels)
    bases: list[list[Basis]] = []
    for i, (axis, k) in enumerate(zip(op.geometry.axes, found.kernels, strict=True)):
        alike = _first_alike(op, found, i)
        bases.append(bases[alike] if alike < i else _bases(axis, k, op.transposed))
    return channels, bases


def _products(channels: Basis, bases: list[list[Basis]]) -> list[Tensor]:
    """(B, g, r, r₁, r₂, …) products of singular values, one tensor a combination of parities."""
    values = []
    for combination in product(*bases):
        S = channels.S
        for basis in combination:
            S = torch.einsum("bg...,bgr->bg...r", S, basis.S.expand(*S.shape[:2], -1))
        values.append(S)
    return values


def spectral_factors(op: Convolution) -> tuple[Basis, list[list[Basis]], list[Tensor]]:
    """The SVDs of channels and axes, and the singular values, one tensor a combination."""
    found = nearest_outer_product(_weight(op))
    channels, bases = _svds(op, found)
    scale = found.scale.reshape(-1, *[1] * (2 + len(bases)))
    return channels, bases, [S * scale for S in _products(channels, bases)]


def singular_values(op: Convolution) -> Tensor:
    """All of them, (B, min(m, n)) descending: the products of those of the axes; n³ operations.

    Where one axis is tall and another one wide there are fewer products; the rest is zero.
    """
    found = nearest_outer_product(_weight(op))
    S = torch.cat([v.flatten(1) for v in _products(*_svds(op, found))], 1) * found.scale[:, None]
    S = torch.nn.functional.pad(S, (0, min(op.shape) - S.shape[1]))
    return S.sort(1, descending=True).values


def values_memory(op: Convolution) -> int:
    """Bytes of `singular_values`: at most those of the factorisation, and the zeros."""
    return memory(op, Request()) + 32 * min(op.shape) * (op.batch_size or 1)


def departure(op: Convolution) -> Tensor:
    """The nearest outer product minus the weight, (B, g, o, i, *k)."""
    weight = _weight(op)
    weight = weight.to(double_dtype(weight.dtype))
    found = nearest_outer_product(weight)
    nearest = found.channels * found.scale.reshape(-1, 1, 1, 1)
    for k in found.kernels:
        nearest = torch.einsum("bg...,bgk->bg...k", nearest, k.expand(*nearest.shape[:2], -1))
    return nearest - weight


def _bases(axis: Axis, k: Tensor, transposed: bool) -> list[Basis]:
    """The SVDs of A_a, or of its two parities."""
    if _is_identity(axis):
        return [Basis(None, torch.ones(1, 1, axis.n, dtype=torch.float64, device=k.device), None)]
    A = axis_matrix(axis, k)
    A = A.mT if transposed else A
    return [thin_svd(A)] if _parities(axis, k) == 1 else parity_svds(A)


def _gains(
    values: list[Tensor], scale: Tensor, op: Convolution, request: Request
) -> tuple[list[Tensor], SpectrumSummary]:
    """f(σ) for all products, given in units of `scale`, with one cut-off a kernel set."""
    norm = torch.stack([S.flatten(1).amax(1) for S in values]).amax(0)  # (B,)
    units = scale.tolist()
    cutoff = torch.stack(
        [Request(request.damp, request.rtol, request.atol / u).cutoff(op, s)
         for u, s in zip(units, norm, strict=True)]
    )  # fmt: skip
    damp = request.damp / scale
    gains, rank = [], torch.zeros_like(norm, dtype=torch.long)
    smallest, lost = torch.full_like(norm, torch.inf), torch.zeros_like(norm)
    for S in values:
        flat = S.flatten(1)
        keep = flat > cutoff[:, None]
        safe = torch.where(keep, flat, 1.0)
        # s/(s² + damp²) = 1/(s + damp·(damp/s)), and no square alone: it may underflow
        gain = (damp[:, None] / safe).mul_(damp[:, None]).add_(safe).reciprocal_()
        gains.append(gain.masked_fill_(~keep, 0.0).div_(scale[:, None]).view_as(S))
        rank += keep.sum(1)
        smallest = torch.minimum(smallest, torch.where(keep, flat, torch.inf).amin(1))
        lost = torch.maximum(lost, torch.where(keep, 0.0, flat).amax(1))
    dropped = min(op.shape) - rank
    # in the units of `values`; products that are missing are zero
    flat = torch.cat([S.flatten(1) for S in values], 1)
    flat = torch.nn.functional.pad(flat, (0, min(op.shape) - flat.shape[1]))
    above_zero = least_above_zero(flat, request.undamped().cutoff(op, norm))
    if request.damp:  # directions with σ = 0 are curved by damp² alone
        smallest = torch.where(dropped == 0, smallest, 0.0)
    summary = SpectrumSummary(
        norm=norm * scale,
        floor=torch.hypot(smallest * scale, torch.full_like(smallest, request.damp)),
        rank=None if request.damp else rank,
        gap=torch.where((lost > 0) & (request.damp == 0), smallest / lost, torch.inf),
        rank_how="not needed: damp > 0" if request.damp else "all singular values",
        dropped=torch.zeros_like(rank) if request.damp else dropped,
        above_zero=above_zero * scale,
    )
    return gains, summary


class SeparableInverse(InverseOperator):
    """A⁺ or a damped inverse as V · diag(gains) · Uᴴ, both Kronecker products.

    Buffers: `gains0`, … one a combination of parities, (B, g, r, r₁, r₂, …); `U<axis>_<parity>`
    and `V<axis>_<parity>` of every distinct axis; `U_channels` and `V_channels`, unless one
    channel goes to one and its phase is in the gains.
    """

    method = "separable"

    def __init__(
        self,
        op: Convolution,
        channels: Basis,
        bases: list[list[Basis]],
        gains: list[Tensor],
        request: Request,
        summary: SpectrumSummary,
    ) -> None:
        super().__init__(op, request, summary)
        real = real_working_dtype(op.dtype)
        working = real.to_complex() if op.dtype.is_complex else real

        def keep(name: str, value: Tensor | None) -> None:
            self.register_buffer(name, None if value is None else value.to(working))

        alike = [[other is basis for other in bases].index(True) for basis in bases]
        for i in set(alike):
            for parity, basis in enumerate(bases[i]):
                keep(f"U{i}_{parity}", basis.U)
                keep(f"V{i}_{parity}", basis.V)
        single = op.geometry.c_in == op.geometry.c_out == op.geometry.groups
        keep("U_channels", None if single else channels.U)
        keep("V_channels", None if single else channels.V)
        for i, gain in enumerate(gains):
            if single:  # the matrix of one channel is a size, in the gains, and a sign or phase
                gain = gain * _phase(channels)[(..., *[None] * len(bases))].conj()
            self.register_buffer(f"gains{i}", gain.to(working if single else real))
        self.groups = op.geometry.groups
        self.split_dims = [3 + a for a, axis in enumerate(bases) if len(axis) == 2]
        combinations = product(*(range(len(axis)) for axis in bases))
        self.names = [[f"{i}_{p}" for i, p in zip(alike, c, strict=True)] for c in combinations]

    @property
    def device(self) -> torch.device:
        """Device of the factor."""
        return self.get_buffer("gains0").device

    def _solve(self, y: Tensor) -> Tensor:
        return self._in_slices(y, adjoint=False)

    def _solve_adjoint(self, x: Tensor) -> Tensor:
        return self._in_slices(x, adjoint=True)

    def _in_slices(self, v: Tensor, adjoint: bool) -> Tensor:
        count = max(1, _SLICE_BYTES // max(1, v[:1].numel() * v.element_size()))
        if self.batch_size or len(v) <= count:
            return self._filter(v, adjoint)
        return torch.cat([self._filter(part, adjoint) for part in v.split(count)])

    def _filter(self, v: Tensor, adjoint: bool) -> Tensor:
        """V · diag(gains) · Uᴴ v; the adjoint exchanges U and V and conjugates the gains."""
        left, right = ("V", "U") if adjoint else ("U", "V")
        gains = [self.get_buffer(f"gains{i}") for i in range(len(self.names))]
        return self._between(v, left, right, [g.conj() for g in gains] if adjoint else gains)

    def project(self, v: Tensor, *, on_range: bool) -> Tensor:
        """The part of v in the kept left singular vectors (`on_range`) or in the right ones."""
        side = "U" if on_range else "V"
        kept = [self.get_buffer(f"gains{i}") != 0 for i in range(len(self.names))]
        return self._between(v, side, side, kept)

    def _between(self, v: Tensor, left: str, right: str, gains: list[Tensor]) -> Tensor:
        """right · diag(gains) · leftᴴ v."""
        X = v.unflatten(1, (self.groups, -1))  # (N, g, c, *spatial)
        X = contract(X, self._conjugate(f"{left}_channels"), 2)
        parts = []
        for i, Z in enumerate(split_axes(X, self.split_dims)):
            names = self.names[i]
            for dim, name in reversed(list(enumerate(names, start=3))):
                Z = contract(Z, self._conjugate(left + name), dim)
            Z = Z * gains[i]
            for dim, name in enumerate(names, start=3):
                Z = contract(Z, self._buffers[right + name], dim)
            parts.append(Z)
        X = merge_axes(parts, reversed(self.split_dims))
        return contract(X, self._buffers[f"{right}_channels"], 2).flatten(1, 2)

    def _conjugate(self, name: str) -> Tensor | None:
        factor = self._buffers[name]
        return None if factor is None else factor.mH


def _phase(channels: Basis) -> Tensor:  # (B, g, 1, 1) matrices -> (B, g, 1)
    assert channels.U is not None
    assert channels.V is not None
    return (channels.U * channels.V.conj())[:, :, 0]
