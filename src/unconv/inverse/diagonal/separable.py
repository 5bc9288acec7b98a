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
from ...numerics.kronecker import AxisSVD, Products, matrix_svds, parity_svds
from ...numerics.precision import double_dtype, real_working_dtype
from ...operators.convolution import Convolution
from ..facts import UNSEEN, SpectrumSummary, image_bytes
from ..operator import InverseOperator
from ..request import Request
from .filtered import cut_gains
from .outer_product import (
    OuterProduct,
    axis_matrix,
    is_centrosymmetric,
    nearest_outer_product,
)
from .product_basis import ProductBasis, SeparableInverse
from .protocol import UNMATCHED, Diagonal, Few
from .share import share_of_weight

TOLERANCE = 2
"""A weight counts as an outer product within this many eps of its working dtype, relative to its
norm; products rounded and normalised entry by entry stay under 0.6."""

_EPS = torch.finfo(torch.float64).eps
_SEARCH = 64 * _EPS  # rounding of the search for the nearest one
_OF_A_CUT_OFF = 0.5  # of max(m, n)·eps, below which singular values count as zero by default

LIMIT = 2048
"""Longest side of a matrix given to an SVD, after the split in halves: seconds on two cores."""

LINE_LIMIT = 1024
"""Longest side for operators with one axis, where an FFT and a small boundary are cheaper."""

_FIRST_CHANNELS = 2  # channels of a group that are looked at first
_SPLIT = 256  # shorter axes are applied whole: the sums and differences cost more than they save
_AXES_PROOF = 8.0  # images that a solve and its proof hold at once, as measured
_SPLIT_PROOF = 2.0  # more where sums and differences are held


def obstacle(op: Convolution, request: Request) -> str | None:
    """Why the rung cannot serve `op`, or None."""
    if op.seen is not None:
        return UNSEEN
    if op.device.type == "meta":
        return "the weight has no values to look at"
    weight = _weight(op)
    eps = torch.finfo(real_working_dtype(op.dtype)).eps
    search = _SEARCH
    if not request.damp:  # singular values above the cut-off are not to drown in it
        search = min(search, _OF_A_CUT_OFF * max(op.shape) * _EPS)
    tolerance = request.departure(TOLERANCE * eps + search, search)
    tolerance = max(search, tolerance * float(share_of_weight(op).amin()))
    corner = weight[:, :, :_FIRST_CHANNELS, :_FIRST_CHANNELS]
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
    """Bytes at the peak: the bases, beside them LAPACK at work, the gains, or a proof's images."""
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
    proof = (_AXES_PROOF + (_SPLIT_PROOF if split else 0)) * image_bytes(op)
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
        svds = _svds(op, found)
        values = _values_of(svds)
        gains, summary = cut_gains(values, found.scale, op, request, "all singular values")
    return SeparableInverse(op, svds, gains, request, summary)


def _svds(
    op: Convolution, found: OuterProduct, *, full: bool = False
) -> tuple[AxisSVD, list[list[AxisSVD]]]:
    """SVDs of the channel matrix, and of either parity of every axis; alike axes share theirs."""
    channels = matrix_svds(found.channels.mT if op.transposed else found.channels, full=full)
    svds: list[list[AxisSVD]] = []
    for i, (axis, k) in enumerate(zip(op.geometry.axes, found.kernels, strict=True)):
        alike = _first_alike(op, found, i)
        mine = svds[alike] if alike < i else _axis_svds(axis, k, op.transposed, full=full)
        svds.append(mine)
    return channels, svds


def _axis_svds(axis: Axis, k: Tensor, transposed: bool, *, full: bool) -> list[AxisSVD]:
    """The SVD of A_a, or of its two parities."""
    if _is_identity(axis):
        one = torch.ones(1, 1, axis.n, dtype=torch.float64, device=k.device)
        return [AxisSVD(None, one, None)]
    A = axis_matrix(axis, k)
    A = A.mT if transposed else A
    return [matrix_svds(A, full=full)] if _parities(axis, k) == 1 else parity_svds(A, full=full)


