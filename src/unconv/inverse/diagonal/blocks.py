"""Pseudo-inverses of thousands of small matrices with one cut-off for all of them.

For blocks C of r × c, tall (wide ones are turned by the conjugate transpose, with which both the
pseudo-inverse and its damped form commute):

    C⁺ = C⁻¹ (LU) or R⁻¹Qᴴ (QR),      (CᴴC + λ)⁻¹Cᴴ = R⁻¹Q₁ᴴ with [C; √λ·I] = [Q₁; Q₂]·R.

Either inverse bounds its block's smallest singular value, 1/‖R⁻¹‖_F ≤ σ_min ≤ √c/‖R⁻¹‖_F.  Blocks
whose bound does not clear the cut-off are decided by their SVD.

Batched LAPACK on matrices this small is slower on two threads than on one (by up to ten times): the
work is dealt to Python threads in slices that fit the cache, each single-threaded inside.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...numerics.memory import LAPACK_BYTES
from ...numerics.threads import run_in_slices, singular_values
from ...operators.convolution import Convolution
from ..facts import SpectrumSummary, least_above_zero
from ..request import Request

_FIFTHS = 25, 50  # of a slice: what inverses by LU and by QR take beside their results, in fifths
_OF_ONE_ROW = 3  # beside blocks of one row or column: lengths, gains and a copy
_SHARPENED = 32  # blocks whose singular values are computed to sharpen a global bound


def setup_bytes(count: int, r: int, c: int, entry: int, kept: int, damp: float) -> tuple[int, int]:
    """(kept, at the peak) of `count` blocks r × c of `entry` bytes, whose inverses take `kept`."""
    blocks = count * r * c * entry
    inverse = count * r * c * kept
    if min(r, c) == 1:
        return inverse, blocks + inverse + _OF_ONE_ROW * blocks
    at_work = _FIFTHS[r != c or damp > 0] * LAPACK_BYTES // 5
    return inverse, blocks + inverse + min(at_work, 3 * blocks)


@dataclass(frozen=True)
class BlockInverse:
    """(F, B, g, c, r) inverses and what they tell about the spectrum."""

    inverse: Tensor
    summary: SpectrumSummary


def invert_blocks(
    blocks: Tensor,
    scale: Tensor,
    multiplicity: Tensor,
    op: Convolution,
    request: Request,
    dtype: torch.dtype,
) -> BlockInverse:
    """Pseudo- or damped inverses of all blocks, cut against the largest singular value.

    Parameters
    ----------
    blocks : (F, B, g, r, c) complex128, in units of `scale`
    scale : (B,) what the blocks of each kernel were divided by; `request` are not
    multiplicity : (F,) how often each stored frequency counts in the whole spectrum
    dtype : complex dtype of the inverses; they are computed in complex128
    """
    F, B, g, r, c = blocks.shape
    inverse = torch.empty(B, F, g, c, r, dtype=dtype, device=blocks.device).transpose(0, 1)
    if r == c == 1:  # as the blocks themselves: frequency last in memory
        inverse = torch.empty(B, g, c, r, F, dtype=dtype, device=blocks.device).movedim(-1, 0)
    facts = []
    for b, unit in enumerate(scale.tolist()):
        mine = Request(request.damp / unit, request.rtol, request.atol / unit)
        facts.append(_invert_kernel(blocks[:, b], inverse[:, b], unit, multiplicity, op, mine))
    norm, floor, rank, gap, dropped, above_zero = (torch.stack(v) for v in zip(*facts, strict=True))
    summary = SpectrumSummary(
        norm=norm * scale,
        floor=floor * scale,
        rank=None if request.damp else rank,
        gap=gap,
        rank_how="not needed: damp > 0" if request.damp else "singular values near the cut-off",
        dropped=torch.zeros_like(dropped) if request.damp else dropped,
        above_zero=above_zero * scale,
    )
    return BlockInverse(inverse, summary)


_Facts = tuple[Tensor, ...]  # norm, floor, rank, gap, dropped, above_zero


def _invert_kernel(
    blocks: Tensor,
    inverse: Tensor,
    unit: float,
    multiplicity: Tensor,
    op: Convolution,
    request: Request,
) -> _Facts:
    """Fill (F, g, c, r) `inverse` of one kernel's blocks (F, g, r, c); facts in units of `unit`."""
    F, g, r, c = blocks.shape
    if min(r, c) == 1:
        return _invert_vectors(blocks, inverse, unit, multiplicity, op, request)
    flat, inverse = blocks.reshape(F * g, r, c), inverse.view(F * g, c, r)
    counts = multiplicity.repeat_interleave(g)
    floor, sizes = invert_regular(flat, inverse, unit, request.damp)
    norm, ceiling = _bracket_norm(flat, sizes)
    doubtful = ~(floor > 2 * request.cutoff(op, ceiling)) & (counts > 0)
    rank = min(r, c) * counts.sum()
    dropped = torch.zeros_like(rank)
    gap = torch.full_like(norm, torch.inf)
    cutoff = torch.zeros_like(norm)
    if not request.damp and doubtful.any():
        norm = _largest_singular_value(flat, norm)
        cutoff = request.cutoff(op, norm)
        doubt = doubtful.nonzero()[:, 0]
        kept, lost = _invert_singular(flat, inverse, unit, doubt, cutoff)
        dropped = (lost.isfinite() * counts[doubt, None]).sum()
        floor[doubt] = kept.amin(1)
    floor = torch.where(counts > 0, floor, torch.inf)
    smallest, above_zero = _sharpened_floor(
        flat, floor, cutoff, request.damp, request.undamped().cutoff(op, norm)
    )
    if dropped:
        gap = smallest / torch.where(lost.isfinite(), lost, 0.0).amax()
    return norm, smallest, rank - dropped, gap, dropped, above_zero


