"""`conv_matrix`: the matrix of a convolution in the words of torch, SciPy, NumPy or MATLAB."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from torch import Tensor

from ...grid.geometry import (
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
from .conventions import SHAPES, check_middle, named, padding_mode_of
from .layouts import assemble

if TYPE_CHECKING:
    from scipy.sparse import csr_array


@outside_graphs
def conv_matrix(
    weight: Tensor,
    input_shape: Sequence[int],
    shape: str = "full",
    boundary: str | None = None,
    *,
    convention: str = "torch",
    stride: PerAxis = 1,
    dilation: PerAxis = 1,
    groups: int = 1,
    anchor: PerAxis | None = None,
    flip: bool = False,
    layout: str = "sparse_csr",
    order: str | None = None,
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
        What lies around x where the shape reads it, in the words of `convention`: of torch 'zeros'
        (the default) or 'constant' (zeros), 'circular', 'replicate' (the edge sample), 'reflect'
        (without it), 'symmetric' (with it) or 'antireflective' (with the slope).  It may be wider
        than x: reflections repeat.
    convention
        Whose words `boundary` is in, and whose choices are the defaults of `boundary`, `anchor` and
        `order`: 'torch'; 'scipy.signal' (`convolve2d`, `correlate2d`; without two axes `convolve`
        and `correlate`: fill, wrap, symm); 'scipy.ndimage' (reflect, the default and 'symmetric' to
        others, constant, nearest, mirror, wrap, grid-…; shape='same' only); 'numpy' (`pad` before
        `convolve` or `correlate`: constant, edge, reflect, symmetric, wrap); 'matlab' (`imfilter`,
        or with `flip` `conv2`: 0, circular, replicate, symmetric; order 'F').  Correlations of
        SciPy and NumPy take the complex conjugate of the kernel, and so does this then.
    stride, dilation, groups
        As in torch.nn.
    anchor
        The tap of `weight`, one per axis and counted from 0, that stands over sample i at output i;
        for shape='same' only.  By default the middle of an odd kernel, and of an even one the tap
        that the convention takes: torch (undilated) ⌊(k−1)/2⌋; `scipy.ndimage`, whose `origin` is
        added to it, ⌊k/2⌋.
    flip
        True convolution: the taps are flipped, as in `convolve2d` and `convmtx2`.
    layout, order, memory_limit
        As in `ConvOperator.to_sparse`: 'sparse_csr', 'sparse_coo', 'dense' or 'scipy'; vectors in
        'C' or 'F' order, by default that of the convention; bytes that the matrix may take.

    Returns
    -------
    (c_out·∏m, c_in·∏n) of the weight's dtype, sorted, without duplicates, on the weight's device
    and differentiable in the weight; a `scipy.sparse.csr_array` if layout='scipy'.

    Raises
    ------
    MemoryLimitError
        If the matrix would take more than `memory_limit` bytes; nothing was allocated.
    ValueError
        If a name is not known or another library's, the anchor is no tap, no window fits, or the
        library answers no such question.
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

    What `scipy.ndimage` calls reflect:

    >>> from scipy import ndimage
    >>> A = conv_matrix(K.double(), (20, 30), "same", "reflect", convention="scipy.ndimage")
    >>> x = x.double()
    >>> y = ndimage.correlate(x.reshape(20, 30).numpy(), K.double().numpy(), mode="reflect")
    >>> bool(torch.allclose(A @ x, torch.from_numpy(y).flatten()))
    True

    References
    ----------
    Dumoulin & Visin, "A guide to convolution arithmetic for deep learning", arXiv:1603.07285.
    """
    weight = _with_channels(check_tensor("weight", weight), input_shape)
    check_choice("shape", shape, SHAPES)
    library, mode = named(convention), padding_mode_of(boundary, convention)
    if shape not in library.shapes:
        raise ValueError(f"{convention} has no shape={shape!r}; give shape='same'.")
    check_flag("flip", flip)
    if anchor is not None and shape != "same":
        raise ValueError(
            f"anchor={shown(anchor)} is for shape='same', got shape={shape!r}, which has no choice."
        )
    kernel = weight.shape[2:]
    padding: Padding = shape
    if shape == "same":
        middle = tuple(library.middle(k, len(kernel), flip) for k in kernel)
        padding = _padding_around(kernel, middle, anchor, dilation, flip)
    op = Convolution(
        weight.conj().resolve_conj() if library.conjugates and not flip else weight,
        input_shape,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        flip=flip,
    )
    if shape == "same" and anchor is None:
        check_middle(kernel, [axis.n for axis in op.geometry.axes], mode, convention, flip)
    # Sizes do not depend on what the padding holds; an operator refuses to reflect more than once.
    axes = tuple(replace(axis, mode=mode) for axis in op.geometry.axes)
    order = library.order if order is None else order
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
    kernel: Sequence[int],
    middle: tuple[int, ...],
    anchor: PerAxis | None,
    dilation: PerAxis,
    flip: bool,
) -> Padding:
    """(before, after) that put the anchor, or else the middle, over sample i at output i."""
    nd = len(kernel)
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
