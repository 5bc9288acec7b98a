"""One-call regularised inverses: `tikhonov`, `wiener` and `tsvd` of ``y = conv(x, weight, ...)``.

They build a `ConvOperator` and forget it: for many right-hand sides build the operator, factor it
once with the method of the same name, and apply that.  The number of spatial axes is that of y.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ..doors import ConvOperator
from ..grid.geometry import Padding, PerAxis
from ..inverse import positive_damp
from ..inverse.lstsq import in_precision_of
from ..numerics.checks import check_tensor
from ..numerics.compiled import outside_graphs
from ..regularize.penalty import Penalty
from .convolutions import operator_of


@outside_graphs
def tikhonov(
    y: Tensor,
    weight: Tensor,
    damp: float | Tensor,
    *,
    penalty: Penalty | None = None,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
    input_shape: Sequence[int] | None = None,
) -> Tensor:
    """argmin ‖conv(x) − y‖² + damp²‖Lx‖².

    Parameters
    ----------
    y : (N, c_out, *m), floating point or complex
    weight : (c_out, c_in/groups, *k)
    damp : > 0, a number or a tensor of one element
    penalty : L, as in `ConvOperator.tikhonov`; None damps x itself
    stride, padding, dilation, groups, padding_mode
        As in `ConvOperator`.
    input_shape
        Spatial sizes of x; default: what `conv_transpose` with output_padding=0 returns.

    Returns
    -------
    (N, c_in, *input_shape)

    Examples
    --------
    >>> import torch, unconv
    >>> y, weight = torch.randn(2, 3, 16, 16), torch.randn(3, 3, 3, 3)
    >>> unconv.tikhonov(y, weight, 0.1, penalty="gradient", padding=1).shape
    torch.Size([2, 3, 16, 16])
    """
    op = _operator(y, weight, input_shape, stride, padding, dilation, groups, padding_mode)
    positive_damp(damp)
    return op.lstsq(y, damp, penalty=penalty).solution


@outside_graphs
def wiener(
    y: Tensor,
    weight: Tensor,
    noise_psd: float | Tensor,
    signal_psd: float | Tensor,
    *,
    channel_covariance: Tensor | None = None,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
    input_shape: Sequence[int] | None = None,
) -> Tensor:
    """The linear estimate of x with the least expected error; the rest is as in `tikhonov`.

    Parameters
    ----------
    noise_psd, signal_psd, channel_covariance
        As in `ConvOperator.wiener`.

    Examples
    --------
    >>> import torch, unconv
    >>> y, weight = torch.randn(2, 3, 16, 16), torch.randn(3, 3, 3, 3)
    >>> unconv.wiener(y, weight, 0.01, 1.0, padding=1, padding_mode="circular").shape
    torch.Size([2, 3, 16, 16])
    """
    op = _operator(y, weight, input_shape, stride, padding, dilation, groups, padding_mode)
    return op.wiener(noise_psd, signal_psd, channel_covariance=channel_covariance)(y)


@outside_graphs
def tsvd(
    y: Tensor,
    weight: Tensor,
    rtol: float,
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
    input_shape: Sequence[int] | None = None,
) -> Tensor:
    """A⁺y without the singular values σ ≤ rtol·σ_max; the rest is as in `tikhonov`.

    Examples
    --------
    >>> import torch, unconv
    >>> y, weight = torch.randn(2, 3, 16, 16), torch.randn(3, 3, 3, 3)
    >>> unconv.tsvd(y, weight, 1e-6, padding=1, padding_mode="circular").shape
    torch.Size([2, 3, 16, 16])
    """
    op = _operator(y, weight, input_shape, stride, padding, dilation, groups, padding_mode)
    return op.tsvd(rtol)(y)


def _operator(
    y: Tensor,
    weight: Tensor,
    input_shape: Sequence[int] | None,
    stride: PerAxis,
    padding: Padding,
    dilation: PerAxis,
    groups: int,
    padding_mode: str,
) -> ConvOperator:
    nd = check_tensor("y", y).ndim - 2
    if nd not in (1, 2, 3):
        raise ValueError(
            f"y has shape {tuple(y.shape)}, expected (N, channels, *spatial) with 1, 2 or 3 "
            "spatial sizes; add the missing axes, for instance the batch with y[None]."
        )
    options = {
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
        "groups": groups,
        "padding_mode": padding_mode,
    }
    op = operator_of(nd, y, weight, input_shape, options)
    op._check(y, op.range_shape)
    return in_precision_of(op, y)