def _invert_vectors(
    blocks: Tensor,
    inverse: Tensor,
    unit: float,
    multiplicity: Tensor,
    op: Convolution,
    request: Request,
) -> _Facts:
    """Blocks with one row or column have one singular value, their length s: C⁺ = Cᴴ/s²."""
    s = torch.linalg.vector_norm(blocks, dim=(-2, -1))  # (F, g)
    norm = s.amax()
    keep = s > request.cutoff(op, norm)
    safe = torch.where(keep, s, 1.0)
    # Cᴴ/s · s/(s² + damp²), and s² never alone: it underflows
    gain = torch.where(keep, 1.0 / (safe + request.damp * (request.damp / safe)), 0.0)
    inverse.copy_(blocks.mH * (gain / safe / unit)[..., None, None])
    counts = multiplicity[:, None].expand_as(s)
    rank, dropped = (keep * counts).sum(), (~keep * counts).sum()
    smallest = torch.where(keep, s, torch.inf).amin()
    lost = torch.where(keep, 0.0, s).amax()
    gap = smallest / lost if dropped else torch.full_like(norm, torch.inf)
    if request.damp and dropped:  # damped directions with σ = 0 are curved by damp² alone
        smallest = torch.zeros_like(smallest)
    floor = torch.hypot(smallest, torch.full_like(smallest, request.damp))
    above_zero = least_above_zero(s.flatten()[None], request.undamped().cutoff(op, norm[None]))
    return norm, floor, rank, gap, dropped, above_zero[0]


def all_singular_values(blocks: Tensor, multiplicity: Tensor) -> Tensor:
    """Every singular value of the matrix that the blocks are the diagonal of, descending.

    (F, B, g, r, c) blocks, (F,) integers -> (B, Σ multiplicity · g · min(r, c))
    """
    _, B, g, r, c = blocks.shape
    counted = (multiplicity > 0).nonzero()[:, 0]
    if min(r, c) == 1:
        S = torch.linalg.vector_norm(blocks, dim=(-2, -1))[counted].unsqueeze(-1)
    else:
        which = (counted[:, None] * (B * g) + torch.arange(B * g, device=counted.device)).flatten()
        S = singular_values(blocks.reshape(-1, r, c), which).view(-1, B, g, min(r, c))
    S = S.repeat_interleave(multiplicity[counted], 0).transpose(0, 1).flatten(1)
    return S.sort(1, descending=True).values


