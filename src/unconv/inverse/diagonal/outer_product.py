"""Kernels that are outer products, and the matrix of a convolution along one axis.

    weight[b, g, o, i, t₁, t₂, …] ≈ M[b, g, o, i] · k₁[b, g, t₁] · k₂[b, g, t₂] · …

The vector of an axis is found by one power step on the unfolding along it, started from its
strongest row.  For an exact outer product that row is the answer already; for one that is off by
ε the step leaves an error of ε², so what remains is the distance to the nearest outer product.
Such a convolution is a Kronecker product: A = M ⊗ A₁ ⊗ A₂ ⊗ …, with boundary and stride in A_a.

Source: Van Loan & Pitsianis, "Approximation with Kronecker products", 1993, §3; De Lathauwer, De
Moor & Vandewalle, "On the best rank-1 and rank-(R₁, …, R_N) approximation of higher-order tensors",
SIAM J. Matrix Anal. Appl. 21 (2000), §3.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...grid.geometry import Axis
from ...grid.padding import line_of
from ...numerics.norms import in_unit
from ...numerics.precision import double_dtype

_PARALLEL = 8 * torch.finfo(torch.float64).eps  # unit vectors closer than this are the same


@dataclass(frozen=True)
class OuterProduct:
    """The nearest outer product of every kernel set b and group g, in double precision.

    Attributes
    ----------
    channels : (B, g, c_out/g, c_in/g), in units of `scale`
    kernels : (B, g, k_a) an axis, of length one; (1, 1, k_a) where all share it
    scale : (B,) what the weight was divided by, > 0
    error : (B, g) distance from the weight, relative to the weight; nan where that is not finite
    """

    channels: Tensor
    kernels: tuple[Tensor, ...]
    scale: Tensor
    error: Tensor


def nearest_outer_product(weight: Tensor) -> OuterProduct:  # (B, g, o, i, *k)
    """Factor a kernel by groups (`convolve.grouped`), in double precision."""
    weight = weight.to(double_dtype(weight.dtype))
    unit, size = in_unit(weight, 2)  # (B, g); squares must not underflow
    kernels = [_strongest_direction(unit, 4 + a) for a in range(weight.ndim - 4)]
    channels = unit
    for k in reversed(kernels):
        channels = torch.einsum("bg...k,bgk->bg...", channels, k.conj())
    product = channels
    for k in kernels:
        product = torch.einsum("bg...,bgk->bg...k", product, k)
    norm = torch.linalg.vector_norm(unit.flatten(2), dim=2)
    error = torch.linalg.vector_norm((unit - product).flatten(2), dim=2)
    _, scale = in_unit(weight)
    size = torch.minimum(size, scale[:, None])  # the unit of a group of zeros is 1, and may be more
    return OuterProduct(
        channels=channels * (size / scale[:, None])[..., None, None],
        kernels=_tidied(kernels),
        scale=scale,
        error=error / _nonzero(norm),
    )


def _strongest_direction(unit: Tensor, dim: int) -> Tensor:  # (B, g, o, i, *k) -> (B, g, k_a)
    rows = unit.movedim(dim, 2).flatten(3)  # (B, g, k_a, rest)
    strongest = torch.linalg.vector_norm(rows, dim=3).argmax(2)
    row = rows.take_along_dim(strongest[..., None, None], 2)
    k = (rows @ row.mH)[..., 0]
    return k / _nonzero(torch.linalg.vector_norm(k, dim=2, keepdim=True))


def _tidied(kernels: list[Tensor]) -> tuple[Tensor, ...]:
    """Make kernels equal or symmetric that are so but for rounding: each saves factors later."""
    tidy: list[Tensor] = []
    for k in kernels:
        if _same(k, k[:1, :1]):
            k = k[:1, :1]
        if _same(k, k.flip(2)):
            k = (k + k.flip(2)) / 2
        k = next((other for other in tidy if _same(k, other)), k)
        tidy.append(k)
    return tuple(tidy)


def _same(k: Tensor, other: Tensor) -> bool:
    if k.shape[2] != other.shape[2] or other.shape[:2] not in (k.shape[:2], (1, 1)):
        return False
    return bool(((k - other).abs() <= _PARALLEL).all())


def _nonzero(size: Tensor) -> Tensor:
    return torch.where(size == 0, 1.0, size)


def axis_matrix(axis: Axis, k: Tensor) -> Tensor:  # (..., k_a) -> (..., m, n)
    """The matrix P·C·E of a convolution along one axis.

    Examples
    --------
    >>> axis = Axis(n=3, m=3, k=3, stride=1, dilation=1, before=1, after=1, mode="replicate")
    >>> axis_matrix(axis, torch.tensor([1.0, 2.0, 3.0]))
    tensor([[3., 3., 0.],
            [1., 2., 3.],
            [0., 1., 5.]])
    """
    m, n = axis.m, axis.n
    i = torch.arange(m, device=k.device)[:, None]
    read = i * axis.stride + torch.arange(axis.k, device=k.device) * axis.dilation  # (m, k)
    A = k.new_zeros(*k.shape[:-1], m * n)
    for source, factor in zip(*map(torch.from_numpy, line_of(axis)), strict=True):
        entries = (i * n + source.to(k.device)[read]).flatten()
        values = k[..., None, :] * factor.to(k.device, k.dtype)[read]
        A = A.index_add(-1, entries, values.flatten(-2))
    return A.unflatten(-1, (m, n))


def is_centrosymmetric(axis: Axis, k: Tensor) -> bool:
    """Whether `axis_matrix` is unchanged when its rows and its columns are reversed.

    The kernel is its own flip, the first tap reaches as far over the one end as the last tap over
    the other, and the padding there is its own mirror image.
    """
    centred = (axis.m - 1) * axis.stride + axis.extent == axis.n + 2 * axis.before
    alike = axis.pads_zeros or axis.pads.reversible(axis.before)
    return centred and alike and torch.equal(k, k.flip(-1))
