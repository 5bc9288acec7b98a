"""A and Aᴴ of one operator, made ready for hundreds of applies.

`ConvOperator` forgets everything between two calls: the FFT engine takes the spectrum of the kernel
anew each time, and E and Eᴴ pass through fresh copies of the padded image.  An iteration has one
kernel for all of its applies, so here both are done once:

    A = P · 𝓕⁻¹ · C(ω) · 𝓕 · E,      Aᴴ = Eᴴ · 𝓕⁻¹ · C(ω)ᴴ · 𝓕 · Pᴴ,

with C(ω) kept and E written straight into the zeros of a periodic grid that is used again.  Both
maps read the same C(ω) on the same grid (`convolve.by_fft.engine_torus`), so they are adjoint to
round-off.  Where `convolve.choice` would not take the FFT, the operator itself applies.

Cost: one FFT pair an apply and channel, work in slices that stay in the allocator's cache.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from ..convolve import choice, grouped
from ..convolve.by_fft import engine_torus
from ..grid.geometry import Geometry, extended
from ..grid.padding import PaddedSamples, ghosts_of
from ..grid.torus import Torus, multiply
from ..numerics.memory import LARGEST_KEPT, SLAB_BYTES, keep_freed_memory
from ..numerics.precision import double_dtype
from ..operators.convolution import Convolution

_MANY = 16  # samples over which the choice of the engine spreads the spectrum of the kernel
_LARGEST_SPECTRUM = 512 * 2**20


def engine(op: Convolution) -> Torus | None:
    """The periodic grid on which A is applied; None where the operator applies itself."""
    inner = extended(op.geometry) or op.geometry
    double = double_dtype(op.dtype)
    if not choice.fft_is_cheaper(_MANY, inner, double, op.device.type):
        return None
    return engine_torus(inner, real=not op.dtype.is_complex)


def spectrum_bytes(op: Convolution) -> int:
    """Bytes of what `kernel_spectrum` returns."""
    torus, g = engine(op), op.geometry
    if torus is None:
        return 0
    size = 16 * torus.frequencies * torus.phases * g.c_in * g.c_out // g.groups
    size *= op.batch_size or 1
    return size if size <= _LARGEST_SPECTRUM else 0


def buffer_bytes(op: Convolution, images: int) -> int:
    """Bytes of the grids and spectra of one slice and of what the transforms copy, as measured.

    Without the FFT: of the im2col matrix and of the padded images.
    """
    g = op.geometry
    if not spectrum_bytes(op):
        itemsize = 16 if op.dtype.is_complex else 8
        columns = math.prod(a.k * a.m for a in g.axes) * g.c_in // g.groups
        padded = math.prod(max(a.padded, a.m) for a in g.axes) * max(g.c_in, g.c_out)
        return 2 * min(columns * itemsize, int(LARGEST_KEPT)) + 4 * images * padded * itemsize
    size = _pair_bytes(op)
    return 6 * min(images * g.groups * size, max(SLAB_BYTES, size))


def _pair_bytes(op: Convolution) -> int:
    """Bytes of the grid of one sample and one group."""
    torus, g = engine(op), op.geometry
    assert torus is not None
    channels = max(g.c_in * torus.phases, g.c_out) // g.groups
    return math.prod(torus.coarse) * channels * (8 if torus.real else 16)


def kernel_spectrum(op: Convolution) -> Tensor | None:
    """C(ω) for `Prepared`, (F, B, g, c_out/g, c_in/g · phases), or None where it is not wanted."""
    torus = engine(op)
    if torus is None or not spectrum_bytes(op):
        return None
    # A transposed operator is Cᵀ = (conj C)ᴴ.
    taps = op.taps.conj().resolve_conj() if op.transposed else op.taps
    return torus.spectrum(grouped(taps, op.geometry), extended(op.geometry) or op.geometry)


def applied_flops(op: Convolution) -> float:
    """Floating-point operations of A and Aᴴ together on one image."""
    g, torus = op.geometry, engine(op)
    complex_factor = 4 if op.dtype.is_complex else 1
    pairs = g.c_in * g.c_out // g.groups
    if torus is None:
        taps = math.prod(a.k for a in g.axes)
        return 4.0 * complex_factor * pairs * taps * math.prod(a.m for a in g.axes)
    points = math.prod(torus.fine)
    coarse = math.prod(torus.coarse)
    transforms = 2.5 * math.log2(points + 1) * (g.c_in * points + g.c_out * coarse)
    products = 4.0 * pairs * torus.phases * coarse
    return 2 * (2 if op.dtype.is_complex else 1) * (transforms + products)


class Prepared:
    """A and Aᴴ on tensors (N, C, *spatial), with buffers that live as long as one solve.

    Parameters
    ----------
    op : in double precision
    blocks : what `kernel_spectrum(op)` returned, on the device of the data
    """

    def __init__(self, op: Convolution, blocks: Tensor | None) -> None:
        if op.device.type == "cpu":
            keep_freed_memory()
        self.op, self.blocks, self.geometry = op, blocks, op.geometry
        self.per_sample = op.batch_size is not None
        self.domain_shape, self.range_shape = op.domain_shape, op.range_shape
        self._buffers: dict[str, Tensor] = {}
        self._ghosts = _ghosts(op.geometry, op.device)
        every = (slice(None), slice(None))
        self._core = (*every, *_core(op.geometry))  # of a grid: the domain
        self._kept = (*every, *(slice(a.m) for a in op.geometry.axes))  # and the outputs
        torus = engine(op) if blocks is not None else None
        self._torus = torus
        self._diagonal: tuple[Tensor, Tensor] | None = None
        if blocks is not None and torus is not None and blocks.shape[-2:] == (1, 1):
            spectrum = blocks[..., 0, 0].permute(1, 2, 0)
            spectrum = spectrum.reshape(*spectrum.shape[:2], *torus.spectrum_shape)
            self._diagonal = spectrum, spectrum.conj().resolve_conj()  # a lazy one is copied

    def matvec(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """A x, into `out` where the grid is used."""
        if self._torus is None:
            return self.op._matvec(x)
        y = self._convolve_adjoint(x, out) if self.op.transposed else self._convolve(x, out)
        return self.op._masked(y)

    def rmatvec(self, y: Tensor, out: Tensor | None = None) -> Tensor:
        """Aᴴ y, into `out` where the grid is used."""
        if self._torus is None:
            return self.op._rmatvec(y)
        y = self.op._masked(y)
        return self._convolve(y, out) if self.op.transposed else self._convolve_adjoint(y, out)

    # --- P C E and its adjoint on the grid
    def _convolve(self, x: Tensor, out: Tensor | None) -> Tensor:
        """(N, c_in, *n) -> (N, c_out, *m)."""
        torus, g = self._on_grid(), self.geometry
        out = x.new_empty(g.batch_of_outputs(len(x))) if out is None else out
        for samples, groups, c_in, c_out in self._slices(len(x)):
            part = x[samples, c_in]
            grid = self._buffer("padded", part, torus.fine)
            self._extend_into(grid, part)
            X = self._transform(torus.to_phases(grid))
            y = self._inverse_transform(self._product(X, samples, groups, adjoint=False))
            out[samples, c_out] = y[self._kept]
        return out

    def _convolve_adjoint(self, y: Tensor, out: Tensor | None) -> Tensor:
        """(N, c_out, *m) -> (N, c_in, *n)."""
        torus, g = self._on_grid(), self.geometry
        out = y.new_empty(g.batch_of_inputs(len(y))) if out is None else out
        for samples, groups, c_in, c_out in self._slices(len(y)):
            part = y[samples, c_out]
            grid = self._buffer("outputs", part, torus.coarse)
            grid[self._kept] = part
            X = self._product(self._transform(grid), samples, groups, adjoint=True)
            out[samples, c_in] = self._fold(torus.from_phases(self._inverse_transform(X)))
        return out

    def _transform(self, x: Tensor) -> Tensor:
        torus = self._on_grid()
        out = self._buffer("spectrum", x, torus.spectrum_shape, x.dtype.to_complex())
        transform = torch.fft.rfftn if torus.real else torch.fft.fftn
        return transform(x, dim=_spatial(torus), out=out)

    def _inverse_transform(self, X: Tensor) -> Tensor:
        torus = self._on_grid()
        out = self._buffer("grid", X, torus.coarse, X.dtype.to_real() if torus.real else X.dtype)
        transform = torch.fft.irfftn if torus.real else torch.fft.ifftn
        return transform(X, s=torus.coarse, dim=_spatial(torus), out=out)

    def _product(self, X: Tensor, samples: slice, groups: slice, *, adjoint: bool) -> Tensor:
        assert self.blocks is not None
        mine = samples if self.per_sample else slice(None)
        if self._diagonal is not None:
            return X.mul_(self._diagonal[adjoint][mine, groups])
        return multiply(self.blocks[:, mine, groups], X, adjoint=adjoint)

    def _slices(self, N: int) -> Iterator[tuple[slice, slice, slice, slice]]:
        """(samples, groups, channels in, channels out) whose grids the allocator keeps."""
        g = self.geometry
        groups, (a, b) = g.groups, (g.c_in // g.groups, g.c_out // g.groups)
        fitting = max(1, SLAB_BYTES // _pair_bytes(self.op))  # pairs of one sample and one group
        step = min(groups, fitting)
        at_once = max(1, fitting // groups)
        for n in range(0, N, at_once):
            for i in range(0, groups, step):
                j = min(groups, i + step)
                yield slice(n, n + at_once), slice(i, j), slice(i * a, j * a), slice(i * b, j * b)

    def _buffer(
        self, name: str, like: Tensor, sizes: tuple[int, ...], dtype: torch.dtype | None = None
    ) -> Tensor:
        """Memory that is used again: zeros the first time, its last contents from then on."""
        shape = (*like.shape[:2], *sizes)
        kept = self._buffers.get(name)
        if kept is None or kept.shape != shape:
            kept = self._buffers[name] = like.new_zeros(shape, dtype=dtype or like.dtype)
        return kept

    def _on_grid(self) -> Torus:
        assert self._torus is not None
        return self._torus

    # --- E and its adjoint
    def _extend_into(self, grid: Tensor, x: Tensor) -> None:
        """E x, written over the padded samples of a grid that is zero elsewhere."""
        grid[self._core] = x
        for dim, where, ghosts in self._ghosts:
            region = grid[where]
            for end, values in zip(
                _ends(region, dim, ghosts),
                ghosts.values(region, dim).split([ghosts.before, ghosts.after], dim),
                strict=True,
            ):
                end.copy_(values)

    def _fold(self, grid: Tensor) -> Tensor:
        """Eᴴ: add the ghosts, what the padding invented, onto the samples that they are sums of.

        In place; returned is a view of the domain, (N, C, *n).
        """
        for dim, where, ghosts in reversed(self._ghosts):
            region = grid[where]
            values = torch.cat(_ends(region, dim, ghosts), dim)  # torch refuses shared memory
            ghosts.fold_(region, values, dim)
        return grid[self._core]


def _spatial(torus: Torus) -> tuple[int, ...]:
    """The spatial dimensions of a tensor on the grid, from the last."""
    return tuple(range(-len(torus.coarse), 0))


def _core(geometry: Geometry) -> tuple[slice, ...]:
    """Where the domain lies on the grid."""
    starts = (0 if a.pads_zeros else a.before for a in geometry.axes)
    return tuple(slice(s, s + a.n) for s, a in zip(starts, geometry.axes, strict=True))


def _ends(region: Tensor, dim: int, ghosts: PaddedSamples) -> list[Tensor]:
    """The ghosts at both ends of a padded dimension, as views."""
    behind = region.shape[dim] - ghosts.after
    return [region.narrow(dim, 0, ghosts.before), region.narrow(dim, behind, ghosts.after)]


def _ghosts(
    geometry: Geometry, device: torch.device
) -> list[tuple[int, tuple[slice, ...], PaddedSamples]]:
    """(dim, where, ghosts) of each padded axis, in the order of E.

    `where` has the axes before it extended already and those after it not yet; sources count
    padded samples.
    """
    found = []
    where = list(_core(geometry))
    for i, axis in enumerate(geometry.axes):
        if not axis.pads_zeros:
            where[i] = slice(0, axis.padded)
            every = (slice(None), slice(None), *where)
            found.append((i + 2, every, ghosts_of(axis, device, shift=axis.before)))
    return found
