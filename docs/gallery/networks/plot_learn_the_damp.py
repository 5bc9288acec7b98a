"""
A layer that learns how much to damp
====================================

``TikhonovConv2d`` undoes a convolution within a network. Its damp is a parameter, and the gradient
goes through the solve exactly: nothing is unrolled.
"""

import matplotlib.pyplot as plt
import torch
from skimage import data

import unconv
from unconv import psf

torch.manual_seed(0)
conv = torch.nn.Conv2d(1, 1, 9, padding=4, padding_mode="reflect", bias=False).double()
conv.weight = torch.nn.Parameter(psf.gaussian(1.0)[None, None], requires_grad=False)
undo = unconv.nn.TikhonovConv2d.from_conv(conv, damp=1.0)

pictures = [data.camera()[200:264, 180:244], data.coins()[60:124, 60:124], data.brick()[:64, :64]]
x = torch.stack([torch.from_numpy(p / 255.0)[None] for p in pictures])
noise_std = 0.03
optimizer = torch.optim.Adam(undo.parameters(), lr=0.15)
damps, losses = [], []
for _ in range(60):
    y = conv(x) + noise_std * torch.randn_like(x)
    loss = (undo(y - 0.5) + 0.5 - x).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    damps.append(undo.log_damp.exp().item())
    losses.append(loss.item())

# %%
# The loss of a fixed damp, for comparison, over a grid:

grid = torch.logspace(-2, 0, 15).tolist()
A = unconv.ConvOperator.from_module(conv, (64, 64))
y = conv(x) + noise_std * torch.randn_like(x)
fixed = [float((A.tikhonov(d)(y - 0.5) + 0.5 - x).square().mean()) for d in grid]

fig, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
axes[0].semilogy(damps)
axes[0].set(xlabel="step of Adam", ylabel="damp", title="learnt")
axes[1].loglog(grid, fixed, ".-", label="fixed damps")
axes[1].axvline(damps[-1], color="C1", label="learnt damp")
axes[1].set(xlabel="damp", ylabel="mean square error")
axes[1].legend()
