"""Singular value decomposition whose derivative is finite at repeated singular values.

With A = U diag(S) Vᴴ, P = Uᴴ dA V, and the skew-Hermitian Ω = Uᴴ dU, Ψ = Vᴴ dV, the differential
P = Ω S + dS − S Ψ says for every pair (i, j), in ω = Ω_ij and ν = Ψ_ij,

    [  s_j  −s_i ] [ ω ]   [ p_ij ]             ω + ν = (p_ij + p̄_ji) / (s_j − s_i),
    [ −s_i   s_j ] [ ν ] = [ p̄_ji ],  that is,  ω − ν = (p_ij − p̄_ji) / (s_j + s_i).

The eigenvectors (1, ±1) of the 2 × 2 matrix split it, and nothing has to be squared.  Its
Moore-Penrose inverse is the same two quotients with 1/0 = 0: at a tie the least-squares solution of
least norm, ω = −ν = (p_ij − p̄_ji)/(4s).  For i = j the same rule gives ω = −ν = i·Im(p_ii)/(2s),
the phase of a complex pair of vectors.  Columns outside the range add (I − UUᴴ) dA V S⁻¹ to dU, and
likewise to dV.  The reverse mode is the adjoint of all this, with X = UᴴU̅ and Y = VᴴV̅:

    A̅ = U [ E∘skew(X + Y) + K∘skew(X − Y) + diag(S̅) ] Vᴴ + (I − UUᴴ)U̅ S⁻¹Vᴴ + U S⁻¹V̅ᴴ(I − VVᴴ),

E_ij = 1/(s_j − s_i), K_ij = 1/(s_j + s_i).  It takes four products, as torch's backward does.

When not to use it: at a tie no derivative of U and V exists, of whatever convention, and near one
it is large.  U f(S) Vᴴ, which does not depend on the choice of U and V, has one nevertheless, but
by way of the factors its part f′·sym(P)_ij of a tied pair is lost (0.4 of 1.0 for the tied matrix
of SVD-inv's README), and that of a near pair has an error of eps·s/gap.  For such functions use
`spectral_apply`, `svt` and `pinv`.

Source: Zhang & Hu, "Differentiable SVD based on Moore-Penrose pseudoinverse for inverse imaging
problems", arXiv 2411.14141 (2024), whose solution at a tie solves only the first of the two rows.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..numerics.checks import check_flag
from .checks import check_entries, check_matrices
from .gauge import is_looking, refuse_dependence, refuse_rotation

_TIE = 8  # eps·s₁ within which LAPACK does not tell two singular values apart
# Of a vector's cotangent may lie along its phase: round-off of single precision.
_PHASE_SHARE = 1e-3


def svd(A: Tensor, full_matrices: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """A = U diag(S) Vh, with S descending, and finite gradients at every A.

    **At a tie of singular values a finite gradient is not always the right one.**  U and V have no
    derivative there, and a convention takes its place: right for losses on U @ Vh, wrong for those
    on U diag(S) Vh and other U f(S) Vh, which have a derivative, of which part is lost (the second
    example).  For these use `spectral_apply`, `svt` and `pinv`; `detect_gauge_dependence` finds a
    loss whose gradient depends on that convention.  Near a tie the gradient by way of the factors
    has an error of eps·s/gap.

    Values within 8·eps·s₁ of each other count as tied, and of zero as zero.  There the derivative
    of U and V is the one of least norm that solves its equations in the least-squares sense (Zhang
    & Hu, arXiv 2411.14141, with both rows); elsewhere it is torch's.  Second derivatives are those
    of the same formula, with the set of ties held constant.  All of torch.func applies but forward
    mode inside forward mode, which torch has for no autograd.Function (and answers with 0): take
    `jacfwd(jacrev(...))`.

    Parameters
    ----------
    A : (..., m, n), float32, float64, complex64 or complex128
    full_matrices : complete U and Vh to square matrices.  Their additional columns follow the
        range, dU⊥ = −U dUᴴU⊥, so that U⊥U⊥ᴴ has its true derivative (torch ignores it)

    Returns
    -------
    U : (..., m, k), k = min(m, n), or (..., m, m)
    S : (..., k), real
    Vh : (..., k, n), or (..., n, n)

    Raises
    ------
    TypeError
        If A is no tensor or of another dtype.
    ValueError
        If A is no matrix, is empty, or holds NaN or Inf.
    RuntimeError
        In the backward of a complex A, if the loss depends on the phases of the singular vectors,
        which no SVD determines.  On a GPU, and under vmap, the gradient is NaN instead: to look
        would wait for the device.  At a tie, within `detect_gauge_dependence`.

    Examples
    --------
    A tie: torch gives NaN here.

    >>> A = torch.tensor([[2.0, 4.0], [-4.0, 2.0]], requires_grad=True)
    >>> U, S, Vh = svd(A)
    >>> (U @ Vh).sum().backward()
    >>> A.grad
    tensor([[ 0.1789, -0.0894],
            [ 0.0894,  0.1789]])

    A loss that this gradient is wrong for: it is A.sum(), and all ones are right.

    >>> from unconv.linalg import spectral_apply
    >>> A.grad = None
    >>> U, S, Vh = svd(A)
    >>> (U @ torch.diag(S) @ Vh).sum().backward()
    >>> bool(torch.allclose(A.grad, torch.ones(2, 2)))
    False
    >>> A.grad = None
    >>> spectral_apply(A, lambda s: s, torch.ones_like).sum().backward()
    >>> bool(torch.allclose(A.grad, torch.ones(2, 2)))
    True
    """
    check_flag("full_matrices", full_matrices)
    U, S, Vh = _SVD.apply(check_matrices(A))
    if full_matrices:
        m, n = A.shape[-2:]
        U = torch.cat([U, _Complement.apply(U)], -1) if m > n else U
        Vh = torch.cat([Vh, _Complement.apply(Vh.mH).mH], -2) if n > m else Vh
    return U, S, Vh


def svdvals(A: Tensor) -> Tensor:
    """Singular values, descending, with the gradient U diag(S̅) Vᴴ.

    At a tie the sorted values have only directional derivatives; a symmetric function of them has
    a gradient, and this is it (`detect_gauge_dependence` finds a loss that is none).  The vectors
    are computed too: where no gradient is wanted, torch.linalg.svdvals is faster.

    Parameters
    ----------
    A : (..., m, n), float32, float64, complex64 or complex128

    Returns
    -------
    (..., min(m, n)), real

    Raises
    ------
    TypeError
        If A is no tensor or of another dtype.
    ValueError
        If A is no matrix, is empty, or holds NaN or Inf.

    Examples
    --------
    >>> A = torch.zeros(2, 3, requires_grad=True)
    >>> svdvals(A).sum().backward()
    >>> A.grad.norm()
    tensor(1.4142)
    """
    return svd(A)[1]


class _SVD(torch.autograd.Function):
    """The thin factors, and both modes of the module's docstring."""

    @staticmethod
    def forward(A: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        check_entries(A)
        U, S, Vh = torch.linalg.svd(A, full_matrices=False)
        return U, S, Vh

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.set_materialize_grads(False)
        ctx.looks = is_looking()
        ctx.save_for_backward(*output)
        ctx.save_for_forward(*output)

    @staticmethod
    def backward(
        ctx: Any, gU: Tensor | None, gS: Tensor | None, gVh: Tensor | None
    ) -> Tensor | None:
        U, S, Vh = ctx.saved_tensors
        doubt = _looked_at(U, S, Vh, gU, gS, gVh) if ctx.looks else None
        if gU is None and gVh is None:
            gA = None if gS is None else (U * gS[..., None, :]) @ Vh
        else:
            gA = _adjoint(U, S, Vh, gU, gS, gVh)
        return gA if doubt is None or gA is None else gA + doubt

    @staticmethod
    def jvp(ctx: Any, dA: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        U, S, Vh = ctx.saved_tensors
        return _differential(U, S, Vh, dA)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int], A: Tensor) -> tuple[Any, tuple[int, int, int]]:
        return _SVD.apply(A.movedim(in_dims[0], 0)), (0, 0, 0)


