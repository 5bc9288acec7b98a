"""Functions of the singular values, U f(S) Vᴴ, with a derivative that never meets the factors.

In the bases of the factors, P = UᴴdA V, the derivative is a linear map that is its own adjoint,

    d(U f(S) Vᴴ) = U [ D∘sym(P) + M∘skew(P) ] Vᴴ + (I − UUᴴ) dA V R Vᴴ + U R Uᴴ dA (I − VVᴴ),

with the divided differences D_ij = (f_i − f_j)/(s_i − s_j), M_ij = (f_i + f_j)/(s_i + s_j) and
R = f(S)/S (divided_differences.py).  They are bounded by the slopes of f, whatever the gaps are, so
that repeated singular values are no exception: the gradient of U and V separately, which does not
exist there, is never formed.  It takes four products; by way of the factors there are six.

Second derivatives are of the same kind, in second divided differences (second_differences.py):
right at ties, and at zeros for an f whose odd extension has them.  Third ones differentiate that,
and there the factors turn, as `svd` says: exact for distinct singular values only.

When not to use it: if f is not odd (f(0) ≠ 0, or an infinite slope at 0), U f(S) Vᴴ has no
derivative at a singular value of zero, and only a finite stand-in is returned.

Source: Noferini, "A formula for the Fréchet derivative of a generalized matrix function", SIAM J.
Matrix Anal. Appl. 38 (2017), Theorem 3.2; Cai, Candès & Shen, "A singular value thresholding
algorithm for matrix completion", SIAM J. Optim. 20 (2010), for `svt`; Golub & Pereyra, "The
differentiation of pseudo-inverses", SIAM J. Numer. Anal. 10 (1973), for `pinv`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..numerics.checks import (
    check_function,
    check_number,
    check_real_tensor,
    check_values,
)
from .checks import check_cut, check_matrices, not_negative
from .divided_differences import (
    Differences,
    close_triple,
    divided_differences,
    inverse_close_triple,
    inverse_differences,
    invert,
    pullback,
    soft_close_triple,
    soft_differences,
    soften,
)
from .second_differences import second_derivative
from .svd import svd, tie_width

_LAPACK_SIZE = 16  # rows or columns up to which LAPACK is no slower in double precision

Scalar = Callable[..., Tensor]
"""f(s, *parameters), elementwise in s, of shape (..., any)."""


def spectral_apply(A: Tensor, f: Scalar, df: Scalar, *parameters: Tensor) -> Tensor:
    """U f(S) Vᴴ of A = U diag(S) Vᴴ, differentiable at repeated singular values too.

    Values s ≤ 8·eps·s₁ count as zero.  There the derivative is exact if f, extended as an odd
    function, has one: f(0) = 0 and df(0) finite.  Otherwise it is undefined, and the gradient is
    that of an f with f(0) = 0 and df(0) = 0, which does not depend on the vectors of the zeros.
    Second derivatives are exact at ties, and at zeros if the odd function has two: f″(0) = 0 too.

    Parameters
    ----------
    A : (..., m, n), float32, float64, complex64 or complex128
    f, df : a function on s ≥ 0 and its derivative, elementwise; both are called with float64 and
        should be good to its round-off.  For second derivatives torch differentiates df
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
    check_function("f", f)
    check_function("df", df)
    A = check_matrices(A)
    for parameter in parameters:
        _check_parameter(parameter, A)
    f, df = _elementwise("f", f), _elementwise("df", df)

    def differences(S: Tensor, zero: Tensor, *columns: Tensor) -> Differences:
        return divided_differences(S, zero, lambda s: f(s, *columns), lambda s: df(s, *columns))

    def close(x: Tensor, y: Tensor, z: Tensor, *columns: Tensor) -> Tensor:
        return close_triple(x, y, z, lambda s: df(s, *columns))

    rule = _Rule(f, differences, close, tie_width(A.dtype))
    Y = _Spectral.apply(*_factors(A), rule, *parameters)
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
    TypeError
        If A is no tensor or of another dtype.
    ValueError
        If A is no matrix, is empty, or holds NaN or Inf, or tau has another shape, is negative or
        NaN (under vmap the result is NaN).

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
    A = check_matrices(A)
    if not isinstance(tau, Tensor):
        check_number("tau", tau, why="; 0 keeps every singular value")
        tau = torch.tensor(tau, dtype=torch.float64, device=A.device)
    _check_parameter(tau, A)
    tau = not_negative("tau", tau)
    rule = _Rule(soften, soft_differences, soft_close_triple, tie_width(A.dtype))
    Y = _Spectral.apply(*_factors(A), rule, tau)
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
    TypeError
        If A is no tensor or of another dtype.
    ValueError
        If A is no matrix, is empty, or holds NaN or Inf, rtol is not in [0, 1), or atol is
        negative.

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
    rtol, atol = check_cut(rtol, atol)
    B, U, S, Vh = _factors(A)
    cut = (rtol * S[..., 0].detach().double()).clamp(min=atol)
    rule = _Rule(invert, inverse_differences, inverse_close_triple, tie_width(A.dtype))
    X = _Spectral.apply(B, U, S, Vh, rule, cut)
    return X.to(A.dtype).mH


