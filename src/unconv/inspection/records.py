"""What an inspection finds, as plain records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

RTOLS = (1e-2, 1e-4, 1e-6, 1e-8)
"""Cut-offs at which rank and noise gain are told, beside the default one."""

NOISE_GAIN = 10.0
"""Growth of white noise above which damping is advised: 1 % of noise becomes 10 %."""


class Bounded(NamedTuple):
    """A number between bounds, and how they are known; inf and nan where nothing is."""

    value: float
    lower: float
    upper: float
    how: str


class Level(NamedTuple):
    """What a cut-off keeps.

    Attributes
    ----------
    rtol : σ ≤ rtol·σ_max count as zero
    rank, of : singular values kept, of how many
    noise_gain : rms of A⁺e for white noise e of rms 1
    """

    rtol: float
    rank: int
    of: int
    noise_gain: float


@dataclass(frozen=True)
class Transfer:
    """The response of a kernel to waves, zero frequency in the middle.

    Attributes
    ----------
    frequencies : one (M,) tensor an axis, cycles per sample
    largest, smallest : (*M), extremes of the singular values of F(ω) over all groups
    maximum, minimum : of them, the minimum refined between the points of the grid
    at : frequency of the minimum
    zeros : frequencies with |F| = 0 to round-off, those nearest to zero first, one of each ±ω
    """

    frequencies: tuple[Tensor, ...]
    largest: Tensor
    smallest: Tensor
    maximum: float
    minimum: float
    at: tuple[float, ...]
    zeros: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Inspection:
    """How well an operator can be undone.

    Attributes
    ----------
    shape, domain_shape, range_shape : of A
    boundary, stride, groups : its options
    kernel : (c_out, c_in/groups, *k), the taps as a cross-correlation kernel
    method, reason : how `pinv` would solve, and why
    sigma_max, sigma_min, cond : of A; a value that is only bounded is nan
    rank : of A at the default cut-off of `pinv`
    singular_values : descending, those of `values_of`
    values_of : 'A', or what stands in its place
    levels : for each of `RTOLS`, and last for the default of `pinv`
    transfer : the response of the kernel
    damp : at which white noise grows `NOISE_GAIN`-fold relative to a signal of gain σ_max; 0 if
        it never grows more
    damped_gain : what it grows at that damp
    advice, skipped : sentences
    """

    shape: tuple[int, int]
    domain_shape: tuple[int, ...]
    range_shape: tuple[int, ...]
    boundary: str
    stride: tuple[int, ...]
    groups: int
    kernel: Tensor
    method: str
    reason: str
    sigma_max: Bounded
    sigma_min: Bounded
    cond: Bounded
    rank: Bounded
    singular_values: Tensor
    values_of: str
    levels: tuple[Level, ...]
    transfer: Transfer
    damp: float
    damped_gain: float
    advice: tuple[str, ...]
    skipped: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Numbers, strings and lists only; of all singular values 21 quantiles."""
        plain = {
            k: v
            for k, v in vars(self).items()
            if k not in ("kernel", "singular_values", "transfer", "levels")
        }
        for name in ("sigma_max", "sigma_min", "cond", "rank"):
            plain[name] = plain[name]._asdict()
        S = self.singular_values
        index = torch.linspace(0, len(S) - 1, 21, dtype=torch.float64).round().long()
        transfer = {k: v for k, v in vars(self.transfer).items() if not _holds_tensors(v)}
        return {
            **plain,
            "kernel": list(self.kernel.shape),
            "singular_values": S[index].tolist(),
            "levels": [level._asdict() for level in self.levels],
            "transfer": transfer | {"grid": list(self.transfer.smallest.shape)},
        }


def _holds_tensors(value: object) -> bool:
    return isinstance(value[0] if isinstance(value, tuple) and value else value, Tensor)
