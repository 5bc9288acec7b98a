"""Picard coefficients: how much of the data lies along each singular vector.

    A = U Σ Vᴴ,     c_i = u_iᴴ y,     outside = ‖(I − U Uᴴ) y‖²

With them everything that a rule for the damp asks is a sum over one vector (λ = damp²):

    ‖Ax − y‖² = Σ (λ/(σ_i² + λ))² |c_i|² + outside        ‖x‖² = Σ (σ_i/(σ_i² + λ))² |c_i|²
    tr(A A_λ⁺) = Σ σ_i²/(σ_i² + λ)                        A_λ⁺ = (AᴴA + λ)⁻¹Aᴴ

so hundreds of damps cost one factorisation.  The rungs (ways to invert A) that diagonalise it give
them: the SVD of every frequency's block (*fourier*, *cosine*), of every axis (*separable*), of the
matrix (*dense*). The discrete Picard condition says that x exists in the limit of no noise if |c_i|
falls faster than σ_i; where |c_i| levels off, there is nothing but noise.

Cost: the factorisation of the rung, one transform per image; memory of the data, in double.
Not for: operators that nothing diagonalises; trials.py solves there instead.

Source: Hansen, "The discrete Picard condition for discrete ill-posed problems", BIT 30 (1990).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor

from ..inverse.diagonal import dense, fourier, separable
from ..inverse.diagonal.rungs import RUNGS
from ..numerics.kronecker import contract, merge_axes, split_axes
from ..numerics.precision import double_dtype
from ..numerics.threads import run_in_slices
from ..operators.convolution import Convolution

_SLICE_BYTES = 4 * 2**20  # blocks that are decomposed at once, with copies of LAPACK in the cache


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
    images = [image.to(wide) for image in images]
    if method in ("fourier", "cosine"):
        return _of_blocks(RUNGS[method], op, images)
    return (_of_axes if method == "separable" else _of_matrix)(op, images)


def _of_blocks(rung: Any, op: Convolution, images: list[Tensor]) -> Picard:
    """By one small SVD for each frequency; a transposed operator is A = (conj C)ᴴ."""
    blocks, scale = rung.blocks_of(op)  # (F, B, g, r, c)
    blocks = blocks.mH if op.transposed else blocks
    F, B, g, r, c = blocks.shape
    N, p = len(images[0]), min(r, c)
    unitary = math.prod(a.m for a in op.geometry.axes) ** -0.5 if rung is fourier else 1.0
    Y = [unitary * rung.analyse(op, image, fine=op.transposed) for image in images]
    Y = [v.reshape(N, g, r, F) for v in Y]
    order = (3, 0, 1, 2) if op.batch_size else (3, 1, 2, 0)
    Y = [v.permute(order).reshape(F * B * g, r, -1) for v in Y]
    S, power, outside = _decomposed(blocks.reshape(F * B * g, r, c), Y)
    power, outside = power.view(F, B, g, p, -1), outside.view(F, B, g, -1)
    front = (1, 4, 0, 2, 3)  # (B, N/B or N, F, g, p)
    counts = rung.multiplicity(op)
    return Picard(
        sigma=S.view(F, B, g * p).transpose(0, 1).flatten(1) * scale[:, None],
        power=power.permute(front).reshape(N, -1),
        counts=counts.repeat_interleave(g * p),
        outside=torch.einsum("f,fbgn->bn", counts.to(outside), outside).flatten(),
        parts=len(images) * (2 if Y[0].is_complex() else 1),
        rows=op.shape[0],
    )


def _decomposed(blocks: Tensor, Y: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """σ (f, p), Σ|Uᴴy|² (f, p, n) and Σ‖y − UUᴴy‖² (f, n) of blocks (f, r, c), y (f, r, n)."""
    f, r, c = blocks.shape
    n, p = Y[0].shape[2], min(r, c)
    if r == c == 1:
        return (
            blocks[:, 0].abs(),
            sum(map(_squares, Y), Y[0].real.new_zeros(())),
            (Y[0].real.new_zeros(f, n)),
        )
    S = torch.empty(f, p, dtype=torch.float64, device=blocks.device)
    power, outside = S.new_zeros(f, p, n), S.new_zeros(f, n)

    def work(part: slice) -> None:
        U, S[part] = _left(blocks[part])
        for y in Y:
            coefficients = U.mH @ y[part]
            power[part] += _squares(coefficients)
            outside[part] += _squares(y[part] - U @ coefficients).sum(1)

    step = max(1, _SLICE_BYTES // (r * (c + n) * blocks.element_size()))
    run_in_slices(work, f, step, blocks.device)
    return S, power, outside


def _left(C: Tensor) -> tuple[Tensor, Tensor]:
    """Left singular vectors (f, r, p) and values (f, p); of a column, itself and its length."""
    if C.shape[2] > 1:
        U, S, _ = torch.linalg.svd(C, full_matrices=False)
        return U, S
    s = torch.linalg.vector_norm(C, dim=1, keepdim=True)
    first = torch.zeros_like(C)
    first[:, 0] = 1
    return torch.where(s > 0, C / torch.where(s > 0, s, 1.0), first), s[:, 0]


def _of_axes(op: Convolution, images: list[Tensor]) -> Picard:
    """By products of the singular vectors of the channels and of every axis."""
    channels, bases, values = separable.spectral_factors(op)
    sigma = torch.cat([S.flatten(1) for S in values], 1)
    split = [3 + a for a, axis in enumerate(bases) if len(axis) == 2]
    vectors = [[basis.U for basis in combination] for combination in product(*bases)]
    power, outside = sigma.new_zeros(()), sigma.new_zeros(())
    for y in images:
        X = contract(y.unflatten(1, (op.geometry.groups, -1)), _adjoint(channels.U), 2)
        coefficients, seen = [], []
        for Z, axes in zip(split_axes(X, split), vectors, strict=True):
            for dim, U in enumerate(axes, start=3):
                Z = contract(Z, _adjoint(U), dim)
            coefficients.append(Z.flatten(1))
            for dim, U in enumerate(axes, start=3):
                Z = contract(Z, U, dim)
            seen.append(Z)
        inside = contract(merge_axes(seen, reversed(split)), channels.U, 2).flatten(1, 2)
        power = power + _squares(torch.cat(coefficients, 1))
        outside = outside + _squares(y - inside).flatten(1).sum(1)
    return Picard(
        sigma=sigma,
        power=power,
        counts=torch.ones(sigma.shape[1], dtype=torch.long, device=sigma.device),
        outside=outside,
        parts=len(images) * (2 if op.dtype.is_complex else 1),
        rows=op.shape[0],
    )


def _adjoint(U: Tensor | None) -> Tensor | None:
    return None if U is None else U.mH


def _of_matrix(op: Convolution, images: list[Tensor]) -> Picard:
    U, S, _ = dense.spectral_factors(op)
    power, outside = S.new_zeros(()), S.new_zeros(())
    for y in images:
        column = y.flatten(1)[..., None]  # (N, m, 1)
        coefficients = U.mH @ column
        power = power + _squares(coefficients)[..., 0]
        outside = outside + _squares(column - U @ coefficients).sum((1, 2))
    return Picard(
        sigma=S,
        power=power,
        counts=torch.ones(S.shape[1], dtype=torch.long, device=S.device),
        outside=outside,
        parts=len(images) * (2 if op.dtype.is_complex else 1),
        rows=op.shape[0],
    )


def _squares(z: Tensor) -> Tensor:
    return z.real.square() + z.imag.square() if z.is_complex() else z.square()
