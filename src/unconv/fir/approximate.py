"""An inverse kernel in the place of A⁺: one plain convolution, with its measured error."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from ..doors import ConvOperator
from ..grid.modes import MODES
from ..numerics.checks import check_choice, check_kind
from ..numerics.compiled import outside_graphs
from .best_inverse import inverse_kernel
from .problem import Size
from .records import InverseKernel

_SAMPLES = 4  # random images on which the error is measured: an rms over all their samples


class ApproximatePinv(NamedTuple):
    """A convolution G that stands for A⁺.

    Attributes
    ----------
    operator : G, from the range of A to its domain
    error : measured on white noise; left inverse ‖G A x − x‖/‖x‖, right inverse ‖A G y − y‖/‖y‖
    kernel : what G convolves with
    """

    operator: ConvOperator
    error: float
    kernel: InverseKernel


@outside_graphs
def approximate_pinv(
    op: ConvOperator, size: Size, *, padding_mode: str | None = None, **options: Any
) -> ApproximatePinv:
    """G ≈ A⁺ as a convolution with an inverse kernel of A's weight.

    G is `F.conv*d(y, g, padding=delay − padding of A)`: shift-invariant, so that it is wrong by
    more than ‖f ∗ g − δ‖ within about `size` samples of the edges unless A is circular.

    Parameters
    ----------
    op : A, of stride 1, undilated, one group, not transposed
    size
        Taps of g, one number per axis, or one for all axes.
    options : further ones of `inverse_kernel`, such as `delay`, `damp` and `side`
    padding_mode
        Of G; that of A by default.

    Raises
    ------
    ValueError
        If A is another kind of convolution, or g does not reach over the padding of A.

    Examples
    --------
    >>> import torch, unconv
    >>> from unconv.fir import approximate_pinv
    >>> K = torch.tensor([[[1.0, 5, 2]]], dtype=torch.float64)
    >>> A = unconv.ConvOperator(K, (64,), padding=1, padding_mode="circular")
    >>> G, error, g = approximate_pinv(A, 21)
    >>> x = torch.randn(1, 1, 64, dtype=torch.float64)
    >>> bool((G(A(x)) - A.pinv()(A(x))).norm() < 2 * error * x.norm()), error < 1e-3
    (True, True)
    """
    check_kind("op", op, ConvOperator, "build one from the weight")
    _check(op)
    if padding_mode is not None:
        check_choice("padding_mode", padding_mode, MODES)
    found = inverse_kernel(op.weight, size, **options)
    padding = []
    for axis, d, n_g, full in zip(
        op.geometry.axes, found.delay, found.size, found.response.shape[2:], strict=True
    ):
        # y[i] = Σ h[t] x[i + t − before of A − before of G]; flipping all taps turns h around.
        before = (full - 1 - d if op.flip else d) - axis.before
        padding.append((before, axis.n + n_g - 1 - axis.m - before))
    if min(min(pair) for pair in padding) < 0:
        raise ValueError(
            f"a kernel of size {found.size} with the delay {found.delay} would need the padding "
            f"{padding} for this operator; use a larger size or another delay."
        )
    G = ConvOperator(
        found.weight.detach(),
        op.range_shape[1:],
        padding=padding,
        padding_mode=padding_mode or op.geometry.axes[0].mode,
        flip=op.flip,
    )
    return ApproximatePinv(G, _measured(op, G, found.side), found)


def _measured(A: ConvOperator, G: ConvOperator, side: str) -> float:
    first, second = (A, G) if side == "left" else (G, A)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(_SAMPLES, *first.domain_shape, dtype=torch.float64, generator=generator)
    x = x.to(A.device, A.dtype)
    with torch.no_grad():
        return float((second(first(x)) - x).norm() / x.norm())


def _check(op: ConvOperator) -> None:
    g = op.geometry
    plain = all(a.stride == a.dilation == 1 for a in g.axes) and g.groups == 1
    if not plain or op.transposed or op.batch_size is not None:
        raise ValueError(
            "an inverse kernel stands for A⁺ of plain convolutions alone: stride 1, dilation 1, "
            f"groups 1, not transposed, one kernel; got {op}; use op.pinv()."
        )
