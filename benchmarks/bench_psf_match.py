"""Matching kernels beside windowed ratios of transfer functions, as photutils makes them.

Both kernels have the size of the psfs, and ours the damp at which its noise gain ‖g‖ is that of the
other.  ‖a ∗ g − b‖ is that of the full convolution, as a part of ‖b‖.

Must hold: a smaller residual at the same noise gain, everywhere.  Without photutils (pip install
photutils) there is a table of ours alone.
"""

from __future__ import annotations

import importlib
import math
import warnings
from collections.abc import Iterator

import numpy as np
import torch
from scipy.signal import fftconvolve
from torch import Tensor

from unconv import psf
from unconv.fir import MatchingKernel

from .common import table, timed

SIDE = 25
GAIN = 2e-4  # relative, by which ours may be less: the error is steep in the gain


def measured_like(sigma: float, lobes: int, seed: int) -> Tensor:
    """A star of 2·10⁵ counts: elongated, with lobes around, on a background that is taken off."""
    generator = torch.Generator().manual_seed(seed)

    def density(y: Tensor, x: Tensor) -> Tensor:
        light = torch.exp(-((y + 0.3 * x) ** 2 + 0.7 * x * x) / (2 * sigma**2))
        for i in range(lobes):
            angle = 2 * math.pi * i / lobes + 0.4
            at = 2.2 * sigma * math.sin(angle), 2.2 * sigma * math.cos(angle)
            square = (y - at[0]) ** 2 + (x - at[1]) ** 2
            light = light + 0.15 * torch.exp(-square / (2 * (0.6 * sigma) ** 2))
        return light

    counts = torch.poisson(2e5 * psf.pixelated(density, SIDE) + 20, generator=generator)
    return psf.measured(psf.without_background(counts))


def moffat(fwhm: float, beta: float) -> Tensor:
    whole = psf.moffat(fwhm, beta, energy=0.999)
    half, middle = SIDE // 2, whole.shape[0] // 2
    if middle < half:
        return torch.nn.functional.pad(whole, (half - middle,) * 4)
    return psf.measured(whole[middle - half : middle + half + 1, middle - half : middle + half + 1])


def cases() -> dict[str, tuple[Tensor, Tensor]]:
    return {
        "Moffat 2.5 px, β 3.5 → 4 px, β 2.5": (moffat(2.5, 3.5), moffat(4, 2.5)),
        "Moffat 4 px, β 4.8 → 5 px, β 3": (moffat(4, 4.765), moffat(5, 3)),
        "measured, σ 1.4, 3 lobes → σ 2.2": (measured_like(1.4, 3, 0), measured_like(2.2, 0, 1)),
        "measured, σ 1.8 → σ 2.4, 4 lobes": (measured_like(1.8, 0, 2), measured_like(2.4, 4, 3)),
    }


def rivals(a: Tensor, b: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Windows as the package's manual has them; the last one is no ratio, but damped."""
    try:
        package = importlib.import_module("photutils.psf_matching")
    except ImportError:
        return
    windows = {
        "no window": None,
        "Hanning": package.HanningWindow(),
        "Tukey 0.4": package.TukeyWindow(0.4),
        "cosine bell 0.35": package.CosineBellWindow(0.35),
        "top hat 0.35": package.TopHatWindow(0.35),
    }
    pair = a.numpy(), b.numpy()
    for name, window in windows.items():
        yield (
            name,
            torch.from_numpy(np.ascontiguousarray(package.make_kernel(*pair, window=window))),
        )
    kernel = package.make_wiener_kernel(*pair, penalty="laplacian")
    yield "Wiener, Laplacian", torch.from_numpy(np.ascontiguousarray(kernel))


def error(a: Tensor, g: Tensor, b: Tensor) -> float:
    """‖a ∗ g − b‖ / ‖b‖ of the full convolution."""
    full = fftconvolve(a.numpy(), g.numpy())
    half = SIDE // 2
    full[half:-half, half:-half] -= b.numpy()
    return float(np.linalg.norm(full) / b.norm())


class Curve:
    """Our kernels of one pair by their damp; what was solved for one rival serves the next."""

    def __init__(self, a: Tensor, b: Tensor) -> None:
        self.a, self.b = a, b
        self.known = {d: psf.match(a, b, SIDE, damp=d) for d in (1e-6, 1e-3, 1e-1, 10.0)}

    def at(self, gain: float) -> MatchingKernel:
        """With this ‖g‖ or a little less, which falls with the damp; at most that of 1e-6."""
        while True:
            above = [d for d, g in self.known.items() if float(g.noise_gain) > gain]
            below = min(d for d, g in self.known.items() if float(g.noise_gain) <= gain)
            found = self.known[below]
            if not above or float(found.noise_gain) >= gain * (1 - GAIN):
                return found
            damp = self._between(max(above), below, gain)
            self.known[damp] = psf.match(self.a, self.b, SIDE, damp=damp)

    def _between(self, low: float, high: float, gain: float) -> float:
        """On the line through two known points, gain and damp logarithmic."""
        gains = [float(self.known[d].noise_gain) for d in (low, high)]
        part = math.log(gains[0] / (gain * (1 - GAIN / 2))) / math.log(gains[0] / gains[1])
        return low * (high / low) ** min(max(part, 0.02), 0.98)


def main() -> bool:
    """Print the tables; whether ours is nearer everywhere."""
    warnings.simplefilter("ignore")  # of windows that leave next to nothing
    rows, good = [], True
    for name, (a, b) in cases().items():
        seconds, found = timed(lambda a=a, b=b: psf.match(a, b, SIDE))
        rows.append([name, f"{float(found.error):.1e}", f"{float(found.noise_gain):.3f}",
                     f"{float(found.sum):.4f}", f"{1000 * seconds:.0f}"])  # fmt: skip
    header = ["25 × 25, damp 1e-3", "error", "noise gain", "sum", "ms"]
    print(table("psf.match", header, rows))
    rows = []
    for name, (a, b) in cases().items():
        curve = Curve(a, b)
        for rival, g in rivals(a, b):
            gain, theirs = float(g.norm()), error(a, g, b)
            ours = error(a, curve.at(gain).kernel, b)
            good &= ours <= theirs
            rows.append([name, rival, f"{gain:.3f}", f"{theirs:.2e}", f"{ours:.2e}",
                         f"{ours / theirs:.2g}"])  # fmt: skip
    if rows:
        header = ["psfs", "photutils", "noise gain", "its error", "ours", "ours/its"]
        print(table("the same size and noise gain", header, rows), flush=True)
    return good
