"""
Blur and large pixels undone together
=====================================

A camera with large pixels blurs and then keeps every second sample along each axis: a convolution
with ``stride=2``. Restoring on the fine grid is the same call as without the stride.
"""

import matplotlib.pyplot as plt
import torch
from skimage import data
from torch.nn import functional as F

import unconv
from unconv import psf

scene = torch.from_numpy(data.astronaut()[20:180, 130:290] / 255.0).permute(2, 0, 1)[:, None]
optics = psf.gaussian(1.2)[None, None]  # the weight of one channel; the colours are a batch
camera = unconv.ConvOperator(optics, scene.shape[2:], stride=2, flip=True)
seen = camera(scene)
seen = seen + 0.005 * torch.randn(seen.shape, dtype=seen.dtype, generator=torch.manual_seed(0))
print(camera)

# %%
# Each unknown is a sample of the fine grid, four for every number that was measured. Total
# variation chooses among all pictures that explain the data.

restored = unconv.restore(camera, seen, prior="tv", noise_std=0.005)
print(restored.certificate.advice)

# %%
# Beside it the same numbers, interpolated to the fine grid, on which sample 2i is where output i
# was measured.

fine = 2 * seen.shape[-1] - 1
reach = optics.shape[-1] // 2
part = slice(reach, reach + fine)
truth = scene[..., part, part]
panels = {"what was seen, half the size": seen}
for name, planes in (
    ("bicubic", F.interpolate(seen, size=(fine, fine), mode="bicubic", align_corners=True)),
    ("restored", restored.solution[..., part, part]),
):
    error = (planes - truth).square().mean()
    panels[f"{name}, {-10 * error.log10():.1f} dB"] = planes
panels["the scene"] = truth

fig, axes = plt.subplots(1, 4, figsize=(11, 3.1), layout="constrained")
for axis, (title, planes) in zip(axes, panels.items(), strict=True):
    axis.imshow(planes[:, 0].clamp(0, 1).permute(1, 2, 0))
    axis.set_title(title)
    axis.axis("off")
