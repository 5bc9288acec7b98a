"""
How much to damp
================

Too little damping leaves noise, too much leaves the blur. Several rules find the damp from the data
alone; beside them is the error, which nobody knows outside of an example.
"""

import matplotlib.pyplot as plt
import torch
from skimage import data

import unconv
from unconv import psf
from unconv.parameter_choice import choose_damp, tikhonov_path

x = torch.from_numpy(data.coins()[80:208, 100:228] / 255.0)[None, None]
A = unconv.ConvOperator(
    psf.disk(2.5)[None, None], (128, 128), padding="same", padding_mode="circular"
)
noise_std = 0.02
mean = float(x.mean())
y = A(x) - mean + noise_std * torch.randn(x.shape, dtype=x.dtype, generator=torch.manual_seed(0))

# %%
# All damps of a grid from one factorisation, and the damp that each rule takes:

damps = torch.logspace(-2, 0, 41, dtype=torch.float64).tolist()
path = list(tikhonov_path(A, y, damps))
errors = [float((z + mean - x).norm() / x.norm()) for z in path]

fig, axes = plt.subplots(1, 4, figsize=(12, 3.2), layout="constrained", width_ratios=(1.6, 1, 1, 1))
axes[0].loglog(damps, errors, "k", label="error")
for i, rule in enumerate(("gcv", "discrepancy", "sure", "risk")):
    options = {"noise_std": noise_std} if rule in ("discrepancy", "sure") else {}
    choice = choose_damp(A, y, rule, **options)
    axes[0].axvline(choice.damp, color=f"C{i}", label=f"{rule} {choice.damp:.3f}")
    print(f"{rule:12}{choice.damp:.4f}  {choice.advice}")
axes[0].set(xlabel="damp", title="relative error")
axes[0].legend()
for axis, i in zip(axes[1:], (5, errors.index(min(errors)), 36), strict=True):
    axis.imshow(path[i][0, 0] + mean, cmap="gray", vmin=0, vmax=1)
    axis.set_title(f"damp {damps[i]:.3f}")
    axis.axis("off")
