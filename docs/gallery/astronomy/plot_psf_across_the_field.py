"""
How the psf changes across the field
====================================

Stars measure the psf where they stand. ``psf.grid_from_points`` turns some tens of them into psfs
on a grid, of which an operator with a psf for every place is made.
"""

import matplotlib.pyplot as plt
import torch

from unconv import psf

generator = torch.manual_seed(2)
n = 300
places = 14 + (n - 28) * torch.rand(70, 2, generator=generator, dtype=torch.float64)
fluxes = 10 ** (4 + torch.rand(70, generator=generator, dtype=torch.float64))
rows, columns = torch.meshgrid(torch.arange(n), torch.arange(n), indexing="ij")
field = torch.full((n, n), 30.0, dtype=torch.float64)
for (row, column), flux in zip(places.tolist(), fluxes.tolist(), strict=True):
    sigma = 1.2 + 1.3 * ((row - n / 2) ** 2 + (column - n / 2) ** 2) ** 0.5 / (n / 2)
    distance = (rows - row) ** 2 + (columns - column) ** 2
    field += flux * torch.exp(-distance / (2 * sigma**2)) / (2 * torch.pi * sigma**2)
image = torch.poisson(field, generator)

# %%
# One fit for each node, in which near stars weigh more:

grid = psf.grid_from_points(image, grid=(3, 3), size=17)
for doubt in grid.doubts.values():
    print("doubt:", doubt)

fig = plt.figure(figsize=(8, 4), layout="constrained")
left, right = fig.subfigures(1, 2)
axis = left.subplots()
axis.imshow(image.sqrt(), cmap="gray", vmax=40)
axis.set_title("stars")
axis.axis("off")
for axis, values in zip(right.subplots(3, 3).flat, grid.psfs.flatten(0, 1), strict=True):
    axis.imshow(values, cmap="magma", vmin=0, vmax=float(grid.psfs.max()) / 2)
    axis.axis("off")
right.suptitle("psfs of the grid")

# %%
# ``unconv.ProductConvolution(grid.psfs, grid.nodes, input_shape=…)`` is the operator with these
# psfs.