def _factors(A: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A and its thin factors, in double precision where that costs LAPACK nothing."""
    if min(A.shape[-2:]) <= _LAPACK_SIZE:
        A = A.to(torch.complex128 if A.is_complex() else torch.float64)
    return A, *svd(A)


def _check_parameter(parameter: object, A: Tensor) -> None:
    batch = tuple(A.shape[:-2])
    if not isinstance(parameter, Tensor):
        raise TypeError(
            f"parameters must be tensors, got {type(parameter).__name__}; constants may be part of "
            "f and df."
        )
    check_values("a parameter", check_real_tensor("a parameter", parameter))
    if parameter.device != A.device:
        raise ValueError(
            f"a parameter is on {parameter.device}, A on {A.device}; move one with .to(device)."
        )
    if len(parameter.shape) > len(batch) or any(
        p not in (1, b) for p, b in zip(parameter.shape[::-1], batch[::-1], strict=False)
    ):
        raise ValueError(
            f"a parameter must broadcast to the batch {batch} of A, got shape "
            f"{tuple(parameter.shape)}; give one number, or one for each matrix."
        )


@dataclass(frozen=True)
class _Rule:
    """A function of the singular values with its divided differences, each of (..., *parameters).

    Attributes
    ----------
    f : f(s)
    differences : D, M and R
    close : f[x, y, z] of close points, (..., any)
    least : values under this times s₁ are zero
    """

    f: Scalar
    differences: Callable[..., Differences]
    close: Scalar
    least: float

    def kernels(self, S: Tensor, parameters: Sequence[Tensor]) -> Differences:
        """D, M and R of the values S (..., k)."""
        return self.differences(S, self.zero(S), *_columns(parameters))

    def zero(self, S: Tensor) -> Tensor:
        """Which singular values S (..., k) count as zero."""
        return self.least * S[..., :1].detach() >= S

    def second(
        self, U: Tensor, S: Tensor, Vh: Tensor, parameters: Sequence[Tensor], G: Tensor, C: Tensor
    ) -> Tensor:
        """The second derivative in the directions G and C."""
        columns = _columns(parameters)

        def close(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
            flat = (t.double().flatten(S.ndim - 1) for t in (x, y, z))
            return self.close(*flat, *columns).view_as(x)

        exact = torch.where(self.zero(S), 0.0, S)
        return second_derivative(U, exact, Vh, self.kernels(S, parameters), close, G, C)


def _elementwise(name: str, function: Scalar) -> Scalar:
    """The user's function, whose values are looked at: one real number a singular value."""

    def run(s: Tensor, *columns: Tensor) -> Tensor:
        values = function(s, *columns)
        if not isinstance(values, Tensor) or not values.is_floating_point():
            kind = values.dtype if isinstance(values, Tensor) else type(values).__name__
            raise TypeError(
                f"{name} must return a real floating-point tensor, got {kind}; compute with torch, "
                "and take the real part of what is complex."
            )
        if values.shape != s.shape:
            raise ValueError(
                f"{name} must act elementwise, got shape {tuple(values.shape)} for "
                f"{tuple(s.shape)}; return one value for each singular value."
            )
        return values

    return run


class _Spectral(torch.autograd.Function):
    """U f(S) Vᴴ as a function of A and the parameters; U, S, Vh only serve third derivatives."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        A: Tensor, U: Tensor, S: Tensor, Vh: Tensor, rule: _Rule, *parameters: Tensor
    ) -> Tensor:
        return _compose(U, rule.f(S.double(), *_columns(parameters)), Vh)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        A, U, S, Vh, ctx.rule, *parameters = inputs
        ctx.save_for_backward(A, U, S, Vh, *parameters)
        ctx.save_for_forward(A, U, S, Vh, *parameters)

    @staticmethod
    def backward(ctx: Any, G: Tensor) -> tuple[Tensor | None, ...]:
        A, U, S, Vh, *parameters = ctx.saved_tensors
        gradients: tuple[Tensor | None, ...] = (None,) * len(parameters)
        if any(ctx.needs_input_grad[5:]):
            gradients = _OfParameters.apply(A, G, U, S, Vh, ctx.rule, *parameters)
        gA = _Derivative.apply(A, G, U, S, Vh, ctx.rule, *parameters)
        return gA, None, None, None, None, *gradients

    @staticmethod
    def jvp(ctx: Any, dA: Tensor | None, *others: Tensor | None) -> Tensor:
        A, U, S, Vh, *parameters = ctx.saved_tensors
        changes, total = others[4:], S.new_zeros(())
        if dA is not None:
            total = _Derivative.apply(A, dA, U, S, Vh, ctx.rule, *parameters)
        if any(change is not None for change in changes):
            values = _pushed(lambda *p: ctx.rule.f(S.double(), *_columns(p)), parameters, changes)
            total = total + _compose(U, values, Vh)
        return total


class _Derivative(torch.autograd.Function):
    """The first derivative in the direction G, self-adjoint in it, as a function of A and G."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        A: Tensor,
        G: Tensor,
        U: Tensor,
        S: Tensor,
        Vh: Tensor,
        rule: _Rule,
        *parameters: Tensor,
    ) -> Tensor:
        return _derivative(U, S, Vh, rule.kernels(S, parameters), G)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        A, G, U, S, Vh, ctx.rule, *parameters = inputs
        ctx.save_for_backward(A, G, U, S, Vh, *parameters)
        ctx.save_for_forward(A, G, U, S, Vh, *parameters)

    @staticmethod
    def backward(ctx: Any, C: Tensor) -> tuple[Tensor | None, ...]:
        A, G, U, S, Vh, *parameters = ctx.saved_tensors
        rule, needed = ctx.rule, ctx.needs_input_grad
        of_A = rule.second(U, S, Vh, parameters, G, C) if needed[0] else None
        of_G = _Derivative.apply(A, C, U, S, Vh, rule, *parameters) if needed[1] else None
        gradients: tuple[Tensor | None, ...] = (None,) * len(parameters)
        if any(needed[6:]):

            def along(*p: Tensor) -> Tensor:
                found = _derivative(U, S, Vh, rule.kernels(S, p), G)
                return _inner(C, found).double()

            value, pull = pullback(along, *parameters)
            gradients = pull(torch.ones_like(value))
        return of_A, of_G, None, None, None, None, *gradients

    @staticmethod
    def jvp(ctx: Any, dA: Tensor | None, dG: Tensor | None, *others: Tensor | None) -> Tensor:
        A, G, U, S, Vh, *parameters = ctx.saved_tensors
        rule, changes = ctx.rule, others[4:]
        total = torch.zeros_like(G)
        if dA is not None:
            total = total + rule.second(U, S, Vh, parameters, G, dA)
        if dG is not None:
            total = total + _Derivative.apply(A, dG, U, S, Vh, rule, *parameters)
        if any(change is not None for change in changes):
            kernels = [
                _pushed(lambda *p, i=i: rule.kernels(S, p)[i], parameters, changes)
                for i in range(3)
            ]
            total = total + _derivative(U, S, Vh, (kernels[0], kernels[1], kernels[2]), G)
        return total


