"""A and Aᴴ of a blur whose psf varies over the field, by either of its two expansions.

    product, then convolution    A x = Σᵢ hᵢ ∗ (wᵢ·x)        the psf of where the light comes from
    convolution, then product    A x = Σᵢ wᵢ·(hᵢ ∗ x)        the psf of where it arrives

The second is the adjoint of the first with every psf flipped, so that `Cells` serves both.  Between
light and data lie what the frame cuts off and, on an axis that wraps, what comes in again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Self

import torch
from torch import Tensor

from ..grid.geometry import build_geometry, count_axes
from ..numerics.checks import (
    check_all_finite,
    check_choice,
    check_count,
    check_real_tensor,
)
from ..numerics.precision import real_working_dtype
from ..operators.arguments import checked_mask
from ..operators.linear_operator import LinearOperator
from .cells import Cells
from .weights import (
    INTERPOLATIONS,
    Weights,
    checked_nodes,
    checked_weights,
    interpolation_weights,
)

PADDINGS = ("valid", "same")
PADDING_MODES = ("zeros", "circular")


class VaryingBlur(LinearOperator):
    """What both expansions share; `ProductConvolution` documents the parameters."""

    weight: Tensor  # (C or 1, P, *k), the psfs
    shares: Weights
    seen: Tensor | None
    product_first: bool

    def __init__(
        self,
        psfs: Tensor,
        nodes: Sequence[Tensor] | None,
        input_shape: Sequence[int],
        *,
        weights: Tensor | None = None,
        padding: str = "valid",
        padding_mode: str = "zeros",
        channels: int = 1,
        interpolation: str = "linear",
    ) -> None:
        super().__init__()
        nd = count_axes(input_shape)
        check_choice("padding", padding, PADDINGS)
        check_choice("padding_mode", padding_mode, PADDING_MODES)
        check_choice("interpolation", interpolation, INTERPOLATIONS)
        check_count("channels", channels)
        if padding == "valid" and padding_mode != "zeros":
            raise ValueError(
                "padding_mode='circular' needs padding='same'; 'valid' leaves the surroundings "
                "unknown and pads nothing."
            )
        if (nodes is None) == (weights is None):
            raise ValueError("give either nodes or weights=, which say where each psf holds.")
        taps, grid = _checked_psfs(psfs, nd, 1 if nodes is None else nd)
        if len(taps) > 1 and channels not in (1, len(taps)):
            raise ValueError(
                f"channels={channels} and psfs of {len(taps)} channels; leave channels out."
            )
        count = max(channels, len(taps))
        geometry = build_geometry(
            (count, 1, *taps.shape[2:]),
            input_shape,
            padding=padding,
            padding_mode=padding_mode,
            groups=count,
        )
        self.domain_shape, self.range_shape = geometry.domain_shape, geometry.range_shape
        self.padding, self.padding_mode = padding, padding_mode
        if nodes is None:
            side = self.domain_shape if self.product_first else self.range_shape
            of = "scene" if self.product_first else "data"
            self._keep(taps, checked_weights(weights, taps.shape[1], side[1:], of), None)
        else:
            lines = checked_nodes(nodes, grid, self.range_shape[1:])
            at = self._positions(tuple(taps.shape[2:]))
            self._keep(taps, interpolation_weights(lines, at, interpolation), None)

    def _positions(self, kernel: tuple[int, ...]) -> list[Tensor]:
        """Where along each axis of the data the samples lie that have weights."""
        side = self.domain_shape if self.product_first else self.range_shape
        before = self.padding == "valid" and self.product_first
        return [
            torch.arange(n, dtype=torch.float64) - ((k - 1) // 2 if before else 0)
            for n, k in zip(side[1:], kernel, strict=True)
        ]

    def _keep(self, weight: Tensor, shares: Weights, seen: Tensor | None) -> None:
        self.register_buffer("weight", weight, persistent=False)
        self.register_buffer("seen", seen, persistent=False)
        self.shares = shares
        self._prepare()

    def _prepare(self) -> None:
        """What follows from the psfs and their weights."""
        kernel = self.weight.shape[2:]
        self._cells: dict[torch.dtype, Cells] = {}
        self._cells_in(real_working_dtype(self.weight.dtype))
        # the sample of the whole convolution that is the first of the frame
        if self.padding == "valid":
            self._first = tuple(k - 1 if self.product_first else 0 for k in kernel)
        else:
            self._first = tuple(k // 2 if self.product_first else (k - 1) // 2 for k in kernel)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)
        self._prepare()
        return self

    # --- A and Aᴴ
    def _matvec(self, x: Tensor) -> Tensor:
        return self._masked(self._run(x, spread=self.product_first))

    def _rmatvec(self, y: Tensor) -> Tensor:
        return self._run(self._masked(y), spread=not self.product_first)

    def _run(self, t: Tensor, *, spread: bool) -> Tensor:
        """The expansion, or its adjoint, in the precision of its operand."""
        if not len(t):  # transforms of torch refuse empty batches
            shape = self.range_shape if spread == self.product_first else self.domain_shape
            return t.new_zeros(0, *shape)
        dtype = torch.promote_types(real_working_dtype(self.weight.dtype), t.dtype.to_real())
        if t.is_complex():
            parts = self._run(torch.cat([t.real, t.imag]), spread=spread).chunk(2)
            return torch.complex(*parts)
        t, cells = t.to(dtype), self._cells_in(dtype)
        if spread:
            return self._framed(cells.spread(t))
        return cells.gathered(self._unframed(t, cells.full))

    def _cells_in(self, dtype: torch.dtype) -> Cells:
        """Cells with their spectra in a precision, made once for each that is asked for."""
        if dtype not in self._cells:
            taps = self.weight.to(dtype)
            if not self.product_first:
                taps = taps.flip(tuple(range(2 - taps.ndim, 0)))
            self._cells[dtype] = Cells(taps, self.shares)
        return self._cells[dtype]

    def _framed(self, v: Tensor) -> Tensor:
        """The part of a whole convolution that the frame holds, around it where it wraps."""
        sizes = self._frame
        if self.padding_mode == "zeros":
            for d, (first, n) in enumerate(zip(self._first, sizes, strict=True)):
                v = v.narrow(2 + d, first, n)
            return v
        for d, (first, n) in enumerate(zip(self._first, sizes, strict=True)):
            out = v.new_zeros(*v.shape[: 2 + d], n, *v.shape[3 + d :])
            v = out.index_add(2 + d, self._around(first, v.shape[2 + d], n), v)
        return v

    def _unframed(self, y: Tensor, full: Sequence[int]) -> Tensor:
        """The adjoint of `_framed`, of the sizes of the whole convolution."""
        if self.padding_mode == "zeros":
            pads: list[int] = []
            for first, n, N in zip(self._first, self._frame, full, strict=True):
                pads = [first, N - first - n, *pads]
            return torch.nn.functional.pad(y, pads)
        for d, (first, n, N) in enumerate(zip(self._first, self._frame, full, strict=True)):
            y = y.index_select(2 + d, self._around(first, N, n))
        return y

    @property
    def _frame(self) -> tuple[int, ...]:
        return (self.range_shape if self.product_first else self.domain_shape)[1:]

    def _around(self, first: int, count: int, n: int) -> Tensor:
        return (torch.arange(count, device=self.device) - first) % n

    def _masked(self, y: Tensor) -> Tensor:
        """y with zeros where nothing was seen."""
        return y if self.seen is None else y.where(self.seen, 0)

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the psfs."""
        return self.weight.dtype

    @property
    def device(self) -> torch.device:
        """Device of the psfs."""
        return self.weight.device

    # --- other operators of the kind
    def observed(self, mask: Tensor) -> Self:
        """The operator of which only some outputs were seen: x ↦ mask·(A x).

        What stands in the data where mask is False, NaN too, is without effect on solutions.

        Parameters
        ----------
        mask : bool, True where an output was seen, of shape (*range_shape[1:]), with or without an
            axis of one before it, for all channels, or range_shape.  Of an operator that is
            observed already, what both have seen remains.

        Raises
        ------
        TypeError, ValueError
            If mask is no bool tensor, has another shape, or has seen nothing.

        Examples
        --------
        >>> import torch, unconv
        >>> psfs = torch.rand(2, 3, dtype=torch.float64)
        >>> A = unconv.ProductConvolution(psfs, (torch.tensor([0.0, 7.0]),), (10,))
        >>> B = A.observed(torch.arange(8) != 3)
        >>> float(B(torch.rand(1, 1, 10, dtype=torch.float64))[0, 0, 3])
        0.0
        """
        seen = checked_mask(mask, self.range_shape).to(self.device)
        seen = seen.clone() if self.seen is None else seen & self.seen
        if not bool(seen.any()):
            raise ValueError("mask has seen no output at all; give True where one was seen.")
        return self._made_of(self.weight, seen)

    def with_weight(self, weight: Tensor) -> Self:
        """The operator with other psfs of the same shape, (C or 1, P, *k)."""
        return self._made_of(weight, self.seen)

    def in_double(self) -> Self:
        """The operator in double precision."""
        return self if self.dtype == torch.float64 else self.with_weight(self.weight.double())

    def shares_on_domain(self) -> Weights:
        """w on samples of the scene; of the nearest sample of the data where it is theirs."""
        if self.product_first or self.padding == "same":
            return self.shares
        sizes = zip(self.domain_shape[1:], self.range_shape[1:], strict=True)
        return self.shares.at([(torch.arange(n) - (n - m) // 2).clamp(0, m - 1) for n, m in sizes])

    def on_torus(self, sizes: Sequence[int], dtype: torch.dtype) -> VaryingBlur:
        """The blur of a periodic grid that holds scene and data, both from its first sample on.

        It agrees with this one at every output that sees no sample outside of the scene; weights
        of samples that are not the scene's, or no data, are those of the nearest that is.
        """
        places = []
        for n, N in zip(self.shares.sizes, sizes, strict=True):
            at = torch.arange(N)
            places.append(torch.where(at < n, at, torch.where(at - n < N - at, n - 1, 0)))
        shape = (self.domain_shape[0], *sizes)
        return self._made_of(
            self.weight.to(dtype), None, self.shares.at(places), (shape, shape), "circular"
        )

    def part(self, first: Sequence[int], sizes: Sequence[int]) -> Self:
        """The blur of a part of the data, with its own surroundings unknown.

        first, sizes : of its outputs, none of which may read padding
        """
        kernel = self.weight.shape[2:]
        scene = tuple(m + k - 1 for m, k in zip(sizes, kernel, strict=True))
        places = [torch.arange(a, a + m) for a, m in zip(first, sizes, strict=True)]
        if self.product_first:
            before = [(k - 1) // 2 if self.padding == "same" else 0 for k in kernel]
            starts = zip(first, before, scene, strict=True)
            places = [torch.arange(a - b, a - b + n) for a, b, n in starts]
        box = (slice(None), *(slice(a, a + m) for a, m in zip(first, sizes, strict=True)))
        C = self.domain_shape[0]
        shapes = (C, *scene), (C, *sizes)
        seen = None if self.seen is None else self.seen[box]
        return self._made_of(self.weight, seen, self.shares.at(places), shapes, "zeros", "valid")

    def _made_of(
        self,
        weight: Tensor,
        seen: Tensor | None,
        shares: Weights | None = None,
        shapes: tuple[tuple[int, ...], tuple[int, ...]] | None = None,
        padding_mode: str | None = None,
        padding: str | None = None,
    ) -> Self:
        """An operator of parts that fit; what is None is taken from this one."""
        op = type(self).__new__(type(self))
        torch.nn.Module.__init__(op)
        op.domain_shape, op.range_shape = shapes or (self.domain_shape, self.range_shape)
        op.padding = padding or self.padding
        op.padding_mode = padding_mode or self.padding_mode
        op._keep(weight, shares or self.shares, seen)
        return op

    def extra_repr(self) -> str:
        """Shapes and options for `print(op)`."""
        seen = "" if self.seen is None else f", observed={int(self.seen.sum()):,}"
        return (
            f"{self.domain_shape} -> {self.range_shape}, psfs={self.weight.shape[1]} of "
            f"{tuple(self.weight.shape[2:])}, padding={self.padding!r}, "
            f"padding_mode={self.padding_mode!r}{seen}"
        )


def _checked_psfs(psfs: object, nd: int, grid_axes: int) -> tuple[Tensor, tuple[int, ...]]:
    """(C or 1, P, *k), and the sizes of the grid."""
    h = check_real_tensor("psfs", psfs)
    expected = grid_axes + nd
    if h.ndim not in (expected, expected + 1) or 0 in h.shape:
        grid = "one of psfs" if grid_axes == 1 and nd > 1 else f"{grid_axes} of their grid"
        raise ValueError(
            f"psfs has shape {tuple(h.shape)}; for {nd} axes of input_shape expected {expected} "
            f"axes, {grid} and {nd} of each psf, with one more in front for psfs of each channel."
        )
    if torch.is_grad_enabled() and h.requires_grad:
        raise NotImplementedError(
            "a varying blur has no gradient in its psfs; pass psfs.detach(). It has one in x."
        )
    check_all_finite("psfs", h, "mend them")
    h = h.detach() if h.ndim == expected + 1 else h.detach()[None]
    grid_sizes = tuple(h.shape[1 : 1 + grid_axes])
    return h.flatten(1, grid_axes), grid_sizes
