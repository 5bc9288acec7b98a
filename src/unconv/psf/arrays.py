"""What may be a psf at all, and its rim: shared by everything that takes one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..numerics.checks import check_all_finite, check_count, check_dense, is_sequence, shown


def psf_array(values: Tensor, name: str = "a psf") -> Tensor:
    """The values as float64, if they may be a psf: a finite, real array of a plane or a volume.

    Parameters
    ----------
    values : (h, w) or (d, h, w), real
    name : of the argument, for the sentence

    Raises
    ------
    ValueError, TypeError
        If it is none.

    Examples
    --------
    >>> import torch
    >>> psf_array(torch.ones(1, 2))
    tensor([[1., 1.]], dtype=torch.float64)
    """
    if check_dense(name, values).is_complex():
        raise TypeError(
            f"{name} must be real, got a complex tensor; take its real part or modulus."
        )
    if values.ndim not in (2, 3) or values.numel() == 0:
        raise ValueError(
            f"{name} must be a 2-D grey array or a 3-D volume, got shape {tuple(values.shape)}; "
            "pass one channel without an axis for it."
        )
    values = values.to(torch.float64)
    check_all_finite(name.replace("a psf", "the psf"), values, "remove them")
    return values


def psf_with_light(values: Tensor, name: str = "a psf") -> Tensor:
    """As `psf_array`, with a positive sample at least."""
    values = psf_array(values, name)
    if float(values.max()) <= 0:
        raise ValueError(
            f"{name.replace('a psf', 'the psf')} has no positive sample; check its file and its "
            "background."
        )
    return values


def rim(values: Tensor) -> Tensor:
    """The outermost samples of a plane, or of that plane of a volume in which they are darkest.

    Out of focus a psf spreads over its planes and over their rims, which is no background: that is
    in all planes.
    """
    inner = torch.ones_like(values, dtype=torch.bool)
    inner[..., 1:-1, 1:-1] = False
    if values.ndim == 2:
        return values[inner]
    rims = values[inner].reshape(len(values), -1)
    return rims[int(rims.median(1).values.argmin())]


def center_of_mass(shape: Tensor) -> tuple[float, ...]:
    """From the centre n//2, in samples, an axis."""
    total = float(shape.sum())
    found = []
    for dim, n in enumerate(shape.shape):
        line = marginal(shape, dim)
        found.append(float((torch.arange(n, dtype=line.dtype) - n // 2) @ line) / total)
    return tuple(found)


def marginal(values: Tensor, dim: int) -> Tensor:
    """Sums over all axes but one."""
    others = [d for d in range(values.ndim) if d != dim]
    return values.sum(others).cpu()


def odd_sizes(size: int | Sequence[int], picture: Tensor) -> tuple[int, ...]:
    """Sizes of a psf along the axes of a picture: odd, and no larger than it.

    Parameters
    ----------
    size : of every axis, or one per axis
    picture : of the axes that the psf has

    Raises
    ------
    ValueError, TypeError
        If there are none of such sizes.

    Examples
    --------
    >>> odd_sizes(5, torch.ones(9, 8)), odd_sizes((3, 7), torch.ones(9, 8))
    ((5, 5), (3, 7))
    """
    sizes = (size,) * picture.ndim if isinstance(size, int) else size
    if not is_sequence(sizes):
        raise TypeError(f"size={shown(size)} must be an odd integer, or one for each axis.")
    if len(sizes) != picture.ndim:
        raise ValueError(f"size={shown(size)} must have {picture.ndim} numbers, one for each axis.")
    for k, n in zip(sizes, picture.shape, strict=True):
        if check_count("size", k) % 2 == 0:
            raise ValueError(
                f"size={shown(size)} must be odd, so that a psf has a middle; use {k + 1}."
            )
        if k > n:
            raise ValueError(
                f"size={shown(size)} is larger than the picture, {tuple(picture.shape)}; take a "
                "smaller one."
            )
    return tuple(sizes)
