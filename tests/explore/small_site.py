"""A site about a small blurred picture, and a command that only remembers."""

from __future__ import annotations

from typing import Any

import torch

from unconv import psf
from unconv.explore.choice import Choice
from unconv.explore.site import Site
from unconv.explore.subject import Subject
from unconv.pictures import blur

CHOICE: dict[str, Any] = {
    "family": "disk",
    "numbers": [2.0],
    "prior": "wiener",
    "strength": None,
    "damp": None,
    "light": "auto",
}
REGION: dict[str, Any] = {"x": 10, "y": 5, "width": 64, "height": 56}


def photograph(size: int = 128, channels: int = 1, radius: float = 2.0, seed: int = 0):
    """(C, size, size) blurred by a disk, with noise."""
    generator = torch.Generator().manual_seed(seed)
    n = size + 12
    fy, fx = torch.fft.fftfreq(n).double(), torch.fft.rfftfreq(n).double()
    law = torch.hypot(fy[:, None], fx).clamp(min=1 / n) ** -1.4
    white = torch.randn(channels, n, n, generator=generator, dtype=torch.float64)
    scene = torch.fft.irfft2(torch.fft.rfft2(white) * law, s=(n, n))
    scene = 0.5 + 0.15 * (scene - scene.mean()) / scene.std()
    seen = blur(scene, psf.disk(radius), boundary="valid", noise_std=0.004, seed=seed)
    return seen[:, :size, :size].contiguous()


class Remembered:
    """A command that saves nothing."""

    def __init__(self) -> None:
        self.saved: list[Choice] = []

    def line(self, choice: Choice) -> str:
        return f"unconv deblur y.png -o x.png --psf {choice.psf_text}"

    def save(self, choice: Choice, say) -> dict[str, Any]:
        say("restoring")
        self.saved.append(choice)
        return {"path": "x.png", "said": []}


def small_site(**options: Any) -> Site:
    subject = Subject("y.png", photograph(), None, True)
    return Site(subject, Remembered(), **options)
