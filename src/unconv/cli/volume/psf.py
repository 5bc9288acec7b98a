"""`--psf` of a volume: a Gaussian by its widths, or a file, with the pitch that it knows of."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor

from ...psf import gaussian
from ...volumes.prepare import spacing_of
from ...volumes.sources import open_source
from ..psf_option import cleaned_psf, exists, prepared_psf

VolumePsfOption = Annotated[
    str,
    typer.Option(
        help="A file: NPY, TIFF, OME-TIFF, FITS or Zarr with the axes of the volume, centre n//2, "
        "scaled to sum 1; or gaussian:SIGMA or gaussian:SIGMA_Z,SIGMA_XY in samples. Of mosaics in "
        "two axes also disk:RADIUS and motion:LENGTH,ANGLE."
    ),
]

_LARGEST_PSF = 2**27  # samples of a psf: beyond it is no psf that anybody measured
_TABLES = (".csv", ".txt", ".tsv", ".dat", ".mat", ".png", ".jpg", ".jpeg")


def volume_psf(
    text: str, axes: str, background: str, *, center: bool
) -> tuple[Tensor, tuple[float, ...] | None, list[str]]:
    """A psf as it was typed, the distances of its samples if its file says them, and doubts.

    axes : of the volume, 'zyx' or 'yx'
    """
    name, colon, widths = text.partition(":")
    if colon and name == "gaussian" and len(axes) > 2 and not exists(text):
        return _gaussian(text, widths), None, []
    if not exists(text) or Path(text).suffix.lower() in _TABLES:
        psf, doubts = prepared_psf(text, background, center=center)
        return psf, None, doubts
    values, spacing = _from_file(text)
    psf, doubts = cleaned_psf(text, values, background, center=center)
    return psf, spacing, doubts


def _gaussian(text: str, widths: str) -> Tensor:
    """h ∝ exp(−z²/2σ_z² − (y² + x²)/2σ²), integrals over voxels."""
    try:
        sigmas = [float(v) for v in widths.split(",")]
    except ValueError:
        sigmas = []
    if len(sigmas) not in (1, 2):
        raise ValueError(
            f"psf {text!r} must be written gaussian:SIGMA or gaussian:SIGMA_Z,SIGMA_XY, in numbers."
        )
    return gaussian(sigmas[0]).sum(0)[:, None, None] * gaussian(sigmas[-1])


def _from_file(text: str) -> tuple[Tensor, tuple[float, ...] | None]:
    """The values of a psf, and the distances of its samples where the file says them."""
    source = open_source(text)
    sizes = [n for a, n in zip(source.frame.axes, source.shape, strict=True) if a in "tc"]
    if any(n > 1 for n in sizes):
        raise ValueError(
            f"psf {text!r} has the axes {source.frame.axes} {source.shape}; a psf has one time and "
            "one channel, save it alone."
        )
    shape = source.shape[len(sizes) :]
    values = torch.from_numpy(source.read(tuple(slice(0, n) for n in source.shape)).copy())
    if values.numel() > _LARGEST_PSF:
        raise ValueError(f"psf {text!r} has {values.numel():,} samples; crop it, psf.crop does.")
    return values.reshape(shape).double(), spacing_of(source)
