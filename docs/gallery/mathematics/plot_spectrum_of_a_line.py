"""
A signal of one dimension
=========================

A spectrometer broadens every line and adds noise. One dimension is the same call as two: a
``ConvOperator`` with one axis. Lines are never negative and few, which the prior may know.
"""

import matplotlib.pyplot as plt
import torch

import unconv

torch.manual_seed(0)
t = torch.arange(-20, 21, dtype=torch.float64)
broadening = torch.exp(-((t.abs() / 4) ** 1.5))
broadening = (broadening / broadening.sum())[None, None]
n = 300 + 40
A = unconv.ConvOperator(broadening, (n,), flip=True)

lines = torch.zeros(1, 1, n, dtype=torch.float64)
for place, height in ((60, 30.0), (72, 18.0), (140, 40.0), (150, 8.0), (230, 14.0), (241, 22.0)):
    lines[0, 0, place] = height
y = A(lines) + 0.05 * torch.randn(1, 1, 300, dtype=torch.float64)

# %%
# Least squares with damping is the linear answer; with bounds it knows that light is not negative.
# Where lines overlap, that decides.

damped = A.tikhonov(0.05)(y)
counts = unconv.richardson_lucy(A, y.clamp(min=0), maxiter=2000, stop=None).solution

fig, axes = plt.subplots(3, 1, figsize=(9, 6), sharex=True, layout="constrained")
inside = slice(20, -20)
axes[0].plot(y[0, 0])
axes[0].set_title("measured")
axes[1].plot(damped[0, 0, inside])
axes[1].set_title("damped least squares")
axes[2].plot(counts[0, 0, inside])
axes[2].set_title("never negative: Richardson–Lucy, 2000 steps")
for axis in axes:
    axis.vlines((lines[0, 0, inside] > 0).nonzero().flatten(), *axis.get_ylim(), color="C1", lw=0.5)
