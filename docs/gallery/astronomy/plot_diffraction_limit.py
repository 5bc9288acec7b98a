"""
What a telescope does not show
==============================

Diffraction lets no detail through that is finer than the aperture allows. Nothing brings that back.
What the telescope weakened without losing it comes back as far as the noise lets it.
"""

import matplotlib.pyplot as plt
import torch
from skimage import data

import unconv
from unconv import psf

moon = torch.from_numpy(data.moon()[320:500, 150:330] / 255.0)[None, None]
disc = psf.airy(wavelength_nm=600, aperture_m=0.1, pixel_arcsec=0.45, energy=0.95)
A = unconv.ConvOperator(disc[None, None], moon.shape[2:], flip=True)
seen = A(moon)

# %%
# Three exposures, each ten times as noisy as the one before, each restored with a strength read
# from its data.

reach = disc.shape[0] // 2
inner = slice(reach, -reach)
fig, axes = plt.subplots(2, 4, figsize=(11, 5.8), layout="constrained")
axes[0, 0].imshow(moon[0, 0, inner, inner], cmap="gray", vmin=0.15, vmax=0.65)
axes[0, 0].set_title("scene")
spectrum = torch.fft.rfft2(disc, s=(256, 256)).abs()
axes[1, 0].semilogy(torch.linspace(0, 0.5, 129), spectrum[0].clamp(min=1e-6))
axes[1, 0].set(title="what the aperture passes", xlabel="cycles per pixel")
for column, noise_std in zip(axes.T[1:], (0.0003, 0.003, 0.03), strict=True):
    noise = torch.randn(seen.shape, dtype=seen.dtype, generator=torch.manual_seed(0))
    noisy = seen + noise_std * noise
    found = unconv.restore(A, noisy, prior="tv", noise_std=noise_std, gap_tol=1e-2)
    column[0].imshow(noisy[0, 0], cmap="gray", vmin=0.15, vmax=0.65)
    column[0].set_title(f"seen, noise {noise_std}")
    column[1].imshow(found.solution[0, 0, inner, inner], cmap="gray", vmin=0.15, vmax=0.65)
    column[1].set_title("restored")
for axis in [*axes[0], *axes[1, 1:]]:
    axis.axis("off")
