"""
Your own denoiser as a prior
============================

``unconv.restore`` takes any function ``denoise(x, sigma)`` for a prior: a network, BM3D, or as here
the non-local means of scikit-image. After each call the data are put back by one exact solve.
"""

import matplotlib.pyplot as plt
import torch
from skimage import data
from skimage.restoration import denoise_nl_means

import unconv
from unconv import psf
from unconv.restoration import Schedule

lens = psf.disk(3.0)[None, None]
scene = torch.from_numpy(data.brick()[100:266, 100:266] / 255.0)[None, None]
A = unconv.ConvOperator(lens, scene.shape[2:])
y = A(scene)
y = y + 0.01 * torch.randn(y.shape, dtype=y.dtype, generator=torch.manual_seed(0))


def non_local_means(x, sigma):
    """Denoise a batch of pictures (N, 1, h, w) with noise of this standard deviation."""
    options = dict(patch_size=5, patch_distance=5, h=0.7 * sigma, sigma=sigma, fast_mode=True)
    done = [denoise_nl_means(picture[0].numpy(), **options) for picture in x]
    return torch.stack([torch.from_numpy(picture)[None] for picture in done]).to(x)


# %%
# Beside it the built-in priors:

sharp = scene[..., 3:-3, 3:-3]
panels = {"out of focus": y}
for name, prior in (("tv", "tv"), ("dct", "dct"), ("non-local means", non_local_means)):
    options = {} if name == "tv" else {"schedule": Schedule(steps=12)}
    panels[name] = unconv.restore(A, y, prior=prior, noise_std=0.01, **options).solution[
        ..., 3:-3, 3:-3
    ]

fig, axes = plt.subplots(1, 4, figsize=(11, 3.2), layout="constrained")
for axis, (name, picture) in zip(axes, panels.items(), strict=True):
    axis.imshow(picture[0, 0], cmap="gray", vmin=0.2, vmax=0.8)
    axis.set_title(f"{name}, {float(-10 * (picture - sharp).square().mean().log10()):.1f} dB")
    axis.axis("off")
