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
boundaries = ["zeros", "circular", "reflect", "replicate", "symmetric", "antireflective"]
shapes = ["full", "same", "valid"]

fig, axes = plt.subplots(3, 6, figsize=(13, 7), layout="constrained", height_ratios=(10, 6, 3))
for row, shape in zip(axes, shapes, strict=True):
    for axis, boundary in zip(row, boundaries, strict=True):
        matrix = unconv.conv_matrix(taps, (n,), shape, boundary, flip=True, layout="dense").numpy()
        axis.imshow(matrix, cmap="RdBu", vmin=-30, vmax=30)
        for (i, j), value in np.ndenumerate(matrix):
            if value:
                axis.text(j, i, f"{value:.0f}", ha="center", va="center", fontsize=8)
        axis.set(xticks=[], yticks=[])
        if shape == "full":
            axis.set_title(boundary)
    row[0].set_ylabel(shape)

# %%
# SciPy and NumPy know some of these, under names of their own. ``convention`` says whose names are
# meant, and takes over their choice of the middle of a kernel too:

x = np.random.default_rng(0).standard_normal(n)


def ours(shape, boundary, convention):
    """The product with the matrix."""
    options = dict(convention=convention, flip=True, layout="scipy")
    return unconv.conv_matrix(taps.double(), (n,), shape, boundary, **options) @ x


checks = {}
for shape in shapes:
    pair = ours(shape, "constant", "numpy"), np.convolve(x, taps, shape)
    checks[f"np.convolve(x, k, {shape!r})"] = pair
    pair = ours(shape, "fill", "scipy.signal"), signal.convolve(x, taps.numpy(), shape)
    checks[f"scipy.signal.convolve(x, k, {shape!r})"] = pair
for mode in ("reflect", "constant", "nearest", "mirror", "wrap"):
    pair = ours("same", mode, "scipy.ndimage"), ndimage.convolve1d(x, taps.numpy(), mode=mode)
    checks[f"scipy.ndimage.convolve1d(x, k, mode={mode!r})"] = pair
for name, (a, b) in checks.items():
    print(f"{name:48} {'equal' if np.allclose(a, b) else 'different'}")

# %%
# In two dimensions the calls are the same: here ``scipy.signal.convolve2d`` with an even kernel.

picture, kernel = np.random.default_rng(1).standard_normal((5, 7)), np.arange(8.0).reshape(4, 2)
for shape in shapes:
    for boundary in ("fill", "wrap", "symm"):
        options = dict(convention="scipy.signal", flip=True, layout="scipy")
        A = unconv.conv_matrix(torch.tensor(kernel), picture.shape, shape, boundary, **options)
        theirs = signal.convolve2d(picture, kernel, shape, boundary).ravel()
        print(
            f"{shape:6}{boundary:5}",
            "equal" if np.allclose(A @ picture.ravel(), theirs) else "different",
        )
