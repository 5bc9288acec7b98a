"""The spectral norm of a layer in training: what it is, what it costs, beside two stand-ins.

    torch      `torch.nn.utils.parametrizations.spectral_norm`: the norm of the reshaped weight
    circular   the largest singular value over all frequencies, as if the layer padded circularly
    ours       `unconv.nn.utils.spectral_norm`: of the layer as it is, followed by one step a call
    ours, 4    the same by four steps a call

Each normalises the same layer to norm 1.  The true norm of the normalised layer should then be 1;
it is measured before training and after 5 and 50 steps of Adam against random data, whose loss
rewards a larger norm.  Times are processor times of one thread, a step being forward, backward and
update, as multiples of a step of the bare layer.

Must hold for ours: 1 within 1e-6 in evaluation, within 5 % after 50 steps, no dearer than circular.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from unconv import ConvOperator
from unconv.nn.utils import spectral_norm

from .common import least_processor_times, table

WAYS = "bare", "torch", "circular", "ours", "ours, 4"
EARLY, STEPS, BATCH, RATE = 5, 50, 16, 1e-3
EXACT, CLOSE = 1e-6, 0.05


class Layer(NamedTuple):
    """A layer and the size of its pictures."""

    name: str
    make: Callable[[], nn.Conv2d]
    size: tuple[int, int]


LAYERS = (
    Layer("3 → 16, 3×3, zeros", lambda: nn.Conv2d(3, 16, 3, padding=1), (32, 32)),
    Layer("16 → 16, 3×3, zeros", lambda: nn.Conv2d(16, 16, 3, padding=1), (32, 32)),
    Layer("16 → 32, 3×3, stride 2", lambda: nn.Conv2d(16, 32, 3, padding=1, stride=2), (32, 32)),
    Layer("8 → 8, 7×7, reflect", lambda: _reflecting(8, 7), (32, 32)),
)


def _reflecting(channels: int, side: int) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, side, padding=side // 2, padding_mode="reflect")


class _Circular(nn.Module):
    """weight ↦ weight / max over frequencies, through an SVD of every block (Sedghi et al., 2019).

    Of a layer with stride it is the norm before samples are left out.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size

    def forward(self, weight: Tensor) -> Tensor:
        blocks = torch.fft.fft2(weight, s=self.size).permute(2, 3, 0, 1)
        return weight / torch.linalg.matrix_norm(blocks, 2).amax()


def ways(layer: Layer) -> dict[str, nn.Module]:
    """The same layer, normalised in each way."""
    torch.manual_seed(0)
    bare = layer.make()
    found = {name: copy.deepcopy(bare) for name in WAYS}
    parametrizations.spectral_norm(found["torch"])
    parametrize.register_parametrization(found["circular"], "weight", _Circular(layer.size))
    spectral_norm(found["ours"], layer.size)
    spectral_norm(found["ours, 4"], layer.size, steps=4)
    return found


def true_norm(module: nn.Module, layer: Layer, *, training: bool) -> float:
    """σ_max of a copy, which leaves the vectors of the module alone."""
    twin = copy.deepcopy(module).train(training)
    with torch.no_grad():
        A = ConvOperator.from_module(twin, layer.size)
        return float(A.with_weight(A.weight.double()).norm())


def one_step(module: nn.Module, layer: Layer) -> Callable[[], None]:
    """A step of training, with data that are drawn once."""
    optimizer = torch.optim.Adam(module.parameters(), lr=RATE)
    x = torch.randn(BATCH, module.in_channels, *layer.size)

    def step() -> None:
        loss = -module(x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


class Found(NamedTuple):
    """The true norm before training, after a few steps and at the end, and the time of a step."""

    before: float
    early: float
    late: float
    evaluation: float
    time: float


def measured(layer: Layer) -> dict[str, Found]:
    """What each way makes of a layer."""
    modules = ways(layer)
    steps = {n: one_step(m, layer) for n, m in modules.items()}
    norms = {n: _trained(m, layer, steps[n]) for n, m in modules.items()}
    times = least_processor_times(steps, rounds=9, seconds=6)
    return {n: Found(*norms[n], times[n] / times["bare"]) for n in modules if n != "bare"}


def _trained(module: nn.Module, layer: Layer, step: Callable[[], None]) -> list[float]:
    norms = [true_norm(module, layer, training=False)]
    for done in range(1, STEPS + 1):
        step()
        if done in (EARLY, STEPS):
            norms.append(true_norm(module, layer, training=True))
    return [*norms, true_norm(module, layer, training=False)]


def main() -> bool:
    """Print the table; whether ours holds what it must."""
    torch.set_num_threads(1)
    rows, good = [], True
    for layer in LAYERS:
        found = measured(layer)
        for name, one in found.items():
            rows.append([layer.name, name, *(f"{x:.4f}" for x in one[:4]), f"{one.time:.2f}"])
        ours = found["ours"]
        good &= abs(ours.evaluation - 1) < EXACT and abs(ours.late - 1) < CLOSE
        good &= ours.time <= found["circular"].time
    heads = ["layer", "by", "at the start", f"after {EARLY} steps", f"after {STEPS}"]
    heads += ["in evaluation", "step / bare"]
    print(table("true norm of layers that were given norm 1", heads, rows))
    return good
