"""What couples edges and pads across the seam of a damped system with rings.

With t the values of ρ on the edges and s those of F x on the pads (grid/seam.py), A differs from
the convolution C of the grid by Uᴴ T F.  K u = f with A in place of C reads, z being sources on K,

    K u = f − [Uᴴ T s; Fᴴ Tᴴ t] = f − Jᴴ z,     z = Θ q,   q = [t; s],   Θ = [0  T; Tᴴ 0]

so that q = v − G z, or (1 + G Θ) q = v with G = J K⁻¹ Jᴴ and v = J K⁻¹ f.  Ghost outputs ask for
0 = v − G z instead, Θ = 1 there.  With N the diagonal that is 1 on the seam and 0 elsewhere

    (N + G Θ) q = v,    z = Θ q = Z v,    Z = Θ (N + G Θ)⁻¹ Hermitian.

That is as many unknowns as edges and pads: where ghosts have places on the grid instead, and copy
a sample each, there are half as many again (bordered.py).  The determinant of N + G Θ is that of K
with A in place of C, over that of K: regular for every damp > 0.

Source: Woodbury's identity; Golub & Van Loan, "Matrix Computations", 4th ed., §2.1.4.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ...grid.geometry import Axis, Geometry
from ...grid.seam import Seam, taps_of_line
from ...grid.torus import Torus
from .ghost_system import LuSolver
from .ring_ghosts import RingGhosts

_SLICE_BYTES = 32 * 2**20


class RingCoupling(NamedTuple):
    """The seam of the first axis.

    Attributes
    ----------
    theta : (F', g, h, h) Θ of the rings
    on_seam : (h,) the diagonal of N, 0 or 1
    """

    theta: Tensor
    on_seam: Tensor


def couple_rings(
    geometry: Geometry, torus: Torus, weight: Tensor, ghosts: RingGhosts
) -> RingCoupling | None:
    """Θ and N of the rings; None without a seam, where Θ = 1 and N = 0.

    weight : (1, g, r, c, *k) double
    """
    side = ghosts.first
    if side.seam is None or not len(side.seam.edges):
        return None
    read = side.seam.taps.to(weight.device)  # (e, p)
    T = _blocks_of_taps(geometry, torus, weight)[:, read.clamp(min=0)]
    T = T * (read >= 0)[:, :, None, None, None, None]
    T = T.permute(0, 3, 4, 1, 5, 2, 6).flatten(4).flatten(2, 3)  # (F', g, r·e, c·p·P)
    r, pads = weight.shape[2], T.shape[3]
    outputs = torch.arange(r * side.outputs.size, device=T.device).unflatten(0, (r, -1))
    seam = outputs[:, side.outputs.size - len(read) :].flatten()
    pixels = torch.arange(pads, device=T.device) + outputs.numel()
    h = outputs.numel() + pads
    on_seam = torch.zeros(h, dtype=torch.float64, device=T.device)
    on_seam[torch.cat([seam, pixels])] = 1
    theta = torch.diag(1 - on_seam).to(T).expand(*T.shape[:2], h, h).clone()
    theta[..., seam[:, None], pixels] = T
    theta[..., pixels[:, None], seam] = T.mH
    return RingCoupling(theta, on_seam)


def _blocks_of_taps(geometry: Geometry, torus: Torus, weight: Tensor) -> Tensor:
    """Every tap of the first axis along the others, (F', k, g, r, c, phases)."""
    grid = Torus(torus.coarse[1:], torus.stride[1:], torus.real)
    rest = replace(geometry, axes=geometry.axes[1:])
    taps = weight.movedim(4, 0).flatten(0, 1)  # (k, g, r, c, *k')
    return grid.spectrum(taps, rest).unflatten(4, (-1, grid.phases))


def couplings(geometry: Geometry, weight: Tensor, ghosts: RingGhosts) -> list[Coupling]:
    """T of V for each group; an empty list without a seam."""
    seam = ghosts.others.seam
    if seam is None or not len(seam.edges):
        return []
    return [Coupling(_taps(own, seam, geometry.axes[0])) for own in weight[0]]


def _taps(weight: Tensor, seam: Seam, axis: Axis) -> Tensor:
    """T of V for one group, sparse, (e·r·m, p·c·n) for m outputs and n samples of the first axis.

    Rows and columns are ordered as strips are.

    weight : (r, c, k, *k')
    """
    r, c = weight.shape[:2]
    edge, pad = (seam.taps >= 0).nonzero(as_tuple=True)
    values = weight.flatten(3)[..., seam.taps[edge, pad].to(weight.device)]  # (r, c, k, pairs)
    shape = (*values.shape, axis.m)
    rows = torch.arange(r)[:, None, None, None, None] + edge[:, None] * r
    columns = torch.arange(c)[:, None, None, None] + pad[:, None] * c
    rows = (rows * axis.m + torch.arange(axis.m)).expand(shape).flatten()
    parts = []
    for sample, factor in taps_of_line(axis):
        column = (columns * axis.n + sample.T[:, None]).expand(shape).flatten()
        entries = (values[..., None] * factor.T[:, None].to(values)).flatten()
        index = torch.stack([rows, column]).to(weight.device)
        if not bool(factor.all()):  # few taps read a sample that is a sum
            kept = (factor.T[:, None] != 0).expand(shape).flatten().to(weight.device)
            index, entries = index[:, kept], entries[kept]
        parts.append((index, entries))
    index, entries = (torch.cat(t, -1) for t in zip(*parts, strict=True))
    size = len(seam.edges) * r * axis.m, len(seam.pads) * c * axis.n
    return _sparse(index, entries, size).coalesce()


def _sparse(
    index: Tensor, entries: Tensor, size: tuple[int, int], coalesced: bool | None = None
) -> Tensor:
    return torch.sparse_coo_tensor(
        index, entries, size, check_invariants=False, is_coalesced=coalesced
    )


class Coupling(nn.Module):
    """Θ of one group of V: T and Tᴴ on edges and pads, which come last, 1 on what is before.

    T is kept by its entries: sparse tensors do not move between all devices.
    """

    index: Tensor
    entries: Tensor
    adjoint_index: Tensor
    adjoint_entries: Tensor

    def __init__(self, T: Tensor) -> None:
        super().__init__()
        self.size = (T.shape[0], T.shape[1])
        adjoint = T.mH.coalesce()
        self.register_buffer("index", T.indices())
        self.register_buffer("entries", T.values())
        self.register_buffer("adjoint_index", adjoint.indices())
        self.register_buffer("adjoint_entries", adjoint.values())

    @property
    def T(self) -> Tensor:
        """From pads to edges."""
        return _sparse(self.index, self.entries, self.size, coalesced=True)

    @property
    def adjoint(self) -> Tensor:
        """From edges to pads."""
        return _sparse(self.adjoint_index, self.adjoint_entries, self.size[::-1], coalesced=True)

    def __call__(self, q: Tensor) -> Tensor:  # (n, N) -> (n, N)
        """Θ q."""
        edges, pads = self.size
        before, t, s = q.split([len(q) - edges - pads, edges, pads])
        return torch.cat([before, self.T @ s, self.adjoint @ t])

    def complete_(self, transposed: Tensor) -> None:
        """Gᵀ, (n, n) contiguous, becomes (N + G Θ)ᵀ."""
        edges, pads = self.size
        step = max(1, _SLICE_BYTES // ((edges + pads) * self.entries.element_size()))
        for part in transposed.split(step, 1):
            rows = part[-edges - pads :].conj().resolve_conj().to(self.entries.dtype)
            t, s = rows.split(self.size)
            part[-edges - pads :] = torch.cat([self.T @ s, self.adjoint @ t]).conj()
        transposed.diagonal()[-edges - pads :] += 1


class CoupledSolver(nn.Module):
    """Z = Θ (N + G Θ)⁻¹ of V, in the place of S⁻¹.

    S : (g, n, n) N + G Θ with contiguous columns
    """

    def __init__(self, S: Tensor, couplings: list[Coupling]) -> None:
        super().__init__()
        self.lu, self.couplings = LuSolver(S), nn.ModuleList(couplings)

    @property
    def singular(self) -> bool:
        """Whether the factorisation met a zero pivot."""
        return self.lu.singular

    def forward(self, values: Tensor, adjoint: bool) -> Tensor:  # (N, g, n) -> (N, g, n)
        """Z values: Z is Hermitian, whatever `adjoint` says."""
        q = self.lu(values, False)
        z = [couple(part.mT) for couple, part in zip(self.couplings, q.unbind(1), strict=True)]
        return torch.stack(z).movedim(-1, 0)
