"""What solves a bordered system on the periodic grid, its S factored.

K is block-diagonal in Fourier space and its inverse explicit.  Wanted is u with

    K u = f + Jᴴ z,      W u + D z = 0,

z free sources on few places (the ghosts, where A and a periodic grid differ: ghosts.py), W few
functionals, D a diagonal.  Eliminating u leaves one dense system on the ghosts alone, factored
once (bordered.py says which systems there are, and what else S tells):

    S z = −W K⁻¹ f,      S = W K⁻¹ Jᴴ + D.

Every solve is then: block product, values on the ghosts, a triangular solve, sources back, block
product.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from ...grid.fft import inverse_transform, transform
from ...grid.torus import Torus, multiply
from ...numerics.memory import BATCH_BYTES, keep_freed_memory, return_freed_memory
from ...numerics.norms import in_unit
from ...numerics.precision import ieee_arithmetic, in_precision
from ..facts import CannotServeError
from .ghosts import Strip

_Map = Callable[[Tensor], Tensor]

_ALL = slice(None)


class LuSolver(nn.Module):
    """S⁻¹ by its LU factors, which take the place of S: it is most of the memory."""

    factor: Tensor
    pivots: Tensor

    def __init__(self, S: Tensor) -> None:  # (g, n, n) with contiguous columns
        super().__init__()
        pivots = torch.empty(S.shape[:-1], dtype=torch.int32, device=S.device)
        info = torch.zeros(S.shape[:-2], dtype=torch.int32, device=S.device)
        if S.shape[-1]:
            with ieee_arithmetic(S.device.type, S.dtype):
                torch.linalg.lu_factor_ex(S, out=(S, pivots, info))
        self.singular = bool((info > 0).any())
        self.register_buffer("factor", S)
        self.register_buffer("pivots", pivots)

    def forward(self, values: Tensor, adjoint: bool) -> Tensor:  # (N, g, n) -> (N, g, n)
        """S⁻¹ or S⁻ᴴ times values."""
        right = values.movedim(0, -1)  # (g, n, N)
        z = torch.linalg.lu_solve(self.factor, self.pivots, right, adjoint=adjoint)
        return z.movedim(-1, 0)


class MatrixSolver(nn.Module):
    """A given matrix X in the place of S⁻¹."""

    X: Tensor
    singular = False

    def __init__(self, X: Tensor) -> None:  # (g, n, n)
        super().__init__()
        self.register_buffer("X", X)

    def forward(self, values: Tensor, adjoint: bool) -> Tensor:  # (N, g, n) -> (N, g, n)
        """X or Xᴴ times values."""
        X = self.X.mH if adjoint else self.X
        return (X @ values.movedim(0, -1)).movedim(-1, 0)


# Of σ_max(S), whose entries are known to some hundred eps: what may count as zero, and where the
# search for a gap ends.  The first value that counts must stand this far above the last zero.
_ROUND_OFF, _SEARCHED, _CLEAR = 1e-12, 1e-11, 30.0


class PseudoSolver(MatrixSolver):
    """S⁺ in the place of S⁻¹, where the singular values of S leave no doubt of which are zero.

    Attributes
    ----------
    left, right : (g, n, k) left and right null vectors of S; groups with fewer carry zeros
    dropped : number of null vectors of all groups

    Raises
    ------
    CannotServeError
        The singular values come down to round-off without a gap.
    """

    def __init__(self, S: Tensor) -> None:  # (g, n, n)
        if not bool(S.isfinite().all()):
            raise CannotServeError("its grid is singular")
        return_freed_memory(S.nbytes)
        P, s, Qh = torch.linalg.svd(S)
        del S
        return_freed_memory(P.nbytes)
        lost = s <= _last_zero(s)
        gains = torch.where(lost, 0.0, 1 / torch.where(lost, 1.0, s)).to(P.dtype)
        super().__init__((Qh.mH * gains[:, None]) @ P.mH)
        null = slice(s.shape[1] - int(lost.sum(1).amax()), None)
        mask = lost[:, None, null].to(P.dtype)
        self.left, self.right = P[..., null] * mask, Qh.mH[..., null] * mask
        self.dropped = int(lost.sum())


def _last_zero(s: Tensor) -> float:
    """The largest singular value of S that is round-off, −1 if none is."""
    ordered = s.flatten().sort().values
    searched = int((ordered <= _SEARCHED * ordered[-1]).sum()) if len(ordered) else 0
    if not searched:
        return -1.0
    info = torch.finfo(s.dtype)
    # Zeros of 1e-17 and of 1e-33 are both zeros: there is no gap between them.
    seen = ordered.clamp(min=max(info.eps * float(ordered[-1]), info.tiny))
    ratios = torch.cat([seen[1:], seen.new_full((1,), torch.inf)]) / seen
    last = int(ratios[:searched].argmax())
    if ratios[last] < _CLEAR or ordered[last] > _ROUND_OFF * ordered[-1]:
        raise CannotServeError("the border unknowns do not tell small singular values from zero")
    return float(ordered[last])


class Solver(Protocol):
    """S⁻¹, or what stands in its place."""

    @property
    def singular(self) -> bool:
        """Whether the factorisation met a zero pivot."""

    def __call__(self, values: Tensor, adjoint: bool) -> Tensor:
        """Sources (N, g, n) from values on the ghosts."""


class GhostSystem(nn.Module):
    """K⁻¹ on the grid, corrected on the ghosts.

    Parameters
    ----------
    blocks : (F, 1, g, rows, columns) complex, the blocks of K⁻¹, of the precision of all else
    constraints, sources : the strips of W and J; their order is the order of z
    ghosts : S⁻¹
    """

    blocks: Tensor

    def __init__(
        self,
        torus: Torus,
        blocks: Tensor,
        constraints: Sequence[Strip],
        sources: Sequence[Strip],
        ghosts: Solver,
    ) -> None:
        super().__init__()
        self.torus, self.constraints, self.sources = torus, tuple(constraints), tuple(sources)
        self.ghosts = ghosts
        self.size = sum(strip.size for strip in self.constraints)
        self.register_buffer("blocks", blocks)
        keep_freed_memory()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> GhostSystem:
        super()._apply(fn, recurse)
        device = self.blocks.device
        self.constraints = tuple(strip.to(device) for strip in self.constraints)
        self.sources = tuple(strip.to(device) for strip in self.sources)
        return self

    @property
    def singular(self) -> bool:
        """Whether the factorisation met a zero pivot."""
        return self.ghosts.singular

    @property
    def single(self) -> bool:
        """Whether the factor is in single precision, in which every pass is then computed."""
        return self.blocks.dtype == torch.complex64

    def solve(self, f: Tensor, crop: _Map, given: slice = _ALL, wanted: slice = _ALL) -> Tensor:
        """u for the right-hand side f, cropped from its grid, in the dtype of f.

        Parameters
        ----------
        f : (N, g·columns, *coarse), of the columns only those that are `given`: the others are zero
        crop : of (N, g·rows, *coarse), of the rows only those that are `wanted`
        """
        return self._solve(f, self.constraints, self.sources, crop, given, wanted, adjoint=False)

    def solve_adjoint(self, f: Tensor, crop: _Map) -> Tensor:
        """The adjoint of `solve`, f (N, g·rows, *coarse), cropped from its grid."""
        return self._solve(f, self.sources, self.constraints, crop, _ALL, _ALL, adjoint=True)

    def _solve(
        self,
        f: Tensor,
        read: Sequence[Strip],
        put: Sequence[Strip],
        crop: _Map,
        given: slice,
        wanted: slice,
        *,
        adjoint: bool,
    ) -> Tensor:
        """Transforms go in slices that fit the allocator's cache, the ghosts all at once."""
        dtype, unit = f.dtype, None
        if self.single:  # data in float64 may lie out of the range of float32
            f, unit = in_unit(f)
        real = torch.float64 if unit is None else torch.float32
        f = in_precision(f, real)
        step = max(1, BATCH_BYTES // (f[:1].numel() * f.element_size()))
        with ieee_arithmetic(f.device.type, real):
            slices = [self._spectrum(part, given) for part in f.split(step)]
            self._balance_(slices, read, put, adjoint)
            found = [
                crop(inverse_transform(self.torus, self._product(F, adjoint, wanted)))
                for F in slices
            ]
            answers = torch.cat(found).to(dtype)
        if unit is None:
            return answers
        return answers.mul_(unit.to(dtype.to_real()).reshape(-1, *[1] * (answers.ndim - 1)))

    def _spectrum(self, f: Tensor, given: slice) -> Tensor:
        """Transform of all columns, of which `given` are not zero."""
        F = transform(self.torus, f)
        if given == _ALL:
            return F
        shape = (len(F), *self.blocks.shape[2:3], self.blocks.shape[4], *F.shape[2:])
        whole = F.new_zeros(shape)
        whole[:, :, given] = F.unflatten(1, (shape[1], -1))
        return whole.flatten(1, 2)

    def _balance_(
        self, slices: Sequence[Tensor], read: Sequence[Strip], put: Sequence[Strip], adjoint: bool
    ) -> None:
        """Add to spectra the sources that make the constraints hold."""
        if not self.size:
            return
        values = [self._values(self._product(F, adjoint), read) for F in slices]
        z = self.ghosts(torch.cat(values), adjoint).neg_()
        for F, own in zip(slices, z.split([len(F) for F in slices]), strict=True):
            self._add_sources_(F, own, put)

    def _product(self, F: Tensor, adjoint: bool, wanted: slice = _ALL) -> Tensor:
        """K⁻¹F or K⁻ᴴF, of each group only the `wanted` components."""
        if self.blocks.shape[-2:] == (2, 2):
            return _multiply_two_by_two(self.blocks, F, wanted, adjoint=adjoint)
        blocks = self.blocks[..., wanted] if adjoint else self.blocks[..., wanted, :]
        return multiply(blocks, F, adjoint=adjoint)

    def _are_thin(self, strips: Sequence[Strip]) -> bool:
        """Whether partial transforms are cheaper than those of the whole grid."""
        return all(strip.is_thin for strip in strips)

    def _values(self, U: Tensor, strips: Sequence[Strip]) -> Tensor:
        """Values of functionals of a spectrum, (N, g, n)."""
        if self._are_thin(strips):
            U = U.unflatten(1, (self.blocks.shape[2], -1))
            return torch.cat([strip.values_of(U) for strip in strips], 2)
        return self.read(inverse_transform(self.torus, U), strips)

    def _add_sources_(self, F: Tensor, z: Tensor, strips: Sequence[Strip]) -> None:
        """Add sources (N, g, n) to a spectrum."""
        parts = z.split([strip.size for strip in strips], 2)
        if self._are_thin(strips):
            F = F.unflatten(1, (self.blocks.shape[2], -1))
            for strip, part in zip(strips, parts, strict=True):
                strip.add_spectrum_(F, part)
            return
        grid = z.new_zeros(*F.shape[:2], *self.torus.coarse)
        self.scatter_(grid, z, strips)
        F += transform(self.torus, grid)

    def invert(self, f: Tensor, *, adjoint: bool = False) -> Tensor:
        """K⁻¹f or K⁻ᴴf on the grid, no ghosts."""
        return inverse_transform(self.torus, self._product(transform(self.torus, f), adjoint))

    @property
    def null_count(self) -> int:
        """How many null vectors of S were found, over all groups."""
        return self._pseudo.dropped

    def null_fields(self) -> Tensor:
        """K⁻¹Jᴴz for each null vector z of S, (k, g·rows, *coarse): null vectors of the system.

        Every vector lies in its own group.
        """
        null = self._pseudo.right  # (g, n, k)
        eye = torch.eye(len(null), dtype=null.dtype, device=null.device)
        z = torch.einsum("gnk,gh->gkhn", null, eye).flatten(0, 1)
        z = z[torch.linalg.vector_norm(z.flatten(1), dim=1) > 0]  # groups with fewer carry zeros
        columns = self.blocks.shape[2] * self.blocks.shape[-1]
        grid = z.new_zeros(len(z), columns, *self.torus.coarse)
        self.scatter_(grid, z, self.sources)
        return self.invert(grid)

    @property
    def _pseudo(self) -> PseudoSolver:
        assert isinstance(self.ghosts, PseudoSolver)
        return self.ghosts

    def read(self, u: Tensor, strips: Sequence[Strip]) -> Tensor:
        """(N, g, n) values of functionals of a grid (N, g·components, *coarse)."""
        grid = u.unflatten(1, (self.blocks.shape[2], -1))
        return torch.cat([strip.gather(grid) for strip in strips], 2)

    def scatter_(self, f: Tensor, z: Tensor, strips: Sequence[Strip]) -> None:
        """Add sources (N, g, n) to a grid; the adjoint of `read`."""
        grid = f.unflatten(1, (self.blocks.shape[2], -1))
        for strip, part in zip(strips, z.split([s.size for s in strips], 2), strict=True):
            strip.scatter_(grid, part)


def rounded(system: GhostSystem) -> GhostSystem:
    """A copy of a system with every buffer rounded to single precision."""

    def copied(module: nn.Module) -> nn.Module:
        other = copy.copy(module)
        other._buffers = {
            name: b if b is None or b.dtype not in _SINGLE else b.to(_SINGLE[b.dtype])
            for name, b in module._buffers.items()
        }
        other._modules = {
            name: None if child is None else copied(child)
            for name, child in module._modules.items()
        }
        return other

    return cast(GhostSystem, copied(system))


_SINGLE = {torch.float64: torch.float32, torch.complex128: torch.complex64}


def _multiply_two_by_two(
    blocks: Tensor, X: Tensor, wanted: slice, *, adjoint: bool
) -> Tensor:  # (F, 1, g, 2, 2), (N, 2g, *spectrum) -> (N, g·wanted, *spectrum)
    """`multiply` as products of whole spectra: thrice as fast as thousands of 2×2 matrices."""
    K = blocks[:, 0].permute(2, 3, 1, 0)  # (2, 2, g, F)
    if adjoint:
        K = K.transpose(0, 1).conj()
    X = X.unflatten(1, (-1, 2))  # (N, g, 2, *spectrum)
    K = K.unflatten(3, X.shape[3:])
    rows = range(2)[wanted]
    out = X.new_empty(*X.shape[:2], len(rows), *X.shape[3:])
    for i, row in enumerate(rows):
        torch.mul(K[row, 0], X[:, :, 0], out=out[:, :, i])
        out[:, :, i].addcmul_(K[row, 1], X[:, :, 1])
    return out.flatten(1, 2)
