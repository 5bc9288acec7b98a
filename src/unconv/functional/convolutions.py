"""One-call adjoints and pseudo-inverses, in the manner of `torch.nn.functional`.

`conv2d_adjoint(y, weight, ...)` and `conv2d_pinv(y, weight, ...)` take the arguments that produced
``y = F.conv2d(x, weight, ...)``, in its order, and give Aᴴy and A⁺y.  They build a `ConvOperator`
and forget it: for many right-hand sides build the operator, factor it once with `op.pinv()`, and
apply that.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, Concatenate, ParamSpec, Unpack

from torch import Tensor

from ..doors import ConvOperator
from ..grid.geometry import Padding, PerAxis
from ..inverse import factorize, request_of
from .options import BoundaryOptions, PinvOptions, operator_of, question_of, spelled_out

_P = ParamSpec("_P")

_EXAMPLES = {  # of shapes that fit the number of axes
    "_adjoint": """>>> import torch, unconv
    >>> y, weight = torch.randn(2, 8, {m}), torch.randn(8, 4, {k})
    >>> unconv.conv{nd}d_adjoint(y, weight, stride=2, padding=1, input_shape=({n})).shape
    torch.Size([2, 4, {sizes}])""",
    "_pinv": """>>> import torch, unconv
    >>> x, weight = torch.randn(2, 3, {sizes}).double(), torch.randn(3, 3, {k}).double()
    >>> y = unconv.ConvOperator(weight, ({n}), padding=1, padding_mode="circular")(x)
    >>> z = unconv.conv{nd}d_pinv(y, weight, padding=1, padding_mode="circular")
    >>> bool(torch.allclose(z, x))
    True""",
}


def _adjoint(
    nd: int,
    y: Tensor,
    weight: Tensor,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
    **options: Unpack[BoundaryOptions],
) -> Tensor:
    """The exact adjoint of `F.conv{nd}d(·, weight, ...)`, a cross-correlation, applied to y.

    Parameters
    ----------
    {data}
    {conv}

    {answer}

    Examples
    --------
    {example}
    """
    conv = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return operator_of(y, weight, conv | options, nd).H(y)


def _pinv(
    nd: int,
    y: Tensor,
    weight: Tensor,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
    damp: float | Tensor = 0.0,
    **options: Unpack[PinvOptions],
) -> Tensor:
    """The pseudo-inverse of `F.conv{nd}d(·, weight, ...)`, a cross-correlation, applied to y.

    The x of least norm among those of least ‖Ax − y‖.  With damp > 0 it is the
    minimiser of ‖Ax − y‖² + damp²‖x‖² instead.  `lstsq` gives the same with a certificate.

    Parameters
    ----------
    {data}
    damp
        A number, or a tensor of one element, of which a gradient may be asked where it is not 0.
    {conv}
    {cutoff}
    {solver}

    {answer}

    Examples
    --------
    {example}
    """
    conv = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    op, solver = question_of(y, weight, conv | options, nd)
    return factorize(op, request_of(damp, **solver, each_damp=True))(y)


def _of_dimension(
    nd: int, function: Callable[Concatenate[int, _P], Tensor], method: Callable[..., Any] | None
) -> Callable[_P, Tensor]:
    """The function of nd spatial axes, with their names in its own and their shapes in its text."""
    m, n = (("8", "16"), ("8, 8", "16, 16"), ("4, 4, 4", "8, 8, 8"))[nd - 1]
    k = ", ".join(["3"] * nd)

    def run(*args: _P.args, **kwargs: _P.kwargs) -> Tensor:
        return function(nd, *args, **kwargs)

    run.__signature__ = inspect.signature(partial(function, nd))  # type: ignore[attr-defined]  # what `inspect` asks for
    run.__name__ = run.__qualname__ = f"conv{nd}d{function.__name__}"
    run.__doc__ = function.__doc__
    text = {
        "example": _EXAMPLES[function.__name__],
        "nd": str(nd),
        "axes": "",
        "m": m,
        "k": k,
        "sizes": n,
        "n": n + "," * (nd == 1),
    }
    return spelled_out(method, **text)(run)


conv1d_adjoint = _of_dimension(1, _adjoint, None)
conv2d_adjoint = _of_dimension(2, _adjoint, None)
conv3d_adjoint = _of_dimension(3, _adjoint, None)
conv1d_pinv = _of_dimension(1, _pinv, ConvOperator.pinv)
conv2d_pinv = _of_dimension(2, _pinv, ConvOperator.pinv)
conv3d_pinv = _of_dimension(3, _pinv, ConvOperator.pinv)
