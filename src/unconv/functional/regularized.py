"""One-call inverses named as the methods: `tikhonov`, `wiener`, `tsvd`, `filtered`, `lstsq`.

They answer for one y of ``y = conv(x, weight, ...)``: they build a `ConvOperator`, ask the method
of the same name and forget both.  For many right-hand sides build the operator, factor it once with
the method, and apply that.  The number of spatial axes is that of y.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Unpack

from torch import Tensor

from ..doors import ConvOperator
from ..inverse import LstsqResult
from .options import (
    FilteredOptions,
    LstsqOptions,
    TikhonovOptions,
    TsvdOptions,
    WienerOptions,
    question_of,
    spelled_out,
)


@spelled_out(ConvOperator.tikhonov)
def tikhonov(
    y: Tensor, weight: Tensor, damp: float | Tensor, **options: Unpack[TikhonovOptions]
) -> Tensor:
    """argmin ‖conv(x) − y‖² + damp²‖Lx‖², conv a cross-correlation as in torch.nn.

    Parameters
    ----------
    {data}
    damp : > 0, a number, or a tensor of one element, of which a gradient may be asked
    penalty : L, as in `ConvOperator.tikhonov`; None damps x itself
    {conv}
    {solver}

    {answer}

    Examples
    --------
    >>> import torch, unconv
    >>> y, weight = torch.randn(2, 3, 16, 16), torch.randn(3, 3, 3, 3)
    >>> unconv.tikhonov(y, weight, 0.1, penalty="gradient", padding=1).shape
    torch.Size([2, 3, 16, 16])
    """
    op, solver = question_of(y, weight, options)
    return op.tikhonov(damp, **solver)(y)


@spelled_out(ConvOperator.wiener)
def wiener(
    y: Tensor,
    weight: Tensor,
    noise_psd: float | Tensor,
    signal_psd: float | Tensor,
    **options: Unpack[WienerOptions],
) -> Tensor:
    """The linear estimate of x with the least expected error, from y = conv(x) + noise.

    conv is a cross-correlation as in torch.nn.

    Parameters
    ----------
    {data}
    noise_psd, signal_psd, channel_covariance
        Power spectra of the noise and of x, and the covariance of the channels of x, as in
        `ConvOperator.wiener`: a number is the variance of white noise, or of a white x.
    {conv}
    method, memory_limit, tol, maxiter, check_finite, progress
        As in `ConvOperator.wiener`.

    {answer}

    Examples
    --------
    >>> import torch, unconv
    >>> y, weight = torch.randn(2, 3, 16, 16), torch.randn(3, 3, 3, 3)
    >>> unconv.wiener(y, weight, 0.01, 1.0, padding=1, padding_mode="circular").shape
    torch.Size([2, 3, 16, 16])
    """
    op, solver = question_of(y, weight, options)
    return op.wiener(noise_psd, signal_psd, **solver)(y)


@spelled_out(ConvOperator.tsvd)
def tsvd(y: Tensor, weight: Tensor, rtol: float, **options: Unpack[TsvdOptions]) -> Tensor:
    """A⁺y without the singular values σ ≤ rtol·σ_max, A a cross-correlation as in torch.nn.

    Parameters
    ----------
    {data}
    rtol : of [0, 1), relative to the largest singular value of the whole operator
    {conv}
    {solver}

    {answer}

    Examples
    --------
    >>> import torch, unconv
    >>> y, weight = torch.randn(2, 3, 16, 16), torch.randn(3, 3, 3, 3)
    >>> unconv.tsvd(y, weight, 1e-6, padding=1, padding_mode="circular").shape
    torch.Size([2, 3, 16, 16])
    """
    op, solver = question_of(y, weight, options)
    return op.tsvd(rtol, **solver)(y)


@spelled_out(ConvOperator.filtered)
def filtered(
    y: Tensor,
    weight: Tensor,
    gain: Callable[[Tensor], Tensor],
    **options: Unpack[FilteredOptions],
) -> Tensor:
    """Σ f(σᵢ) ⟨uᵢ, y⟩ vᵢ over the singular triples of conv, with any f in the place of 1/σ.

    conv is a cross-correlation as in torch.nn that can be diagonalised: circular, of symmetric
    kernels under symmetric boundaries, separable, or small.

    Parameters
    ----------
    {data}
    gain
        f, from a float64 tensor of singular values to a real tensor of the same shape, with
        f(0) = 0; `unconv.regularize` has `landweber` and `showalter`.
    {conv}
    memory_limit, check_finite
        As in `ConvOperator.pinv`.

    {answer}

    Examples
    --------
    >>> import torch, unconv
    >>> from unconv.regularize import showalter
    >>> y, weight = torch.randn(2, 3, 16, 16), torch.randn(3, 3, 3, 3)
    >>> unconv.filtered(y, weight, showalter(10.0), padding=1, padding_mode="circular").shape
    torch.Size([2, 3, 16, 16])
    """
    op, solver = question_of(y, weight, options)
    return op.filtered(gain, **solver)(y)


@spelled_out(ConvOperator.lstsq)
def lstsq(
    y: Tensor, weight: Tensor, damp: float | Tensor = 0.0, **options: Unpack[LstsqOptions]
) -> LstsqResult:
    """Solve min ‖conv(x) − y‖² + damp²‖Lx‖² and certify the answer.

    conv is a cross-correlation as in torch.nn.

    Parameters
    ----------
    {data}
    damp
        0 gives the least-squares solution of smallest norm.  A number, or a tensor of one element,
        of which a gradient may be asked where it is not 0.
    penalty : L, as in `ConvOperator.tikhonov`; None damps x itself
    {conv}
    {cutoff}
    {solver}

    Returns
    -------
    LstsqResult(solution, certificate)
        x : (N, c_in, *input_shape) and a `Certificate` with one entry per image.

    {errors}

    Examples
    --------
    >>> import torch, unconv
    >>> y, weight = torch.randn(2, 3, 16, 16), torch.randn(3, 3, 3, 3)
    >>> x, certificate = unconv.lstsq(y, weight, 0.1, padding=1)
    >>> x.shape, certificate.converged
    (torch.Size([2, 3, 16, 16]), tensor([True, True]))
    """
    op, solver = question_of(y, weight, options)
    return op.lstsq(y, damp, **solver)
