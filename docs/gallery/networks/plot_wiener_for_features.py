"""
A Wiener filter for features [b, c, h, w]
=========================================

A kernel [c, c, k, k] mixes channels, and so does its inverse: one small matrix per frequency. The
Wiener filter weighs each by signal and noise, and by the covariance of the channels where they are
alike.
"""

import matplotlib.pyplot as plt
import torch
from skimage import data

import unconv

torch.manual_seed(0)

# %%
# Features: two pictures as a batch, three channels each, mixed by a kernel of 3 × 3 × 5 × 5, with
# noise.

pictures = [data.astronaut()[:160, 140:300], data.coffee()[60:220, 200:360]]
x = torch.stack([torch.from_numpy(p / 255.0).permute(2, 0, 1) for p in pictures])  # [b, c, h, w]
K = 0.15 * torch.rand(3, 3, 5, 5, dtype=torch.float64) * (1 + 2 * torch.eye(3)[:, :, None, None])
A = unconv.ConvOperator(K, (160, 160), padding=2, padding_mode="circular")
noise_std = 0.05
y = A(x)
y = y + noise_std * torch.randn_like(y)

# %%
# The signal: power that falls with the frequency, and colours that move together. Both can be read
# from similar features; here from the pictures.

mean = x.mean((0, 2, 3), keepdim=True)
power = torch.fft.fft2(x - mean).abs().square().mean((0, 1)) / 160**2
flat = (x - mean).transpose(0, 1).flatten(1)
covariance = flat @ flat.T / flat.shape[1]
scale = covariance.diagonal().mean()

answers = {"seen": y / K.sum((1, 2, 3))[None, :, None, None]}
answers["damped"] = A.tikhonov(noise_std / float(scale.sqrt()))(y - A(mean.expand_as(x))) + mean
filters = {
    "Wiener, white signal": A.wiener(noise_std**2, scale),
    "Wiener, spectrum": A.wiener(noise_std**2, power),
    "… and covariance": A.wiener(noise_std**2, power, channel_covariance=covariance / scale),
}
for name, wiener in filters.items():
    answers[name] = wiener(y - A(mean.expand_as(x))) + mean

fig, axes = plt.subplots(2, 5, figsize=(12, 5.2), layout="constrained")
for column, (name, z) in zip(axes.T, answers.items(), strict=True):
    for axis, picture in zip(column, z, strict=True):
        axis.imshow(picture.clamp(0, 1).permute(1, 2, 0))
        axis.axis("off")
    psnr = -10 * (z - x).square().mean().log10()
    column[0].set_title(f"{name}\n{psnr:.1f} dB")
    print(f"{name:22}{psnr:6.2f} dB")

# %%
# With zero padding the call is the same, ``padding_mode`` apart. ``unconv.wiener(y, K, noise_psd,
# signal_psd, padding=2)`` is the one-call form, and ``unconv.nn.WienerConv2d`` the layer.
