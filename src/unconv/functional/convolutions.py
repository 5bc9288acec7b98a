"""One-call adjoints and pseudo-inverses, in the manner of `torch.nn.functional`.

`conv2d_adjoint(y, weight, ...)` and `conv2d_pinv(y, weight, ...)` take the arguments that produced
``y = F.conv2d(x, weight, ...)`` and give Aᴴy and A⁺y.  They build a `ConvOperator` and forget it:
for many right-hand sides build the operator, factor it once with `op.pinv()`, and apply that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from torch import Tensor

from ..doors import ConvOperator
from ..grid.geometry import Padding, PerAxis, smallest_domain
from ..inverse.lstsq import in_precision_of
from ..inverse.plan import factorize, request_of
from ..numerics.checks import check_tensor
from ..numerics.compiled import outside_graphs
from ..operators.linear_operator import DEFAULT_MEMORY_LIMIT, EXPECTED_SOLVES

_ADJOINT = """The exact adjoint of `F.conv{nd}d(·, weight, ...)` applied to y.

    Parameters
    ----------
    y : (N, c_out, *m), floating point or complex
    weight : (c_out, c_in/groups, *k), or with a leading batch axis: one kernel a sample
    stride, padding, dilation, groups, padding_mode
        As in `ConvOperator`.
    input_shape
        Spatial sizes of x.  Default: the size that `conv_transpose{nd}d` with output_padding=0
        returns; with stride > 1 several sizes give the same y.

    Returns
    -------
    (N, c_in, *input_shape) of dtype `torch.result_type(weight, y)`

    Raises
    ------
    ValueError, TypeError
        One sentence: what was expected, what came, the remedy.

    Examples
    --------
    >>> import torch, unconv
    >>> y, weight = torch.randn(2, 8, {m}), torch.randn(8, 4, {k})
    >>> unconv.conv{nd}d_adjoint(y, weight, stride=2, padding=1, input_shape=({n})).shape
    torch.Size([2, 4, {sizes}])
    """

_PINV = """The pseudo-inverse of `F.conv{nd}d(·, weight, ...)` applied to y.

    The x of least norm among those of least ‖Ax − y‖.  With damp > 0 it is the
    minimiser of ‖Ax − y‖² + damp²‖x‖² instead.

    Parameters
    ----------
    y : (N, c_out, *m), floating point or complex
    weight : (c_out, c_in/groups, *k), or with a leading batch axis: one kernel a sample
    stride, padding, dilation, groups, padding_mode
        As in `ConvOperator`.
    damp, rtol, method, memory_limit, check_finite
        As in `ConvOperator.lstsq`, which also returns a certificate.
    input_shape
        Spatial sizes of x.  Default: the size that `conv_transpose{nd}d` with output_padding=0
        returns.

    Returns
    -------
    (N, c_in, *input_shape) of dtype `torch.result_type(weight, y)`

    Raises
    ------
    ValueError, TypeError
        One sentence: what was expected, what came, the remedy.

    Examples
    --------
    >>> import torch, unconv
    >>> x, weight = torch.randn(2, 3, {sizes}).double(), torch.randn(3, 3, {k}).double()
    >>> y = unconv.ConvOperator(weight, ({n}), padding=1, padding_mode="circular")(x)
    >>> z = unconv.conv{nd}d_pinv(y, weight, padding=1, padding_mode="circular")
    >>> bool(torch.allclose(z, x))
    True
    """


_Function = TypeVar("_Function", bound=Callable[..., Tensor])


def _described(text: str, nd: int) -> Callable[[_Function], _Function]:
    """Give the function its docstring, with shapes of its dimension in the example."""
    m, n = (("8", "16"), ("8, 8", "16, 16"), ("4, 4, 4", "8, 8, 8"))[nd - 1]
    k = ", ".join(["3"] * nd)

    def describe(function: _Function) -> _Function:
        function.__doc__ = text.format(nd=nd, m=m, k=k, sizes=n, n=n + "," * (nd == 1))
        return function

    return describe


def operator_of(
    nd: int,
    y: Tensor,
    weight: Tensor,
    input_shape: Sequence[int] | None,
    options: dict[str, Any],
) -> ConvOperator:
    """The convolution that produced y; by default on the smallest input that gives its size."""
    check_tensor("y", y)
    check_tensor("weight", weight)
    if y.ndim != nd + 2:
        raise ValueError(
            f"y has shape {tuple(y.shape)}, expected (N, channels, *{nd} spatial sizes); add the "
            "missing axes, for instance the batch with y[None]."
        )
    if weight.ndim not in (nd + 2, nd + 3):
        raise ValueError(
            f"weight has shape {tuple(weight.shape)}; for y of {nd} spatial axes expected {nd + 2} "
            f"axes (out, in/groups, *kernel), or {nd + 3} with one kernel a sample."
        )
    if input_shape is None:
        input_shape = smallest_domain(
            y.shape[2:],
            weight.shape[-nd:],
            stride=options["stride"],
            padding=options["padding"],
            dilation=options["dilation"],
        )
    return ConvOperator(weight, input_shape, **options)


def _adjoint(
    nd: int, y: Tensor, weight: Tensor, input_shape: Sequence[int] | None, **options: Any
) -> Tensor:
    return operator_of(nd, y, weight, input_shape, options).H(y)


def _pinv(
    nd: int,
    y: Tensor,
    weight: Tensor,
    input_shape: Sequence[int] | None,
    damp: float | Tensor,
    rtol: float | None,
    method: str,
    memory_limit: float,
    check_finite: bool,
    **options: Any,
) -> Tensor:
    op = operator_of(nd, y, weight, input_shape, options)
    op._check(y, op.range_shape)
    op = in_precision_of(op, y)
    solves = max(EXPECTED_SOLVES, len(y))
    request = request_of(
        damp, rtol, 0.0, memory_limit, solves, method=method, check_finite=check_finite
    )
    return factorize(op, request)(y)


@_described(_ADJOINT, 1)
@outside_graphs
def conv1d_adjoint(
    y: Tensor,
    weight: Tensor,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
    *,
    padding_mode: str = "zeros",
    input_shape: Sequence[int] | None = None,
) -> Tensor:
    return _adjoint(
        1,
        y,
        weight,
        input_shape,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        padding_mode=padding_mode,
    )


@_described(_ADJOINT, 2)
@outside_graphs
def conv2d_adjoint(
    y: Tensor,
    weight: Tensor,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
    *,
    padding_mode: str = "zeros",
    input_shape: Sequence[int] | None = None,
) -> Tensor:
    return _adjoint(
        2,
        y,
        weight,
        input_shape,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        padding_mode=padding_mode,
    )


@_described(_ADJOINT, 3)
@outside_graphs
def conv3d_adjoint(
    y: Tensor,
    weight: Tensor,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
    *,
    padding_mode: str = "zeros",
    input_shape: Sequence[int] | None = None,
) -> Tensor:
    return _adjoint(
        3,
        y,
        weight,
        input_shape,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        padding_mode=padding_mode,
    )


@_described(_PINV, 1)
@outside_graphs
def conv1d_pinv(
    y: Tensor,
    weight: Tensor,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
    damp: float | Tensor = 0.0,
    *,
    padding_mode: str = "zeros",
    input_shape: Sequence[int] | None = None,
    rtol: float | None = None,
    method: str = "auto",
    memory_limit: float = DEFAULT_MEMORY_LIMIT,
    check_finite: bool = True,
) -> Tensor:
    return _pinv(
        1,
        y,
        weight,
        input_shape,
        damp,
        rtol,
        method,
        memory_limit,
        check_finite,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        padding_mode=padding_mode,
    )


@_described(_PINV, 2)
@outside_graphs
def conv2d_pinv(
    y: Tensor,
    weight: Tensor,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
    damp: float | Tensor = 0.0,
    *,
    padding_mode: str = "zeros",
    input_shape: Sequence[int] | None = None,
    rtol: float | None = None,
    method: str = "auto",
    memory_limit: float = DEFAULT_MEMORY_LIMIT,
    check_finite: bool = True,
) -> Tensor:
    return _pinv(
        2,
        y,
        weight,
        input_shape,
        damp,
        rtol,
        method,
        memory_limit,
        check_finite,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        padding_mode=padding_mode,
    )


@_described(_PINV, 3)
@outside_graphs
def conv3d_pinv(
    y: Tensor,
    weight: Tensor,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
    damp: float | Tensor = 0.0,
    *,
    padding_mode: str = "zeros",
    input_shape: Sequence[int] | None = None,
    rtol: float | None = None,
    method: str = "auto",
    memory_limit: float = DEFAULT_MEMORY_LIMIT,
    check_finite: bool = True,
) -> Tensor:
    return _pinv(
        3,
        y,
        weight,
        input_shape,
        damp,
        rtol,
        method,
        memory_limit,
        check_finite,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        padding_mode=padding_mode,
    )
