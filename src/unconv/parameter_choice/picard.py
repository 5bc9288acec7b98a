"""Picard coefficients: how much of the data lies along each singular vector.

    A = U Σ Vᴴ,     c_i = u_iᴴ y,     outside = ‖(I − U Uᴴ) y‖²

With them everything that a rule for the damp asks is a sum over one vector (λ = damp²):

    ‖Ax − y‖² = Σ (λ/(σ_i² + λ))² |c_i|² + outside        ‖x‖² = Σ (σ_i/(σ_i² + λ))² |c_i|²
    tr(A A_λ⁺) = Σ σ_i²/(σ_i² + λ)                        A_λ⁺ = (AᴴA + λ)⁻¹Aᴴ

so hundreds of damps cost one factorisation.  The rungs (ways to invert A) that diagonalise it give
U and Σ (`unconv.inverse.diagonal.protocol`).  The discrete Picard condition says that x exists in
the limit of no noise if |c_i| falls faster than σ_i; where |c_i| levels off, there is nothing but
noise.

Cost: the factorisation of the rung, one transform per image; memory of the data, in double.
Not for: operators that nothing diagonalises; trials.py solves there instead.

Source: Hansen, "The discrete Picard condition for discrete ill-posed problems", BIT 30 (1990).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..inverse.diagonal.rungs import RUNGS
from ..numerics.precision import double_dtype
from ..operators.convolution import Convolution


@dataclass(frozen=True)
class Picard:
    """Singular values σ_i of A and the squared coefficients |u_iᴴ y|² of data, in double precision.

    Attributes
    ----------
    sigma : (B, K), one row a kernel, in no order
    power : (N, K) |u_iᴴ y|² of each image, the mean over the copies of σ_i
    counts : (K,) how often σ_i occurs; 0 where another entry stands for it
    outside : (N,) what no u_i sees of each image
    parts : real numbers in a coefficient, for whoever asks how noise is distributed in `power`
    rows : m, the numbers in an image
    """

    sigma: Tensor
    power: Tensor
    counts: Tensor
    outside: Tensor
    parts: int
    rows: int


def picard(op: Convolution, y: Tensor, method: str) -> Picard:
    """The Picard coefficients of each image.

    Parameters
    ----------
    op : an operator that the rung serves (`diagonal_rung`)
    y : (N, *range_shape), real or complex
    method : 'fourier', 'cosine', 'separable' or 'dense'

    Returns
    -------
    Picard

    Examples
    --------
    >>> import torch, unconv
    >>> K = torch.randn(2, 3, 3, 3).double()
    >>> A = unconv.ConvOperator(K, (8, 8), padding=1, padding_mode="circular")
    >>> y = torch.randn(4, 2, 8, 8).double()
    >>> p = picard(A, y, "fourier")
    >>> energy = (p.power * p.counts).sum(1) + p.outside
    >>> bool(torch.allclose(energy, y.square().sum((1, 2, 3))))
    True
    """
    wide = double_dtype(op.dtype)
    op = op.in_double()
    y = y.detach()
    # A real operator takes Re and Im apart: |u_iᴴy|² is the sum of both.
    images = [y.real, y.imag] if y.is_complex() and not op.dtype.is_complex else [y]
    found = RUNGS[method].diagonalise(op)
    power, outside = found.sigma.new_zeros(()), found.sigma.new_zeros(len(y))
    for image in images:
        image = image.to(wide)
        coefficients = found.data.analyse(image)
        power = power + _squares(coefficients)
        if int(found.counts.sum()) < op.shape[0]:
            rest = image - found.data.synthesise(coefficients)
            outside = outside + _squares(rest).flatten(1).sum(1)
    return Picard(
        sigma=found.sigma,
        power=power,
        counts=found.counts,
        outside=outside,
        parts=len(images) * (2 if coefficients.is_complex() else 1),
        rows=op.shape[0],
    )


def _squares(z: Tensor) -> Tensor:
    return z.real.square() + z.imag.square() if z.is_complex() else z.square()
