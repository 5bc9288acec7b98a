"""`ConvOperator`: any convolution of torch.nn as a linear operator A, with its exact adjoint.

    A = P · C · E        Aᴴ = Eᴴ · Cᴴ · Pᴴ

E pads (boundary.py), C correlates and P keeps the outputs that exist (convolve/); a transposed
operator is the transpose of such a product.  What undoes A is behind one-line doors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from .boundary import extend, extend_adjoint
from .convolve import correlate, correlate_transpose
from .geometry import Geometry, Padding, PerAxis, build_geometry, extended
from .linear_operator import DEFAULT_MEMORY_LIMIT, LinearOperator, check_tensor

if TYPE_CHECKING:
    from .inverse import InverseOperator, LstsqResult, Plan

_MODULES = (
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)


class ConvOperator(LinearOperator):
    """A convolution layer as a linear operator (cross-correlation, as torch.nn; bias apart).

    Parameters
    ----------
    weight : (c_out, c_in/groups, *k), float16 to complex128
        Transposed: (c_in, c_out/groups, *k).  With a leading batch axis: one kernel a sample.
        An `nn.Parameter` is registered as the operator's parameter, a tensor as a buffer.
    input_shape
        Spatial sizes of the tensor that the operator takes; its length (1, 2 or 3) is the number
        of spatial axes.
    stride, dilation, groups, output_padding
        As in torch.nn.
    padding
        An integer, one an axis, one (before, after) pair an axis, 'valid' (none), 'same' (stride
        1: ⌊d(k−1)/2⌋ before, the rest after) or 'full' (d(k−1) on both sides).
    padding_mode
        'zeros', 'circular', 'reflect' (without the edge sample, at most n−1), 'replicate' or
        'symmetric' (with the edge sample, at most n).
    transposed
        The transpose of the convolution with the same options, `conv_transpose*d`.
    flip
        True convolution: the taps are flipped first.
    bias : (out_channels,)
        Kept as `op.bias` and never applied: `op(x) + bias` is the layer.

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

    The gradient of ½‖conv(x) − y‖² is ``op.H(op(x) + bias − y)``, bias shaped (1, c_out, 1, …).

    References
    ----------
    Dumoulin & Visin, "A guide to convolution arithmetic for deep learning", arXiv:1603.07285.
    """

    weight: Tensor
    bias: Tensor | None

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
        check_tensor("weight", weight)
        nd = _check_dimensions(weight, input_shape)
        self.batch_size = weight.shape[0] if weight.ndim == nd + 3 else None
        self.transposed, self.flip = transposed, flip
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
        self._keep("bias", self._checked_bias(bias))

    @classmethod
    def from_module(cls, module: nn.Module, input_shape: Sequence[int]) -> ConvOperator:
        """The operator of an nn.Conv*d or nn.ConvTranspose*d, sharing its weight and bias.

        Examples
        --------
        >>> import torch, unconv
        >>> layer = torch.nn.Conv2d(3, 8, 3, padding=1)
        >>> A = unconv.ConvOperator.from_module(layer, input_shape=(32, 32))
        >>> x = torch.randn(1, 3, 32, 32)
        >>> bool(torch.allclose(A(x) + A.bias.view(-1, 1, 1), layer(x), atol=1e-5))
        True
        """
        if not isinstance(module, _MODULES):
            names = ", ".join(f"nn.{m.__name__}" for m in _MODULES)
            raise TypeError(f"expected one of {names}, got {type(module).__name__}.")
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

    # --- A and Aᴴ
    def _matvec(self, x: Tensor) -> Tensor:
        return (_convolve_transpose if self.transposed else _convolve)(x, self.taps, self.geometry)

    def _rmatvec(self, y: Tensor) -> Tensor:
        taps = self.taps.conj()
        return (_convolve if self.transposed else _convolve_transpose)(y, taps, self.geometry)

    @property
    def taps(self) -> Tensor:
        """The weight as a cross-correlation kernel: flipped if the operator convolves."""
        return self.weight.flip(tuple(range(-self.geometry.nd, 0))) if self.flip else self.weight

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the weight."""
        return self.weight.dtype

    @property
    def device(self) -> torch.device:
        """Device of the weight."""
        return self.weight.device

    # --- what undoes A
    def plan(
        self,
        *,
        damp: float = 0.0,
        rtol: float | None = None,
        atol: float = 0.0,
        method: str = "auto",
        memory_limit: float = DEFAULT_MEMORY_LIMIT,
        expected_solves: int = 1,
        tol: float | None = None,
    ) -> Plan:
        """Which method would answer, why, its memory and cost; allocates nothing.

        expected_solves weighs set-up against solves: one image of a well-damped problem is solved
        sooner by iterations than by a factorisation.

        Examples
        --------
        >>> import torch, unconv
        >>> K = torch.randn(32, 32, 3, 3)
        >>> A = unconv.ConvOperator(K, (128, 128), padding=1, padding_mode="circular")
        >>> A.plan().method
        'fourier'
        """
        from .inverse import make_plan, options_of

        options = options_of(damp, rtol, atol, memory_limit, expected_solves, tol)
        return make_plan(self, options, method)

    def pinv(
        self,
        *,
        rtol: float | None = None,
        atol: float = 0.0,
        method: str = "auto",
        memory_limit: float = DEFAULT_MEMORY_LIMIT,
        expected_solves: int = 10,
        tol: float | None = None,
        maxiter: int | None = None,
        check_finite: bool = True,
    ) -> InverseOperator:
        """The Moore–Penrose pseudo-inverse A⁺, factored once: an operator with its own `.H`.

        `A⁺ y` is the least-squares solution of smallest norm.

        Parameters
        ----------
        rtol, atol
            Singular values σ ≤ max(atol, rtol·σ_max) count as zero, as in `torch.linalg.pinv`,
            against the largest singular value of the whole operator.  Default for rtol:
            max(m, n)·eps of float64, in which every factor is computed, and never under the eps of
            the operator's dtype.
        method
            'auto' climbs the ladder of `unconv.inverse`; a name forces that rung.
        memory_limit
            Bytes that the factorisation may take; what needs more is iterated.
        expected_solves
            How many images will be solved, to weigh set-up against solves.
        tol, maxiter
            Where the method iterates: the error_bound to reach (1e-6), and the iterations it may
            take.
        check_finite
            Refuse NaN and Inf in the weight now and in every y later.

        Examples
        --------
        >>> import torch, unconv
        >>> K = torch.randn(3, 3, 3, 3, dtype=torch.float64)
        >>> A = unconv.ConvOperator(K, (64, 64), padding=1, padding_mode="circular")
        >>> x = torch.randn(5, 3, 64, 64, dtype=torch.float64)
        >>> pinv = A.pinv()
        >>> bool(torch.allclose(pinv(A(x)), x))
        True
        """
        from .inverse import factorize, options_of

        options = options_of(0.0, rtol, atol, memory_limit, expected_solves, tol, maxiter)
        return factorize(self, options, method, check_finite)

    def tikhonov(
        self,
        damp: float,
        *,
        method: str = "auto",
        memory_limit: float = DEFAULT_MEMORY_LIMIT,
        expected_solves: int = 10,
        tol: float | None = None,
        maxiter: int | None = None,
        check_finite: bool = True,
    ) -> InverseOperator:
        """(AᴴA + damp²)⁻¹Aᴴ, factored once: y ↦ argmin ‖Ax − y‖² + damp²‖x‖², damp > 0.

        The options are those of `pinv`.
        """
        from .inverse import factorize, options_of, positive_damp

        damp = positive_damp(damp)
        options = options_of(damp, None, 0.0, memory_limit, expected_solves, tol, maxiter)
        return factorize(self, options, method, check_finite)

    def lstsq(
        self,
        y: Tensor,
        damp: float = 0.0,
        *,
        rtol: float | None = None,
        atol: float = 0.0,
        subtract_bias: bool = False,
        method: str = "auto",
        memory_limit: float = DEFAULT_MEMORY_LIMIT,
        expected_solves: int | None = None,
        tol: float | None = None,
        maxiter: int | None = None,
        check_finite: bool = True,
    ) -> LstsqResult:
        """Solve min ‖Ax − y‖² + damp²‖x‖² and certify the answer.

        Parameters
        ----------
        y : (N, *range_shape)
        damp
            As in SciPy's `lsqr`; 0 gives the minimum-norm least-squares solution.
        subtract_bias
            Take `op.bias` off y first: the input of the layer whose output is y.
        rtol, atol, method, memory_limit, check_finite
            As in `pinv`.
        expected_solves
            How many images will be solved with these options; the batch size of y by default.
        tol
            The error_bound above which `converged` is False.  An iteration works until it is
            reached (1e-6 by default); direct methods are exact to round-off.
        maxiter
            Iterations that a method may take where it iterates.

        Returns
        -------
        LstsqResult(solution, certificate)
            x : (N, *domain_shape) and a `Certificate` with one entry an image.
        """
        from .inverse import options_of, solve

        self._check(y, self.range_shape)
        if subtract_bias:
            if self.bias is None:
                raise ValueError("subtract_bias=True, but the operator has no bias; leave it out.")
            y = y - self.bias.reshape(-1, *[1] * self.geometry.nd)
        solves = max(1, len(y)) if expected_solves is None else expected_solves
        options = options_of(damp, rtol, atol, memory_limit, solves, tol, maxiter)
        return solve(self, y, options, method, check_finite)

    # --- housekeeping
    def with_weight(self, weight: Tensor) -> ConvOperator:
        """The operator with another weight of the same shape (another dtype, a conjugate, …)."""
        op = ConvOperator.__new__(ConvOperator)
        nn.Module.__init__(op)
        op.batch_size, op.transposed, op.flip = self.batch_size, self.transposed, self.flip
        op.geometry = self.geometry
        op.domain_shape, op.range_shape = self.domain_shape, self.range_shape
        op._keep("weight", weight)
        op._keep("bias", self.bias)
        return op

    def of_sample(self, i: int) -> ConvOperator:
        """The operator of sample i, where there is one kernel a sample; itself otherwise."""
        if self.batch_size is None:
            return self
        op = self.with_weight(self.weight[i])
        op.batch_size = None
        return op

    def extra_repr(self) -> str:
        """Shapes and options for `print(op)`."""
        a = self.geometry.axes
        return (
            f"{self.domain_shape} -> {self.range_shape}, kernel={tuple(x.k for x in a)}, "
            f"stride={tuple(x.stride for x in a)}, "
            f"padding={tuple((x.before, x.after) for x in a)}, "
            f"dilation={tuple(x.dilation for x in a)}, groups={self.geometry.groups}, "
            f"padding_mode={a[0].mode!r}, transposed={self.transposed}, flip={self.flip}"
        )

    def _keep(self, name: str, value: Tensor | None) -> None:
        if isinstance(value, nn.Parameter):
            self.register_parameter(name, value)
        else:
            self.register_buffer(name, value)

    def _checked_bias(self, bias: Tensor | None) -> Tensor | None:
        if bias is not None:
            check_tensor("bias", bias)
            if tuple(bias.shape) != self.range_shape[:1]:
                raise ValueError(
                    f"bias must have shape ({self.range_shape[0]},), one value an output channel, "
                    f"got {tuple(bias.shape)}."
                )
            if bias.device != self.device:
                raise ValueError(
                    f"bias is on {bias.device}, weight on {self.device}; move one with .to(device)."
                )
        return bias


