"""A small denoiser for all noise levels from 0.005 to 1, and its training.

    D(x, σ) = c_skip·x + c_out·F(c_in·x, log σ),     x minus the mean grey

F is nine dilated convolutions on the four pixels of a 2 × 2 block as channels.  The factors of
Karras et al., "Elucidating the design space of diffusion-based generative models", NeurIPS 2022,
Table 1, let F be of order one at every level; dilation as in Zhang et al., "Learning deep CNN
denoiser prior for image restoration", CVPR 2017.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from ..unrolled_deblurring.pictures import draw_patches

WEIGHTS = Path(__file__).with_name("denoiser.npz")
SMALLEST, LARGEST = 0.005, 1.0  # σ
BATCH, PATCH, RATE = 16, 64, 1e-3

_GREY, _SPREAD = 0.45, 0.25  # mean and standard deviation of grey values
_WIDTH, _DILATIONS = 48, (1, 1, 2, 4, 4, 2, 1)


class Denoiser(nn.Module):
    """D(x, σ) for grey pictures (N, 1, H, W) in [0, 1], H and W even; σ one number, or N."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(5, _WIDTH, 3, padding=1, padding_mode="reflect")]
        for d in _DILATIONS:
            same = {"padding": d, "dilation": d, "padding_mode": "reflect"}
            layers += [nn.SiLU(), nn.Conv2d(_WIDTH, _WIDTH, 3, **same)]
        layers += [nn.SiLU(), nn.Conv2d(_WIDTH, 4, 3, padding=1, padding_mode="reflect")]
        for layer in layers[::2]:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")  # or little gets through
            nn.init.zeros_(layer.bias)
        self.network = nn.Sequential(*layers)

    def forward(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        """The mean of clean pictures that x, with white noise of this σ, may have been."""
        s = torch.as_tensor(sigma, dtype=x.dtype, device=x.device).reshape(-1, 1, 1, 1)
        total = torch.hypot(s, torch.tensor(_SPREAD))
        centred = x - _GREY
        found = self._of_order_one(centred / total, s)
        return _GREY + (_SPREAD / total) ** 2 * centred + s * _SPREAD / total * found

    def _of_order_one(self, x: Tensor, sigma: Tensor) -> Tensor:
        blocks = pixel_unshuffle(x, 2)
        level = (sigma.log() / 4).expand(len(x), 1, *blocks.shape[2:])
        return pixel_shuffle(self.network(torch.cat([blocks, level], 1)), 2)

    def loss(self, clean: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
        """Mean square of what F misses."""
        total = torch.hypot(sigma, torch.tensor(_SPREAD))
        error = self(clean + sigma * noise, sigma) - clean
        return (error * total / (sigma * _SPREAD)).square().mean()


def train(
    pictures: list[Tensor],
    steps: int,
    seed: int = 0,
    progress: Callable[[int, float], None] | None = None,
) -> Denoiser:
    """A denoiser after so many steps of Adam; progress hears of every step and its loss."""
    torch.manual_seed(seed)
    denoiser = Denoiser()
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(denoiser.parameters(), RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, steps, pct_start=0.1)
    low, high = math.log(SMALLEST), math.log(LARGEST)
    for step in range(1, steps + 1):
        clean = draw_patches(pictures, BATCH, PATCH, generator)
        noise = torch.randn(clean.shape, generator=generator)
        sigma = (low + (high - low) * torch.rand(BATCH, 1, 1, 1, generator=generator)).exp()
        loss = denoiser.loss(clean, noise, sigma)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(denoiser.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if progress is not None:
            progress(step, float(loss.detach()))
    return denoiser.eval()


def save(denoiser: Denoiser, file: Path) -> None:
    """Its weights in half precision."""
    state = {k: v.half().numpy() for k, v in denoiser.state_dict().items()}
    np.savez_compressed(file, **state)


def load_denoiser(file: Path = WEIGHTS) -> Denoiser:
    """A denoiser with the weights of a file, by default those that come with this example."""
    denoiser = Denoiser()
    with np.load(file, allow_pickle=False) as stored:
        state = {k: torch.from_numpy(stored[k]).float() for k in stored.files}
    denoiser.load_state_dict(state)
    return denoiser.eval().requires_grad_(False)
