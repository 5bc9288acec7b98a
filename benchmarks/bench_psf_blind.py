"""Psfs of any form read from one picture, and what the picture restored with them is worth.

The photograph camera, with `--all` astronaut and coffee as well, 256² in grey, blurred by a
Gaussian, a disk, a movement and, with `--kernels=FILE` (an NPZ whose entry 'k3' it is), a measured
shake, with real surroundings that the picture does not show; noise of 0.4 %.  The size that is
asked for is a few samples larger than the psf.

Where in its array a psf stands no picture tells: its error and the PSNR are those at the best
shift, to an eighth of a sample; 32 samples at the borders do not count.

Must hold: every picture restored by `deblur` with what was found is at least 1 dB above the blurred
one, without a doubt or with; 30 s of one thread.
"""

from __future__ import annotations

import math
import sys
import time

import torch
from scipy.ndimage import shift
from skimage.registration import phase_cross_correlation
from torch import Tensor

from unconv import psf
from unconv.pictures import deblur

from .bench_pictures import usual_psfs, whole_case
from .common import table

PICTURES = "camera", "astronaut", "coffee"
SIZES = {"gaussian:2": 15, "disk:4": 13, "motion:15,30": 19, "shake": 31}
NOISE, BORDER, FINE = 0.004, 32, 8
GAIN, SECONDS = 1.0, 30.0


def error(found: Tensor, true: Tensor) -> float:
    """‖found − true‖/‖true‖ at the best shift."""
    n = 2 * (max(*found.shape, *true.shape) // 2 + 1)
    middle = n // 2
    common = torch.fft.fft2(found, s=(n, n)).conj() * torch.fft.fft2(true, s=(n, n))
    fine = torch.zeros(FINE * n, FINE * n, dtype=common.dtype)
    ends = slice(0, middle), slice(-middle, None)
    for rows in ends:
        for columns in ends:
            fine[rows, columns] = common[rows, columns]
    best = float(torch.fft.ifft2(fine).real.max()) * FINE**2
    squares = float(found.square().sum() + true.square().sum()) - 2 * best
    return math.sqrt(max(squares, 0.0)) / float(true.norm())


def decibels(found: Tensor, x: Tensor) -> float:
    """PSNR of a picture (1, H, W) at the best shift, without its borders."""
    inner = slice(BORDER, -BORDER), slice(BORDER, -BORDER)
    a, b = (t[0].clamp(0, 1).numpy() for t in (found, x))
    off, _, _ = phase_cross_correlation(
        b[inner], a[inner], upsample_factor=FINE, normalization=None
    )
    moved = shift(a, off, order=3, mode="nearest") if off.any() else a
    return -10 * math.log10(float(((moved - b)[inner] ** 2).mean()))


def main() -> bool:
    """Print the table and the doubts; whether the figures hold."""
    torch.set_num_threads(1)
    files = [a.split("=")[1] for a in sys.argv if a.startswith("--kernels=")]
    kernels = usual_psfs(files[0] if files else None)
    rows, held = [], True
    for name, kernel in kernels.items():
        for picture in PICTURES if "--all" in sys.argv else PICTURES[:1]:
            case = whole_case(picture, name, kernel, NOISE)
            start = time.process_time()
            found = psf.blind(case.y, SIZES[name])
            seconds = time.process_time() - start
            blurred = decibels(case.y, case.x)
            blind, true = (
                decibels(deblur(case.y, h).planes, case.x) for h in (found.psf, case.psf)
            )
            held &= blind - blurred >= GAIN and seconds <= SECONDS
            rows.append(
                [
                    name,
                    picture,
                    found.family,
                    f"{error(found.psf, case.psf):.2f}",
                    f"{blurred:.1f}",
                    f"{blind:.1f}",
                    f"{true:.1f}",
                    f"{seconds:.0f}",
                ]
            )
            print(f"{picture}, {name}: {', '.join(found.doubts) or 'no doubt'}", flush=True)
    header = ["blur", "picture", "found", "error", "blurred, dB", "blind", "true psf", "s"]
    print(table("psfs of any form from one picture", header, rows))
    return held
