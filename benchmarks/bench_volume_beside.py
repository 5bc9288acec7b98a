"""Volumes beside what others do: what tiles cost in accuracy, and counts restored.

*Tiles*: Richardson–Lucy and a Wiener filter by `dask.array.map_overlap`, with the halos that tools
take (half a psf, 10 samples, one psf), each against the same algorithm on the volume at once, in
time and in error relative to the standard deviation.  Ours: Richardson–Lucy on tiles, and total
variation after each pass, against `unconv.restore` of the volume.  Surroundings are unknown; the
others continue the volume by zeros or around.
*Counts*: the MNI152 template of nilearn and a drawn phantom, an offset and Poisson noise; PSNR of
Richardson–Lucy as textbooks have it and of RedLionfish, both at their best step by looking at the
truth, and of ours, which look at the counts alone.

Every package is a dash where it is not installed.  A part of MNI152 of 64 × 80 × 64; `--whole` for
all of it.  Must hold: Richardson–Lucy on tiles differs by round-off; total variation after its
second pass by less than a solution of the volume to the same tolerance may; ours are above the best
textbook step.
"""

from __future__ import annotations

import importlib
import math
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.signal import fftconvolve
from torch import Tensor

import unconv
from examples.volume_phantom import Phantom
from unconv import ConvOperator, psf
from unconv.volumes.nonlinear.counts import Counts, RichardsonLucy
from unconv.volumes.nonlinear.priors import TiledRestoration, TileProblem
from unconv.volumes.tiling.stages import Constant, MemoryRunner
from unconv.volumes.tiling.tiles import Tiling

from .common import table
from .phantoms import anisotropic_psf

Array = NDArray[np.float32]

PEAK, OFFSET, STEPS, TILE = 200, 100, 20, 40
RIDGE = 0.02
"""Of the largest power of the data, which the Wiener filter of the others adds to |ĥ|²."""
MOST_STEPS = 60
LARGEST_ERROR = 3e-2
"""Of total variation after two passes: twice that of the volume at once to the default gap."""


