"""The extension E of the domain to the padded samples, and its adjoint.

E copies: a padded ("ghost") sample equals one sample of the domain, so along each axis

    x̃ = [x[left]; x; x[right]],        Eᴴ x̃ = core(x̃) + scatter-add of both strips.

`zeros` needs no copy and is left to the convolution itself.  Modes in SciPy's and NumPy's words:
`reflect` is 'mirror' (d c b | a b c d), `symmetric` is 'reflect' of scipy.ndimage (c b a | a b c),
`replicate` is 'nearest' or 'edge', `circular` is 'wrap'.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .geometry import Axis, Geometry


def ghost_sources(axis: Axis) -> tuple[list[int], list[int]]:
    """Index of the domain sample that each ghost copies: (before the domain, behind it).

    Examples
    --------
    >>> ghost_sources(Axis(n=4, m=4, k=5, stride=1, dilation=1, before=2, after=2, mode="reflect"))
    ([2, 1], [2, 1])
    """
    n = axis.n
    outside = [*range(-axis.before, 0), *range(n, n + axis.after)]
    match axis.mode:
        case "circular":
            source = [i % n for i in outside]
        case "replicate":
            source = [min(max(i, 0), n - 1) for i in outside]
        case "reflect":
            source = [-i if i < 0 else 2 * (n - 1) - i for i in outside]
        case "symmetric":
            source = [-i - 1 if i < 0 else 2 * n - 1 - i for i in outside]
        case _:
            raise AssertionError(f"{axis.mode} has no ghost sources")
    return source[: axis.before], source[axis.before :]


def extend(x: Tensor, geometry: Geometry) -> Tensor:  # (N, C, *n) -> (N, C, *padded)
    """E x: append the ghosts of every axis that is not padded with zeros."""
    for dim, axis in enumerate(geometry.axes, start=2):
        if axis.mode == "zeros" or not (axis.before or axis.after):
            continue
        left, right = (torch.tensor(s, device=x.device) for s in ghost_sources(axis))
        strips = [x.index_select(dim, left.long()), x, x.index_select(dim, right.long())]
        x = torch.cat(strips, dim)
    return x


def extend_adjoint(x: Tensor, geometry: Geometry) -> Tensor:  # (N, C, *padded) -> (N, C, *n)
    """Eᴴ x: add every ghost onto the sample that it copied."""
    for dim, axis in reversed(list(enumerate(geometry.axes, start=2))):
        if axis.mode == "zeros" or not (axis.before or axis.after):
            continue
        left, right = (torch.tensor(s, device=x.device).long() for s in ghost_sources(axis))
        core = x.narrow(dim, axis.before, axis.n)
        core = core.index_add(dim, left, x.narrow(dim, 0, axis.before))
        x = core.index_add(dim, right, x.narrow(dim, axis.before + axis.n, axis.after))
    return x
