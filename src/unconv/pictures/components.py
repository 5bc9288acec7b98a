"""The parts of a picture with one noise each, and the spectra and interference of each part.

A JPEG in colour was stored, and rounded, as a luminance and two chrominances (ITU-T T.871).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..parameter_choice.interference import Wave, interference, pattern_of
from ..parameter_choice.noise_models import JpegRounding
from ..parameter_choice.whittle import Periodogram, PictureSpectra

_LOOKS = 3  # for interference: weaker waves show once the strong ones are gone

# From red, green and blue
_YCC = (
    (0.299, 0.587, 0.114),
    (-0.168735892, -0.331264108, 0.5),
    (0.5, -0.418687589, -0.081312411),
)


def parts_of(
    planes: Tensor, jpeg: Sequence[JpegRounding] | None
) -> list[tuple[Tensor, JpegRounding | None]]:
    """Planes with one noise each, (c, H, W), and how they were rounded."""
    if jpeg is None:
        return [(planes, None)]
    if len(planes) == 1:
        return [(planes, jpeg[0])]
    ycc = torch.tensordot(planes.new_tensor(_YCC), planes, 1)
    return [(ycc[i : i + 1], rounding) for i, rounding in enumerate(jpeg)]


def together(parts: Sequence[Tensor], jpeg: Sequence[JpegRounding] | None) -> Tensor:
    """Planes of the picture from those of its parts."""
    planes = torch.cat(list(parts))
    if jpeg is None or len(planes) == 1:
        return planes
    return torch.tensordot(torch.linalg.inv(planes.new_tensor(_YCC)), planes, 1)


def read(
    planes: Tensor,
    psf: Tensor,
    jpeg: Sequence[JpegRounding] | None,
    noise_std: float | None,
    notes: list[str],
) -> tuple[list[tuple[Periodogram, PictureSpectra]], Tensor]:
    """The spectra of each part of complete planes, and waves (C, H, W) that are no part of it."""
    known, patterns = [], []
    waves: list[Wave] = []
    for part, rounding in parts_of(planes, jpeg):
        pattern = torch.zeros_like(part)
        for _ in range(_LOOKS):
            data = Periodogram(part - pattern, psf)
            spectra = data.fit(rounding, noise_std)
            found = interference(part - pattern, data, spectra, psf)
            if not found:
                break
            pattern, waves = pattern + pattern_of(found, part), waves + found
        known.append((data, spectra))
        patterns.append(pattern)
    if waves:
        notes.append(_of_waves(waves))
    return known, together(patterns, jpeg)


def _of_waves(waves: Sequence[Wave]) -> str:
    """One phrase for the user."""
    strongest = max(waves, key=lambda wave: wave.size)
    period = 1 / math.hypot(strongest.fy, strongest.fx)
    count = f"{len(waves)} waves" if len(waves) > 1 else "a wave"
    return (
        f"interference was taken off: {count} from edge to edge, the strongest of "
        f"{strongest.size:.2g} with a period of {period:.3g} samples"
    )
