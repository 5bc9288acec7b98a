"""
Measure the psf from beads
==========================

Points of light show the psf, each at its own place between the samples, each with its own
brightness, some overlapping. ``psf.from_points`` fits one psf to all of them at once.
"""

import matplotlib.pyplot as plt
import torch

from unconv import psf

# %%
# Forty beads under a psf that is wider along a diagonal, as counts over a background of 20.

generator = torch.manual_seed(0)
places = 15 + 170 * torch.rand(40, 2, generator=generator, dtype=torch.float64)
rows, columns = torch.meshgrid(torch.arange(200.0), torch.arange(200.0), indexing="ij")


def bead(row, column):
    """An elliptical Gaussian, of σ 2.4 along one diagonal and 1.5 along the other."""
    u, v = rows.double() - row, columns.double() - column
    along, across = (u + v) / 2**0.5, (u - v) / 2**0.5
    return torch.exp(-((along / 2.4) ** 2) / 2 - (across / 1.5) ** 2 / 2)


light = sum(bead(*place) for place in places)
image = torch.poisson(800 * light + 20, generator)

found = psf.from_points(image, size=17)
print(f"{len(found.positions)} beads, error of the psf {found.error:.1%} by its noise")
for point in found.refused[:3]:
    print("left out:", point)

# %%
# The measured psf beside the one that drew the picture, and where the beads were found.

truth = bead(100, 100)[92:109, 92:109]
truth = truth / truth.sum()
fig, axes = plt.subplots(1, 3, figsize=(10, 3.6), layout="constrained")
axes[0].imshow(image, cmap="gray", vmax=400)
axes[0].plot(found.positions[:, 1], found.positions[:, 0], "r+", markersize=5)
axes[0].set_title("beads, and where they are")
for axis, values, title in ((axes[1], found.psf, "measured"), (axes[2], truth, "true")):
    axis.imshow(values, cmap="magma", vmin=0, vmax=float(truth.max()))
    axis.set_title(title)
for axis in axes:
    axis.axis("off")
print(f"true error of the psf {float((found.psf - truth).norm() / truth.norm()):.1%}")

# %%
# From a terminal: ``unconv psf points beads.tif --size 17 -o psf.npy --plot psf.png``.
