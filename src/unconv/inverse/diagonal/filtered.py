"""Inverses that filter data in a basis in which A is diagonal."""

from __future__ import annotations

import torch
from torch import Tensor

from ...numerics.memory import BATCH_BYTES
from ...operators.convolution import Convolution
from ..facts import SpectrumSummary, least_above_zero
from ..operator import InverseOperator
from ..request import Request


class FilterInverse(InverseOperator):
    """An inverse that is one filter from data to domain, without iteration or refinement.

    Its factors are buffers, at least one.
    """

    @property
    def device(self) -> torch.device:
        """Device of the factors."""
        return next(self.buffers()).device

    def _filter(self, v: Tensor, *, adjoint: bool) -> Tensor:
        """A⁺ v, or (A⁺)ᴴ v, of the factor's dtype."""
        raise NotImplementedError

    def _solve(self, y: Tensor) -> Tensor:
        return self._in_slices(y, adjoint=False)

    def _solve_adjoint(self, x: Tensor) -> Tensor:
        return self._in_slices(x, adjoint=True)

    def _in_slices(self, v: Tensor, *, adjoint: bool) -> Tensor:
        count = max(1, BATCH_BYTES // max(1, v[:1].numel() * v.element_size()))
        if self.batch_size or len(v) <= count:
            return self._filter(v, adjoint=adjoint)
        return torch.cat([self._filter(part, adjoint=adjoint) for part in v.split(count)])


def cut_gains(
    values: list[Tensor], scale: Tensor, op: Convolution, request: Request, rank_how: str
) -> tuple[list[Tensor], SpectrumSummary]:
    """1/σ of singular values above the cut-off, else 0, or σ/(σ² + damp²); and the facts.

    Parameters
    ----------
    values : tensors (B, …) of all singular values but zeros, in units of the scale
    scale : (B,)
    rank_how : how the values are known
    """
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
        rank_how="not needed: damp > 0" if request.damp else rank_how,
        dropped=torch.zeros_like(rank) if request.damp else dropped,
        above_zero=above_zero * scale,
    )
    return gains, summary