class Scene(NamedTuple):
    """A volume in counts.

    Attributes
    ----------
    A : no padding, so that surroundings are unknown
    truth : (1, 1, *scene)
    y : (1, 1, *data), whole counts with the offset
    """

    name: str
    kernel: Tensor
    A: ConvOperator
    truth: Tensor
    y: Tensor

    @property
    def frame(self) -> tuple[slice, ...]:
        """Where the data are."""
        return tuple(
            slice(k - 1 - k // 2, n - k // 2)
            for k, n in zip(self.kernel.shape, self.truth.shape[2:], strict=True)
        )

    def decibels(self, x: Tensor) -> float:
        """PSNR in the frame; x is of the scene or of the data."""
        truth = self.truth[0, 0][self.frame]
        part = x[self.frame] if x.shape == self.truth.shape[2:] else x
        return -10 * math.log10(float(((part - truth) / PEAK).square().mean()))


def brain(*, whole: bool) -> Array:
    """MNI152 at 1 mm."""
    volume = importlib.import_module("nilearn.datasets").load_mni152_template(resolution=1)
    values: Array = volume.get_fdata().astype(np.float32)
    return values if whole else values[60:124, 60:140, 50:114]


def scenes(*, whole: bool) -> list[Scene]:
    """Those of which the packages are installed."""
    found = []
    if _module("nilearn") is not None:
        found.append(_counted("MNI152", brain(whole=whole), anisotropic_psf((2.0, 1.2, 1.2))))
    if _module("psf_generator") is not None:
        voxel = (0.3, 0.1, 0.1)
        light = psf.microscope(na=1.2, wavelength_nm=520, voxel_um=voxel, size=(15, 21, 21))
        found.append(_counted("phantom, microscope", Phantom((48, 80, 80), voxel).draw(), light))
    return found


def _counted(name: str, scene: Array, kernel: Tensor) -> Scene:
    A = ConvOperator(kernel.float()[None, None], scene.shape, flip=True)
    truth = torch.from_numpy(scene * (PEAK / scene.max()))[None, None]
    mean = A(truth).clamp(min=0) + OFFSET
    return Scene(name, kernel, A, truth, torch.poisson(mean, torch.Generator().manual_seed(0)))


# --- what others do, on an array at once
def textbook(
    y: Array, kernel: Array, steps: int = STEPS, look: Callable[[Array], None] = lambda _: None
) -> Array:
    """Richardson–Lucy with zeros around and the offset subtracted, as in most packages."""
    light = np.maximum(y - OFFSET, 0).astype(np.float32)
    x = np.full_like(light, max(float(light.mean()), 1e-6))
    for _ in range(steps):
        mean = np.maximum(fftconvolve(x, kernel, "same"), 1e-6)
        x = x * fftconvolve(light / mean, kernel[::-1, ::-1, ::-1], "same").astype(np.float32)
        look(x)
    return x


def wiener(y: Array, kernel: Array) -> Array:
    """The filter of conj ĥ/(|ĥ|² + c), around the torus, as in scikit-image."""
    sizes = [max(n, k) for n, k in zip(y.shape, kernel.shape, strict=True)]
    light = _padded(y - np.float32(OFFSET), sizes)  # a last tile may be smaller than the psf
    centre = [-(k // 2) for k in kernel.shape]
    spectrum = np.fft.rfftn(np.roll(_padded(kernel, sizes), centre, range(3)))
    gains = spectrum.conj() / (abs(spectrum) ** 2 + RIDGE)
    found = np.fft.irfftn(np.fft.rfftn(light) * gains, s=sizes)
    return found[tuple(slice(0, n) for n in y.shape)].astype(np.float32)


def _padded(array: Array, sizes: Sequence[int]) -> Array:
    return np.pad(array, [(0, n - k) for n, k in zip(sizes, array.shape, strict=True)])


def overlapped(
    method: Callable[[Array, Array], Array], y: Array, kernel: Array, halo: Sequence[int]
) -> Array:
    """By dask's map_overlap, one thread."""
    array = importlib.import_module("dask.array")
    lazy = array.from_array(y, chunks=TILE)
    depth = dict(enumerate(halo))
    done = array.map_overlap(method, lazy, kernel=kernel, depth=depth, boundary="none", dtype="f4")
    found: Array = done.compute(scheduler="synchronous")
    return found


# --- tables
def others(scene: Scene) -> list[list[str]]:
    """A row for each method and halo, against the same method at once."""
    y, kernel = scene.y[0, 0].numpy(), scene.kernel.numpy().astype(np.float32)
    k, rows = kernel.shape, []
    halos = {"half a psf": tuple(n // 2 for n in k), "10": (10,) * 3, "one psf": k}
    if _module("dask") is not None:
        for name, method in (("Richardson–Lucy, dask", textbook), ("Wiener, dask", wiener)):
            whole, taken = _timed(partial(method, y, kernel))
            for halo, depth in halos.items():
                part, seconds = _timed(partial(overlapped, method, y, kernel, depth))
                rows.append([scene.name, name, halo, *_apart(part, whole, seconds / taken)])
    return rows


def _our_lucy(scene: Scene) -> tuple[list[str], bool]:
    """As many steps on tiles as the others take, against those on the whole."""
    told: dict[str, Any] = {"background": float(OFFSET), "stop": None, "maxiter": STEPS}
    whole, taken = _timed(partial(unconv.richardson_lucy, scene.A, scene.y, **told))
    data = scene.y[0, 0].numpy()
    problem = Counts(Constant(scene.kernel), data.shape, float(OFFSET))
    method = RichardsonLucy(problem, maxiter=STEPS, stop=None)
    runner = MemoryRunner(data)
    (name, _), seconds = _timed(partial(method, runner, _tiling(scene, method.halo)))
    part, reference = (x[scene.frame] for x in (runner.arrays[name], whole.solution[0, 0].numpy()))
    row = [scene.name, "Richardson–Lucy, unconv", "one psf"]
    good = float(np.abs(part - reference).max() / reference.std()) <= 1e-2
    return [*row, *_apart(part, reference, seconds / taken)], good


def _our_tv(scene: Scene) -> tuple[list[list[str]], bool, str]:
    """Two passes, each against the whole at once; and the PSNR of the second, with its numbers."""
    told: dict[str, Any] = {"noise_model": "poisson", "nonnegative": True}
    told["background"] = float(OFFSET)
    data, frame = scene.y[0, 0].numpy(), scene.frame
    problem = TileProblem(Constant(scene.kernel), data.shape, **told)
    method, runner = TiledRestoration(problem, tol=0.0, passes=2), _Keeping(data)
    (name, report), seconds = _timed(partial(method, runner, _tiling(scene, method.halo)))
    strength, residual = report["strength"], report["residual"][-1]
    whole, taken = _timed(partial(unconv.restore, scene.A, scene.y, strength=strength, **told))
    reference = whole.solution[0, 0].numpy()[frame]
    rows = []
    for turn, ratio in enumerate((seconds / taken / 2, seconds / taken)):
        row = _apart(runner.arrays[f"x/{turn}"][frame], reference, ratio)
        rows.append([scene.name, f"tv, unconv, pass {turn + 1}", "two psfs", *row])
    rows[-1][1] += f" (residual {residual:.1e})"
    decibels = scene.decibels(torch.from_numpy(runner.arrays[name]))
    good = float(rows[-1][3]) <= LARGEST_ERROR
    return rows, good, f"{decibels:.2f} (λ {strength:.2g})"


class _Keeping(MemoryRunner):
    """Nothing is dropped, so that each pass can be looked at."""

    def drop(self, *names: str) -> None:
        """Nothing."""


def _tiling(scene: Scene, halo: Sequence[int]) -> Tiling:
    return Tiling(scene.truth.shape[2:], (TILE,) * 3, halo)


def _apart(part: Array, whole: Array, ratio: float) -> list[str]:
    """Error relative to the standard deviation: rms, largest; time relative to the whole."""
    error = np.abs(part - whole) / whole.std()
    return [f"{math.sqrt(np.square(error).mean()):.1e}", f"{error.max():.1e}", f"{ratio:.1f}"]


def counts(scene: Scene, tv: str) -> tuple[list[str], bool]:
    """PSNR of each way, and whether ours are best."""
    y, kernel = scene.y[0, 0].numpy(), scene.kernel.numpy().astype(np.float32)
    looks: list[float] = []
    textbook(y, kernel, MOST_STEPS, lambda x: looks.append(scene.decibels(torch.from_numpy(x))))
    best = max(looks)
    found = unconv.richardson_lucy(scene.A, scene.y, background=float(OFFSET))
    ours = scene.decibels(found.solution[0, 0])
    row = [
        scene.name,
        f"{scene.decibels(scene.y[0, 0] - OFFSET):.2f}",
        f"{best:.2f} ({looks.index(best) + 1})",
        _lionfish(scene, y, kernel),
        f"{ours:.2f} ({int(found.iterations)})",
        tv,
    ]
    return row, max(ours, float(tv.split()[0])) > best


def _lionfish(scene: Scene, y: Array, kernel: Array) -> str:
    """RedLionfish at the best of some numbers of steps, by SciPy.

    Its OpenCL kernels do not compile on a processor (pocl 3.0): it falls back on SciPy itself.
    """
    package = _module("RedLionfishDeconv")
    if package is None:
        return "–"
    light = np.maximum(y - OFFSET, 0).astype(np.float32)
    found = {}
    for steps in (5, 10, 20, 40):
        x = package.doRLDeconvolutionFromNpArrays(light, kernel, niter=steps, method="cpu")
        x = np.asarray(x, np.float32)[tuple(slice(0, n) for n in y.shape)]  # even sizes come back
        found[steps] = scene.decibels(torch.from_numpy(x))
    steps = max(found, key=found.__getitem__)
    return f"{found[steps]:.2f} ({steps})"


def _timed(run: Callable[[], Any]) -> tuple[Any, float]:
    """What a call returned, and its processor time."""
    begin = time.process_time()
    found = run()
    return found, time.process_time() - begin


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def main() -> bool:
    """Print both tables; whether ours hold what the docs promise."""
    good, rows, restored = True, [], []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # processor time is compared
    for scene in scenes(whole="--whole" in sys.argv):
        lucy, exact = _our_lucy(scene)
        tv, near, decibels = _our_tv(scene)
        rows += [*others(scene), lucy, *tv]
        row, best = counts(scene, decibels)
        restored.append(row)
        good &= exact and near and best
    torch.set_num_threads(threads)
    header = ["scene", "tiles of 40", "halo", "rms error", "largest", "time/whole"]
    print(table("tiles against the volume at once", header, rows))
    header = [
        "scene",
        "blurred",
        "textbook RL, best",
        "RedLionfish, best",
        "RL, tiles",
        "tv, tiles",
    ]
    print(table("counts, PSNR in dB (steps)", header, restored))
    return good
