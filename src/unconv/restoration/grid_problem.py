"""Any convolution as A = P·C·E on one periodic grid, for splittings that need only FFTs.

An image v of the grid holds the domain and around it what padding invents, or what nobody knows:

    z = C v      R images, a product per frequency
    y = P z      the outputs that exist, places of these images; the others are free
    v = E x      where padding invents pixels each of them copies one of x, or is zero

so that min f(Ax) + φ(Dx) asks for a v with v = E x, and is split into what is easy on each side:
what holds at every place by itself (P, E, f, bounds) and what holds at every frequency (C, D).

Cost: a pair of FFTs of the grid for C v or Cᴴ z.
Not for: transposed convolutions with padding that copies, whose outputs are sums of places; padding
that sums up samples, onto whose images no clamp projects.

Source: the mask as one factor of a splitting, Almeida & Figueiredo, "Deconvolving images with
unknown boundaries using the alternating direction method of multipliers", IEEE Trans. Image
Processing 22 (2013); Matakos, Ramani & Fessler, "Accelerated edge-preserving image restoration
without boundary artifacts", IEEE Trans. Image Processing 22 (2013).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..convolve import grouped
from ..grid.fft import fast_size
from ..grid.geometry import Axis
from ..grid.torus import Torus, multiply
from ..operators.convolution import Convolution
from .grid_normal import GridNormal, Normal

_IS_ZERO, _IS_FREE = -1, -2  # in place of the sample of the domain that a sample of the grid equals


class GridProblem:
    """One operator on its grid; images have a batch axis of one.

    Parameters
    ----------
    op : without one kernel per sample (`of_sample` chooses one)
    dtype : real, in which images and spectra are kept

    Attributes
    ----------
    torus : the grid, stride 1
    blocks : (F, 1, g, r, c) complex, C at each stored frequency
    seen : (1, R, *grid) bool, the places of z that are data
    gain : the largest singular value of any block, at least that of A unless padding copies;
        1 where that is zero
    copies : whether samples of v outside the domain are asked to be zero or copies of others
    """

    def __init__(self, op: Convolution, dtype: torch.dtype) -> None:
        geometry, real = op.geometry, not op.dtype.is_complex
        padded = [a for a in geometry.axes if not a.pads_zeros and not a.on_torus]
        if not all(a.pads.copy for a in padded):
            raise NotImplementedError(
                f"padding_mode={padded[0].mode!r}, whose padded samples are sums over several, is "
                "not restored; use padding_mode='reflect', whose samples are copies, or no padding."
            )
        if op.transposed and padded:
            raise NotImplementedError(
                "a transposed convolution with padding_mode='reflect' or another that copies is "
                "not restored; use padding_mode='zeros' or 'circular'."
            )
        self.dtype = dtype if real else dtype.to_complex()
        self.domain_shape, self.range_shape = op.domain_shape, op.range_shape
        self._box: tuple[Any, ...] = (..., *map(slice, op.domain_shape[1:]))
        taps = grouped(op.taps.detach().to(torch.float64 if real else torch.complex128), geometry)
        sizes = grid_sizes(op)
        stride = tuple(a.stride for a in geometry.axes)
        self._phases = Torus(sizes, stride if op.transposed else (1,) * len(sizes), real)
        self.torus = Torus(sizes, (1,) * len(sizes), real)
        blocks = self._phases.spectrum(
            taps.conj().resolve_conj() if op.transposed else taps, geometry
        )
        if op.transposed:
            blocks = blocks.mH.resolve_conj()
        self.gain = _largest(blocks) or 1.0
        self.blocks = blocks.to(self.dtype.to_complex()).contiguous()
        self._strides = (1,) * len(sizes) if op.transposed else stride
        everywhere = torch.ones(1, *op.range_shape, dtype=torch.bool, device=op.device)
        seen = everywhere if op.seen is None else everywhere & op.seen
        self.seen = self.put(seen)
        self._source = _sources(op, sizes)
        self.copies = bool(
            (self._source != _IS_FREE).flatten().sum() > math.prod(op.domain_shape[1:])
        )
        self._used = self.gathered(torch.ones_like(self._source[None, None], dtype=dtype))

    def normal(self, power: Tensor) -> Normal:
        """(r CᴴC + s DᴴD + rest)⁻¹, to be given its weights.

        power : DᴴD, (*spectrum) float64
        """
        return GridNormal(self.blocks, power)

    def nearly_inverse(
        self, epsilon: float, solver: Callable[[], object]
    ) -> Callable[[Tensor], Tensor]:
        """Nearly (AᴴA + ε)⁻¹ on the domain: as if all outputs were seen, the mean over channels.

        solver : makes what solves with A and ε exactly, for a grid that has no inverse of its own
        """
        gram = self.blocks.abs().double().square().sum((1, 2, 3, 4)) / self.domain_shape[0]
        solved = 1 / (gram.unflatten(0, self.torus.spectrum_shape) + epsilon)

        def per_frequency(force: Tensor) -> Tensor:
            spectrum = self.torus.transform(self.embed(force)) * solved
            return self.domain(self.torus.inverse_transform(spectrum))

        return per_frequency

    # --- P
    def put(self, y: Tensor) -> Tensor:
        """(1, c_out, *m) -> (1, R, *grid), zero (False) where there is no output."""
        y = self._phases.to_phases(y)
        grid = y.new_zeros(*y.shape[:2], *self.torus.coarse)
        grid[self._places(y.shape[2:])] = y
        return grid

    def outputs(self, z: Tensor) -> Tensor:
        """P z, (1, R, *grid) -> (1, c_out, *m)."""
        sizes = self.range_shape[1:]
        if self._phases.phases > 1:
            inside: tuple[Any, ...] = (..., *map(slice, sizes))
            return self._phases.from_phases(z)[inside]
        return z[self._places(sizes)]

    def _places(self, sizes: Any) -> tuple[Any, ...]:
        lines = (slice(0, (m - 1) * s + 1, s) for m, s in zip(sizes, self._strides, strict=True))
        return (..., *lines)

    # --- C
    def blurred(self, spectrum: Tensor) -> Tensor:
        """C v from the spectrum of v, (1, R, *grid)."""
        return self.torus.inverse_transform(multiply(self.blocks, spectrum))

    def adjoint_spectrum(self, z: Tensor) -> Tensor:
        """The spectrum of Cᴴ z."""
        return multiply(self.blocks, self.torus.transform(z), adjoint=True)

    # --- E
    def domain(self, v: Tensor) -> Tensor:
        """The part of an image that is the domain, (1, c_in, *n)."""
        return v[self._box]

    def embed(self, x: Tensor) -> Tensor:
        """An image that is x on the domain and zero elsewhere."""
        v = x.new_zeros(*x.shape[: -len(self.torus.coarse)], *self.torus.coarse)
        v[self._box] = x
        return v

    def extended(self, x: Tensor) -> Tensor:
        """E x: copies and zeros where padding invents, and the nearest sample where all is free."""
        source = self._source.clamp(min=0)
        where = self._nearest if bool((self._source == _IS_FREE).any()) else source
        v = x.flatten(2)[..., where.flatten()].unflatten(-1, self.torus.coarse)
        return v.where(self._source != _IS_ZERO, 0)

    def gathered(self, v: Tensor) -> Tensor:
        """Eᴴ v, (1, c_in, *n)."""
        if not self.copies:
            return self.domain(v)
        used = (self._source >= 0).flatten()
        sums = v.new_zeros(*v.shape[:2], math.prod(self.domain_shape[1:]))
        sums.index_add_(2, self._source.flatten()[used], v.flatten(2)[..., used])
        return sums.unflatten(-1, self.domain_shape[1:])

    def nearest(
        self,
        v: Tensor,
        lower: float,
        upper: float,
        ridge: float = 0.0,
        towards: Tensor | None = None,
    ) -> Tensor:
        """The image nearest to v of those that are E x with x between two bounds.

        ridge : minimises ‖E x − v‖² + ridge·‖x − towards‖²
        towards : (1, c_in, *n), None for zero
        """
        x = self.gathered(v)
        x = (x if towards is None else x + ridge * towards) / (self._used + ridge)
        x = x if x.is_complex() else x.clamp(lower, upper)
        if self.copies:
            return self._copied(x).where(self._source != _IS_FREE, v)
        out = v.clone()
        out[self._box] = x
        return out

    def _copied(self, x: Tensor) -> Tensor:
        """E x, anything where all is free."""
        index = self._source.clamp(min=0).flatten()
        v = x.flatten(2)[..., index].unflatten(-1, self.torus.coarse)
        return v.where(self._source != _IS_ZERO, 0)

    @property
    def _nearest(self) -> Tensor:
        """The sample of the domain next to each sample of the grid, flat."""
        sizes = self.domain_shape[1:]
        index = torch.zeros((1,) * len(sizes), dtype=torch.long, device=self.seen.device)
        for d, (n, N) in enumerate(zip(sizes, self.torus.coarse, strict=True)):
            line = torch.arange(N, device=index.device)
            line = torch.where(line < n, line, torch.where(line - n < N - line, n - 1, 0))
            index = index * n + line.reshape(-1, *[1] * (len(sizes) - 1 - d))
        return torch.where(self._source >= 0, self._source, index)


def grid_sizes(op: Convolution) -> tuple[int, ...]:
    """Samples of the grid along each axis."""
    return tuple(_grid_size(a, op.transposed) for a in op.geometry.axes)


def _grid_size(axis: Axis, transposed: bool) -> int:
    """Samples of the grid along an axis; a fast size where it need not be a given one."""
    if axis.on_torus:
        return axis.m if transposed else axis.n
    if transposed:
        return fast_size(axis.smallest_grid)
    return fast_size(max(axis.smallest_grid * axis.stride, (axis.m - 1) * axis.stride + 1))


def _sources(op: Convolution, sizes: tuple[int, ...]) -> Tensor:
    """(*grid) the flat index of the sample of the domain that each sample of the grid must equal.

    −1 where it must be zero, −2 where it is free.
    """
    lines = []
    for axis, N in zip(op.geometry.axes, sizes, strict=True):
        n = axis.m if op.transposed else axis.n
        line = torch.full((N,), _IS_FREE, device=op.device)
        line[:n] = torch.arange(n, device=op.device)
        if op.transposed:  # what lies behind the domain would reach outputs
            line[n:] = _IS_ZERO
        elif not axis.on_torus and (axis.before or axis.after):
            copied = () if axis.pads_zeros else axis.pads.layers[0].sources
            for i in range(axis.read_behind):
                line[n + i] = copied[axis.before + i] if copied else _IS_ZERO
            for i in range(axis.before):
                line[N - axis.before + i] = copied[i] if copied else _IS_ZERO
        lines.append(line)
    found = torch.zeros((1,) * len(sizes), dtype=torch.long, device=op.device)
    zero = torch.zeros_like(found, dtype=torch.bool)
    free = zero
    for d, line in enumerate(lines):
        shape = (-1, *[1] * (len(sizes) - 1 - d))
        n = op.domain_shape[1 + d]
        found = found * n + line.clamp(min=0).reshape(shape)
        zero = zero | (line == _IS_ZERO).reshape(shape)
        free = free | (line == _IS_FREE).reshape(shape)
    return torch.where(zero, _IS_ZERO, torch.where(free, _IS_FREE, found))


def _largest(blocks: Tensor) -> float:
    """The largest singular value of blocks (F, B, g, r, c)."""
    if min(blocks.shape[-2:]) == 1:
        return float(torch.linalg.vector_norm(blocks.flatten(3), dim=3).amax())
    gram = blocks.mH @ blocks if blocks.shape[-1] <= blocks.shape[-2] else blocks @ blocks.mH
    return math.sqrt(max(0.0, float(torch.linalg.eigvalsh(gram.flatten(0, 2)).amax())))