class _OfParameters(torch.autograd.Function):
    """The gradients in the parameters for a cotangent G: Re⟨G, U (∂f/∂p)(S) Vᴴ⟩."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        A: Tensor,
        G: Tensor,
        U: Tensor,
        S: Tensor,
        Vh: Tensor,
        rule: _Rule,
        *parameters: Tensor,
    ) -> tuple[Tensor, ...]:
        return _of_parameters(U, S, Vh, rule, G, parameters)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        A, G, U, S, Vh, ctx.rule, *parameters = inputs
        ctx.save_for_backward(A, G, U, S, Vh, *parameters)
        ctx.save_for_forward(A, G, U, S, Vh, *parameters)

    @staticmethod
    def backward(ctx: Any, *c: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients in A by the derivative of the kernels; in G and the parameters by torch."""
        _, G, U, S, Vh, *parameters = ctx.saved_tensors
        rule = ctx.rule
        kernels = [_pushed(lambda *p, i=i: rule.kernels(S, p)[i], parameters, c) for i in range(3)]
        of_A = _derivative(U, S, Vh, (kernels[0], kernels[1], kernels[2]), G)
        _, pull = pullback(lambda g, *p: _of_parameters(U, S, Vh, rule, g, p), G, *parameters)
        of_G, *gradients = pull(c)
        return of_A, of_G, None, None, None, None, *gradients

    @staticmethod
    def jvp(ctx: Any, dA: Tensor | None, dG: Tensor | None, *others: Tensor | None) -> Any:
        _, G, U, S, Vh, *parameters = ctx.saved_tensors
        rule, changes = ctx.rule, others[4:]
        totals = [torch.zeros_like(p) for p in parameters]

        def add(found: Sequence[Tensor]) -> None:
            totals[:] = [t + f for t, f in zip(totals, found, strict=True)]

        if dG is not None:
            add(_of_parameters(U, S, Vh, rule, dG, parameters))
        if dA is not None:

            def along(*p: Tensor) -> Tensor:
                return _inner(dA, _derivative(U, S, Vh, rule.kernels(S, p), G)).double()

            value, pull = pullback(along, *parameters)
            add(pull(torch.ones_like(value)))
        if any(change is not None for change in changes):
            add(
                [
                    _pushed(
                        lambda *p, i=i: _of_parameters(U, S, Vh, rule, G, p)[i],
                        parameters,
                        changes,
                    )
                    for i in range(len(parameters))
                ]
            )
        return tuple(totals)


