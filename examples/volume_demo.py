"""A volume blurred, restored tile by tile, and held against what it was.

    python -m examples.volume_demo                # drawn: beads, filaments and shells
    python -m examples.volume_demo --brain        # MNI152, as nilearn has it

Both are blurred by an anisotropic Gaussian, lose their surroundings on all sides, and get noise of
1 % of their largest value and an offset, of which nothing is told.  `stack.npy`, `psf.npy` and
`restored.zarr` stay in the folder, for `unconv volume`.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from unconv import psf, volumes

from .volume_phantom import Phantom

OFFSET, NOISE = 100.0, 10.0  # where the brightest sample has 1,000
Array = NDArray[np.float32]


def drawn() -> tuple[Array, tuple[float, ...]]:
    """Beads, filaments and shells, and the size of a voxel, µm."""
    voxel = (0.3, 0.1, 0.1)
    return Phantom((58, 212, 212), voxel).draw(), voxel


def brain() -> tuple[Array, tuple[float, ...]]:
    """The MNI152 template, and the size of a voxel, mm."""
    from nilearn.datasets import load_mni152_template

    values = load_mni152_template(resolution=1).get_fdata()
    return np.moveaxis(values, 2, 0).astype(np.float32), (1.0, 1.0, 1.0)


def blurred(scene: Array, blur: torch.Tensor) -> tuple[Array, Array]:
    """What is seen of a scene, and the part of the scene that lies in the frame."""
    sizes = [n + k - 1 for n, k in zip(scene.shape, blur.shape, strict=True)]
    spectrum = torch.fft.rfftn(torch.from_numpy(scene).double(), s=sizes)
    full = torch.fft.irfftn(spectrum * torch.fft.rfftn(blur, s=sizes), s=sizes).numpy()
    frame = tuple(slice(k - 1, n) for n, k in zip(scene.shape, blur.shape, strict=True))
    middle = tuple(
        slice(k // 2, n - (k - 1 - k // 2)) for n, k in zip(scene.shape, blur.shape, strict=True)
    )
    unit = 1000 / full[frame].max()
    noise = NOISE * np.random.default_rng(0).normal(size=full[frame].shape)
    seen = OFFSET + unit * full[frame] + noise
    return seen.astype(np.float32), (OFFSET + unit * scene[middle]).astype(np.float32)


def decibels(found: Array, true: Array) -> float:
    """PSNR."""
    error = float(np.mean((found - true).astype(np.float64) ** 2))
    return 10 * math.log10((float(true.max()) - OFFSET) ** 2 / error)


def main() -> None:
    """Blur, restore, compare."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, default=Path("volume-demo"))
    parser.add_argument("--brain", action="store_true")
    parser.add_argument("--memory", type=float, default=1e9)
    asked = parser.parse_args()
    scene, voxel = brain() if asked.brain else drawn()
    blur = psf.gaussian(1.2).sum(0)[:, None, None] * psf.gaussian(1.5)
    seen, true = blurred(scene, blur)
    asked.folder.mkdir(exist_ok=True)
    np.save(asked.folder / "stack.npy", seen)
    np.save(asked.folder / "psf.npy", blur.numpy())
    out = asked.folder / "restored.zarr"
    began = time.process_time()
    done = volumes.deconvolve(
        asked.folder / "stack.npy", blur, out, voxel=voxel, memory=asked.memory
    )
    took = time.process_time() - began
    found = done.reports["all"]
    import zarr

    answer = np.asarray(zarr.open(out, mode="r")["0"])
    print(f"{' × '.join(map(str, seen.shape))} samples, cores of {done.need.core}")
    print(f"noise {found['estimates']['noise_std']:.2f}, true {NOISE:.2f}")
    print(f"PSNR {decibels(seen, true):.2f} dB, restored {decibels(answer, true):.2f} dB")
    print(f"error ≤ {found['proven error']:.1e} of the deviation, {found['passes']} passes")
    print(f"{took:.0f} s of processor time")


if __name__ == "__main__":
    main()
