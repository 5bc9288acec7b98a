"""`ConvOperator`: any convolution of torch.nn, and all that the layers below do with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from ..operators.linear_operator import DEFAULT_MEMORY_LIMIT
from ..operators.matrix import operator_matrix
from .adapter_methods import AdapterMethods
from .inverse_methods import InverseMethods
from .layer_methods import LayerMethods
from .spectral_methods import SpectralMethods

if TYPE_CHECKING:
    from scipy.sparse import csr_array


class ConvOperator(LayerMethods, InverseMethods, SpectralMethods, AdapterMethods):
    """A convolution layer as a linear operator (cross-correlation, as torch.nn; bias apart).

    Parameters
    ----------
    weight : (c_out, c_in/groups, *k), float16 to complex128
        Transposed: (c_in, c_out/groups, *k).  With a leading batch axis: one kernel per sample.
        An `nn.Parameter` is registered as the operator's parameter, a tensor as a buffer.  Half
        precision is computed with in float32 or better, and answers are rounded back to it.
    input_shape
        Spatial sizes of the tensor that the operator takes; its length (1, 2 or 3) is the number
        of spatial axes.
    stride, dilation, groups, output_padding
        As in torch.nn.
    padding
        An integer, one per axis, one (before, after) pair per axis, 'valid' (none), 'same' (stride
        1: ⌊d(k−1)/2⌋ before, the rest after) or 'full' (d(k−1) on both sides).
    padding_mode
        'zeros', 'circular', 'reflect' (without the edge sample, at most n−1), 'replicate',
        'symmetric' (with the edge sample, at most n) or 'antireflective' (2x[0] − x[i], which
        keeps slopes, at most n−1).
    transposed
        The transpose of the convolution with the same options, `conv_transpose*d`.
    flip
        True convolution: the taps are flipped first.
    bias : (out_channels,)
        Kept and not applied by `op(x)`, for A is linear: `op.affine(x)` is the layer.  `op.bias`
        has the shape (out_channels, 1, …), which adds to what `op(x)` gives.

    Raises
    ------
    ValueError, TypeError
        One sentence with what was expected, what came and the remedy.

    Examples
    --------
    >>> import torch, unconv
    >>> K = torch.randn(8, 4, 3, 3, dtype=torch.float64)
    >>> A = unconv.ConvOperator(K, input_shape=(16, 15), stride=2, padding=1)
    >>> x, y = torch.randn(2, 4, 16, 15).double(), torch.randn(2, 8, 8, 8).double()
    >>> bool(torch.isclose((A(x) * y).sum(), (x * A.H(y)).sum()))
    True

    The gradient of ½‖conv(x) + bias − y‖² is ``op.residual_gradient(x, y)``.

    References
    ----------
    Dumoulin & Visin, "A guide to convolution arithmetic for deep learning", arXiv:1603.07285.
    """

    def to_sparse(
        self,
        layout: str = "sparse_csr",
        order: str = "C",
        *,
        memory_limit: float = DEFAULT_MEMORY_LIMIT,
    ) -> Tensor | csr_array:
        """The matrix of A by index arithmetic, (m, n) as `shape`.

        Parameters
        ----------
        layout
            'sparse_csr', 'sparse_coo', 'dense' or 'scipy'.
        order
            Vectors in 'C' or 'F' order of one sample (channels, *sizes).

        Raises
        ------
        MemoryLimitError, ValueError, TypeError
            Too large (nothing was allocated), an unknown name, one kernel per sample, or a layout
            that lacks the dtype.

        Examples
        --------
        >>> import torch, unconv
        >>> A = unconv.ConvOperator(torch.tensor([[[1.0, 2.0, 3.0]]]), (4,), padding=1)
        >>> A.to_sparse("scipy").nnz, torch.equal(A.to_sparse().to_dense(), A.to_dense())
        (10, True)
        """
        return operator_matrix(self, layout, order, memory_limit=memory_limit)
