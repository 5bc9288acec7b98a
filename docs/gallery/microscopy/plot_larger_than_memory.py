"""
A volume that does not fit the memory
=====================================

``unconv.volumes.deconvolve`` restores tile by tile and then corrects with the residual of the
whole, until the answer is proven to be within ``tol`` of what one solve of the whole volume would
give. No seam is left.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
import zarr
from torch.nn import functional as F

from unconv import psf, volumes

z, y, x = np.ogrid[:40, :88, :88]
scene = np.zeros((40, 88, 88))
for at, radius in (((20, 40, 44), 24), ((14, 60, 30), 12), ((26, 24, 60), 9)):
    scene += abs(np.sqrt(9 * (z - at[0]) ** 2 + (y - at[1]) ** 2 + (x - at[2]) ** 2) - radius) < 2
blur = psf.gaussian(0.9).sum(0)[:, None, None] * psf.gaussian(1.4)
seen = F.conv3d(torch.tensor(scene)[None, None], blur[None, None])[0, 0].numpy()
stack = (100 + 900 * seen + 15 * np.random.default_rng(0).normal(size=seen.shape)).astype("float32")

# %%
# Small here, so that the page is quickly made. In earnest the arrays are Zarr, OME-TIFF or Dask,
# ``memory="8GB"`` says what may be used, and the command is ``unconv volume``.

with tempfile.TemporaryDirectory() as folder:
    done = volumes.deconvolve(stack, blur, Path(folder) / "sharp.zarr", voxel=(0.3, 0.1, 0.1))
    sharp = zarr.open(done.out, mode="r")["0"][:]
report = done.reports["all"]
for name, value in report.items():
    if isinstance(value, int | float | bool | str):
        print(f"{name}: {value}")

# %%

fig, axes = plt.subplots(1, 2, figsize=(8, 4), layout="constrained")
for axis, volume, title in ((axes[0], stack, "stack"), (axes[1], sharp, "restored")):
    axis.imshow(volume[volume.shape[0] // 2], cmap="magma", vmin=0, vmax=1000)
    axis.set_title(title)
    axis.axis("off")