def _adjoint(
    U: Tensor, S: Tensor, Vh: Tensor, gU: Tensor | None, gS: Tensor | None, gVh: Tensor | None
) -> Tensor:
    """A̅ of the module's docstring; a factor without a cotangent costs nothing."""
    m, n = U.shape[-2], Vh.shape[-1]
    gaps, sums, s = _denominators(S)
    X = None if gU is None else U.mH @ gU
    Y = None if gVh is None else Vh @ gVh.mH
    core = S.new_zeros(()) if gS is None else torch.diag_embed(gS)
    if U.is_complex():
        core = core + _reject(_phases_matter((X, gU), (Y, None if gVh is None else gVh.mH)))
    both, opposed = _sum_and_difference(X, Y)
    core = torch.addcdiv(core, both - both.mH, gaps)
    core = torch.addcdiv(core, opposed - opposed.mH, sums)
    if m > n and gU is not None and X is not None:
        left = s[..., None, :]
        return (U @ (core - X / left) + gU / left) @ Vh
    if n > m and gVh is not None and Y is not None:
        right = s[..., :, None]
        return U @ ((core - Y.mH / right) @ Vh + gVh / right)
    return U @ core @ Vh


def _looked_at(
    U: Tensor, S: Tensor, Vh: Tensor, gU: Tensor | None, gS: Tensor | None, gVh: Tensor | None
) -> Tensor:
    """What `gauge.refuse_dependence` says of these cotangents, outside the graph."""
    U, S, Vh = (t.detach() for t in (U, S, Vh))
    gU, gS, gV = (None if g is None else g.detach() for g in (gU, gS, gVh))
    gV = None if gV is None else gV.mH
    products = (None if gU is None else U.mH @ gU, None if gV is None else Vh @ gV)
    sizes = tuple(None if g is None else torch.linalg.vector_norm(g, dim=-2) for g in (gU, gV))
    return refuse_dependence(S, tie_width(S.dtype), products, (sizes[0], sizes[1]), gS)


