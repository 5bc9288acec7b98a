"""Complex convolutions out of real ones."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..grid.geometry import Geometry

Engine = Callable[[Tensor, Tensor, Geometry], Tensor]


def from_real_parts(engine: Engine, x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """A complex convolution as real ones: Re x and Im x as a batch, Re w and Im w in turn."""
    if not (x.is_complex() or weight.is_complex()):
        return engine(x, weight, geometry)
    N = x.shape[0]
    parts = torch.cat([x.real, x.imag]) if x.is_complex() else x

    def real_product(w: Tensor) -> Tensor:  # real w times x, as (N, c, *m)
        per_sample = w.ndim == geometry.nd + 3
        y = engine(parts, torch.cat([w, w]) if per_sample and x.is_complex() else w, geometry)
        return torch.complex(y[:N], y[N:]) if x.is_complex() else y

    if not weight.is_complex():
        return real_product(weight)
    real, imag = real_product(weight.real), real_product(weight.imag)
    if x.is_complex():
        return torch.complex(real.real - imag.imag, real.imag + imag.real)
    return torch.complex(real, imag)
