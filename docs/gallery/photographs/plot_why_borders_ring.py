"""
Why restored pictures ring at their borders
===========================================

A photograph is a part of a larger scene, and light from outside has been carried into its edges. An
FFT takes the picture for periodic: the left edge continues the right one. What does not fit becomes
ripples that run through the whole picture.
"""

import matplotlib.pyplot as plt
import torch
from skimage import data

from unconv import psf
from unconv.pictures import blur, deblur, frame

scene = torch.from_numpy(data.coffee()[60:300, 160:400] / 255.0).permute(2, 0, 1)
motion = psf.motion(15, 30)
blurred = blur(scene, motion, boundary="valid", noise_std=0.005)
sharp = frame(scene, motion)

# %%
# The same damping, and three beliefs about what lies outside: the picture again, black, and
# ``valid``: nothing is known, and it is estimated too.

panels = {"blurred": blurred}
for boundary in ("circular", "zeros", "valid"):
    restored = deblur(blurred, motion, boundary=boundary, prior="damp", damp=0.05)
    panels[boundary] = restored.planes


def psnr(planes):
    """Peak signal-to-noise ratio in dB of a picture beside the scene."""
    return float(-10 * (planes - sharp).square().mean().log10())


fig, axes = plt.subplots(1, 4, figsize=(11, 3.1), layout="constrained")
for axis, (name, planes) in zip(axes, panels.items(), strict=True):
    axis.imshow(planes.clamp(0, 1).permute(1, 2, 0))
    axis.set_title(f"{name}, {psnr(planes):.1f} dB")
    axis.axis("off")

# %%
# A window that fades the edges hides the ripples together with the edges. Here nothing is faded:
# the equations say which outputs were seen and which were not, and are solved as they are.
