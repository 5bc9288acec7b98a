"""Functions of the singular values, U f(S) Vᴴ, with a derivative that never meets the factors.

In the bases of the factors, P = UᴴdA V, the derivative is a linear map that is its own adjoint,

    d(U f(S) Vᴴ) = U [ D∘sym(P) + M∘skew(P) ] Vᴴ + (I − UUᴴ) dA V R Vᴴ + U R Uᴴ dA (I − VVᴴ),

with the divided differences D_ij = (f_i − f_j)/(s_i − s_j), M_ij = (f_i + f_j)/(s_i + s_j) and
R = f(S)/S (divided_differences.py).  They are bounded by the slopes of f, whatever the gaps are, so
that repeated singular values are no exception: the gradient of U and V separately, which does not
exist there, is never formed.  It takes four products; by way of the factors there are six.

Second derivatives differentiate this expression, and there the factors do turn, as `svd` says: they
are exact for distinct singular values, up to an error of eps·s/gap.  At a tie they are finite but
not right: the part that comes from turning the tied vectors into each other is missing.

When not to use it: if f is not odd (f(0) ≠ 0, or an infinite slope at 0), U f(S) Vᴴ has no
derivative at a singular value of zero, and only a finite stand-in is returned.

Source: Noferini, "A formula for the Fréchet derivative of a generalized matrix function", SIAM J.
Matrix Anal. Appl. 38 (2017), Theorem 3.2; Cai, Candès & Shen, "A singular value thresholding
algorithm for matrix completion", SIAM J. Optim. 20 (2010), for `svt`; Golub & Pereyra, "The
differentiation of pseudo-inverses", SIAM J. Numer. Anal. 10 (1973), for `pinv`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from .checks import check_matrices
from .divided_differences import (
    Differences,
    divided_differences,
    inverse_differences,
    invert,
    soft_differences,
    soften,
)
from .svd import svd, tie_width

_SMALL = 16  # rows or columns up to which LAPACK is no slower in double precision

Scalar = Callable[..., Tensor]
"""f(s, *parameters), elementwise in s, of shape (..., any)."""


def spectral_apply(A: Tensor, f: Scalar, df: Scalar, *parameters: Tensor) -> Tensor:
    """U f(S) Vᴴ of A = U diag(S) Vᴴ, differentiable at repeated singular values too.

    Values s ≤ 8·eps·s₁ count as zero.  There the derivative is exact if f, extended as an odd
    function, has one: f(0) = 0 and df(0) finite.  Otherwise it is undefined, and the gradient is
    that of an f with f(0) = 0 and df(0) = 0, which does not depend on the vectors of the zeros.

    Parameters
    ----------
    A : (..., m, n), float32, float64, complex64 or complex128
    f, df : a function on s ≥ 0 and its derivative, elementwise; both are called with float64 and
        should be good to its round-off
    parameters : further arguments of f and df, one number for each matrix (shapes that broadcast to
        A.shape[:-2]); f meets them with a trailing axis of one.  They are differentiated, by
        torch's derivatives of f; tensors that f only captures are not

    Returns
    -------
    (..., m, n) of the dtype of A

    Raises
    ------
    TypeError
        If A is no tensor or of another dtype, or f or df cannot be called.
    ValueError
        If A is no matrix, is empty, or holds NaN or Inf, or f or a parameter has another shape.

    Examples
    --------
    The square root of twice the identity; d(√A) = dA/(2√2).

    >>> A = (2 * torch.eye(2, dtype=torch.float64)).requires_grad_()
    >>> Y = spectral_apply(A, torch.sqrt, lambda s: 0.5 / torch.sqrt(s))
    >>> (4 * Y.sum()).backward()
    >>> A.grad
    tensor([[1.4142, 1.4142],
            [1.4142, 1.4142]], dtype=torch.float64)
    """
    for name, function in (("f", f), ("df", df)):
        if not callable(function):
            raise TypeError(
                f"{name} must be a function of a tensor, got {type(function).__name__}; pass the "
                "function itself and its derivative."
            )
    A = check_matrices(A)
    for parameter in parameters:
        _check_parameter(parameter, A)

    def differences(S: Tensor, zero: Tensor, *columns: Tensor) -> Differences:
        return divided_differences(S, zero, lambda s: f(s, *columns), lambda s: df(s, *columns))

    Y = _Spectral.apply(*_factors(A), tie_width(A.dtype), f, differences, *parameters)
    return Y.to(A.dtype)


def svt(A: Tensor, tau: float | Tensor) -> Tensor:
    """Singular value thresholding U max(S − tau, 0) Vᴴ, the proximal map of tau·(nuclear norm).

    Parameters
    ----------
    A : (..., m, n), float32, float64, complex64 or complex128
    tau : ≥ 0, one for all matrices or a tensor of one for each; a tensor is differentiated

    Returns
    -------
    (..., m, n) of the dtype of A.  At s = tau the derivative is the one from above.

    Raises
    ------
    TypeError, ValueError
        As `spectral_apply`, and if the number tau is negative.

    Examples
    --------
    >>> A = torch.diag(torch.tensor([3.0, 3.0, 1.0])).requires_grad_()
    >>> Y = svt(A, 2.0)
    >>> Y.detach().diagonal()
    tensor([1., 1., 0.])
    >>> Y.sum().backward()
    >>> A.grad
    tensor([[1.0000, 1.0000, 0.5000],
            [1.0000, 1.0000, 0.5000],
            [0.5000, 0.5000, 0.0000]])
    """
    if not isinstance(tau, Tensor):
        if not tau >= 0:
            raise ValueError(f"tau must not be negative, got {tau}; 0 keeps every singular value.")
        tau = torch.tensor(tau, dtype=torch.float64, device=check_matrices(A).device)
    A = check_matrices(A)
    _check_parameter(tau, A)
    Y = _Spectral.apply(*_factors(A), tie_width(A.dtype), soften, soft_differences, tau)
    return Y.to(A.dtype)


def pinv(A: Tensor, rtol: float | None = None, atol: float = 0.0) -> Tensor:
    """Moore-Penrose inverse A⁺ = V S⁺ Uᴴ, with singular values ≤ max(atol, rtol·s₁) cut.

    The gradient is that of the function s ↦ 1/s above the cut, 0 below it, which is right also
    where the cut goes through non-zero values (torch differentiates as if it met only zeros), and
    the formula of Golub & Pereyra where what is cut is zero.  The cut itself is constant.

    Parameters
    ----------
    A : (..., m, n), float32, float64, complex64 or complex128
    rtol : max(m, n, 8)·eps by default; values below 8·eps·s₁ have no gradient
    atol : absolute cut

    Returns
    -------
    (..., n, m) of the dtype of A

    Raises
    ------
    TypeError, ValueError
        As `svd`, and if rtol or atol is negative.

    Examples
    --------
    >>> A = torch.tensor([[2.0, 0.0], [0.0, 1e-3]], requires_grad=True)
    >>> X = pinv(A, rtol=0.01)
    >>> X.detach()
    tensor([[0.5000, 0.0000],
            [0.0000, 0.0000]])
    >>> X[0, 0].backward()
    >>> A.grad[0, 0]
    tensor(-0.2500)
    """
    A = check_matrices(A)
    rtol = max(*A.shape[-2:], 8) * torch.finfo(A.dtype).eps if rtol is None else rtol
    for name, value in (("rtol", rtol), ("atol", atol)):
        if not value >= 0:
            raise ValueError(f"{name} must not be negative, got {value}; 0 cuts nothing but zeros.")
    B, U, S, Vh = _factors(A)
    cut = (rtol * S[..., 0].detach().double()).clamp(min=atol)
    least = tie_width(A.dtype)
    X = _Spectral.apply(B, U, S, Vh, least, invert, inverse_differences, cut)
    return X.to(A.dtype).mH


def _factors(A: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A and its thin factors, in double precision where that costs LAPACK nothing."""
    if min(A.shape[-2:]) <= _SMALL:
        A = A.to(torch.complex128 if A.is_complex() else torch.float64)
    return A, *svd(A)


