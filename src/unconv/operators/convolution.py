"""Any convolution of torch.nn as a linear operator A, with its exact adjoint.

    A = P · C · E        Aᴴ = Eᴴ · Cᴴ · Pᴴ

E pads (padding.py), C correlates and P keeps the outputs that exist (convolve/); a transposed
operator is the transpose of such a product.  `ConvOperator` (doors/) adds the methods that undo A
and tell its spectrum; what lies below them is written for a `Convolution`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self

import torch
from torch import Tensor, nn

from ..convolve import correlate, correlate_transpose
from ..grid.geometry import (
    Geometry,
    Padding,
    PerAxis,
    build_geometry,
    extended,
)
from ..grid.padding import extend, extend_adjoint
from ..numerics import compiled
from ..numerics.checks import check_count, check_flag, check_tensor
from ..numerics.precision import double_dtype
from .arguments import check_dimensions, check_layer, checked_bias, checked_mask
from .images import is_alone
from .linear_operator import LinearOperator
from .weight_gradient import weight_gradient


class Convolution(LinearOperator):
    """A convolution layer as a linear map with its adjoint; `ConvOperator` documents its options.

    Parameters
    ----------
    weight : (c_out, c_in/groups, *k); (c_in, c_out/groups, *k) if transposed; or one for each of B
        samples, with a batch axis in front
    input_shape : spatial sizes of the tensor that the operator takes
    """

    weight: Tensor
    seen: Tensor | None  # (c_out or 1, *sizes) of the range, True where an output was observed

    @compiled.outside_graphs
    def __init__(
        self,
        weight: Tensor,
        input_shape: Sequence[int],
        *,
        stride: PerAxis = 1,
        padding: Padding = 0,
        dilation: PerAxis = 1,
        groups: int = 1,
        padding_mode: str = "zeros",
        transposed: bool = False,
        output_padding: PerAxis = 0,
        flip: bool = False,
        bias: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.handle = compiled.register(self)
        check_tensor("weight", weight)
        nd = check_dimensions(weight, input_shape)
        self.batch_size = weight.shape[0] if weight.ndim == nd + 3 else None
        self.transposed, self.flip = transposed, check_flag("flip", flip)
        self.geometry = build_geometry(
            weight.shape[-nd - 2 :],
            input_shape,
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=groups,
            padding_mode=padding_mode,
            transposed=transposed,
            output_padding=output_padding,
        )
        shapes = self.geometry.domain_shape, self.geometry.range_shape
        self.domain_shape, self.range_shape = reversed(shapes) if transposed else shapes
        self._keep("weight", weight)
        self._keep("bias", checked_bias(bias, self.range_shape[0], weight))
        self.register_buffer("seen", None, persistent=False)

    @classmethod
    def from_module(cls, module: nn.Module, input_shape: Sequence[int]) -> Self:
        """The operator of an nn.Conv*d or nn.ConvTranspose*d, sharing its weight and bias.

        Parameters
        ----------
        module : any of the six kinds of layers, with any options
        input_shape : spatial sizes of the tensor that the layer takes

        Raises
        ------
        TypeError, ValueError
            If it is another module (a lazy one included), or the sizes do not fit it.

        Examples
        --------
        >>> import torch, unconv
        >>> layer = torch.nn.Conv2d(3, 8, 3, padding=1)
        >>> A = unconv.ConvOperator.from_module(layer, input_shape=(32, 32))
        >>> x = torch.randn(1, 3, 32, 32)
        >>> bool(torch.allclose(A.affine(x), layer(x), atol=1e-5))
        True
        """
        module = check_layer(module)
        return cls(
            module.weight,
            input_shape,
            stride=module.stride,
            padding=module.padding,
            dilation=module.dilation,
            groups=module.groups,
            padding_mode=module.padding_mode,
            transposed=module.transposed,
            output_padding=module.output_padding if module.transposed else 0,
            bias=module.bias,
        )

    def observed(self, mask: Tensor) -> Self:
        """The operator of which only some outputs were seen: x ↦ mask·(A x).

        Outputs that nobody saw are missing data, not zeros: pixels that are dead, saturated or
        behind something.  What stands in the data where mask is False, NaN too, is without effect
        on solutions.  `pinv`, `lstsq`, `tikhonov`, `wiener`, the spectrum, matrices and gradients
        take the mask into account; methods that need every output (*fourier*, *cosine*,
        *separable*, *boundary*, and the rules that choose a damp) leave the answer to others or
        refuse.

        Parameters
        ----------
        mask : bool, True where an output was seen, of shape (*range_shape[1:]), with or without an
            axis of one before it, for all channels, or range_shape: what `seen` of another operator
            holds.  It is copied, and no part of the `state_dict`.  Of an operator that is observed
            already, the outputs that both have seen remain.

        Raises
        ------
        TypeError, ValueError
            If mask is no bool tensor, has another shape, or has seen nothing.

        Examples
        --------
        >>> import torch, unconv
        >>> A = unconv.ConvOperator(torch.rand(1, 1, 3, 3), (8, 8))
        >>> mask = torch.ones(6, 6, dtype=torch.bool)
        >>> mask[2, 3] = False
        >>> B = A.observed(mask)
        >>> float(B(torch.rand(1, 1, 8, 8))[0, 0, 2, 3])
        0.0
        """
        seen = checked_mask(mask, self.range_shape).to(self.device)
        seen = seen.clone() if self.seen is None else seen & self.seen
        if not bool(seen.any()):
            raise ValueError("mask has seen no output at all; give True where one was seen.")
        op = self._made_of(self.weight, self.geometry, self.batch_size, self._kept_bias)
        op.seen = seen
        return op

    # --- A and Aᴴ
    def _matvec(self, x: Tensor) -> Tensor:
        if torch.compiler.is_compiling():
            if self.made_in_passing:
                return torch.compiler.disable(self._matvec)(x)
            return compiled.apply(self, x, [self.weight], adjoint=False)
        convolve = _convolve_transpose if self.transposed else _convolve
        return self._masked(convolve(x, self.taps, self.geometry))

    def _masked(self, y: Tensor) -> Tensor:
        """y with zeros where nothing was seen."""
        return y if self.seen is None else y.where(self.seen.to(y.device), 0)

    def _rmatvec(self, y: Tensor) -> Tensor:
        if torch.compiler.is_compiling():
            if self.made_in_passing:
                return torch.compiler.disable(self._rmatvec)(y)
            return compiled.apply(self, y, [self.weight], adjoint=True)
        y, taps = self._masked(y), self.taps.conj()  # of a real weight taps.conj() is taps itself
        return (_convolve if self.transposed else _convolve_transpose)(y, taps, self.geometry)

    # --- the layer, which has a bias
    @property
    def bias(self) -> Tensor | None:
        """The layer's bias as (c_out, 1, …), which adds to (N, c_out, *sizes) by channels.

        A view of what the state_dict and `parameters()` hold as (c_out,), which would broadcast
        along the last axis, silently where that is c_out long.  None without one.

        Examples
        --------
        >>> import torch, unconv
        >>> A = unconv.ConvOperator.from_module(torch.nn.Conv2d(3, 8, 3), (10, 10))
        >>> A.bias.shape, A.state_dict()["bias"].shape
        (torch.Size([8, 1, 1]), torch.Size([8]))
        """
        bias = self._kept_bias
        return None if bias is None else bias.reshape(-1, *[1] * self.geometry.nd)

    @property
    def _kept_bias(self) -> Tensor | None:
        """The bias as (c_out,), the layer's own object."""
        bias = self._parameters.get("bias")
        return self._buffers.get("bias") if bias is None else bias

    def weight_gradient(self, x: Tensor, y: Tensor) -> Tensor:
        """The gradient of Re⟨y, A x⟩ in the weight, itself differentiable in x and y.

        Parameters
        ----------
        x : (N, *domain_shape), or one image without its batch axis
        y : (N, *range_shape), or one image likewise

        Returns
        -------
        Of the weight's shape, summed over the samples that share it; real for a real weight.

        Raises
        ------
        ValueError, TypeError
            If x or y does not fit the operator, or one holds more samples than the other.

        Examples
        --------
        >>> import torch, unconv
        >>> A = unconv.ConvOperator(torch.randn(2, 1, 3, 3), (8, 8), padding=1)
        >>> x, y = torch.randn(1, 1, 8, 8), torch.randn(1, 2, 8, 8)
        >>> bool(torch.isclose((A.weight_gradient(x, y) * A.weight).sum(), (y * A(x)).sum(), 1e-4))
        True
        """
        x = x[None] if is_alone(x, self.domain_shape) else x
        y = y[None] if is_alone(y, self.range_shape) else y
        self._check(x, self.domain_shape)
        self._check(y, self.range_shape)
        if len(x) != len(y):
            raise ValueError(f"x holds {len(x)} samples and y {len(y)}; give one y for each x.")
        return weight_gradient(self, x, y)

    @property
    def taps(self) -> Tensor:
        """The weight as a cross-correlation kernel: flipped if the operator convolves."""
        weight = self._weight()
        return weight.flip(tuple(range(-self.geometry.nd, 0))) if self.flip else weight

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the weight."""
        return self.weight.dtype

    @property
    def device(self) -> torch.device:
        """Device of the weight."""
        return self.weight.device

    def _coefficients(self) -> tuple[torch.dtype, torch.device]:
        weight = self._weight()
        return weight.dtype, weight.device

    def _weight(self) -> Tensor:
        """`self.weight`, without the search of nn.Module, which costs a tenth of a short call."""
        weight = self._buffers.get("weight")
        if weight is None:
            weight = self._parameters.get("weight")
        return self.weight if weight is None else weight

    # --- for compiled.py
    def value_dtype(self, data: torch.dtype) -> torch.dtype:
        """Dtype of A x."""
        return torch.promote_types(self.dtype, data)

    def value(self, x: Tensor, params: Sequence[Tensor], adjoint: bool) -> Tensor:
        """A x or Aᴴ x for another weight."""
        A = self.with_weight(params[0])
        return A._rmatvec(x) if adjoint else A._matvec(x)

    def gradients(
        self, g: Tensor, w: Tensor, x: Tensor, y: Tensor, params: Sequence[Tensor], adjoint: bool
    ) -> list[Tensor]:
        """The gradient in the weight, as a list of one."""
        pair = (g, x) if adjoint else (x, g)
        return [weight_gradient(self, *pair).to(params[0].dtype)]

    # --- housekeeping
    def with_weight(self, weight: Tensor) -> Self:
        """The operator with another weight of the same shape (another dtype, a conjugate, …).

        Shapes, options and bias are kept; nothing is copied.

        Examples
        --------
        >>> import torch, unconv
        >>> A = unconv.ConvOperator(torch.ones(1, 1, 3), (5,))
        >>> A.with_weight(A.weight.double()).dtype
        torch.float64
        """
        return self._made_of(weight, self.geometry, self.batch_size, self._kept_bias)

    def with_kernels(self, weight: Tensor, *, groups_apart: bool = False) -> Self:
        """The operator with one kernel per sample, along the first axis of weight, without bias.

        groups_apart
            The kernels are the groups of this one, each an operator without groups, and without
            the mask of what was observed, of which every group has its own part.
        """
        geometry = self.geometry
        if groups_apart:
            rows, columns = (c // geometry.groups for c in (geometry.c_out, geometry.c_in))
            geometry = replace(geometry, c_out=rows, c_in=columns, groups=1)
        op = self._made_of(weight, geometry, len(weight), None)
        if groups_apart:
            op.seen = None
        return op

    def without_bias(self, weight: Tensor) -> Self:
        """The operator with another weight, alone: the layer's bias must not follow an inverse."""
        return self._made_of(weight, self.geometry, self.batch_size, None)

    @compiled.outside_graphs
    def _made_of(
        self, weight: Tensor, geometry: Geometry, batch_size: int | None, bias: Tensor | None
    ) -> Self:
        """An operator of parts that fit; nothing is checked again."""
        op = type(self).__new__(type(self))
        nn.Module.__init__(op)
        op.handle = compiled.register(op)
        op.transposed, op.flip = self.transposed, self.flip
        op.geometry, op.batch_size = geometry, batch_size
        shapes = geometry.domain_shape, geometry.range_shape
        op.domain_shape, op.range_shape = reversed(shapes) if self.transposed else shapes
        op._keep("weight", weight)
        op._keep("bias", bias)
        seen = None if self.seen is None else self.seen.to(weight.device)
        op.register_buffer("seen", seen, persistent=False)
        return op

    def in_double(self) -> Self:
        """The operator in double precision, without gradient and without the layer's bias."""
        weight = self.weight.detach()
        return self.without_bias(weight.to(double_dtype(weight.dtype)))

    def of_sample(self, i: int) -> Self:
        """The operator of sample i where each sample has its own kernel; itself otherwise.

        Raises
        ------
        ValueError, TypeError
            If i is no index of a sample.

        Examples
        --------
        >>> import torch, unconv
        >>> A = unconv.ConvOperator(torch.randn(4, 2, 1, 3), (5,))
        >>> A.batch_size, A.of_sample(3).batch_size, A.of_sample(3).weight.shape
        (4, None, torch.Size([2, 1, 3]))
        """
        check_count("i", i, 0, (self.batch_size or 2**63) - 1)
        if self.batch_size is None:
            return self
        return self._made_of(self.weight[i], self.geometry, None, self._kept_bias)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.handle = compiled.register(self)

    def extra_repr(self) -> str:
        """Shapes and options for `print(op)`."""
        a = self.geometry.axes
        return (
            f"{self.domain_shape} -> {self.range_shape}, kernel={tuple(x.k for x in a)}, "
            f"stride={tuple(x.stride for x in a)}, "
            f"padding={tuple((x.before, x.after) for x in a)}, "
            f"dilation={tuple(x.dilation for x in a)}, groups={self.geometry.groups}, "
            f"padding_mode={a[0].mode!r}, transposed={self.transposed}, flip={self.flip}"
            f"{self._shown_mask()}"
        )

    def _shown_mask(self) -> str:
        if self.seen is None:
            return ""
        seen = self.seen.expand(self.range_shape)
        return f", observed={int(seen.sum()):,} of {seen.numel():,}"

    def _keep(self, name: str, value: Tensor | None) -> None:
        """As `register_parameter` and `register_buffer`, which refuse the name of a property."""
        kept: dict[str, Any] = (
            self._parameters if isinstance(value, nn.Parameter) else self._buffers
        )
        kept[name] = value


def _convolve(x: Tensor, taps: Tensor, geometry: Geometry) -> Tensor:
    """P C E x."""
    inner = extended(geometry)
    if inner is None:
        return correlate(x, taps, geometry)
    return correlate(extend(x, geometry, taps.dtype), taps, inner)


def _convolve_transpose(y: Tensor, taps: Tensor, geometry: Geometry) -> Tensor:
    """Eᵀ Cᵀ Pᵀ y, no conjugate."""
    inner = extended(geometry)
    if inner is None:
        return correlate_transpose(y, taps, geometry)
    return extend_adjoint(correlate_transpose(y, taps, inner), geometry)
