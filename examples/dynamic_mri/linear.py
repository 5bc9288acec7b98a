"""The best linear restoration, which is where the network starts: k-t interpolation.

For series that are random, periodic and stationary in space and time, frequencies have nothing to
do with each other: each has its own row of T values over time, of which the samples are known up
to noise, and a covariance C over time, circulant, whose eigenvalues are the mean power at that
spatial and each temporal frequency.  No linear map has a smaller expected error than

    x̂ = C Mᴴ (M C Mᴴ + σ²I)⁻¹ y     (LMMSE)

for each of them, systems of T equations.  The power is measured in training series.

Source: Tsao, Boesiger & Pruessmann, "k-t BLAST and k-t SENSE", Magn. Reson. Med. 50 (2003), who
take the power from a training scan of the patient.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .kspace import adjoint_fourier, check_measurements, fourier
from .series import Data

_SERIES = 120  # whose power is averaged
_SEED = 20241122  # no seed of a run, nor that of the series held out


def mean_power(data: Data) -> Tensor:
    """Mean of |F x|² over training series, at temporal frequency, row and column (T, H, W).

    Averaged over the signs of each frequency: a series and its mirror images are as likely.
    """
    generator = torch.Generator().manual_seed(_SEED)
    power = torch.zeros(data.frames, *data.size)
    for _ in range(_SERIES):
        spectrum = torch.fft.fft(fourier(data.draw(generator)), dim=0, norm="ortho")
        power += spectrum.abs().square() / _SERIES
    for axis in range(3):
        power = (power + power.flip(axis).roll(1, axis)) / 2
    return power


def lmmse(y: Tensor, mask: Tensor, power: Tensor, noise: float) -> Tensor:
    """The best linear restoration of each series.

    Parameters
    ----------
    y : (N, T, H, W), complex
    mask : (N, T, H, 1), bool
    power : (T, H, W), of `mean_power`
    noise : standard deviation σ of the samples, real and imaginary part together

    Returns
    -------
    (N, T, H, W), complex
    """
    check_measurements(y, mask)
    if power.shape != y.shape[1:]:
        raise ValueError(
            f"the mean power is that of series of {tuple(power.shape)}, got {tuple(y.shape[1:])}; "
            "measure that of such series: train with --frames and --shrink as these have them."
        )
    frames = torch.arange(len(power))
    correlation = torch.fft.ifft(power, dim=0).real
    C = correlation[(frames[:, None] - frames) % len(power)].permute(2, 3, 0, 1)  # (H, W, T, T)
    known = mask.squeeze(-1).mT[:, :, None].to(C)  # (N, H, 1, T)
    # Rows and columns that are not sampled: those of the identity, so that all have one size.
    off = torch.diag_embed(1 - known + noise**2 * known + _least(C))
    K = C * known[..., None] * known[..., None, :] + off
    samples = (mask * y).permute(0, 2, 3, 1)[..., None]  # (N, H, W, T, 1)
    weights = torch.linalg.solve(K.to(samples), samples)
    return adjoint_fourier((C.to(samples) @ weights).squeeze(-1).permute(0, 3, 1, 2))


def _least(C: Tensor) -> Tensor:
    """What float32 needs on the diagonal to factorise C if there is no noise."""
    return 1e-5 * C[..., 0, 0].mean()
