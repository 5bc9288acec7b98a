"""The backward of a solve, in solves, with gradients in data, weight and damp.

Must hold: at most 1.3 solves, whatever the shape, and memory that does not grow with the
iterations.  Of one channel a solve by the *boundary* rung is one pair of transforms of two images
and a small system, and the gradient in the weight transforms four more (x, w, v, r), a quarter of
it: 1.3 is missed.  So it is on the *dense* rung, where two products with a matrix of 900 × 900 take
0.25 ms, and some sixty calls of torch beside them as long.  A completion's ratio depends on y, as
the steps for y and for g do: it is reached where both take as many, and missed where white y takes
9 and white g 11.  On the *fourier* and *cosine* rungs a solve is one pair of transforms, and so is
each further application of A, which the formulas need beside the solves: those rows are shown
without a limit.
Processor time of one thread, the least of several.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

import unconv

from .common import against, device, least_processor_times, medians, milliseconds, table

CIRCULAR = {"padding": 1, "padding_mode": "circular"}
ZEROS = {"padding": 1}


class Case(NamedTuple):
    """`solves` is None where the limit does not apply."""

    name: str
    weight: tuple[int, ...]
    size: tuple[int, ...]
    options: dict
    damp: float
    solves: float | None
    N: int = 1


CASES = (
    Case("square", (32, 32, 3, 3), (128, 128), ZEROS, 0.0, 1.3),
    Case("square, 4 images", (32, 32, 3, 3), (128, 128), ZEROS, 0.0, 1.3, 4),
    Case("damped, picture", (1, 1, 9, 9), (256, 256), {"padding": 4}, 0.05, 1.3),
    Case("damped, small damp", (1, 1, 9, 9), (256, 256), {"padding": 4}, 0.001, 1.3),
    Case("damped, valid", (1, 1, 9, 9), (264, 264), {}, 0.05, 1.3),
    Case("damped, 8 channels", (8, 8, 3, 3), (64, 64), ZEROS, 0.5, 1.3),
    Case("tall", (8, 4, 3, 3), (64, 64), ZEROS, 0.0, 1.3),
    Case("wide", (4, 8, 3, 3), (64, 64), ZEROS, 0.0, 1.3),
    Case("dense, square", (4, 4, 3, 3), (15, 15), ZEROS, 0.0, 1.3),
    Case("circular, square", (32, 32, 3, 3), (128, 128), CIRCULAR, 0.0, None),
    Case("circular, damped", (1, 1, 3, 3), (512, 512), CIRCULAR, 0.05, None),
)


def deficient(weight: Tensor) -> Tensor:
    """A kernel that does not see constants."""
    return torch.nn.functional.pad(weight, (1, 0)) - torch.nn.functional.pad(weight, (0, 1))


def weight_of(case: Case) -> Tensor:
    """Well enough conditioned that no solve is refined for long."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(*case.weight, dtype=torch.float64, generator=generator)
    if case.weight[0] == 1:
        return (weight.abs() / weight.abs().sum()).to(device())
    centre = tuple(k // 2 for k in case.weight[2:])
    for i in range(min(case.weight[:2])):
        weight[(i, i, *centre)] += 2 * case.weight[1]
    return weight.to(device())


def measure(case: Case, weight: Tensor) -> tuple[list[str], float]:
    """One row and the solves that a backward takes."""
    weight = weight.requires_grad_()
    damp = torch.tensor(case.damp, dtype=torch.float64, device=device(), requires_grad=True)
    A = unconv.ConvOperator(weight, case.size, **case.options)
    inverse = A.tikhonov(damp) if case.damp else A.pinv()
    y = torch.randn(case.N, *A.range_shape, dtype=torch.float64, device=device())
    y.requires_grad_()
    inputs = (y, weight, damp) if case.damp else (y, weight)
    x = inverse(y)
    g = torch.randn_like(x)
    candidates = {
        "solve": lambda: inverse.evaluate(y.detach(), adjoint=False),
        "forward": lambda: inverse(y),
        "backward": lambda: torch.autograd.grad(x, inputs, g, retain_graph=True),
    }
    if device().type == "cpu":
        times = least_processor_times(candidates, rounds=100, seconds=3)
    else:
        times = medians(candidates, rounds=15, seconds=15)
    ratio = times["backward"] / times["solve"]
    limit = "–" if case.solves is None else f"{case.solves}"
    shown = against(ratio, float("inf") if case.solves is None else case.solves)
    row = [case.name, inverse.method, *map(milliseconds, times.values()), shown, limit]
    return row, ratio


def main() -> bool:
    """Print the table; whether all are within the limits."""
    rows, good = [], True
    lines = Case("rank deficient", (4, 4, 3, 2), (32, 32), CIRCULAR | {"padding": 1}, 0.0, None)
    for case in (*CASES, lines):
        weight = weight_of(case)
        row, ratio = measure(case, deficient(weight) if case is lines else weight)
        rows.append(row)
        good &= case.solves is None or ratio <= case.solves
    header = ["operator", "rung", "solve ms", "forward ms", "backward ms", "solves", "limit"]
    print(table("Backward of a solve, float64", header, rows))
    return good
