"""Training on blurred, noisy patches, and the comparison on pictures that were held out."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from unconv import ConvOperator
from unconv.pictures.restoration import frame

from .network import UnrolledDeblurring
from .pictures import draw_patches

NOISE_STD = 0.01
BATCH, PATCH = 8, 48
RATE, DAMP_RATE = 4e-3, 4e-2  # at their highest: a damp may have far to go
DAMPS = (0.07, 0.1, 0.14, 0.2, 0.28)


class Restored(NamedTuple):
    """One held-out picture, in the frame that the camera saw.

    Attributes
    ----------
    planes : (m₁, m₂) of the 'original', 'blurred', 'tikhonov', 'gradient' and 'unrolled'
    psnr : in dB, of all but the original
    damps : of the two baselines, the best on the DAMPS for this very picture
    """

    planes: dict[str, Tensor]
    psnr: dict[str, float]
    damps: dict[str, float]


def train(
    network: UnrolledDeblurring,
    pictures: list[Tensor],
    steps: int,
    seed: int = 0,
    progress: Callable[[int, float], None] | None = None,
) -> list[float]:
    """`steps` steps of Adam on the mean square error in the frame; the loss at each step.

    progress hears of every step: its number from 1, and the loss.
    """
    generator = torch.Generator().manual_seed(seed)
    groups = [
        {"params": network.denoisers.parameters()},
        {"params": network.solves.parameters()},
    ]
    optimizer = torch.optim.Adam(groups)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, [RATE, DAMP_RATE], steps)
    losses = []
    for step in range(1, steps + 1):
        x = draw_patches(pictures, BATCH, PATCH, generator)
        y = observe(network, x, generator)
        loss = in_frame(network, network(y) - x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
        if progress is not None:
            progress(step, losses[-1])
    return losses


def observe(network: UnrolledDeblurring, x: Tensor, generator: torch.Generator) -> Tensor:
    """Scenes (N, 1, n₁, n₂) as the camera sees them, blurred and noisy: (N, 1, m₁, m₂)."""
    y = network.blur(x)
    return y + NOISE_STD * torch.randn(y.shape, generator=generator)


def in_frame(network: UnrolledDeblurring, scene: Tensor) -> Tensor:
    """The part of scenes (N, 1, n₁, n₂) that lies in the frame: (N, 1, m₁, m₂)."""
    return frame(scene[:, 0], network.blur.weight[0, 0])[:, None]


@torch.no_grad()
def restore(network: UnrolledDeblurring, picture: Tensor, seed: int = 0) -> Restored:
    """Blur a held-out picture (H, W), restore it by the network and by Tikhonov, and compare."""
    x = picture[None, None]
    y = observe(network, x, torch.Generator().manual_seed(seed))
    original = in_frame(network, x)
    A = ConvOperator.from_module(network.blur, picture.shape)
    shown = {"blurred": y}
    damps = {}
    for name, penalty in (("tikhonov", None), ("gradient", "gradient")):
        trials = {d: in_frame(network, tikhonov(A, y, d, penalty)) for d in DAMPS}
        damps[name] = max(trials, key=lambda d: psnr(trials[d], original))
        shown[name] = trials[damps[name]]
    shown["unrolled"] = in_frame(network, network(y))
    scores = {name: psnr(planes, original) for name, planes in shown.items()}
    planes = {name: v[0, 0] for name, v in {"original": original, **shown}.items()}
    return Restored(planes, scores, damps)


def tikhonov(A: ConvOperator, y: Tensor, damp: float, penalty: str | None = None) -> Tensor:
    """argmin ‖A x − y‖² + damp²‖L(x − x₀)‖², x₀ = the mean of y; L = 1, or the gradient."""
    mean = y.mean().expand(1, *A.domain_shape)
    return mean + A.lstsq(y - A(mean), damp, penalty=penalty, tol=1e-3).solution


def psnr(x: Tensor, original: Tensor) -> float:
    """In dB, of pictures in [0, 1], clipped as shown."""
    return -10 * math.log10(float((x.clamp(0, 1) - original).square().mean()))