def _products(channels: Tensor, axes: list[list[Tensor]]) -> list[Tensor]:
    """(B, g, r, r₁, r₂, …) products of singular values, one tensor a combination of parities."""
    values = []
    for combination in product(*axes):
        S = channels
        for factor in combination:
            S = torch.einsum("bg...,bgr->bg...r", S, factor.expand(*S.shape[:2], -1))
        values.append(S)
    return values


def _values_of(svds: tuple[AxisSVD, list[list[AxisSVD]]]) -> list[Tensor]:
    """The products of all singular values, in units of the kernel."""
    channels, axes = svds
    return _products(channels.S, [[part.S for part in axis] for axis in axes])


def diagonalise(op: Convolution, *, complete: bool = False, few: Few | None = None) -> Diagonal:
    """A = U Σ Vᴴ by products of the vectors of channels and axes; see `DiagonalRung`."""
    found = nearest_outer_product(_weight(op))
    channels, axes = svds = _svds(op, found, full=complete)
    scale = found.scale.reshape(-1, *[1] * (2 + len(axes)))

    def side(right: bool) -> ProductBasis:
        """U or V; where an axis has no singular value, neither has a product."""

        def labels(svd: AxisSVD) -> Tensor:
            Q = svd.V if right else svd.U
            short = 0 if Q is None else Q.shape[-1] - svd.S.shape[-1]
            return torch.nn.functional.pad(svd.S, (0, short), value=torch.nan)

        values = _products(labels(channels), [[labels(part) for part in axis] for axis in axes])
        sigma = torch.cat([(S * scale).flatten(1) for S in values], 1).nan_to_num(nan=UNMATCHED)
        ones = torch.ones(sigma.shape[1], dtype=torch.long, device=sigma.device)
        vectors = tuple(tuple(part.V if right else part.U for part in axis) for axis in axes)
        Q = channels.V if right else channels.U
        factors = Products(op.geometry.groups, Q, vectors)
        return ProductBasis(sigma, ones, factors, [S.shape[1:] for S in values])

    data = side(False)

    def build(gains: Tensor, request: Request, summary: SpectrumSummary) -> SeparableInverse:
        return SeparableInverse(op, svds, data.parts(gains), request, summary)

    return Diagonal(data, side(True), build)


def singular_values(op: Convolution) -> Tensor:
    """All of them, (B, min(m, n)) descending: the products of those of the axes; n³ operations.

    Where one axis is tall and another one wide there are fewer products; the rest is zero.
    """
    found = nearest_outer_product(_weight(op))
    values = _values_of(_svds(op, found))
    S = torch.cat([v.flatten(1) for v in values], 1) * found.scale[:, None]
    S = torch.nn.functional.pad(S, (0, min(op.shape) - S.shape[1]))
    return S.sort(1, descending=True).values


def values_memory(op: Convolution) -> int:
    """Bytes of `singular_values`: at most those of the factorisation, and the zeros."""
    return memory(op, Request()) + 32 * min(op.shape) * (op.batch_size or 1)


def side(op: Convolution) -> int:
    """The longer sides of all matrices that LAPACK is given, added up: their errors add."""
    g = op.geometry
    return max(g.c_in, g.c_out) // g.groups + sum(max(a.m, a.n) for a in g.axes)


def complete_memory(op: Convolution) -> int:
    """Bytes of the matrices with complete SVDs, copies of LAPACK, labels and their order."""
    g, (m, n) = op.geometry, op.shape
    sides = [(a.m, a.n) for a in g.axes] + [(g.c_out // g.groups, g.c_in // g.groups)]
    entry = 48 if op.dtype.is_complex else 24
    return entry * g.groups * sum(a * a + b * b for a, b in sides) + 48 * (m + n)


def departure(op: Convolution) -> Tensor:
    """The nearest outer product minus the weight, (B, g, o, i, *k)."""
    weight = _weight(op)
    weight = weight.to(double_dtype(weight.dtype))
    found = nearest_outer_product(weight)
    nearest = found.channels * found.scale.reshape(-1, 1, 1, 1)
    for k in found.kernels:
        nearest = torch.einsum("bg...,bgk->bg...k", nearest, k.expand(*nearest.shape[:2], -1))
    return nearest - weight
