"""
Make two pictures equally sharp
===============================

To compare the colours of a galaxy in two filters, the sharper picture is blurred until its psf is
that of the other. The kernel that does it, psf A → psf B, is a least-squares problem with an exact
answer.
"""

import matplotlib.pyplot as plt
from torch.nn import functional as F

from unconv import psf

a = psf.moffat(2.5, 3.0)
b = psf.moffat(4.5, 2.5)
found = psf.match(a, b, 31)
print(f"error {float(found.error):.1e}, noise gain {float(found.noise_gain):.2f}")
print("smallest kernel for 1 %:", psf.smallest_match(a, b, 0.01).size)


# %%
# The larger the kernel, the closer the match; ``damp`` trades closeness for noise.

sizes = range(7, 32, 6)
fig, axes = plt.subplots(1, 4, figsize=(12, 3.2), layout="constrained")
for axis, (title, values) in zip(
    axes, {"psf A": a, "psf B": b, "A → B": found.kernel}.items(), strict=False
):
    half = [25 - n // 2 for n in values.shape[-2:]]
    part = F.pad(values.reshape(values.shape[-2:]), [half[1], half[1], half[0], half[0]])
    axis.imshow(part[13:38, 13:38], cmap="magma")
    axis.set_title(title)
    axis.axis("off")
for damp in (1e-3, 1e-1):
    kernels = [psf.match(a, b, size, damp=damp) for size in sizes]
    gain = float(kernels[-1].noise_gain)
    label = f"damp {damp}, noise gain {gain:.2f}"
    axes[3].semilogy(sizes, [float(k.error) for k in kernels], ".-", label=label)
axes[3].set(xlabel="size of the kernel", title="‖A ∗ kernel − B‖ / ‖B‖")
axes[3].legend()

# %%
# From a terminal: ``unconv psf match a.fits b.fits -o kernel.fits``.
