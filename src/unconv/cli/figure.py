"""The demo's figure: pictures above, their spectra below."""

from __future__ import annotations

from typing import IO, Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

Panel = tuple[str, Tensor, dict[str, Any] | None]


def comparison(file: IO[bytes], title: str, panels: list[Panel]) -> None:
    """Draw (name, planes (C, H, W), scores) side by side into a PNG."""
    figure = Figure(figsize=(13.5, 8.9), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=13, parse_math=False)  # psf names may hold dollars
    axes = figure.subplots(2, len(panels))
    spectra = [_log_power(planes) for _, planes, _ in panels]
    low, high = np.percentile(spectra[0], [1, 99.9])
    for column, ((name, planes, scores), spectrum) in enumerate(zip(panels, spectra, strict=True)):
        top, bottom = axes[:, column]
        pixels = planes.clamp(0, 1).permute(1, 2, 0).numpy()
        top.imshow(pixels.squeeze(), cmap="gray", vmin=0, vmax=1, interpolation="lanczos")
        quality = "" if scores is None else f"\n{scores['psnr']:.2f} dB, SSIM {scores['ssim']:.3f}"
        top.set_title(name + quality)
        top.set_axis_off()
        bottom.imshow(
            spectrum,
            cmap="magma",
            vmin=low,
            vmax=high,
            extent=(-0.5, 0.5, -0.5, 0.5),
            aspect=spectrum.shape[0] / spectrum.shape[1],
        )
        bottom.set_xlabel("cycles per pixel")
        bottom.set_xticks([-0.5, 0, 0.5])
        bottom.set_yticks([-0.5, 0, 0.5])
    axes[1, 0].set_ylabel("cycles per pixel")
    figure.colorbar(axes[1, 0].images[0], ax=list(axes[1]), label="power, dB", shrink=0.9)
    figure.savefig(file, format="png")


def _log_power(planes: Tensor) -> np.ndarray[Any, Any]:
    """Power spectrum of the grey picture in dB, zero frequency in the middle, Hann window."""
    grey = planes.mean(0)
    grey = grey - grey.mean()
    for dim in (0, 1):
        window = torch.hann_window(grey.shape[dim], periodic=False, dtype=grey.dtype)
        grey = grey * window.reshape([-1, 1] if dim == 0 else [1, -1])
    power = torch.fft.fftshift(torch.fft.fft2(grey)).abs() ** 2 / grey.numel()
    return np.asarray(10 * torch.log10(power + 1e-12))
