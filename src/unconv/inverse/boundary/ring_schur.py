"""The Schur complement of the rings in the ghost system.

With the ghosts in the order (H, V) of ring_ghosts.py, G the values that sources on them make there
and Z_H what turns values of the rings into sources (ring_coupling.py; S_HH⁻¹ without a seam),

    G = [G_HH  G_HV]        G' = G_VV − G_VH Z_H G_HV.
        [G_VH  G_VV]

G_HH and Z_H are block-circulant along the other axes: one block of order h for each of their
frequencies ω'.  G' is never computed by dense products: it is the matrix of another Green's
function, that of the convolution with the boundary of the first axis alone,

    G'(i, i'; ω') = G(i − i'; ω') − Q(i; ω') Z_H(ω') Q(i'; ω')ᴴ,     Q = G between V and H,

which depends on two positions along the first axis, but only on the difference along the others.
So G' is filled slice by slice of i': batched products of order h, an inverse transform along the
other axes (by columns of the DFT matrix where few differences occur), and a table look-up.  It is
Hermitian: half of it is computed and mirrored.  S' is G', or N + G' Θ where there is a seam.

Cost: 4 F' X² h flops for X components and samples inside along the first axis, and about as much
for the transforms: 6/t² of the factorisation of S' for strips of thickness t on a square picture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ...grid.torus import Torus
from ...numerics.threads import run_in_slices
from .ghosts import Points, flatten
from .ring_ghosts import (
    Family,
    Kind,
    Places,
    RingGhosts,
    roots,
)

SCRATCH_BYTES = 64 * 2**20
_COLUMNS = 64  # differences up to which columns of the DFT matrix are cheaper than an FFT


class Green:
    """K⁻¹ of one group: space along the first axis, frequencies ω' along the others.

    blocks : (F, b, b) -> mixed (F', M · b · b)
    """

    def __init__(self, torus: Torus, blocks: Tensor) -> None:
        self.torus, (self.M, self.b) = torus, (torus.coarse[0], blocks.shape[-1])
        mixed = torch.fft.ifft(blocks.unflatten(0, (self.M, -1)), dim=0)
        self.mixed = mixed.transpose(0, 1).flatten(1)

    def between(self, rows: tuple[Places, ...], columns: tuple[Places, ...]) -> Tensor:
        """(F', rows, columns): the functionals of the columns as sources, read by the rows."""
        values = None
        for p in rows:
            for q in columns:
                index = self.index(p, q)
                part = self.mixed.index_select(1, index.flatten()).unflatten(1, index.shape)
                part *= (p.factor[:, None] * q.factor).to(part)
                values = part if values is None else values.add_(part)
        assert values is not None
        return values

    def index(self, rows: Places | Family, columns: Places | Family) -> Tensor:
        """Where G(row − column) lies in `mixed`, (rows, columns)."""
        apart = (rows.position[:, None] - columns.position) % self.M
        return (apart * self.b + rows.component[:, None]) * self.b + columns.component


def ring_blocks(
    green: Green, terms: tuple[Places, ...], theta: Tensor | None, on_seam: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Z_H(ω') and N (N + G Θ)⁻¹ of the rings, (F', h, h); without a seam G⁻¹ and (F', 0, h)."""
    S = green.between(terms, terms)
    if theta is not None and on_seam is not None:
        S = S @ theta
        S.diagonal(dim1=1, dim2=2).add_(on_seam)
    inverse = torch.empty_like(S)

    def invert(part: slice) -> None:
        inverse[part] = torch.linalg.inv_ex(S[part])[0]

    run_in_slices(invert, len(S), max(1, 2**18 // S.shape[-1] ** 2), S.device)
    if theta is None or on_seam is None:
        return inverse, inverse[:, :0]
    return theta @ inverse, on_seam[:, None] * inverse


@dataclass(frozen=True)
class Differences:
    """The inverse transform along the other axes at the differences that occur.

    Attributes
    ----------
    torus : of the other axes
    number : (positions) where a difference stands among the D of them; -1 if it does not occur
    matrix : (D, F') columns of the DFT matrix, or None: all differences, by an FFT
    """

    torus: Torus
    number: Tensor
    matrix: Tensor | None

    @property
    def count(self) -> int:
        """D."""
        return len(self.number) if self.matrix is None else len(self.matrix)

    def values(self, R: Tensor) -> Tensor:  # (F', ...) -> (D, ...)
        """The inverse transform of the first dimension."""
        shape, R = R.shape[1:], R.flatten(1)
        if self.matrix is not None:
            V = self.matrix @ R
            V = V.real if self.torus.real else V
        else:
            dims = tuple(range(len(self.torus.coarse)))
            inverse = torch.fft.irfftn if self.torus.real else torch.fft.ifftn
            R = R.unflatten(0, self.torus.spectrum_shape)
            V = inverse(R, s=self.torus.coarse, dim=dims).flatten(0, len(dims) - 1)
        return V.unflatten(1, shape)

    @property
    def takes_parts(self) -> bool:
        """Whether `values_of_parts` serves: a real grid by its DFT columns."""
        return self.torus.real and self.matrix is not None

    def values_of_parts(self, R: Tensor) -> Tensor:  # (F', 2, ...) -> (D, ...)
        """`values` of R whose real and imaginary parts lie apart: half of the products."""
        assert self.matrix is not None
        parts = torch.view_as_real(self.matrix.conj().resolve_conj()).flatten(1)  # (D, 2F')
        return (parts @ R.flatten(2).flatten(0, 1)).unflatten(1, R.shape[2:])

    def index(self, rows: Points, columns: Points) -> Tensor:
        """Number of each difference row − column, (columns, rows)."""
        return self.number[_apart(self.torus, rows, columns)]


def _apart(torus: Torus, rows: Points, columns: Points) -> Tensor:  # (columns, rows)
    sizes = torch.tensor(torus.coarse, device=rows.position.device)
    apart = (rows.position - columns.position[:, None]) % sizes
    return flatten(apart.flatten(0, 1), torus.coarse).reshape(apart.shape[:2])


def differences(torus: Torus, kinds: tuple[Kind, ...], like: Tensor) -> Differences:
    """Those between all ghosts and sources of V along the other axes."""
    points = [p for kind in kinds for p in kind.terms]
    every = [_apart(torus, p, q).flatten().unique() for p in points for q in points]
    found = torch.cat(every).unique()
    positions = math.prod(torus.coarse)
    number = torch.full((positions,), -1, device=like.device)
    if len(found) > _COLUMNS:
        return Differences(torus, torch.arange(positions, device=like.device), None)
    number[found] = torch.arange(len(found), device=like.device)
    return Differences(torus, number, _columns(torus, found).to(like.dtype))


def _columns(torus: Torus, positions: Tensor) -> Tensor:
    """(D, F') of the inverse DFT, with the weights of a half spectrum."""
    E = torch.ones(len(positions), 1, dtype=torch.complex128, device=positions.device)
    rest = positions
    axes = []
    for M in reversed(torus.coarse):
        axes.append(rest % M)
        rest = rest // M
    for own, M, F in zip(reversed(axes), torus.coarse, torus.spectrum_shape, strict=True):
        line = roots(own, torch.arange(F, device=own.device), M) / M
        E = (E[:, :, None] * line[:, None]).flatten(1)
    if torus.real:
        F, M = torus.spectrum_shape[-1], torus.coarse[-1]
        weight = torch.full((F,), 2.0, dtype=torch.float64, device=E.device)
        weight[0] = 1
        if M % 2 == 0:
            weight[-1] = 1
        E = (E.unflatten(1, (-1, F)) * weight).flatten(1)
    return E


class SchurComplement:
    """G' of one group, filled slice by slice.

    Parameters
    ----------
    green : K⁻¹
    ghosts : H and V
    terms : of all rings in one list
    inverse : (F', h, h), Z_H
    """

    def __init__(
        self, green: Green, ghosts: RingGhosts, terms: tuple[Places, ...], inverse: Tensor
    ) -> None:
        torus = green.torus
        self.green, self.inverse, self.kinds = green, inverse, ghosts.kinds
        self.others = Torus(torus.coarse[1:], torus.stride[1:], torus.real)
        self.differences = differences(self.others, ghosts.kinds, inverse)
        self.space = self.differences.values(green.mixed)  # (D, M · b · b)
        used = {kind.family for kind in ghosts.kinds}
        self.families = {f: _with_phases(ghosts.families[f]) for f in sorted(used)}
        self.phases = {f: ghosts.families[f].phases for f in used}
        # (F', AI·P', h) for each family
        self.Q = {f: green.between((places,), terms) for f, places in self.families.items()}
        if self.differences.takes_parts:  # (F', AI·P', 2h)
            self.parts = {f: torch.cat([Q.real, Q.imag], 2) for f, Q in self.Q.items()}
            self.product = inverse.real.new_empty(0)

    def fill_(self, transposed: Tensor) -> None:
        """Into G'ᵀ, (n, n) contiguous."""
        blocks = self._blocks(transposed)
        for f in self.families:
            step, P = self._step(f), self.phases[f]
            count = len(self.families[f].position) // P
            for start in range(0, count, step):
                part = slice(start, min(start + step, count))
                own = slice(part.start * P, part.stop * P)
                Y = self.Q[f][:, own].conj() @ self.inverse.mT  # (F', s·P', h)
                for g in self.families:
                    if g >= f:
                        first = start if g == f else 0
                        self._fill_slice(blocks, f, part, Y, g, first)

    def _blocks(self, transposed: Tensor) -> dict[tuple[int, int], Tensor]:
        """Views of G'ᵀ between two kinds, (v', AI', v, AI)."""
        shapes = []
        for kind in self.kinds:
            inside = len(self.families[kind.family].position) // self.phases[kind.family]
            shapes.append((kind.ghosts, inside))
        rows = transposed.split([math.prod(s) for s in shapes])
        views = {}
        for i, row in enumerate(rows):
            parts = row.split([math.prod(s) for s in shapes], 1)
            for j, part in enumerate(parts):
                views[i, j] = part.unflatten(1, shapes[j]).unflatten(0, shapes[i])
        return views

    def _step(self, f: int) -> int:
        """Columns of a slice, with all their phases."""
        widest = max(len(family.position) for family in self.families.values())
        ghosts = max(kind.ghosts for kind in self.kinds)
        entries = len(self.green.mixed) + 2 * self.differences.count + 2 * ghosts**2
        return max(1, SCRATCH_BYTES // (16 * widest * entries * self.phases[f]))

    def _fill_slice(
        self,
        blocks: dict[tuple[int, int], Tensor],
        f: int,
        part: slice,
        Y: Tensor,
        g: int,
        first: int,
    ) -> None:
        """Columns `part` of family f, rows of family g from `first` on, and their mirror image."""
        table = self._table(f, part, Y, g, first)
        for i, column in enumerate(self.kinds):
            for j, row in enumerate(self.kinds):
                if (column.family, row.family) == (f, g):
                    values = self._values(table, row, column)
                    blocks[i, j][:, part, :, first:] = values.transpose(1, 2)
                    blocks[j, i][:, first:, :, part] = values.permute(1, 3, 0, 2).conj()

    def _values(self, table: Tensor, row: Kind, column: Kind) -> Tensor:  # (v', v, s, AI)
        """Entries from the values of G' at all differences."""
        values = None
        for p in row.terms:
            for q in column.terms:
                number = self.differences.index(p, q) * self.phases[row.family] + p.phase
                number = number * self.phases[column.family] + q.phase[:, None]  # (v', v)
                part = table.index_select(0, number.flatten()).unflatten(0, number.shape)
                factor = p.factor * q.factor[:, None]
                if not bool((factor == 1).all()):
                    part *= factor[:, :, None, None].to(part)
                values = part if values is None else values.add_(part)
        assert values is not None
        return values

    def _table(self, f: int, part: slice, Y: Tensor, g: int, first: int) -> Tensor:
        """G' at all differences, (D · P · P', s, AI): rows of family g, columns of family f."""
        P, R = self.phases[f], self.phases[g]
        rows = Places(*(t[first * R :] for t in self.families[g]))
        columns = Places(*(t[part.start * P : part.stop * P] for t in self.families[f]))
        table = self._products(Y, g, first * R)
        index = self.green.index(rows, columns).mT
        space = self.space.index_select(1, index.flatten()).unflatten(1, index.shape)
        table = torch.sub(space, table, out=space)
        table = table.unflatten(2, (-1, R)).unflatten(1, (-1, P))  # (D, s, P', AI, P)
        return table.permute(0, 4, 2, 1, 3).flatten(0, 2)

    def _products(self, Y: Tensor, g: int, first: int) -> Tensor:  # (D, s·P', AI·P)
        """Q Z_H Qᴴ at all differences, rows of family g from `first` on."""
        if not self.differences.takes_parts:
            return self.differences.values(Y @ self.Q[g][:, first:].mT)
        real, imaginary = torch.cat([Y.real, -Y.imag], 2), torch.cat([Y.imag, Y.real], 2)
        Y, Q = torch.stack([real, imaginary], 1).flatten(1, 2), self.parts[g][:, first:]
        R = self._room(len(Y), Y.shape[1], Q.shape[1])
        torch.bmm(Y, Q.mT, out=R)
        return self.differences.values_of_parts(R.unflatten(1, (2, -1)))

    def _room(self, *shape: int) -> Tensor:
        """The memory of the last product, again: new pages cost as much as the product."""
        if self.product.numel() < math.prod(shape):
            self.product = self.product.new_empty(math.prod(shape))
        return self.product[: math.prod(shape)].view(shape)


def _with_phases(family: Family) -> Places:
    """Every component and sample of a family, the phases of the other axes innermost."""
    phase = torch.arange(family.phases, device=family.component.device)
    component = (family.component[:, None] + phase).flatten()
    position = family.position.repeat_interleave(family.phases)
    return Places(component, position, torch.ones_like(position).double())
