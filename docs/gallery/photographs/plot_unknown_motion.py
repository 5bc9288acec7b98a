"""
A phone photograph with unknown motion
======================================

The file is a JPEG and nobody knows how the phone moved. ``psf.estimate`` reads the movement from
the picture alone, with its uncertainty; the rounding of the JPEG is known from its quantisation
tables and is not taken for white noise.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from PIL import Image
from skimage import data

from unconv import psf
from unconv.pictures import blur, deblur, frame, jpeg_rounding
from unconv.pictures.formats import read_picture

# %%
# A photograph as a phone would have made it: moved by 11 pixels at 65°, a little noise, stored as a
# JPEG.

scene = torch.from_numpy(data.chelsea()[10:250, 90:330] / 255.0).permute(2, 0, 1)
truth = psf.motion(11, 65)
moved = blur(scene, truth, boundary="valid", noise_std=0.006).clamp(0, 1)

folder = tempfile.TemporaryDirectory()
photo = Path(folder.name) / "photo.jpg"
Image.fromarray((255 * moved).round().byte().permute(1, 2, 0).numpy()).save(photo, quality=95)

# %%
# From here on there is only the file.

picture = read_picture(photo)
planes = torch.from_numpy(picture.planes).double()
rounding = jpeg_rounding(picture.metadata, len(planes))
found = psf.estimate(planes, "motion", jpeg=rounding)
for name, value in found.parameters.items():
    print(f"{name:7}{value:6.2f} ± {found.standard_errors[name]:.2f}")

# %%
# The movement is found, and undone with it:

restored = deblur(planes, found.psf, jpeg=rounding, prior="wiener")
folder.cleanup()

sharp = frame(scene, truth)


def psnr(planes):
    """Peak signal-to-noise ratio in dB of a picture beside the scene."""
    return float(-10 * (planes - sharp).square().mean().log10())


panels = {
    f"the file, {psnr(planes):.1f} dB": planes,
    f"restored, {psnr(restored.planes):.1f} dB": restored.planes,
    "the scene": sharp,
}
fig, axes = plt.subplots(1, 3, figsize=(9, 3.4), layout="constrained")
for axis, (title, shown) in zip(axes, panels.items(), strict=True):
    axis.imshow(shown.clamp(0, 1).permute(1, 2, 0))
    axis.set_title(title)
    axis.axis("off")

# %%
# From a terminal that is ``unconv deblur photo.jpg -o sharp.jpg --psf motion:auto``. The other
# families are ``disk:auto``, ``gaussian:auto``, and ``auto`` for whichever the picture speaks for.
