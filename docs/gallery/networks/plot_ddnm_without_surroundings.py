"""
Diffusion steps with the exact A⁺
=================================

Samplers such as DDNM ask an operator for one thing: put in what the data say, ``x + A⁺(y − Ax)``,
and leave the rest to the denoiser. With the true operator of a camera (nothing known outside) that
step is exact. With the periodic one that is used for convenience, data and denoiser contradict each
other at the edges.
"""

import matplotlib.pyplot as plt
import torch
from skimage import data

import unconv
from unconv import psf
from unconv.restoration import sliding_dct

lens = psf.disk(3.0)[None, None]
scene = torch.from_numpy(data.camera()[60:226, 150:316] / 255.0)[None, None]
camera = unconv.ConvOperator(lens, scene.shape[2:])
noise_std = 0.005
y = camera(scene)
y = y + noise_std * torch.randn(y.shape, dtype=y.dtype, generator=torch.manual_seed(0))
periodic = unconv.ConvOperator(lens, y.shape[2:], padding=3, padding_mode="circular")


# %%
# The loop: a denoiser for falling levels of noise, and the data put back after each. For data
# without noise the step is A⁺; with noise it is A⁺ damped by noise over level, as in DDNM+, ΠGDM
# and DiffPIR. The denoiser is one that needs no training; a network takes its place.


def restored(A, x, levels=14):
    """Denoise and put the data back, from strong to weak."""
    for level in torch.logspace(-0.6, -1.8, levels).tolist():
        x = sliding_dct(x, level)
        x = x + A.tikhonov(noise_std / level)(y - A(x))
    return sliding_dct(x, level)


start = torch.nn.functional.pad(y, [3] * 4, mode="replicate")
ours = restored(camera, start)[..., 3:-3, 3:-3]
theirs = restored(periodic, y)
sharp = scene[..., 3:-3, 3:-3]


def psnr(picture, rim=None):
    """PSNR in dB, of the whole or of a rim that many samples wide."""
    error = (picture - sharp).square()
    if rim is not None:
        outside = torch.ones_like(error, dtype=torch.bool)
        outside[..., rim:-rim, rim:-rim] = False
        error = error[outside]
    return float(-10 * error.mean().log10())


panels = {"blurred": y, "periodic A": theirs, "true A": ours, "scene": sharp}
fig, axes = plt.subplots(1, 4, figsize=(11, 3.3), layout="constrained")
for axis, (name, picture) in zip(axes, panels.items(), strict=True):
    axis.imshow(picture[0, 0], cmap="gray", vmin=0, vmax=1)
    text = "" if name == "scene" else f"\n{psnr(picture):.1f} dB, rim {psnr(picture, 12):.1f} dB"
    axis.set_title(name + text)
    axis.axis("off")

# %%
# ``A.as_deepinv()`` hands the same exact maps to the samplers of deepinv.
