"""The measurement y = M F x, its adjoint, the masks, and what counts as a measurement.

F is the unitary 2-D Fourier transform of each frame, so that Fᴴ is its inverse, and M keeps lines
of k-space: a Cartesian scan reads a whole line (along W) at once and has to choose among the H of
them.  Lines are in the order of the FFT, the one of frequency 0 first.

Source: Lustig, Donoho & Pauly, "Sparse MRI", Magn. Reson. Med. 58 (2007), for variable density.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from unconv.numerics.checks import check_all_finite, check_tensor

ACCELERATIONS = (4, 8, 12)
CENTRE = 3
"""Lines about frequency 0 that every frame has."""

_DECAY = 2.0  # the density falls with (1 + frequency/_WIDTH)^−_DECAY
_WIDTH = 4.0


def fourier(x: Tensor) -> Tensor:
    """F x of every frame (..., H, W)."""
    return torch.fft.fft2(x, norm="ortho")


def adjoint_fourier(y: Tensor) -> Tensor:
    """Fᴴ y = F⁻¹ y of every frame (..., H, W)."""
    return torch.fft.ifft2(y, norm="ortho")


def measure(x: Tensor, mask: Tensor) -> Tensor:
    """M F x, with 0 where nothing is sampled.  x (N, T, H, W) and mask (N, T, H, 1)."""
    return mask * fourier(x)


def measure_noisy(x: Tensor, mask: Tensor, noise: float, generator: torch.Generator) -> Tensor:
    """M (F x + n), n complex white noise of standard deviation `noise`.

    F is unitary: where everything is sampled, each pixel has noise of that size.
    """
    n = torch.randn(x.shape, dtype=x.dtype, generator=generator)
    return mask * (fourier(x) + noise * n)


def backproject(y: Tensor, mask: Tensor) -> Tensor:
    """Fᴴ M y, the adjoint of `measure`."""
    return adjoint_fourier(mask * y)


def residual(x: Tensor, y: Tensor, mask: Tensor) -> Tensor:
    """Fᴴ(M F x − y), the gradient of ½‖M F x − y‖²; x − residual agrees with all samples."""
    return backproject(fourier(x) - y, mask)


def line_masks(
    series: int, frames: int, height: int, acceleration: float, generator: torch.Generator
) -> Tensor:
    """Lines drawn for each frame anew: round(height/acceleration), with `CENTRE` about 0.

    The others are drawn without replacement, low frequencies more often than high ones.

    Returns
    -------
    (series, frames, height, 1), bool

    Examples
    --------
    >>> mask = line_masks(1, 2, 72, 8, torch.Generator().manual_seed(0))
    >>> mask.shape, mask.sum(2).flatten().tolist()
    (torch.Size([1, 2, 72, 1]), [9, 9])
    """
    lines = line_count(height, acceleration)
    frequency = (torch.fft.fftfreq(height) * height).abs()
    weight = -_DECAY * torch.log1p(frequency / _WIDTH)
    weight[frequency <= CENTRE // 2] = math.inf
    # The largest of log w + Gumbel noise are a weighted sample without replacement.
    uniform = torch.rand(series, frames, height, generator=generator).clamp(min=1e-9)
    order = (weight - torch.log(-torch.log(uniform))).argsort(-1, descending=True)
    mask = torch.zeros(series, frames, height, dtype=torch.bool)
    return mask.scatter_(-1, order[..., :lines], True)[..., None]


def line_count(height: int, acceleration: float) -> int:
    """How many lines a frame has, or one sentence if they are too few."""
    if not (math.isfinite(acceleration) and acceleration >= 1):
        raise ValueError(
            f"acceleration must be a number of at least 1, got {acceleration}; usual are "
            f"{', '.join(map(str, ACCELERATIONS))}."
        )
    lines = round(height / acceleration)
    if lines < CENTRE:
        raise ValueError(
            f"acceleration {acceleration:g} samples {lines} of {height} lines, but the {CENTRE} "
            f"about frequency 0 are always sampled; use at most {height / CENTRE:g}, or larger "
            "frames."
        )
    return lines


def check_measurements(y: object, mask: object) -> None:
    """Refuse what is no batch of sampled complex series, with one sentence."""
    y = check_tensor("y", y)
    if y.dtype not in (torch.complex64, torch.complex128):
        raise TypeError(
            f"y must be complex64 or complex128, got {y.dtype}; convert it with "
            ".to(torch.complex64)."
        )
    if y.ndim != 4 or 0 in y.shape:
        raise ValueError(
            f"y must be series of k-space frames (N, T, H, W), none of them empty, got shape "
            f"{tuple(y.shape)}; give one series as y[None]."
        )
    _check_lines(mask, y)
    check_all_finite("y", y, "repair the scan, or leave these lines out of mask and set them 0")


def _check_lines(mask: object, y: Tensor) -> None:
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        kind = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
        raise TypeError(f"mask must be a tensor of bool, got {kind}; use mask != 0.")
    if mask.ndim == 4 and mask.shape[:2] != y.shape[:2]:
        raise ValueError(
            f"mask must have the {y.shape[0]} series of {y.shape[1]} frames of y, got "
            f"{mask.shape[0]} of {mask.shape[1]}; give every frame its lines, or expand those that "
            "several share."
        )
    if mask.shape != (*y.shape[:3], 1):
        raise ValueError(
            f"mask must have shape (N, T, H, 1) = {(*y.shape[:3], 1)}, a value for each line, got "
            f"{tuple(mask.shape)}; use mask[..., None] for lines (N, T, H)."
        )
    empty = ~mask.any(2).squeeze(-1)
    if empty.any():
        raise ValueError(
            f"mask must sample a line of every frame, got none in {int(empty.sum())} of "
            f"{empty.numel()} frames; lower the acceleration, or leave these frames out: no low "
            "rank tells what a column without samples holds."
        )
