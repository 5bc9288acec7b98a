"""Convolutions with as many outputs as inputs, their inverses and their log-determinants.

For normalizing flows: y = A x + b with a density p(x) = p(y)·|det A|.

    masked=False    zeros or circular padding; A⁻¹ and log |det A| by the methods of `ConvOperator`
    masked=True     the taps behind the centre are zero, and at the centre so are the channels
                    behind: A is triangular, log |det A| = pixels·Σ_c log |w_cc|

A triangular A is solved by x ← (y − N x)/w_cc, N being A without its diagonal w_cc, which is exact
after as many steps as taps in a row lead through the picture, and as a rule settles much sooner:
what has settled stays, so that round-off does not go round.

Sources: Hoogeboom, van den Berg & Welling, "Emerging convolutions for generative normalizing
flows", ICML 2019; Kingma & Dhariwal, "Glow", NeurIPS 2018; Kingma et al., "Improved variational
inference with inverse autoregressive flow", NIPS 2016 (the triangular kind).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..doors import ConvOperator
from ..grid.geometry import PerAxis, per_axis
from ..inverse.cache import FactorCache
from ..numerics.checks import (
    check_all_finite,
    check_choice,
    check_count,
    check_flag,
    check_memory_limit,
    check_tensor,
)
from ..numerics.compiled import outside_graphs
from ..numerics.plain_values import Values, with_values
from ..numerics.precision import double_dtype, in_precision, real_working_dtype
from ..operators.linear_operator import DEFAULT_MEMORY_LIMIT
from .inverse_conv import check_storage

_NOISE_AT_START = 0.05  # norm of the noise that an output starts with, the identity being 1


class _InvertibleConv(nn.Module):
    """What the layers for one, two and three axes share; `InvertibleConv2d` tells the options."""

    nd: ClassVar[int]
    bias: Tensor | None
    mask: Tensor

    def __init__(
        self,
        channels: int,
        kernel_size: PerAxis,
        padding_mode: str = "zeros",
        *,
        masked: bool = False,
        bias: bool = True,
        device: Any = None,
        dtype: torch.dtype | None = None,
        memory_limit: float = DEFAULT_MEMORY_LIMIT,
    ) -> None:
        super().__init__()
        self.channels = check_count("channels", channels)
        kernel = per_axis("kernel_size", kernel_size, self.nd, 1)
        self.padding_mode = check_choice("padding_mode", padding_mode, ("zeros", "circular"))
        self.masked = check_flag("masked", masked)
        self.memory_limit = check_memory_limit(memory_limit)
        if any(k % 2 == 0 for k in kernel):
            raise ValueError(
                f"kernel_size={kernel_size} must be odd, so that the centre of the kernel is a tap."
            )
        if masked and padding_mode != "zeros":
            raise ValueError(
                "a masked kernel is triangular under zero padding alone; use "
                "padding_mode='zeros', or masked=False."
            )
        check_storage(dtype, device)
        shape = (channels, channels, *kernel)
        self.weight = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
        self.register_parameter("bias", None)
        if check_flag("bias", bias):
            self.bias = nn.Parameter(torch.zeros(channels, device=device, dtype=dtype))
        self.register_buffer("mask", _causal_mask(shape).to(self.weight), persistent=False)
        self._factors = FactorCache()
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """The identity and a little noise: an operator that is far from singular."""
        with torch.no_grad():
            nn.init.normal_(self.weight, std=_NOISE_AT_START / self.weight[0].numel() ** 0.5)
            self._centre_tap().add_(torch.eye(self.channels).to(self.weight))
            if self.bias is not None:
                nn.init.zeros_(self.bias)

    @property
    def kernel(self) -> Tensor:
        """The weight that is used, with zeros where it is masked."""
        return self.weight * self.mask if self.masked else self.weight

    def operator(self, input_shape: Sequence[int]) -> ConvOperator:
        """A for x of these spatial sizes."""
        padding = tuple(k // 2 for k in self.weight.shape[2:])
        options: dict[str, Any] = {"padding": padding, "padding_mode": self.padding_mode}
        return ConvOperator(self.kernel, input_shape, **options)

    @outside_graphs
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(A x + bias, log |det A|), (N, channels, *n) -> (N, channels, *n) and a float64 number.

        One image may come without N, and then leaves without it.

        The log-determinant is that of one sample, the same for all of them.
        """
        if check_tensor("x", x).ndim == self.nd + 1:
            y, log_det = self.forward(x[None])
            return y[0], log_det
        op = self._operator_of("x", x)
        y = op(x)
        if self.bias is not None:
            y = y + self.bias.reshape(-1, *[1] * self.nd)
        return y, self._log_det(op)

    @outside_graphs
    def inverse(self, y: Tensor) -> Tensor:
        """x with forward(x)[0] = y, (N, channels, *n), differentiable in y and the weight.

        One image may come without N, and then leaves without it.
        """
        if check_tensor("y", y).ndim == self.nd + 1:
            return self.inverse(y[None])[0]
        op = self._operator_of("y", y)
        op._check(y, op.range_shape)
        if self.bias is not None:
            y = y - self.bias.reshape(-1, *[1] * self.nd)
        if self.masked:
            return self._substituted(op, y)
        factor = self._factors.get(
            op.geometry, [self.weight], lambda: op.pinv(memory_limit=self.memory_limit)
        )
        if bool(factor.summary.dropped.any()):
            raise ValueError(_NO_INVERSE)
        return factor.bound_to(op.weight)(y)

    def _operator_of(self, name: str, x: Tensor) -> ConvOperator:
        check_tensor(name, x)
        if x.ndim != self.nd + 2:
            raise ValueError(
                f"expected {name} of shape (N, {self.channels}, *{self.nd} spatial sizes), got "
                f"{tuple(x.shape)}; add missing axes, for instance one channel with {name}[None]."
            )
        return self.operator(tuple(x.shape[2:]))

    def _log_det(self, op: ConvOperator) -> Tensor:
        if not self.masked:
            value = op.logabsdet(memory_limit=self.memory_limit)
        else:
            pixels = op.shape[0] // self.channels
            diagonal = self._diagonal()
            value = pixels * diagonal.to(double_dtype(diagonal.dtype)).abs().log().sum()
        with_values(self._check_log_det, value, self.weight)
        return value

    def _check_log_det(self, found: Values) -> None:
        value, weight = found.tensors
        if bool(value.isfinite().all()):
            return
        check_all_finite("weight", weight, "a determinant needs finite numbers")
        raise ValueError(_SINGULAR)

    def _diagonal(self) -> Tensor:
        """(channels,) the entries w_cc of the centre tap, the diagonal of a masked A."""
        return self._centre_tap().diagonal()

    def _centre_tap(self) -> Tensor:
        return _centre_of(self.weight)

    def _waves(self, sizes: Sequence[int]) -> int:
        """How many outputs at most are reached one from another, each from the one before it."""
        pixels, step = 1, 1  # after `step` waves more the next one along an axis is right
        for n, k in zip(reversed(sizes), reversed(self.weight.shape[2:]), strict=True):
            pixels += (n - 1) * step
            step += (k // 2) * step
        return self.channels * pixels

    def _substituted(self, op: ConvOperator, y: Tensor) -> Tensor:
        """A⁻¹ y of a triangular A, by steps that are right in ever more pixels."""
        diagonal = self._diagonal().reshape(-1, *[1] * self.nd)
        with_values(_check_triangular, self.kernel, diagonal)
        others = self.mask.clone()
        _centre_of(others).fill_diagonal_(0)
        result = torch.promote_types(op.dtype, y.dtype)
        y, weight, diagonal = (_computed(t) for t in (y, self.weight * others, diagonal))
        rest = op.with_weight(weight)
        x = y / diagonal
        for _ in range(self._waves(op.domain_shape[1:])):
            before, x = x, (y - rest(x)) / diagonal
            if with_values(_is_settled, before, x):
                break
        with_values(_check_room, x, y)
        return x.to(result)

    def extra_repr(self) -> str:
        """Shapes and options for `print(layer)`."""
        kernel = tuple(self.weight.shape[2:])
        return (
            f"{self.channels}, kernel_size={kernel}, padding_mode={self.padding_mode!r}, "
            f"masked={self.masked}"
        )

    def _apply(self, fn: Any, recurse: bool = True) -> _InvertibleConv:
        self._factors.clear()  # they would stay behind on the old device
        return super()._apply(fn, recurse)


_SINGULAR = (
    "the layer has become singular, so that log |det A| is −inf and there is no inverse; go back "
    "to an earlier weight with a smaller learning rate, or begin anew with reset_parameters()."
)

_NO_INVERSE = (
    "the layer is singular to double precision, so that no digit of an inverse is known; go back "
    "to an earlier weight with a smaller learning rate, or begin anew with reset_parameters()."
)


def _computed(t: Tensor) -> Tensor:
    """As precise as is computed with: float32 at least."""
    return in_precision(t, real_working_dtype(t.dtype))


def _check_triangular(found: Values) -> None:
    kernel, diagonal = found.tensors
    check_all_finite("weight", kernel, "an inverse needs finite numbers")
    if not bool(diagonal.all()):
        raise ValueError(_SINGULAR)


def _is_settled(found: Values) -> bool:
    """Whether a step was round-off, or has no number."""
    before, x = found.tensors
    if not x.numel():
        return True
    step, size = (x - before).abs().amax(), x.abs().amax()
    return not float(step) > torch.finfo(x.dtype).eps * float(size)


def _check_room(found: Values) -> None:
    """Say it where x has no place in its dtype: A⁻¹ may grow with the distance exponentially."""
    x, y = found.tensors
    if bool(x.isfinite().all()):
        return
    check_all_finite("y", y, "an inverse needs finite numbers")
    raise ValueError(
        f"the inverse of this layer grows beyond {x.dtype}, for taps outweigh the centre of the "
        "kernel; keep them smaller than it, or invert smaller samples."
    )


def _centre_of(kernel: Tensor) -> Tensor:
    """(channels, channels), a view."""
    taps = kernel.flatten(2)
    return taps[..., taps.shape[2] // 2]


def _causal_mask(shape: tuple[int, ...]) -> Tensor:
    """1 for taps before the centre in C order, and for channels up to the own at the centre."""
    taps = torch.arange(math.prod(shape[2:]))
    centre = len(taps) // 2
    own = torch.ones(shape[0], shape[1]).tril()[..., None]
    mask = torch.where(taps < centre, 1.0, torch.where(taps == centre, own, 0.0))
    return mask.reshape(shape)


class InvertibleConv1d(_InvertibleConv):
    """A convolution of sequences that can be undone, with its log-determinant.

    forward(x) gives (A x + bias, log |det A|), inverse(y) gives x.  For options see
    `InvertibleConv2d`; kernel_size is one number.

    Examples
    --------
    >>> import torch, unconv.nn
    >>> layer = unconv.nn.InvertibleConv1d(2, 3, dtype=torch.float64)
    >>> x = torch.randn(4, 2, 16, dtype=torch.float64)
    >>> y, logabsdet = layer(x)
    >>> bool(torch.allclose(layer.inverse(y), x))
    True
    """

    nd = 1


class InvertibleConv2d(_InvertibleConv):
    """A convolution that can be undone, with its log-determinant, for normalizing flows.

    forward(x) gives (A x + bias, log |det A|), inverse(y) gives x.

    Parameters
    ----------
    channels : of x and of y
    kernel_size
        Odd, one or one per axis; the output has the size of the input.
    padding_mode
        'zeros' or 'circular'.
    masked
        Whether the kernel is autoregressive: each output reads pixels that come before it in C
        order, and of its own pixel the channels up to its own.  Under zero padding only.
    bias, device, dtype
        As in torch.nn.
    memory_limit
        Bytes, of factors and determinants.

    Attributes
    ----------
    weight : (channels, channels, *kernel_size)
        Starts near the identity.  Where masked, taps behind the centre are stored and not used.
    bias : (channels,) or None

    Raises
    ------
    ValueError, TypeError
        If an option is out of range; from forward and inverse, if the layer has become singular.

    Examples
    --------
    >>> import torch, unconv.nn
    >>> layer = unconv.nn.InvertibleConv2d(3, 3, dtype=torch.float64)
    >>> x = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    >>> y, logabsdet = layer(x)
    >>> bool(torch.allclose(layer.inverse(y), x)), logabsdet.shape
    (True, torch.Size([]))
    """

    nd = 2


class InvertibleConv3d(_InvertibleConv):
    """A convolution of volumes that can be undone, with its log-determinant.

    forward(x) gives (A x + bias, log |det A|), inverse(y) gives x.  For options see
    `InvertibleConv2d`.

    Examples
    --------
    >>> import torch, unconv.nn
    >>> layer = unconv.nn.InvertibleConv3d(1, 3, masked=True, dtype=torch.float64)
    >>> x = torch.randn(2, 1, 4, 4, 4, dtype=torch.float64)
    >>> y, logabsdet = layer(x)
    >>> bool(torch.allclose(layer.inverse(y), x))
    True
    """

    nd = 3
