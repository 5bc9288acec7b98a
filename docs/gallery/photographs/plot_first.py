"""
Deblur a photograph
===================

A camera moved while its shutter was open. The movement is known here, 15 pixels at 30°, so the blur
can be undone: one call. ``unconv.pictures.deblur`` reads the noise and the spectrum of the scene
from the picture, and takes what lies outside of the frame for unknown.
"""

import matplotlib.pyplot as plt
import torch
from skimage import data
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from unconv import psf
from unconv.pictures import blur, deblur, frame

scene = torch.from_numpy(data.astronaut()[:280, 80:360] / 255.0).permute(
    2, 0, 1
)  # (3, h, w), 0 to 1
motion = psf.motion(15, 30)
blurred = blur(scene, motion, boundary="valid", noise_std=0.01)

# %%
# That was the camera. This is the restoration:

restored = deblur(blurred, motion)

# %%
# How good is it? The scene is known here, so both can be compared with it, on the part that the
# camera saw.

sharp = frame(scene, motion).permute(1, 2, 0).numpy()
panels = {}
for name, planes in (("blurred", blurred), ("restored", restored.planes)):
    picture = planes.permute(1, 2, 0).clamp(0, 1).numpy()
    psnr = peak_signal_noise_ratio(sharp, picture, data_range=1)
    ssim = structural_similarity(sharp, picture, data_range=1, channel_axis=2)
    panels[f"{name}\n{psnr:.1f} dB, SSIM {ssim:.2f}"] = picture
panels["the scene"] = sharp

fig, axes = plt.subplots(1, 3, figsize=(9, 3.8), layout="constrained")
for axis, (title, picture) in zip(axes, panels.items(), strict=True):
    axis.imshow(picture)
    axis.set_title(title)
    axis.axis("off")

# %%
# The same from a terminal: ``unconv deblur blurred.png -o restored.png --psf motion:15,30``.
#
# What was concluded of the data:

print(restored.data.sentence)
