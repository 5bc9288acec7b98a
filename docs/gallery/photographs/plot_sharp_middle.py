"""
A lens that is sharp in the middle only
=======================================

Most lenses blur their corners more. Such a blur is no convolution, but a sum of few: psfs that are
known at some places, and weights that interpolate between them.
"""

import matplotlib.pyplot as plt
import torch
from skimage import data

import unconv


def gaussian(sigma, k=15):
    """A Gaussian psf of k × k samples."""
    t = torch.arange(k, dtype=torch.float64) - k // 2
    line = torch.exp(-t.square() / (2 * sigma**2))
    return torch.outer(line, line) / line.sum() ** 2


scene = torch.from_numpy(data.grass()[:174, :174] / 255.0)[None, None]
lines = torch.linspace(0, 159, 4)  # where the psfs are known, in samples of the picture
radius = [[torch.hypot(v - 79.5, u - 79.5) / 112 for u in lines] for v in lines]
psfs = torch.stack([torch.stack([gaussian(0.7 + 1.8 * r) for r in row]) for row in radius])
lens = unconv.ProductConvolution(psfs, (lines, lines), input_shape=(174, 174))
seen = lens(scene)
seen = seen + 0.005 * torch.randn(seen.shape, dtype=seen.dtype, generator=torch.manual_seed(0))

# %%
# One psf for all places is wrong nearly everywhere; 4 × 4 of them, interpolated, are not.

middle = unconv.ConvOperator(gaussian(0.9)[None, None], (174, 174), flip=True)
sharp = scene[..., 7:-7, 7:-7]


def psnr(picture):
    """Peak signal-to-noise ratio in dB of a picture beside the scene."""
    return float(-10 * (picture - sharp).square().mean().log10())


panels = {"blurred": seen}
for name, operator in (("one psf", middle), ("4 × 4 psfs", lens)):
    solution = operator.lstsq(seen - 0.5, damp=0.03, tol=1e-3).solution + 0.5
    panels[name] = solution[..., 7:-7, 7:-7]
fig, axes = plt.subplots(1, 3, figsize=(9, 3.4), layout="constrained")
for axis, (title, picture) in zip(axes, panels.items(), strict=True):
    axis.imshow(picture[0, 0], cmap="gray", vmin=0, vmax=1)
    axis.set_title(f"{title}, {psnr(picture):.1f} dB")
    axis.axis("off")

# %%
# ``psf.grid_from_points`` measures such psfs from a picture of stars or beads.
