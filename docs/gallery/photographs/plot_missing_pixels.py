"""
Dead pixels, a scratch and a clipped lamp
=========================================

Pixels that nobody saw are missing, not zero. Mark them NaN, or give ``observed=`` (True where a
pixel was seen), and they are solved for with everything else.
"""

import matplotlib.pyplot as plt
import torch
from skimage import data

from unconv import psf
from unconv.pictures import blur, deblur, frame

scene = torch.from_numpy(data.camera()[60:316, 120:376] / 255.0)[None]
lens = psf.disk(3)
blurred = blur(scene, lens, boundary="valid", noise_std=0.005)

# %%
# Damage: 2 % of the pixels are dead, two columns are stuck at white, and a scratch runs through the
# picture.

damaged = blurred.clone()
rows, columns = torch.meshgrid(
    torch.arange(damaged.shape[1]), torch.arange(damaged.shape[2]), indexing="ij"
)
damaged[0, torch.rand(damaged.shape[1:], generator=torch.manual_seed(0)) < 0.02] = 0.0
damaged[0, :, 100:102] = 1.0
damaged[0, (columns + 2 * rows - 330).abs() < 5] = 0.0

# %%
# Taken at its word, each bad pixel becomes a ripple as wide as the psf and wider. Told what was
# seen, the same call leaves them out of the equations.

seen = (damaged == blurred)[0]
believed = deblur(damaged, lens, prior="wiener", observed=torch.ones_like(seen), saturation="off")
told = deblur(damaged, lens, prior="wiener", observed=seen)

sharp = frame(scene, lens)


def psnr(planes):
    """Peak signal-to-noise ratio in dB of a picture beside the scene."""
    return float(-10 * (planes - sharp).square().mean().log10())


panels = {
    "damaged and blurred": damaged,
    f"taken at its word, {psnr(believed.planes):.1f} dB": believed.planes,
    f"told what was seen, {psnr(told.planes):.1f} dB": told.planes,
}
fig, axes = plt.subplots(1, 3, figsize=(9, 3.4), layout="constrained")
for axis, (title, planes) in zip(axes, panels.items(), strict=True):
    axis.imshow(planes[0], cmap="gray", vmin=0, vmax=1)
    axis.set_title(title)
    axis.axis("off")

# %%
# Without ``observed=`` much of this is found by itself: values that are not finite, whole columns
# at white, pixels that no neighbour supports. Masks of files mark what is *bad*, as in astropy:
# ``--mask bad.png``, or ``observed=~bad``.
