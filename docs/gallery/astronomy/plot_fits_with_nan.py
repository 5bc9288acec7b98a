"""
A FITS image with NaN and a measured psf
========================================

The pipeline has set bad pixels to NaN, and the psf was measured from stars. Both go into the
command as they are: ``unconv deblur field.fits -o sharp.fits --psf star.fits --psf-background
auto``. Here the command is run from Python, as a terminal would.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from astropy.io import fits
from skimage import data

from unconv import psf
from unconv.pictures import blur, frame

# %%
# The files: a field of galaxies through the atmosphere, with dead pixels and a dead column, and a
# psf that stands on a pedestal of the camera.

scene = torch.from_numpy(data.hubble_deep_field()[300:520, 480:700].mean(2) / 255.0)[None]
seeing = psf.moffat(3.5, 3.0, energy=0.97)
seen = blur(scene, seeing, boundary="valid", noise_std=0.005)[0].numpy()
seen[np.random.default_rng(0).random(seen.shape) < 0.003] = np.nan
seen[:, 141] = np.nan

folder = tempfile.TemporaryDirectory()
field, star, sharp = (Path(folder.name) / f"{name}.fits" for name in ("field", "star", "sharp"))
fits.writeto(field, (1000 * seen).astype("float32"), fits.Header({"OBJECT": "HDF"}))
fits.writeto(star, (5000 * seeing + 80).float().numpy())

# %%
# The command. The dead pixels are found and told, the pedestal is taken off.

command = ["deblur", field, "-o", sharp, "--psf", star, "--psf-background", "auto", "--json"]
unconv = [sys.executable, "-c", "from unconv.cli import main; main()"]
done = subprocess.run([*unconv, *command], capture_output=True, text=True, check=True)

# %%

with fits.open(sharp) as hdus:
    print("OBJECT:", hdus[0].header["OBJECT"])
    restored = hdus[0].data.astype(float)
folder.cleanup()
print("NaN before:", int(np.isnan(seen).sum()), " after:", int(np.isnan(restored).sum()))

panels = {
    "field.fits": 1000 * seen,
    "sharp.fits": restored,
    "the scene": 1000 * frame(scene, seeing)[0],
}
fig, axes = plt.subplots(1, 3, figsize=(10, 3.6), layout="constrained")
for axis, (title, picture) in zip(axes, panels.items(), strict=True):
    axis.imshow(np.ma.masked_invalid(picture), cmap="inferno", vmin=0, vmax=600)
    axis.set_facecolor("lime")
    axis.set(title=title, xticks=[], yticks=[])
