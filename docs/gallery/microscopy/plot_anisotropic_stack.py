"""
A stack whose psf is longer along z
===================================

A microscope blurs more along its axis than across it, and its slices lie further apart than its
pixels. Both are said once: by a psf of three axes, and by ``spacing``.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch

import unconv
from unconv import psf

voxel = (0.3, 0.1, 0.1)  # micrometres along z, y, x

# %%
# A drawn cell: a shell with two beads inside, larger than what is recorded, for it goes on outside.

z, y, x = (step * np.arange(n) for step, n in zip(voxel, (32, 76, 76), strict=True))
z, y, x = z[:, None, None], y[None, :, None], x[None, None]
distance = np.sqrt((z - 4.8) ** 2 + (y - 3.8) ** 2 + (x - 3.8) ** 2)
scene = 0.1 + 0.6 * (abs(distance - 2.5) < 0.25)
for place in ((4.8, 3.2, 3.2), (4.8, 4.5, 4.2)):
    scene += np.sqrt((z - place[0]) ** 2 + (y - place[1]) ** 2 + (x - place[2]) ** 2) < 0.5
scene = torch.from_numpy(scene)[None, None]

# %%
# The psf: 0.15 µm across and 0.6 µm along z (standard deviations), in samples. No padding, so that
# all six sides of the stack are unknown.

line = psf.gaussian(0.6 / 0.3).sum(0)
weight = line[:, None, None] * psf.gaussian(0.15 / 0.1)
A = unconv.ConvOperator(weight[None, None], scene.shape[2:], flip=True)
stack = A(scene)
stack = stack + 0.02 * torch.randn(stack.shape, dtype=stack.dtype, generator=torch.manual_seed(0))

found = unconv.restore(A, stack, prior="tv", spacing=voxel, nonnegative=True, gap_tol=1e-2)
print(found.certificate.advice)

# %%
# Slices through the middle, across and along z:

inside = [slice(k // 2, n - k // 2) for k, n in zip(weight.shape, scene.shape[2:], strict=True)]
panels = {
    "stack": stack,
    "restored": found.solution[(..., *inside)],
    "scene": scene[(..., *inside)],
}
fig, axes = plt.subplots(2, 3, figsize=(8, 5.2), layout="constrained", height_ratios=(64, 48))
for column, (title, volume) in zip(axes.T, panels.items(), strict=True):
    volume = volume[0, 0].numpy()
    middle = [n // 2 for n in volume.shape]
    column[0].imshow(volume[middle[0]], vmin=0, vmax=1.1, cmap="magma")
    column[1].imshow(
        volume[:, middle[1]], vmin=0, vmax=1.1, cmap="magma", aspect=voxel[0] / voxel[2]
    )
    column[0].set_title(title)
axes[0, 0].set_ylabel("y")
axes[1, 0].set_ylabel("z")
for axis in axes.flat:
    axis.set(xticks=[], yticks=[])

# %%
# For a file that is ``unconv volume stack.ome.tif -o sharp.zarr --psf psf.tif --prior tv``, of any
# size: volumes that do not fit the memory are restored tile by tile.
