"""Layers that undo a convolution."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from ..doors import ConvOperator
from ..grid.geometry import (
    Padding,
    PerAxis,
    padding_pairs,
    per_axis,
    smallest_domain,
)
from ..inverse import InverseOperator
from ..inverse.cache import FactorCache
from ..numerics.checks import (
    DTYPES,
    check_count,
    check_flag,
    check_tensor,
    shown,
)
from ..numerics.compiled import outside_graphs
from ..operators.arguments import check_layer

_CONV = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_SIZES = {1: "16", 2: "8, 8", 3: "4, 4, 4"}

_TEXTS = {
    "conv": """in_channels, out_channels, kernel_size, stride, dilation, groups, bias
        Of the convolution that is undone, as in torch.nn: the layer maps (N, out_channels, *m) to
        (N, in_channels, *n), and takes the bias off first.
    padding, padding_mode
        As in `ConvOperator`, which knows more of them than torch.nn.
    input_shape
        Spatial sizes n of x.  Default: for each y what `conv_transpose{nd}d` with output_padding=0
        returns.
    device, dtype
        Of the parameters.""",
    "example": """>>> import torch, unconv.nn
    >>> layer = unconv.nn.{name}(3, 8, 3, padding=1)
    >>> layer(torch.randn(2, 8, {sizes})).shape
    torch.Size([2, 3, {sizes}])""",
}
"""What the docstrings of all layers say, by the name in braces that stands for it in each."""


class InverseConv(nn.Module):
    """y ↦ an estimate of the x that a convolution layer made y of; the base of all layers here.

    Parameters
    ----------
    in_channels, out_channels, kernel_size, stride, dilation, groups, bias, device, dtype
        Of the convolution that is undone, as in torch.nn: the layer maps (N, out_channels, *m) to
        (N, in_channels, *n).  The bias is taken off y first.
    padding, padding_mode
        As in `ConvOperator`, which knows more of them than torch.nn.
    input_shape
        Spatial sizes n of x.  Default: for each y what `conv_transpose` with output_padding=0
        returns; with stride > 1 several sizes give the same y.
    settings
        The layer's own, such as damp, and the options of the method of `ConvOperator` that solves;
        `inspect.signature` of a layer spells them out.

    Attributes
    ----------
    nd : number of spatial axes
    solved_by : the name of that method
    not_offered : which of its options the layer does not take
    weight : (out_channels, in_channels/groups, *kernel_size), a parameter, owned or shared
    bias : (out_channels,) or None

    The factor is made when it is first needed and again when the values behind it have changed, so
    once a step in training and once in all in evaluation.  It is no part of the state_dict.
    """

    nd: ClassVar[int]
    solved_by: ClassVar[str]
    not_offered: ClassVar[tuple[str, ...]] = ()
    weight: Tensor
    bias: Tensor | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: PerAxis,
        stride: PerAxis = 1,
        padding: Padding = 0,
        dilation: PerAxis = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        *,
        input_shape: Sequence[int] | None = None,
        device: Any = None,
        dtype: torch.dtype | None = None,
        **settings: Any,
    ) -> None:
        super().__init__()
        kernel = per_axis("kernel_size", kernel_size, self.nd, 1)
        _check_sizes(in_channels, out_channels, groups)
        check_storage(dtype, device)
        check_flag("bias", bias)
        make: Any = _CONV[self.nd]
        conv = make(
            in_channels, out_channels, kernel, groups=groups, bias=bias, device=device, dtype=dtype
        )
        options = {
            "stride": stride,
            "padding": padding,
            "dilation": dilation,
            "groups": groups,
            "padding_mode": padding_mode,
        }
        self._undo(conv, options, input_shape, settings)

    def __init_subclass__(cls) -> None:
        """Have signature and docstring tell all settings of the layer, for its number of axes."""
        super().__init_subclass__()
        if cls.__doc__ is None:
            text = super(cls, cls).__doc__ or ""
            texts = _TEXTS | {"nd": str(cls.nd), "name": cls.__name__, "sizes": _SIZES[cls.nd]}
            for name, told in texts.items():
                text = text.replace(f"{{{name}}}", told)
            cls.__doc__ = text
        plain = inspect.signature(InverseConv)
        named = [p for p in plain.parameters.values() if p.kind is not p.VAR_KEYWORD]
        settings = cls._settings().values() if hasattr(cls, "solved_by") else ()
        shown = plain.replace(parameters=[*named, *settings])
        cls.__signature__ = shown  # type: ignore[attr-defined]  # what `inspect` asks for

    @classmethod
    def _settings(cls) -> dict[str, inspect.Parameter]:
        """The layer's own, then what the method takes by name."""
        functions = cls._configure, getattr(ConvOperator, cls.solved_by)
        found: dict[str, inspect.Parameter] = {}
        for function in functions:
            for name, p in inspect.signature(function).parameters.items():
                if p.kind is p.KEYWORD_ONLY and name not in cls.not_offered:
                    found.setdefault(name, p)
        return found

    @classmethod
    def from_conv(
        cls,
        module: nn.Module,
        *,
        share: bool = True,
        input_shape: Sequence[int] | None = None,
        **settings: Any,
    ) -> Self:
        """The layer that undoes an nn.Conv or nn.ConvTranspose of its dimension.

        Parameters
        ----------
        share
            Use the module's own parameters, so that training one trains the other; False copies.
        input_shape
            As above; needed for an nn.ConvTranspose.
        settings
            The layer's own settings, such as damp.

        Examples
        --------
        >>> import torch, unconv.nn
        >>> conv = torch.nn.Conv2d(3, 8, 3, padding=1, dtype=torch.float64)
        >>> undo = unconv.nn.PinvConv2d.from_conv(conv)
        >>> x = torch.randn(2, 3, 16, 16, dtype=torch.float64)
        >>> bool(torch.allclose(undo(conv(x)), x))
        True
        """
        check_flag("share", share)
        nd = _axes_of(module)
        if nd != cls.nd:
            raise ValueError(
                f"{cls.__name__} undoes convolutions of {cls.nd} spatial axes, got "
                f"{type(module).__name__} with {nd}; use {cls.__name__[:-2]}{nd}d."
            )
        if module.transposed and input_shape is None:
            raise ValueError(
                f"several sizes of x give the same y of {type(module).__name__}; give input_shape."
            )
        for name in ("weight", "bias"):
            if not isinstance(getattr(module, name), nn.Parameter | None):
                raise ValueError(
                    f"the {name} of this {type(module).__name__} is computed (a parametrisation) "
                    "and cannot be shared; remove it first, and parametrise this layer instead."
                )
        layer = cls.__new__(cls)
        nn.Module.__init__(layer)
        names = ("stride", "padding", "dilation", "groups", "padding_mode")
        options = {name: getattr(module, name) for name in names}
        if module.transposed:
            options |= {"transposed": True, "output_padding": module.output_padding}
        layer._undo(module, options, input_shape, settings)
        if not share:
            for name, value in list(layer._parameters.items()):
                if value is not None:
                    setattr(layer, name, nn.Parameter(value.detach().clone()))
        return layer

    def _undo(
        self,
        conv: Any,
        options: dict[str, Any],
        input_shape: Sequence[int] | None,
        settings: dict[str, Any],
    ) -> None:
        self.weight, self.bias = conv.weight, conv.bias
        self.options = options
        sizes = self._large_enough() if input_shape is None else input_shape
        ConvOperator(self.weight, sizes, bias=self.bias, **options)  # refuses what is wrong, now
        self.input_shape = None if input_shape is None else tuple(input_shape)
        self._factors = FactorCache()
        known = self._settings()
        for name in settings:
            if name not in known:
                raise TypeError(
                    f"{name!r} is neither a setting of this layer nor of its solver ("
                    f"{', '.join(known)}); check its spelling."
                )
        self._configure(**settings)

    def _large_enough(self) -> tuple[int, ...]:
        """Sizes of an x on which every padding and every kernel has room."""
        kernel = self.weight.shape[2:]
        stride, dilation = (
            per_axis(name, self.options[name], self.nd, 1) for name in ("stride", "dilation")
        )
        pairs = padding_pairs(self.options["padding"], kernel, stride, dilation)
        axes = zip(kernel, dilation, pairs, strict=True)
        return tuple(d * (k - 1) + 1 + max(pair) for k, d, pair in axes)

    # --- to be given by subclasses
    def _configure(self, **settings: Any) -> None:
        """Take the layer's own settings; the rest is the solver's."""
        raise NotImplementedError

    def _factor(self, op: ConvOperator) -> InverseOperator:
        """The inverse of `op`."""
        raise NotImplementedError

    def _parameters_of_factor(self) -> dict[str, Tensor]:
        """What the factor depends on beside the weight, by the names of what is stored."""
        return {}

    def _values_of_factor(self) -> list[Tensor]:
        """What `InverseOperator.depends_on` takes beside the weight."""
        return []

    # --- what a network calls
    @outside_graphs  # whether to factor is decided anew at every call, which no graph can hold
    def forward(
        self,
        y: Tensor,
        input_shape: Sequence[int] | None = None,
        *,
        observed: Tensor | None = None,
    ) -> Tensor:
        """(N, out_channels, *m) -> (N, in_channels, *n), or one image of each without N.

        observed : bool, True where y was seen, (*m) or (out_channels, *m): `ConvOperator.observed`
        """
        check_tensor("y", y)
        if y.ndim == self.nd + 1:
            return self.forward(y[None], input_shape, observed=observed)[0]
        op = self.operator(self._sizes(y, input_shape))
        op._check(y, op.range_shape)
        op = op if observed is None else op.observed(observed)
        inverse = self.inverse(op)
        if self.bias is not None:
            y = y - self.bias.reshape(-1, *[1] * self.nd)
        return inverse(y)

    def operator(self, input_shape: Sequence[int]) -> ConvOperator:
        """The convolution that is undone, for x of these sizes."""
        return ConvOperator(self.weight, input_shape, **self.options)

    def inverse(self, op: ConvOperator) -> InverseOperator:
        """The factored inverse of `operator(...)`, at hand or made now."""
        stored = {"weight": self.weight, **self._parameters_of_factor()}
        if all(self._is_own(name, t) for name, t in stored.items()):
            key = op.geometry, op.seen is None
            seen = [] if op.seen is None else [op.seen]
            factor = self._factors.get(key, [*stored.values(), *seen], lambda: self._factor(op))
        else:  # computed tensors, such as those of torch.func or of a parametrisation
            factor = self._factor(op)
        return factor.bound_to(self.weight, *self._values_of_factor())

    def extra_repr(self) -> str:
        """Shapes and options for `print(layer)`."""
        told = ", ".join(f"{k}={v!r}" for k, v in self.options.items())
        return f"weight={tuple(self.weight.shape)}, {told}"

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        self._factors.clear()  # they would stay behind on the old device
        return super()._apply(fn, recurse)

    def _is_own(self, name: str, t: Tensor) -> bool:
        return isinstance(t, nn.Parameter) or self._buffers.get(name) is t

    def _sizes(self, y: Tensor, input_shape: Sequence[int] | None) -> Sequence[int]:
        shape = self.input_shape if input_shape is None else input_shape
        if shape is not None:
            return shape
        if y.ndim != self.nd + 2:
            raise ValueError(
                f"expected y of shape (N, {self.weight.shape[0]}, *{self.nd} spatial sizes), got "
                f"{tuple(y.shape)}; add the missing axes, for instance one channel with y[None]."
            )
        names = ("stride", "padding", "dilation")
        kernel = self.weight.shape[-self.nd :]
        return smallest_domain(y.shape[2:], kernel, **{n: self.options[n] for n in names})


def _axes_of(module: Any) -> int:
    """Spatial axes of a convolution of torch.nn that has its weight."""
    return check_tensor("weight", check_layer(module).weight).ndim - 2


def _check_sizes(in_channels: int, out_channels: int, groups: int) -> None:
    """In the words of the operator, before torch meets them."""
    sizes = {"in_channels": in_channels, "out_channels": out_channels, "groups": groups}
    for name, value in sizes.items():
        check_count(name, value)
    for name in ("in_channels", "out_channels"):
        if sizes[name] % groups:
            raise ValueError(
                f"groups={groups} must divide {name}={sizes[name]}; use a common divisor of both "
                "numbers of channels."
            )


def check_storage(dtype: torch.dtype | None, device: Any) -> None:
    """A dtype that weights may have, and a device that is there."""
    if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype in DTYPES):
        known = ", ".join(str(d).removeprefix("torch.") for d in DTYPES)
        raise TypeError(f"dtype={shown(dtype)} cannot be a weight's; use one of {known}.")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, TypeError, ValueError, AssertionError) as why:
        raise ValueError(
            f"device={shown(device)} is not there ({str(why).splitlines()[0].rstrip('.')}); use "
            "'cpu', or None for torch's default."
        ) from None
