"""
Damping, Wiener, total variation, cosines
=========================================

A linear answer must choose between noise and blurred edges. What is known of pictures in general, a
*prior*, helps: their spectrum (Wiener), few edges (total variation), few cosines in each block
(``dct``).
"""

import matplotlib.pyplot as plt
import torch
from skimage import data

from unconv import psf
from unconv.pictures import blur, deblur, frame

scene = torch.from_numpy(data.camera()[40:240, 150:350] / 255.0)[None]
lens = psf.disk(4)
blurred = blur(scene, lens, boundary="valid", noise_std=0.01)
sharp = frame(scene, lens)


def psnr(planes):
    """Peak signal-to-noise ratio in dB of a picture beside the scene."""
    return float(-10 * (planes - sharp).square().mean().log10())


# %%
# Every strength is chosen from the data; nothing is told but the psf.

panels = {f"out of focus, {psnr(blurred):.1f} dB": blurred}
for prior in ("damp", "wiener", "tv", "dct"):
    planes = deblur(blurred, lens, prior=prior).planes
    panels[f"{prior}, {psnr(planes):.1f} dB"] = planes
panels["the scene"] = sharp

fig, axes = plt.subplots(2, 3, figsize=(9, 6.4), layout="constrained")
for axis, (title, planes) in zip(axes.flat, panels.items(), strict=True):
    axis.imshow(planes[0], cmap="gray", vmin=0, vmax=1)
    axis.set_title(title)
    axis.axis("off")

# %%
# ``prior="auto"``, the default, takes ``dct`` where the noise is as it should be and the Wiener
# filter where it is not. ``tv`` and ``damp`` minimise a function that you can write down, and prove
# how closely.
