"""A deblurring network whose layers solve the physics: Tikhonov steps and small denoisers in turn.

Each stage takes an estimate z of the scene, makes it agree with the data, and cleans the result:

    x = argmin ‖A x − y‖² + damp²‖x − z‖² = z + (AᴴA + damp²)⁻¹Aᴴ (y − A z)
    z ← x + D(x)

with a damp and a small convolutional D of its own, both learnt.  The blur A is known and stays as
it is: the solve is exact and has one parameter, so that D alone has to know what pictures look
like.  A starts from the grey of y, and the first x is what plain Tikhonov gives.

Source: Aggarwal, Mani & Jacob, "MoDL: model-based deep learning architecture for inverse problems",
IEEE Trans. Med. Imaging 38 (2019); the half-quadratic splitting that it unrolls is Geman & Yang's,
IEEE Trans. Image Process. 4 (1995).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unconv.nn import TikhonovConv2d

STAGES = 4
CHANNELS = 24
FIRST_DAMP, DECAY = 0.3, 0.7


class UnrolledDeblurring(nn.Module):
    """y ↦ the scene, for one psf and whatever noise it was trained with.

    Parameters
    ----------
    psf : (h, w), as in `unconv.psf`
    stages : number of solves, each followed by a denoiser
    channels : of the denoisers
    """

    def __init__(self, psf: Tensor, stages: int = STAGES, channels: int = CHANNELS) -> None:
        super().__init__()
        # valid: what lies outside the frame is part of the unknown scene, as for a camera
        self.blur = nn.Conv2d(1, 1, tuple(psf.shape), bias=False)
        with torch.no_grad():
            self.blur.weight.copy_(psf.flip(0, 1))  # torch correlates, light convolves
        self.blur.requires_grad_(False)
        self.solves = nn.ModuleList(
            TikhonovConv2d.from_conv(self.blur, damp=FIRST_DAMP * DECAY**k) for k in range(stages)
        )
        self.denoisers = nn.ModuleList(Denoiser(channels) for _ in range(stages))

    def forward(self, y: Tensor) -> Tensor:
        """Blurred (N, 1, m₁, m₂) -> scene (N, 1, m₁+h−1, m₂+w−1)."""
        h, w = self.blur.kernel_size
        z = y.mean((-2, -1), keepdim=True).expand(-1, -1, y.shape[-2] + h - 1, y.shape[-1] + w - 1)
        for solve, denoise in zip(self.solves, self.denoisers, strict=True):
            x = z + solve(y - self.blur(z))
            z = x + denoise(x)
        return z


class Denoiser(nn.Sequential):
    """Three convolutions that predict what is to be added; nothing at first."""

    def __init__(self, channels: int) -> None:
        super().__init__(
            nn.Conv2d(1, channels, 3, padding=1, padding_mode="replicate"),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, 1, 3, padding=1),
        )
        nn.init.zeros_(self[-1].weight)
        nn.init.zeros_(self[-1].bias)
