"""
x̂ = A⁺y for ``F.conv2d(x, K, padding=1)``
=========================================

Given the output of a convolution layer and its weight, what was the input? With zero padding no FFT
answers that; here it is one call, in float32 and in float64.
"""

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from skimage import data

import unconv

x = torch.from_numpy(data.astronaut()[:128, 150:278] / 255.0).permute(2, 0, 1)[None]
K = torch.randn(8, 3, 3, 3, generator=torch.manual_seed(0), dtype=torch.float64)

# %%
# Eight channels out of three: more numbers come out than went in, and the input comes back.

answers = {}
for dtype in (torch.float32, torch.float64):
    y = F.conv2d(x.to(dtype), K.to(dtype), padding=1)
    x_hat = unconv.conv2d_pinv(y, K.to(dtype), padding=1)
    answers[dtype] = x_hat
    print(f"{dtype}: relative error {float((x_hat - x).norm() / x.norm()):.1e}")

# %%
# ``lstsq`` gives the same x̂ with a certificate: the rank, the residual, and a bound of the error
# that is computed from A and y alone.

A = unconv.ConvOperator(K, input_shape=(128, 128), padding=1)
solution, certificate = A.lstsq(F.conv2d(x, K, padding=1))
print("method     ", certificate.method)
print("rank       ", int(certificate.rank[0]), "of", x.numel())
print(f"error bound {float(certificate.error_bound[0]):.1e}")

# %%
# With fewer channels than before, two for three, there are many inputs with that output. A⁺ gives
# the smallest, and its output is y all the same.

few = unconv.ConvOperator(K[:2], input_shape=(128, 128), padding=1)
smallest = few.lstsq(few(x)).solution
print(f"output off by {float((few(smallest) - few(x)).norm() / few(x).norm()):.1e}")

fig, axes = plt.subplots(1, 4, figsize=(11, 3.1), layout="constrained")
y = F.conv2d(x, K, padding=1)[0, 0]
axes[0].imshow(x[0].permute(1, 2, 0))
axes[1].imshow(y, cmap="gray")
axes[2].imshow(answers[torch.float32][0].clamp(0, 1).permute(1, 2, 0))
axes[3].imshow(smallest[0].clamp(0, 1).permute(1, 2, 0))
titles = ("x", "y, the first of 8 channels", "x̂ from 8 channels, float32", "x̂ from 2 channels")
for axis, title in zip(axes, titles, strict=True):
    axis.set_title(title)
    axis.axis("off")