def decomposed(blocks: Tensor, *, full: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """SVDs of all blocks: (F, B, g, r, p), (F, B, g, p), (F, B, g, c, p) with p = min(r, c).

    full : U is (…, r, r) and V is (…, c, c)
    """
    F, B, g, r, c = blocks.shape
    if min(r, c) == 1 and not full:
        return _decomposed_vectors(blocks)
    flat, p = blocks.reshape(-1, r, c), min(r, c)
    U, V = (flat.new_empty(len(flat), s, s if full else p) for s in (r, c))
    S = flat.new_empty(len(flat), p, dtype=flat.dtype.to_real())

    def decompose(part: slice) -> None:
        U[part], S[part], Vh = torch.linalg.svd(flat[part], full_matrices=full)
        V[part] = Vh.mH

    step = max(1, LAPACK_BYTES // max(1, flat.element_size() * max(r * c, V[:1].numel())))
    run_in_slices(decompose, len(flat), step, flat.device)
    return U.view(F, B, g, r, -1), S.view(F, B, g, -1), V.view(F, B, g, c, -1)


def _decomposed_vectors(blocks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """SVDs of blocks of one row or column: their direction, their length, and 1."""
    if blocks.shape[-2:] == (1, 1):
        S = blocks[..., 0].abs()
        U = torch.where(S[..., None] > 0, blocks.sgn(), 1.0)
        return U, S, blocks.new_ones(()).expand(blocks.shape)
    S = torch.linalg.vector_norm(blocks, dim=(-2, -1))[..., None]  # (F, B, g, 1)
    first = torch.zeros_like(blocks)
    first[..., 0, 0] = 1
    size = S[..., None]
    direction = torch.where(size > 0, blocks / torch.where(size > 0, size, 1.0), first)
    if blocks.shape[-1] == 1:
        return direction, S, torch.ones_like(blocks[..., :1, :])
    return torch.ones_like(blocks[..., :1]), S, direction.mH.resolve_conj()


def invert_regular(
    flat: Tensor, inverse: Tensor, unit: float = 1.0, damp: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Fill `inverse` (F, c, r) for blocks (F, r, c) as if every block had full rank.

    Returns lower bounds of sqrt(σ_min² + damp²) and the Frobenius norms, block by block.
    """
    floor = torch.empty(len(flat), dtype=flat.real.dtype, device=flat.device)
    sizes = torch.empty_like(floor)

    def invert(part: slice) -> None:
        X, floor[part] = _regular_inverse(flat[part], damp)
        sizes[part] = torch.linalg.matrix_norm(flat[part])
        inverse[part] = X.div_(unit)

    step = max(1, LAPACK_BYTES // max(1, flat[:1].numel() * flat.element_size()))
    run_in_slices(invert, len(flat), step, flat.device)
    return floor, sizes


def _regular_inverse(C: Tensor, damp: float) -> tuple[Tensor, Tensor]:
    r, c = C.shape[-2:]
    if r < c:
        X, floor = _regular_inverse(C.mH, damp)
        return X.mH.resolve_conj(), floor
    if r == c and not damp:
        X, info = torch.linalg.inv_ex(C)
        floor = 1 / torch.linalg.matrix_norm(X)
        return X, torch.where((info == 0) & floor.isfinite(), floor, 0.0)
    if damp:
        eye = damp * torch.eye(c, dtype=C.dtype, device=C.device)
        C = torch.cat([C, eye.expand(len(C), c, c)], -2)
    Q, R = torch.linalg.qr(C)
    eye = torch.eye(c, dtype=C.dtype, device=C.device)
    R_inverse = torch.linalg.solve_triangular(R, eye, upper=True)
    floor = 1 / torch.linalg.matrix_norm(R_inverse)
    upper = Q[:, :r]
    if damp:  # beyond ‖C‖, Q₁ is small beside Q and its round-off; R is well-conditioned there
        small = damp > torch.linalg.matrix_norm(C[:, :r])
        upper = torch.where(small[:, None, None], C[:, :r] @ R_inverse, upper)
    return R_inverse @ upper.mH, torch.where(floor.isfinite(), floor, 0.0)


def _invert_singular(
    flat: Tensor, inverse: Tensor, unit: float, doubt: Tensor, cutoff: Tensor
) -> tuple[Tensor, Tensor]:
    """Overwrite the doubtful inverses by SVDs; kept and dropped singular values, inf elsewhere."""
    kept = torch.empty(len(doubt), min(flat.shape[1:]), dtype=cutoff.dtype, device=flat.device)
    lost = torch.empty_like(kept)

    def invert(part: slice) -> None:
        U, S, Vh = torch.linalg.svd(flat[doubt[part]], full_matrices=False)
        keep = cutoff < S
        gains = torch.where(keep, 1 / torch.where(keep, S, 1.0), 0.0) / unit
        inverse[doubt[part]] = ((Vh.mH * gains[:, None]) @ U.mH).to(inverse.dtype)
        kept[part] = torch.where(keep, S, torch.inf)
        lost[part] = torch.where(keep, torch.inf, S)

    run_in_slices(invert, len(doubt), 64, flat.device)
    return kept, lost


def _bracket_norm(flat: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor]:
    """σ_max between the best of the largest blocks and the largest Frobenius norm."""
    order = sizes.argsort(descending=True)[:_SHARPENED]
    return singular_values(flat[order]).amax(), sizes.amax()


def _largest_singular_value(flat: Tensor, known: Tensor) -> Tensor:
    """Exact σ_max: SVDs in the order of an upper bound until no block can exceed the best.

    σ_max ≤ ‖(CᴴC)²‖_F^(1/4), which is at most c^(1/8) too large.
    """
    tall = flat.shape[-1] <= flat.shape[-2]
    bounds = []
    step = max(1, LAPACK_BYTES // max(1, flat[:1].numel() * flat.element_size()))
    for C in flat.split(step):
        G = C.mH @ C if tall else C @ C.mH
        bounds.append(torch.linalg.matrix_norm(G @ G) ** 0.25)
    bound = torch.cat(bounds)
    order = bound.argsort(descending=True)
    best = known
    for part in order.split(4 * _SHARPENED):
        if bound[part[0]] * (1 + 1e-12) < best:
            break
        best = torch.maximum(best, singular_values(flat[part]).amax())
    return best


def _sharpened_floor(
    flat: Tensor, floor: Tensor, cutoff: Tensor, damp: float, zero: Tensor
) -> tuple[Tensor, Tensor]:
    """Lower bound of √(σ_r² + damp²): exact for the weakest blocks, their bounds for the rest.

    And of the least σ above `zero`, inf if all are: the same, if the weakest blocks hold all zeros.
    """
    order = floor.argsort()
    weakest, rest = order[:_SHARPENED], floor[order[_SHARPENED : _SHARPENED + 1]]
    counted = floor[weakest, None].isfinite()
    S = singular_values(flat[weakest])
    above_zero = least_above_zero(torch.where(counted, S, torch.inf).reshape(1, -1), zero[None])
    others = ((rest - damp) * (rest + damp)).clamp(min=0).sqrt()
    above_zero = torch.cat([above_zero, others]).amin().where(above_zero.isfinite(), above_zero)
    exact = torch.hypot(S, torch.full_like(S, damp))
    if not damp:
        exact = torch.where(cutoff < S, exact, torch.inf)
    exact = torch.where(counted, exact, torch.inf)  # uncounted, or all cut
    return torch.cat([exact.flatten(), rest]).amin(), above_zero[0]