def _of_parameters(
    U: Tensor, S: Tensor, Vh: Tensor, rule: _Rule, G: Tensor, parameters: Sequence[Tensor]
) -> tuple[Tensor, ...]:
    _, pull = pullback(lambda *p: rule.f(S.double(), *_columns(p)), *parameters)
    found: tuple[Tensor, ...] = pull((U.conj() * (G @ Vh.mH)).sum(-2).real.double())
    return found


def _pushed(
    function: Callable[..., Tensor],
    at: Sequence[Tensor],
    tangents: Sequence[Tensor | None],
) -> Tensor:
    """The derivative of a function along tangents.

    By the transpose of the transpose: torch allows no forward mode inside a rule of forward mode.
    """
    full = tuple(torch.zeros_like(p) if t is None else t for p, t in zip(at, tangents, strict=True))
    value, pull = pullback(function, *at)
    push = pullback(pull, torch.zeros_like(value))[1]
    found: Tensor = push(full)[0]
    return found


def _inner(a: Tensor, b: Tensor) -> Tensor:
    """Re⟨a, b⟩ over all matrices."""
    return (a.conj() * b).real.sum() if a.is_complex() else (a * b).sum()


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


def _compose(U: Tensor, values: Tensor, Vh: Tensor) -> Tensor:
    return (U * values.to(U.dtype.to_real())[..., None, :]) @ Vh


def _columns(parameters: Sequence[Tensor]) -> list[Tensor]:
    """One number for each matrix, (...), as the column (..., 1) that meets (..., k)."""
    return [p[..., None] for p in parameters]
