"""
The true norm of a layer
========================

torch's ``spectral_norm`` divides a weight by the norm of the weight reshaped to a matrix, which is
not the norm of the layer: a layer of "norm 1" may double a picture.
``unconv.nn.utils.spectral_norm`` holds the norm of the layer under its own padding and stride.
"""

import matplotlib.pyplot as plt
import torch

import unconv

layers = {
    "3→16, 3×3": lambda: torch.nn.Conv2d(3, 16, 3, padding=1),
    "16→16, 3×3": lambda: torch.nn.Conv2d(16, 16, 3, padding=1),
    "16→32, stride 2": lambda: torch.nn.Conv2d(16, 32, 3, stride=2, padding=1),
    "8→8, 7×7, reflect": lambda: torch.nn.Conv2d(8, 8, 7, padding=3, padding_mode="reflect"),
}
size = (24, 24)


def true_norm(conv):
    """The largest singular value of the layer as a map of 24 × 24 pictures."""
    return unconv.ConvOperator.from_module(conv.eval(), size).norm().item()


# %%
# Each layer as it is made, under torch's parametrization and under this library's:

norms = {"plain": [], "torch": [], "unconv": []}
for make in layers.values():
    torch.manual_seed(0)
    norms["plain"].append(true_norm(make()))
    torch.manual_seed(0)
    theirs = torch.nn.utils.parametrizations.spectral_norm(make(), n_power_iterations=50)
    norms["torch"].append(true_norm(theirs))
    torch.manual_seed(0)
    ours = unconv.nn.utils.spectral_norm(make(), input_shape=size)
    norms["unconv"].append(true_norm(ours))

fig, axis = plt.subplots(figsize=(8, 4), layout="constrained")
for i, (name, values) in enumerate(norms.items()):
    bars = axis.bar([j + 0.27 * (i - 1) for j in range(4)], values, width=0.25, label=name)
    axis.bar_label(bars, fmt="%.2f", fontsize=8)
axis.axhline(1, color="k", lw=0.8)
axis.set_xticks(range(4), layers)
axis.set(ylabel="norm of the layer", title="Layers that were given norm 1")
axis.legend()