def _differential(U: Tensor, S: Tensor, Vh: Tensor, dA: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """dU, dS, dVh of a change dA."""
    m, n = dA.shape[-2:]
    gaps, sums, s = _denominators(S)
    P = U.mH @ dA @ Vh.mH
    both, opposed = (P + P.mH) / gaps, (P - P.mH) / sums
    dU, dVh = U @ (opposed + both), (opposed - both) @ Vh
    if m > n:
        dU = dU + (dA @ Vh.mH - U @ P) / s[..., None, :]
    if n > m:
        dVh = dVh + (U.mH @ dA - P @ Vh) / s[..., :, None]
    return dU, P.diagonal(dim1=-2, dim2=-1).real, dVh


def _denominators(S: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """2(s_j − s_i) and 2(s_j + s_i), (..., k, k), and s_i, (..., k); ∞ for all that is below a tie.

    By division with ∞, and not by a masked inverse, no 0·∞ enters the second derivative.
    """
    tie = tie_width(S.dtype) * S[..., :1].detach()
    infinite = torch.where(tie >= S, torch.inf, 0.0)  # for zeros
    row, column = 2 * S[..., None, :], 2 * S[..., :, None]
    gaps = row - column
    gaps = torch.where(gaps.abs() <= 2 * tie[..., None], torch.inf, gaps)
    # the sum is zero where both are: `minimum` is far cheaper than a mask of pairs
    sums = row + column + torch.minimum(infinite[..., None, :], infinite[..., :, None])
    return gaps, sums, S + infinite


def _sum_and_difference(X: Tensor | None, Y: Tensor | None) -> tuple[Tensor, Tensor]:
    """X + Y and X − Y, where None is zero; one of them is given."""
    if X is None:
        assert Y is not None
        return Y, -Y
    return (X, X) if Y is None else (X + Y, X - Y)


def tie_width(dtype: torch.dtype) -> float:
    """8·eps, below which differences and values are round-off, in units of s₁."""
    return _TIE * torch.finfo(dtype).eps


def _phases_matter(*vectors: tuple[Tensor | None, Tensor | None]) -> Tensor:
    """Whether the cotangents go along (u_i, v_i) → e^{iφ}(u_i, v_i), for each matrix (...,).

    Of U and of V: the product X or Y, and the cotangent itself, which sets the scale.
    """
    given = [(Z, g) for Z, g in vectors if Z is not None and g is not None]
    along = torch.stack([Z.diagonal(dim1=-2, dim2=-1).imag for Z, _ in given]).sum(0)
    size = torch.stack([torch.linalg.vector_norm(g, dim=-2) for _, g in given]).sum(0)
    return (along.abs() > _PHASE_SHARE * size).any(-1)


def _reject(ill_defined: Tensor) -> Tensor:
    """Raise where looking costs no waiting; elsewhere the NaN to add, as (..., 1, 1)."""
    if ill_defined.device.type == "cpu" and _holds_somewhere(ill_defined):
        raise RuntimeError(
            "a loss on complex singular vectors must not depend on their phases, which no SVD "
            "determines, and this one does; use products such as U f(S) Vh, or moduli."
        )
    return torch.where(ill_defined, torch.nan, 0.0)[..., None, None]


def _holds_somewhere(condition: Tensor) -> bool:
    try:
        return bool(condition.any())
    except RuntimeError:  # under vmap nobody can look
        return False


class _Complement(torch.autograd.Function):
    """Orthonormal basis of the complement of the range: Q (m, k) -> Q⊥ (m, m − k).

    Q⊥ᴴQ = 0 fixes the part of dQ⊥ in the range, −Q dQᴴQ⊥; the other part is a rotation of an
    arbitrary basis, and 0 has least norm.
    """

    @staticmethod
    def forward(Q: Tensor) -> Tensor:
        return torch.linalg.qr(Q, mode="complete").Q[..., Q.shape[-1] :].clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.looks = is_looking()
        ctx.save_for_backward(*inputs, output)
        ctx.save_for_forward(*inputs, output)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        Q, complement = ctx.saved_tensors
        gQ = -complement @ (g.mH @ Q)
        return gQ + refuse_rotation(complement.detach(), g.detach()) if ctx.looks else gQ

    @staticmethod
    def jvp(ctx: Any, dQ: Tensor) -> Tensor:
        Q, complement = ctx.saved_tensors
        return -Q @ (dQ.mH @ complement)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int], Q: Tensor) -> tuple[Any, int]:
        return _Complement.apply(Q.movedim(in_dims[0], 0)), 0
