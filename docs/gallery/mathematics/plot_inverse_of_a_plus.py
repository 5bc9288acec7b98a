"""
The inverse of 010/111/010
==========================

Which small kernel undoes the plus? Its response vanishes on curves of frequencies, so none does
exactly, and a larger one does only slowly better. With a heavier middle it has an inverse that
falls off at once.
"""

import matplotlib.pyplot as plt
import torch

from unconv.fir import inverse_kernel, residuals_by_size

plus = torch.tensor([[0.0, 1, 0], [1, 1, 1], [0, 1, 0]], dtype=torch.float64)
heavy = torch.tensor([[0.0, 1, 0], [1, 8, 1], [0, 1, 0]], dtype=torch.float64)

# %%
# The best inverse of 3 × 3, in fractions:

print(inverse_kernel(plus, (3, 3), exact=True).exact.equations())

# %%
# Nine sizes, the distance of f ∗ g from a single one:

sizes = [3, 5, 7, 9, 11, 15, 19, 25, 31]
table = {"plus": residuals_by_size(plus, sizes), "middle 8": residuals_by_size(heavy, sizes)}
for (size, a), (_, b) in zip(*table.values(), strict=True):
    print(f"{size[0]:2} × {size[1]:2}   plus {a:.6f}   middle 8 {b:.1e}")

# %%

fig, axes = plt.subplots(2, 5, figsize=(12, 5), layout="constrained")
for axis, size in zip(axes.flat, sizes, strict=False):
    g = inverse_kernel(plus, size)
    axis.imshow(g.weight[0, 0], cmap="RdBu", vmin=-0.5, vmax=0.5)
    axis.set_title(f"{size}×{size}, off by {float(g.residual):.2f}")
    axis.axis("off")
axis = axes[1, 4]
for name, rows in table.items():
    axis.semilogy(sizes, [r for _, r in rows], ".-", label=name)
axis.set(title="‖f ∗ g − δ‖", xlabel="size")
axis.legend()

# %%
# What stands in the way, in words:

print("\n".join(inverse_kernel(plus, 9).advice))