def _check_parameter(parameter: object, A: Tensor) -> None:
    batch = tuple(A.shape[:-2])
    if not isinstance(parameter, Tensor):
        raise TypeError(
            f"parameters must be tensors, got {type(parameter).__name__}; constants may be part of "
            "f and df."
        )
    if len(parameter.shape) > len(batch) or any(
        p not in (1, b) for p, b in zip(parameter.shape[::-1], batch[::-1], strict=False)
    ):
        raise ValueError(
            f"a parameter must broadcast to the batch {batch} of A, got shape "
            f"{tuple(parameter.shape)}; give one number, or one for each matrix."
        )


class _Spectral(torch.autograd.Function):
    """U f(S) Vᴴ as a function of A and the parameters; U, S, Vh only serve second derivatives."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        A: Tensor,
        U: Tensor,
        S: Tensor,
        Vh: Tensor,
        least: float,
        f: Scalar,
        differences: Callable[..., Differences],
        *parameters: Tensor,
    ) -> Tensor:
        values = f(S.double(), *_columns(parameters))
        if values.shape != S.shape:
            raise ValueError(
                f"f must act elementwise, got shape {tuple(values.shape)} for {tuple(S.shape)}; "
                "return one value for each singular value."
            )
        return _compose(U, values, Vh)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        _, U, S, Vh, ctx.least, ctx.f, ctx.differences, *parameters = inputs
        ctx.save_for_backward(U, S, Vh, *parameters)
        ctx.save_for_forward(U, S, Vh, *parameters)

    @staticmethod
    def backward(ctx: Any, G: Tensor) -> tuple[Tensor | None, ...]:
        U, S, Vh, *parameters = ctx.saved_tensors
        gradients: tuple[Tensor | None, ...] = (None,) * len(parameters)
        if any(ctx.needs_input_grad[7:]):
            _, pull = _pullback(ctx.f, S, parameters)
            gradients = pull((U.conj() * (G @ Vh.mH)).sum(-2).real.double())
        gA = _derivative(U, S, Vh, _kernels(ctx, S, parameters), G)
        return gA, None, None, None, None, None, None, *gradients

    @staticmethod
    def jvp(ctx: Any, dA: Tensor | None, *others: Tensor | None) -> Tensor:
        U, S, Vh, *parameters = ctx.saved_tensors
        changes, total = others[6:], S.new_zeros(())
        if dA is not None:
            total = _derivative(U, S, Vh, _kernels(ctx, S, parameters), dA)
        if any(change is not None for change in changes):
            tangents = tuple(
                torch.zeros_like(p) if change is None else change
                for p, change in zip(parameters, changes, strict=True)
            )
            values, pull = _pullback(ctx.f, S, parameters)
            # the transpose of the transpose: torch allows no forward mode inside this one
            push = torch.func.vjp(pull, torch.zeros_like(values))[1]
            total = total + _compose(U, push(tangents)[0], Vh)
        return total


def _derivative(U: Tensor, S: Tensor, Vh: Tensor, kernels: Differences, G: Tensor) -> Tensor:
    """The self-adjoint map of the module's docstring, applied to G (..., m, n)."""
    D, M, R = kernels
    same, turned, R = (D + M).to(S.dtype), (D - M).to(S.dtype), R.to(S.dtype)
    m, n = G.shape[-2:]
    W = U.mH @ G if m < n else G @ Vh.mH  # the shorter product first
    P = W @ Vh.mH if m < n else U.mH @ W
    half = P / 2
    core = torch.addcmul(same * half, turned, half.mH)
    if m < n:
        right = R[..., :, None]
        return U @ ((core - right * P) @ Vh + right * W)
    if m > n:
        left = R[..., None, :]
        return (U @ (core - P * left) + W * left) @ Vh
    return U @ core @ Vh


def _kernels(ctx: Any, S: Tensor, parameters: list[Tensor]) -> Differences:
    zero = ctx.least * S[..., :1].detach() >= S
    return ctx.differences(S, zero, *_columns(parameters))


def _pullback(f: Scalar, S: Tensor, parameters: list[Tensor]) -> tuple[Tensor, Any]:
    """f(S) and the transposed derivative with respect to the parameters."""
    result = torch.func.vjp(lambda *p: f(S.double(), *_columns(p)), *parameters)
    return result[0], result[1]


def _compose(U: Tensor, values: Tensor, Vh: Tensor) -> Tensor:
    return (U * values.to(U.dtype.to_real())[..., None, :]) @ Vh


def _columns(parameters: Sequence[Tensor]) -> list[Tensor]:
    """One number for each matrix, (...), as the column (..., 1) that meets (..., k)."""
    return [p[..., None] for p in parameters]
