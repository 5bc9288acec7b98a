"""One operator a method, small, each with an answer that is not trivial."""

from __future__ import annotations

from collections.abc import Callable

import torch

from unconv import ConvOperator, InverseOperator, psf

SIZE = (24, 20)


def _random(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _near_identity(channels: int) -> torch.Tensor:
    weight = 0.2 * _random(1, channels, channels, 3, 3)
    weight[range(channels), range(channels), 1, 1] += 5
    return weight


def _blur() -> torch.Tensor:
    return psf.gaussian(1.0)[None, None].double()


INVERSES: dict[str, Callable[[], InverseOperator]] = {
    "fourier": lambda: ConvOperator(
        _near_identity(3), SIZE, padding=1, padding_mode="circular"
    ).pinv(method="fourier"),
    "cosine": lambda: ConvOperator(
        _blur(), SIZE, padding="same", padding_mode="symmetric"
    ).tikhonov(0.05, method="cosine"),
    "separable": lambda: ConvOperator(_blur(), SIZE, padding="same").tikhonov(
        0.05, method="separable"
    ),
    "dense": lambda: ConvOperator(
        _random(2, 2, 1, 3, 3), (12, 12), padding=1, padding_mode="reflect"
    ).pinv(method="dense"),
    "boundary": lambda: ConvOperator(_near_identity(2), SIZE, padding=1).pinv(method="boundary"),
    "completion": lambda: ConvOperator(_random(3, 1, 1, 5, 5), SIZE).tikhonov(
        0.5, method="completion"
    ),
    "krylov": lambda: ConvOperator(_near_identity(2), SIZE, padding=1).tikhonov(
        0.1, method="krylov"
    ),
}


def data(inverse: InverseOperator, batch: int = 2) -> torch.Tensor:
    """Of the range of A, drawn anew from one seed."""
    return _random(7, batch, *inverse.domain_shape)
