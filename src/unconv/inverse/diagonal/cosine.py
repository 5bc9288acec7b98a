"""The *cosine* rung: doubly symmetric kernels under half-sample mirrors, by cosine transforms.

Let every kernel equal its own flip along every axis, w[t] = w[k−1−t], and pad with `symmetric`
mirrors (c b a | a b c d | d c b) by as much on both sides, before = after = d(k−1)/2, stride 1.
Then the orthonormal DCT-II diagonalises A along every axis, for a cosine continued past the border
is its own mirror image:

    A = 𝓒ᵀ · H · 𝓒,    H(q) = Σ_t w[t] Π_a cos(π q_a d_a (t_a − (k_a−1)/2) / n_a),

one block of (c_out/g) × (c_in/g) a frequency and group, real for real kernels.  𝓒 is orthogonal, so
A⁺ = 𝓒ᵀ·H⁺·𝓒, every block cut against the one global σ_max (blocks.py), or damped.

Cost: n^nd·c³ once, then two DCTs and n^nd·c² an apply; memory n^nd·c² numbers.
Not for: `reflect`.  The DCT-I diagonalises it, but is not orthogonal: filtering there is right
only where A is regular and nothing is damped.

Source: Ng, Chan & Tang, "A fast algorithm for deblurring models with Neumann boundary conditions",
SIAM J. Sci. Comput. 21 (1999), Theorem 3.2, extended to channels, groups, dilation and cut-offs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ...convolve import grouped
from ...grid.geometry import Axis
from ...numerics.dct import dct, idct
from ...numerics.norms import in_unit
from ...numerics.precision import double_dtype, real_working_dtype
from ...operators.convolution import Convolution
from ..facts import UNSEEN, image_bytes
from ..operator import InverseOperator
from ..request import Request
from .blocks import all_singular_values, invert_blocks, setup_bytes
from .protocol import Diagonal, Few
from .share import share_of_weight
from .waves import WaveInverse, Waves, complete_svd_memory, diagonalise_blocks

TOLERANCE = 4
"""A kernel may differ from its flip by this many eps of the working dtype times its largest entry.
It is made symmetric, which changes A by no more than rounding the weight does."""

_COSINE_PROOF = 10.2  # images that a solve and its proof hold at once, as measured


def obstacle(op: Convolution, request: Request) -> str | None:
    """Why the rung cannot serve `op`, or None."""
    if op.seen is not None:
        return UNSEEN
    for i, axis in enumerate(op.geometry.axes):
        why = _axis_obstacle(axis)
        if why:
            return f"axis {i}: {why}"
    if op.device.type == "meta":
        return "the weight has no values to look at"
    weight = grouped(op.weight.detach(), op.geometry)  # (B, g, o, i, *k)
    weight = weight.to(double_dtype(weight.dtype))
    largest = weight.abs().flatten(2).amax(2)
    tolerance = request.departure(TOLERANCE * torch.finfo(real_working_dtype(op.dtype)).eps, 0.0)
    tolerance *= float(share_of_weight(op).amin())
    for i in range(op.geometry.nd):
        error = (weight - weight.flip(4 + i)).abs().flatten(2).amax(2)
        excess = error / torch.where(largest > 0, largest, 1.0)
        if bool((excess > tolerance).any()):
            return (
                f"axis {i}: a kernel differs from its flip by {float(excess.amax()):.1e} of its "
                f"largest entry, more than {tolerance:.1e}"
            )
    return None


def _axis_obstacle(axis: Axis) -> str | None:
    if axis.stride != 1:
        return f"the stride is {axis.stride}, not 1"
    if not 2 * axis.before == 2 * axis.after == axis.extent - 1:
        return (
            f"the padding {axis.before, axis.after} does not centre a kernel that spans "
            f"{axis.extent} samples; it must be half of {axis.extent - 1} on both sides"
        )
    if axis.m != axis.n:  # a transposed operator with output_padding
        return f"there are {axis.m} outputs for {axis.n} samples"
    if axis.before and (axis.pads_zeros or not axis.pads.mirror):  # one ghost of 'replicate' does
        return f"the boundary is {axis.mode!r}, not 'symmetric'"
    return None


def _block_shape(op: Convolution) -> tuple[int, int, int, int, int]:
    g = op.geometry
    F = math.prod(a.n for a in g.axes)
    return F, op.batch_size or 1, g.groups, g.c_out // g.groups, g.c_in // g.groups


def memory(op: Convolution, request: Request) -> int:
    """Bytes at the peak of the factorisation and its proof."""
    F, B, g, r, c = _block_shape(op)
    entry, parts = real_working_dtype(op.dtype).itemsize, 2 if op.dtype.is_complex else 1
    kept, setup = setup_bytes(F * B * g, r, c, 8 * parts, entry * parts, request.damp)
    return max(setup, kept + int(_COSINE_PROOF * image_bytes(op)))


def operations(op: Convolution, request: Request) -> tuple[float, float]:
    """Floating-point operations of (the factorisation, one apply to one image)."""
    F, B, g, r, c = _block_shape(op)
    kind = 4 if op.dtype.is_complex else 1
    transforms = 3 * F * max(F, 2).bit_length() * g * (r + c) * (2 if op.dtype.is_complex else 1)
    setup = 2 * kind * F * B * g * (max(r, c) * min(r, c) ** 2 * 3 + r * c * op.geometry.axes[-1].k)
    return float(setup), float(transforms + 2 * kind * F * g * r * c)


def factor(op: Convolution, request: Request) -> InverseOperator:
    """Invert the block of every cosine frequency."""
    working = real_working_dtype(op.dtype)
    with torch.no_grad():
        blocks, scale = blocks_of(op)
        dtype = working.to_complex() if op.dtype.is_complex else working
        waves = _waves(op)
        found = invert_blocks(blocks, scale, waves.counts(op.device), op, request, dtype)
    return WaveInverse(op, waves, found, request)


def _symmetric_weight(op: Convolution) -> tuple[Tensor, Tensor]:  # (B, g, o, i, *k) twice
    """The weight in double precision, and the nearest that equals its flips."""
    weight = op.weight.detach()  # its flip is itself
    weight = grouped(weight.to(double_dtype(weight.dtype)), op.geometry)
    nearest = weight
    for dim in range(4, weight.ndim):
        nearest = nearest / 2 + nearest.flip(dim) / 2
    return weight, nearest


def departure(op: Convolution) -> Tensor:
    """What was added to the weight to make it symmetric, (B, g, o, i, *k)."""
    weight, nearest = _symmetric_weight(op)
    return nearest - weight


def blocks_of(op: Convolution) -> tuple[Tensor, Tensor]:
    """H(q) at every frequency, (F, B, g, r, c) in units of (B,).

    A transposed operator is A = Cᵀ = (conj C)ᴴ, for 𝓒 is real; the blocks are those of conj C.
    """
    weight = _symmetric_weight(op)[1]
    if op.transposed:
        weight = weight.conj().resolve_conj()
    weight, unit = in_unit(weight)  # the result must not depend on the weight's unit
    return spectrum(weight, op.geometry.axes), unit


def singular_values(op: Convolution) -> Tensor:
    """All of them, those of all blocks, (B, min(m, n)) descending; n^nd·c³ operations."""
    blocks, scale = blocks_of(op)
    return all_singular_values(blocks, _waves(op).counts(op.device)) * scale[:, None]


def values_memory(op: Convolution) -> int:
    """Bytes of `singular_values`: the blocks, their transposition, slices at work, the values."""
    F, B, g, r, c = _block_shape(op)
    entry = 16 if op.dtype.is_complex else 8
    return F * B * g * (entry * 5 * r * c // 2 + 32 * min(r, c)) + 2**24


def side(op: Convolution) -> int:
    """The longer side of a block."""
    return max(_block_shape(op)[3:])


def complete_memory(op: Convolution) -> int:
    """Bytes at the peak of complete SVDs of all blocks."""
    return complete_svd_memory(op)


def diagonalise(op: Convolution, *, complete: bool = False, few: Few | None = None) -> Diagonal:
    """A = U Σ Vᴴ by the SVDs of all blocks; see `DiagonalRung`."""
    return diagonalise_blocks(op, _waves(op), *blocks_of(op), complete=complete, few=few)


@dataclass(frozen=True)
class CosineWaves(Waves):
    """The orthonormal cosine transform of a grid, the same on both sides of a convolution."""

    method = "cosine"

    def analyse(self, v: Tensor, *, fine: bool) -> Tensor:
        """Data -> frequencies; `fine` and coarse are one grid."""
        for dim in range(2, v.ndim):
            v = dct(v, dim)
        return v

    def synthesise(self, V: Tensor, *, fine: bool) -> Tensor:
        """The inverse of `analyse`."""
        for dim in range(2, V.ndim):
            V = idct(V, dim)
        return V


def _waves(op: Convolution) -> CosineWaves:
    return CosineWaves(tuple(a.n for a in op.geometry.axes))


def spectrum(weight: Tensor, axes: tuple[Axis, ...]) -> Tensor:
    """H(q) of every frequency.

    Parameters
    ----------
    weight : (B, g, c_out/g, c_in/g, *k), symmetric along every axis of k

    Returns
    -------
    (n₁·n₂·…, B, g, c_out/g, c_in/g), real for a real weight
    """
    for axis in reversed(axes):  # (…, k_a) -> (q_a, …), the last axis first: q₁ ends up in front
        weight = torch.tensordot(_cosines(axis, weight), weight, dims=([1], [weight.ndim - 1]))
    return weight.flatten(0, -5)


def _cosines(axis: Axis, like: Tensor) -> Tensor:  # (n, k)
    """cos(π q (d·t − before)/n), its argument reduced in integers."""
    q = torch.arange(axis.n, device=like.device)[:, None]
    offset = torch.arange(axis.k, device=like.device) * axis.dilation - axis.before
    turn = (q * offset) % (2 * axis.n)
    return torch.cos(turn.double() * (math.pi / axis.n)).to(like.dtype)
