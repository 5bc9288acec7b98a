"""
Separate a double star
======================

Two stars closer than the seeing, as counts. The answer is nowhere negative, keeps the light of each
star, and comes from the law of counting.
"""

import matplotlib.pyplot as plt
import torch

import unconv
from unconv import psf

seeing = psf.moffat(5.0, 3.0, energy=0.98)
size = 48 + seeing.shape[0] - 1
scene = torch.zeros(1, 1, size, size, dtype=torch.float64)
middle = size // 2
stars = {(middle, middle - 3): 40_000.0, (middle + 1, middle + 2): 16_000.0}
for place, flux in stars.items():
    scene[(0, 0, *place)] = flux
A = unconv.ConvOperator(seeing[None, None], (size, size), flip=True)
background = 50.0
counts = torch.poisson(A(scene).clamp(min=0) + background, torch.manual_seed(1))

# %%
# Richardson–Lucy with the background as part of the mean. Stars are points, so that many steps do
# no harm.

found = unconv.richardson_lucy(A, counts, background=background, maxiter=400, stop=None)
x = found.solution[0, 0]
for (row, column), flux in stars.items():
    near = x[row - 1 : row + 2, column - 1 : column + 2]
    print(f"true flux {flux:8.0f}   found within one sample {near.sum():8.0f}")

reach = seeing.shape[0] // 2
part = slice(reach + 8, reach + 40)
fig, axes = plt.subplots(1, 3, figsize=(9, 3.4), layout="constrained")
panels = {
    "counts": counts[0, 0, 8:40, 8:40],
    "restored": x[part, part],
    "scene": scene[0, 0, part, part],
}
for axis, (title, picture) in zip(axes, panels.items(), strict=True):
    axis.imshow(picture.sqrt(), cmap="inferno")
    axis.set_title(f"{title} (square root)")
    axis.axis("off")
