"""
Can this kernel be undone?
==========================

The singular values say it before there is any data: what a kernel transmits weakly, noise will
fill. Four blurs, their weakest response, and what a noise of 1 % grows to.
"""

import matplotlib.pyplot as plt
import torch

from unconv import psf
from unconv.inspection import inspect_operator
from unconv.pictures import blur_operator

kernels = {
    "gaussian:1": psf.gaussian(1.0),
    "gaussian:2": psf.gaussian(2.0),
    "disk:3": psf.disk(3.0),
    "motion:9,0": psf.motion(9, 0),
}
fig, axes = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
damps = torch.logspace(-4, 0, 60, dtype=torch.float64)
for name, kernel in kernels.items():
    A = blur_operator(kernel, (96, 96), "circular")
    found = inspect_operator(A)
    print(f"{name:11} condition {found.cond.value:.1e}, rank {found.rank.value:.0f} of {96 * 96}")
    values = A.svdvals().double()
    axes[0].semilogy(values.sort(descending=True).values.clamp(min=1e-12), label=name)
    gain = [float((values / (values**2 + d**2)).square().mean().sqrt()) for d in damps]
    axes[1].loglog(damps, gain, label=name)
axes[0].set(title="singular values", xlabel="index", ylim=(1e-9, 2))
axes[0].legend()
axes[1].axhline(1, color="k", lw=0.8)
axes[1].set(title="noise of the answer / noise of the data", xlabel="damp")

# %%
# The command prints the same for a psf or for a layer of a checkpoint: ``unconv inspect disk:3
# --size 96x96``, ``unconv inspect model.pt:features.0 --size 32x32``.
