"""`conv_matrix`: the matrix of a convolution in the words of SciPy and MATLAB."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from torch import Tensor

from ...grid.geometry import (
    MODES,
    Padding,
    PerAxis,
    count_axes,
    per_axis,
)
from ...numerics.checks import (
    check_choice,
    check_flag,
    check_tensor,
    shown,
)
from ...numerics.compiled import outside_graphs
from ..convolution import Convolution
from ..linear_operator import DEFAULT_MEMORY_LIMIT
from .layouts import assemble

if TYPE_CHECKING:
    from scipy.sparse import csr_array

SHAPES = ("full", "same", "valid")
BOUNDARIES = (*MODES, "constant")


@outside_graphs
def conv_matrix(
    weight: Tensor,
    input_shape: Sequence[int],
    shape: str = "full",
    boundary: str = "zeros",
    *,
    stride: PerAxis = 1,
    dilation: PerAxis = 1,
    groups: int = 1,
    anchor: PerAxis | None = None,
    flip: bool = False,
    layout: str = "sparse_csr",
    order: str = "C",
    memory_limit: float = DEFAULT_MEMORY_LIMIT,
) -> Tensor | csr_array:
    """The matrix of a cross-correlation, or with `flip` of a convolution, in 1-D to 3-D.

    A @ x.flatten() is the flattened result for one sample x.  It is built by index arithmetic, in
    time and memory proportional to its entries.

    Parameters
    ----------
    weight : (*k), or (c_out, c_in/groups, *k); floating point or complex
    input_shape
        Spatial sizes of x, without channels; its length is the number of axes.
    shape
        'full': every output that any tap reaches, n + d(k−1) an axis.  'same': output i stands
        over sample i.  'valid': windows inside x only, n − d(k−1).  A stride s keeps every s-th of
        these outputs, the first included.
    boundary
        What lies around x where the shape reads it: 'zeros' or 'constant' (zeros), 'circular',
        'replicate' (the edge sample), 'reflect' (without it) or 'symmetric' (with it).  It may be
        wider than x: reflections repeat.
    stride, dilation, groups
        As in torch.nn.
    anchor
        The tap of `weight`, one per axis and counted from 0, that stands over sample i at output i;
        for shape='same' only.  Default ⌊(k−1)/2⌋: the middle of an odd kernel, and of an even one
        the tap that torch (undilated), SciPy's `convolve2d` and `imfilter` take.  `scipy.ndimage`
        takes ⌊k/2⌋ + origin.
    flip
        True convolution: the taps are flipped, as in `convolve2d` and `convmtx2`.
    layout, order, memory_limit
        As in `ConvOperator.to_sparse`: 'sparse_csr', 'sparse_coo', 'dense' or 'scipy'; vectors in
        'C' or 'F' order; bytes that the matrix may take.

    Returns
    -------
    (c_out·∏m, c_in·∏n) of the weight's dtype, sorted, without duplicates, on the weight's device
    and differentiable in the weight; a `scipy.sparse.csr_array` if layout='scipy'.

    Raises
    ------
    MemoryLimitError
        If the matrix would take more than `memory_limit` bytes; nothing was allocated.
    ValueError
        If a name is not known, the anchor is no tap, or no window fits.
    TypeError
        If the weight is no tensor, or the layout lacks its dtype or its gradient.

    Examples
    --------
    >>> import torch, unconv
    >>> from unconv import conv_matrix
    >>> conv_matrix(torch.tensor([1.0, 2.0, 3.0]), (3,), flip=True, layout="dense")
    tensor([[1., 0., 0.],
            [2., 1., 0.],
            [3., 2., 1.],
            [0., 3., 2.],
            [0., 0., 3.]])

    A 'same' blur under SciPy's sparse solvers:

    >>> from scipy.sparse.linalg import spsolve
    >>> K, x = torch.tensor([[0.0, 1, 0], [1, 6, 1], [0, 1, 0]]) / 10, torch.randn(20 * 30)
    >>> A = conv_matrix(K.double(), (20, 30), "same", "symmetric", layout="scipy")
    >>> bool(abs(spsolve(A, A @ x.numpy()) - x.numpy()).max() < 1e-10)
    True

    References
    ----------
    Dumoulin & Visin, "A guide to convolution arithmetic for deep learning", arXiv:1603.07285.
    """
    weight = _with_channels(check_tensor("weight", weight), input_shape)
    check_choice("shape", shape, SHAPES)
    check_choice("boundary", boundary, BOUNDARIES)
    check_flag("flip", flip)
    if anchor is not None and shape != "same":
        raise ValueError(
            f"anchor={shown(anchor)} is for shape='same', got shape={shape!r}, which has no choice."
        )
    kernel = weight.shape[2:]
    op = Convolution(
        weight,
        input_shape,
        stride=stride,
        padding=_padding_around(kernel, anchor, dilation, flip) if shape == "same" else shape,
        dilation=dilation,
        groups=groups,
        flip=flip,
    )
    # Sizes do not depend on what the padding holds; an operator refuses to reflect more than once.
    mode = "zeros" if boundary == "constant" else boundary
    axes = tuple(replace(axis, mode=mode) for axis in op.geometry.axes)
    return assemble(op.taps, replace(op.geometry, axes=axes), False, layout, order, memory_limit)


def _with_channels(weight: Tensor, input_shape: Sequence[int]) -> Tensor:
    """The weight as (c_out, c_in/groups, *k)."""
    nd = count_axes(input_shape)
    if weight.ndim not in (nd, nd + 2):
        raise ValueError(
            f"weight has shape {tuple(weight.shape)}; for the {nd} spatial axes of "
            f"input_shape={tuple(input_shape)} expected {nd} axes (*kernel) or {nd + 2} axes "
            "(out, in/groups, *kernel)."
        )
    return weight[None, None] if weight.ndim == nd else weight


def _padding_around(
    kernel: Sequence[int], anchor: PerAxis | None, dilation: PerAxis, flip: bool
) -> Padding:
    """(before, after) that put the anchor over sample i at output i."""
    nd = len(kernel)
    middle = tuple((k - 1) // 2 for k in kernel)
    taps = middle if anchor is None else per_axis("anchor", anchor, nd, 0)
    if any(a >= k for a, k in zip(taps, kernel, strict=True)):
        raise ValueError(
            f"anchor={shown(anchor)} must be a tap of the kernel {tuple(kernel)}, counted from 0 "
            f"along every axis; its middle is {middle}."
        )
    pairs = []
    for a, k, d in zip(taps, kernel, per_axis("dilation", dilation, nd, 1), strict=True):
        before, after = a * d, (k - 1 - a) * d
        pairs.append((after, before) if flip else (before, after))
    return tuple(pairs)
