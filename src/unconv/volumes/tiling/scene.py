"""A scene and the data that a psf makes of it: which samples of the one belong to the other's.

y(i) = Σ_j taps(j) x(i + j), 0 ≤ j < k, with taps the psf turned round: row i of A reads the samples
i … i + k − 1 of the scene.  So data of n samples along an axis see a scene of n + k − 1, and
nothing is assumed of what lies around the data on any side.
"""

from __future__ import annotations

from collections.abc import Sequence

from .tiles import Region


def scene_shape(data: Sequence[int], k: Sequence[int]) -> tuple[int, ...]:
    """The shape of the scene that data of a shape see.

    Examples
    --------
    >>> scene_shape((8, 6), (3, 1))
    (10, 6)
    """
    return tuple(n + each - 1 for n, each in zip(data, k, strict=True))


def margins_of(k: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """How many samples the scene has before and after the data, the psf centred at k // 2.

    Examples
    --------
    >>> margins_of((3, 4))
    ((1, 1), (1, 2))
    """
    return tuple((each - 1 - each // 2, each // 2) for each in k)


def around(region: Region, reach: Sequence[int], shape: Sequence[int]) -> Region:
    """A region and what lies within some samples of it, as far as there is any.

    Examples
    --------
    >>> around((slice(4, 6),), (3,), (8,))
    (slice(1, 8, None),)
    """
    return tuple(
        slice(max(r.start - m, 0), min(r.stop + m, n))
        for r, m, n in zip(region, reach, shape, strict=True)
    )


def rows_within(region: Region, k: Sequence[int]) -> Region:
    """The data whose samples all lie in a region of the scene.

    Examples
    --------
    >>> rows_within((slice(4, 9),), (3,))
    (slice(4, 7, None),)
    """
    return tuple(slice(r.start, r.stop - each + 1) for r, each in zip(region, k, strict=True))
