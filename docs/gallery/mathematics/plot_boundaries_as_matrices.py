"""
Every boundary and shape as a matrix
====================================

A convolution of six samples with five taps, as the matrix that it is, under each boundary and
shape, checked against SciPy and NumPy.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy import ndimage, signal

import unconv

taps = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
n = 6
boundaries = ["zeros", "circular", "reflect", "replicate", "symmetric"]
shapes = ["full", "same", "valid"]

fig, axes = plt.subplots(3, 5, figsize=(11, 7), layout="constrained", height_ratios=(10, 6, 3))
for row, shape in zip(axes, shapes, strict=True):
    for axis, boundary in zip(row, boundaries, strict=True):
        matrix = unconv.conv_matrix(taps, (n,), shape, boundary, flip=True, layout="dense").numpy()
        axis.imshow(matrix, cmap="Blues", vmin=0, vmax=20)
        for (i, j), value in np.ndenumerate(matrix):
            if value:
                axis.text(j, i, f"{value:.0f}", ha="center", va="center", fontsize=8)
        axis.set(xticks=[], yticks=[])
        if shape == "full":
            axis.set_title(boundary)
    row[0].set_ylabel(shape)

# %%
# SciPy and NumPy know some of these, under names of their own:

x = np.random.default_rng(0).standard_normal(n)


def ours(shape, boundary, flip=True):
    """The product with the matrix."""
    return unconv.conv_matrix(taps.double(), (n,), shape, boundary, flip=flip, layout="scipy") @ x


def theirs_2d(shape, boundary):
    """scipy.signal.convolve2d, of one row."""
    return signal.convolve2d(x[None], taps.numpy()[None], shape, boundary)[0]


checks = {f"np.convolve, {s}": (ours(s, "zeros"), np.convolve(x, taps, s)) for s in shapes}
for theirs, boundary in (("fill", "zeros"), ("wrap", "circular"), ("symm", "symmetric")):
    checks |= {
        f"signal.convolve2d, same, {theirs}": (ours("same", boundary), theirs_2d("same", theirs))
    }
named = {"constant": "zeros", "wrap": "circular", "mirror": "reflect", "nearest": "replicate"}
for theirs, boundary in (named | {"reflect": "symmetric"}).items():
    pair = ours("same", boundary), ndimage.convolve1d(x, taps.numpy(), mode=theirs)
    checks[f"ndimage.convolve1d, mode={theirs!r} (here {boundary!r})"] = pair
for name, (a, b) in checks.items():
    print(f"{name:55} {'equal' if np.allclose(a, b) else 'different'}")