def _check_dimensions(weight: Tensor, input_shape: Sequence[int]) -> int:
    if not isinstance(input_shape, Sequence) or isinstance(input_shape, str):
        raise TypeError(
            f"input_shape={input_shape!r} must be a tuple of spatial sizes, such as (128, 128)."
        )
    nd = len(input_shape)
    if nd not in (1, 2, 3):
        raise ValueError(
            f"input_shape={tuple(input_shape)} has {nd} axes, expected the 1, 2 or 3 spatial sizes "
            "without batch and channels."
        )
    if weight.ndim not in (nd + 2, nd + 3):
        raise ValueError(
            f"weight has shape {tuple(weight.shape)}; for the {nd} spatial axes of "
            f"input_shape={tuple(input_shape)} expected {nd + 2} axes (out, in/groups, *kernel), "
            f"or {nd + 3} with one kernel a sample."
        )
    return nd


def _convolve(x: Tensor, taps: Tensor, geometry: Geometry) -> Tensor:
    """P C E x."""
    inner = extended(geometry)
    if inner is None:
        return correlate(x, taps, geometry)
    return correlate(extend(x, geometry), taps, inner)


def _convolve_transpose(y: Tensor, taps: Tensor, geometry: Geometry) -> Tensor:
    """Eᵀ Cᵀ Pᵀ y, no conjugate."""
    inner = extended(geometry)
    if inner is None:
        return correlate_transpose(y, taps, geometry)
    return extend_adjoint(correlate_transpose(y, taps, inner), geometry)
