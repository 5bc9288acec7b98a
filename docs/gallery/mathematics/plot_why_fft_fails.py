"""
Why FFT deconvolution shifts and rings
======================================

The snippet that everybody writes, ``irfft2(rfft2(y) / rfft2(k))``, has four faults. Each is shown
alone, and mended.
"""

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from skimage import data
from torch.fft import irfft2, rfft2

import unconv
from unconv import psf

x = torch.from_numpy(data.camera()[60:188, 160:288] / 255.0)
k = psf.gaussian(0.8) + 0.15 * psf.gaussian(0.8).roll((2, 1), (0, 1))  # not symmetric
k = k / k.sum()
n = x.shape[0]
half = k.shape[0] // 2


def conv(picture, mode):
    """What F.conv2d computes: a cross-correlation, padded by half a kernel."""
    if mode != "valid":
        picture = F.pad(picture[None, None], [half] * 4, mode=mode)[0, 0]
    return F.conv2d(picture[None, None], k[None, None])[0, 0]


# %%
# **It shifts**: the kernel's first sample is taken for its centre. **It mirrors**: a layer
# correlates, so its transfer function is the conjugate.

y = conv(x, "circular")
centred = F.pad(k, [0, n - k.shape[1], 0, n - k.shape[0]]).roll((-half, -half), (0, 1))
panels = {
    "the snippet": irfft2(rfft2(y) / rfft2(k, s=x.shape), s=x.shape),
    "centred": irfft2(rfft2(y) / rfft2(centred), s=x.shape),
    "and conjugated": irfft2(rfft2(y) / rfft2(centred).conj(), s=x.shape),
}

# %%
# **It amplifies noise**, wherever the kernel transmits little. **It rings**: a picture is not
# periodic.

noise = 0.01 * torch.randn(x.shape, dtype=x.dtype, generator=torch.manual_seed(0))
H = rfft2(centred).conj()
panels["with noise of 1 %"] = irfft2(rfft2(y + noise) / H, s=x.shape)
part = F.pad(conv(x, "valid"), [half] * 4)  # the camera saw the middle; zeros fill it up
panels["damped"] = irfft2(rfft2(y + noise) * H.conj() / (H.abs() ** 2 + 0.01), s=x.shape)
panels["damped, not periodic"] = irfft2(rfft2(part) * H.conj() / (H.abs() ** 2 + 0.01), s=x.shape)

# %%
# What is right, for the last one: the operator of the camera, of which nothing outside is known.
# The penalty is on differences, so that the unknown rim goes on smoothly.

A = unconv.ConvOperator(k[None, None], input_shape=(n, n))
inner = slice(half, -half)
seen = conv(x, "valid") + noise[inner, inner]
answer = A.lstsq(seen[None, None], damp=0.1, penalty="gradient")
panels["unconv, not periodic"] = answer.solution[0, 0]
panels["x"] = x

fig, axes = plt.subplots(2, 4, figsize=(11, 6.2), layout="constrained")
for axis, (title, picture) in zip(axes.flat, panels.items(), strict=True):
    error = float((picture - x)[inner, inner].norm() / x[inner, inner].norm())
    axis.imshow(picture, cmap="gray", vmin=0, vmax=1)
    axis.set_title(title if title == "x" else f"{title}\nerror {error:.1%}")
    axis.axis("off")
