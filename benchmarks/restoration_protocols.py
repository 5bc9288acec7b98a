"""Published protocols of deblurring with a known psf, where somebody gives their pictures.

A protocol is skipped, and says so, unless a variable names the folder of its pictures; the first
and the last want `--kernels=FILE` too, an NPZ whose entries k0 to k7 are the shakes of Levin et al.

- UNCONV_COLOUR: sharp pictures in colour; each kernel, wrapped around, noise of 2.55, 7.65 and
  12.75 of 255 (Zhang et al., "Plug-and-play image restoration with deep denoiser prior", 2022).
- UNCONV_LEVIN: the 32 MAT files with x, y and f of real shakes (Levin et al., "Understanding and
  evaluating blind deconvolution algorithms", 2009); 15 samples at the borders do not count, and
  the answer is shifted by up to 3 whole samples.
- UNCONV_SUN: sharp pictures in grey; each kernel, without what lies outside, noise of 2.55 and 8
  bits (Sun et al., "Edge-based blur kernel estimation using patch priors", 2013).
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.io
import torch
from PIL import Image
from torch import Tensor

import unconv
from unconv.pictures import blur
from unconv.pictures.restoration import blur_operator, frame

from .common import table

PRIORS = ("tv", "dct")
SHIFTS, BORDER = 3, 15
ENDINGS = {".png", ".jpg", ".bmp", ".tif"}


class Blurred(NamedTuple):
    """Planes (C, H, W) in [0, 1], their psf, the truth, and what lies outside."""

    group: str
    y: Tensor
    psf: Tensor
    x: Tensor
    boundary: str
    shifts: int = 0
    border: int = 0

    def decibels(self, found: Tensor) -> float:
        """PSNR of all channels, at the best shift."""
        r, (H, W) = self.shifts, self.x.shape[1:]
        first = self.border + r
        x = self.x[:, first : H - first, first : W - first]
        errors = [
            (found[:, first + i : H - first + i, first + j : W - first + j].clamp(0, 1) - x)
            for i, j in itertools.product(range(-r, r + 1), repeat=2)
        ]
        return -10 * float(min(e.square().mean() for e in errors).log10())


def _kernels(file: str) -> list[Tensor]:
    found = np.load(file)
    kernels = [torch.from_numpy(found[f"k{i}"]).double() for i in range(8)]
    return [k / k.sum() for k in kernels]


def _pictures(folder: Path, mode: str) -> Iterator[Tensor]:
    for path in sorted(p for p in folder.iterdir() if p.suffix.lower() in ENDINGS):
        pixels = np.asarray(Image.open(path).convert(mode)) / 255.0
        yield torch.from_numpy(np.atleast_3d(pixels).copy()).movedim(-1, 0)


def _noise(seed: int, like: Tensor) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(like.shape))


def coloured(folder: Path, kernels: list[Tensor]) -> Iterator[Blurred]:
    """Wrapped around, in colour, three levels of noise."""
    for x, (i, k) in itertools.product(_pictures(folder, "RGB"), enumerate(kernels)):
        for level in (2.55, 7.65, 12.75):
            y = blur(x, k, boundary="circular") + level / 255 * _noise(i, x)
            yield Blurred(f"noise {level}", y, k, x, "circular")


def real(folder: Path, _: list[Tensor]) -> Iterator[Blurred]:
    """Photographed shakes."""
    for path in sorted(folder.glob("*.mat")):
        found = scipy.io.loadmat(path)
        x, y, k = (torch.from_numpy(np.asarray(found[n], dtype=np.float64)) for n in "xyf")
        yield Blurred("real shake", y[None], k / k.sum(), x[None], "valid", SHIFTS, BORDER)


def grey(folder: Path, kernels: list[Tensor]) -> Iterator[Blurred]:
    """Without surroundings, in 8 bits."""
    for scene, (i, k) in itertools.product(_pictures(folder, "L"), enumerate(kernels)):
        y = blur(scene, k, boundary="valid")
        y = (255 * (y + 0.01 * _noise(i, y))).round().clamp(0, 255) / 255
        yield Blurred("8 bits, noise 2.55", y, k, frame(scene, k), "valid")


PROTOCOLS: dict[str, Callable[[Path, list[Tensor]], Iterator[Blurred]]] = {
    "UNCONV_COLOUR": coloured,
    "UNCONV_LEVIN": real,
    "UNCONV_SUN": grey,
}


def restored(case: Blurred, prior: str) -> Tensor:
    """(C, H, W), all colours as one image."""
    c, h, w = case.y.shape
    grey = blur_operator(case.psf, (h, w), case.boundary)
    if c == 1:
        A = grey
    else:
        A = unconv.ConvOperator(
            grey.weight.expand(c, 1, *grey.weight.shape[2:]),
            grey.domain_shape[1:],
            groups=c,
            flip=True,
            **({} if case.boundary == "valid" else {"padding": "same", "padding_mode": "circular"}),
        )
    x = unconv.restore(A, case.y[None], prior=prior).solution[0]
    return frame(x, case.psf) if case.boundary == "valid" else x


def protocols(kernels: str | None) -> dict[str, bool]:
    """One table of each whose pictures are there."""
    for variable, cases in PROTOCOLS.items():
        folder = os.environ.get(variable)
        if folder is None or (kernels is None and variable != "UNCONV_LEVIN"):
            needed = (
                f"{variable} names no folder" if folder is None else "--kernels=FILE is not given"
            )
            print(f"\nprotocol {cases.__name__}: skipped, for {needed}", flush=True)
            continue
        found: dict[str, list[list[float]]] = {}
        for case in cases(Path(folder), [] if kernels is None else _kernels(kernels)):
            row = [case.decibels(case.y), *(case.decibels(restored(case, p)) for p in PRIORS)]
            found.setdefault(case.group, []).append(row)
        rows = [
            [group, str(len(each)), *(f"{sum(c) / len(c):.2f}" for c in zip(*each, strict=True))]
            for group, each in found.items()
        ]
        header = ["", "pictures", "blurred", *PRIORS]
        print(table(f"protocol {cases.__name__}, PSNR in dB", header, rows), flush=True)
    return {}
