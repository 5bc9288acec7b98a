"""What a call costs beside its arithmetic: pictures so small that only the overhead is left.

The floor of A(x) and A.H(y) is torch's own convolution of the same tensors, that of A⁺y one FFT
pair and one product with a stored spectrum, called bare.  What is left above the floor is counted
in calls of an empty `nn.Module`, timed in the same run: a machine, its load and its version of
Python cancel.  Least times of many, on one thread.

The limits are half of what the calls took before every check was asked once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

import unconv

from .common import THREADS, against, table

ROUNDS, CALLS = 300, 20
SIZE = 8


class Case(NamedTuple):
    """A call, its floor, and the most empty calls that may lie between them."""

    run: Callable[[], Tensor]
    floor: Callable[[], Tensor]
    limit: float


class Empty(nn.Module):
    """What `nn.Module` takes by itself."""

    def forward(self, x: Tensor) -> Tensor:
        """x."""
        return x


def least_times(candidates: dict[str, Callable[[], object]]) -> dict[str, float]:
    """The least seconds of one call, of candidates that take turns."""
    least = dict.fromkeys(candidates, float("inf"))
    for _ in range(ROUNDS):
        for name, run in candidates.items():
            begin = time.perf_counter()
            for _ in range(CALLS):
                run()
            least[name] = min(least[name], (time.perf_counter() - begin) / CALLS)
    return least


def cases() -> dict[str, Case]:
    """The calls that are timed, float32 and one channel."""
    weight, x = torch.randn(1, 1, 3, 3) + 5 * torch.eye(3), torch.randn(1, 1, SIZE, SIZE)
    A = unconv.ConvOperator(weight, (SIZE, SIZE), padding=1)
    circular = unconv.ConvOperator(weight, (SIZE, SIZE), padding=1, padding_mode="circular")
    y, adjoint, inverse = A(x), A.H, circular.pinv()
    spectrum = torch.fft.rfftn(x, dim=(-2, -1))

    def filtered() -> Tensor:
        Y = spectrum * torch.fft.rfftn(y, dim=(-2, -1))
        return torch.fft.irfftn(Y, s=(SIZE, SIZE), dim=(-2, -1))

    def convolved() -> Tensor:
        return nn.functional.conv2d(x, weight, padding=1)

    def transposed() -> Tensor:
        return nn.functional.conv_transpose2d(y, weight, padding=1)

    return {
        "A(x)": Case(lambda: A(x), convolved, 14.7),
        "A.H(y)": Case(lambda: A.H(y), transposed, 28.0),
        "A.H(y), A.H kept": Case(lambda: adjoint(y), transposed, 20.0),
        "A.pinv()(y), kept": Case(lambda: inverse(y), filtered, 46.0),
    }


def main() -> bool:
    """Print the table; whether every overhead is within its limit."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    empty, x, found = Empty(), torch.zeros(1), cases()
    candidates: dict[str, Callable[[], object]] = {"empty": lambda: empty(x)}
    for name, case in found.items():
        candidates[name], candidates["floor of " + name] = case.run, case.floor
    times = least_times(candidates)
    torch.set_num_threads(THREADS)
    rows, good = [], True
    for name, case in found.items():
        ours, floor = times[name], times["floor of " + name]
        overhead = (ours - floor) / times["empty"]
        good &= overhead <= case.limit
        shown = [f"{1e6 * t:.1f}" for t in (floor, ours, times["empty"])]
        rows.append([name, *shown, against(overhead, case.limit, ".1f"), f"{case.limit}"])
    header = ["call", "floor", "ours", "empty module", "overhead in empty calls", "limit"]
    print(table(f"calls, 1 channel, {SIZE}×{SIZE}, float32, µs", header, rows), flush=True)
    return good
