"""Pictures restored by priors that keep edges, beside linear filters and other packages.

*cases*: the 24 pictures of `bench_pictures.whole_cases` (18 without `--kernels=FILE`, three of them
without `--all`), with real surroundings that the data do not show.  Noise and strength are found
from picture and psf alone. *rivals* (ten minutes, only if asked for): other packages on those of
'camera', see restoration_rivals.py. *plug*: BM3D as the prior, where deepinv and bm3d are
installed.  *cost* and *colour*: what it takes, see restoration_cost.py.  *protocols*: published
ones, where their pictures are given, see restoration_protocols.py.  `--only=cases,plug` takes some.

Must hold: with 'dct' a mean of 29.0 dB and an SSIM of 0.82 of the 24 cases, and each case at most
0.1 dB under `deblur`, a Wiener filter, and over the blurred picture; BM3D 0.5 dB over total
variation on the mean of its cases where it ends at four times the noise; the costs of
restoration_cost.py.
"""

from __future__ import annotations

import itertools
import sys
import warnings
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import skimage.metrics
import torch
from torch import Tensor

import unconv
from unconv import psf
from unconv.pictures import deblur
from unconv.pictures.restoration import blur_operator, frame
from unconv.restoration import Schedule

from . import restoration_cost, restoration_protocols
from .bench_pictures import Case, everything, shake, whole_case, whole_cases
from .common import table
from .peers import deepinv_package
from .restoration_rivals import rivals

PRIORS = ("tv", "sparse", "hessian", "dct")
BEST = "dct"
PLUGGED = ("camera", "astronaut", "coffee", "chelsea")
MEAN, SSIM, UNDER_WIENER, PLUG_GAIN = 29.0, 0.82, 0.1, 0.5
LAST = (2.0, 4.0)  # levels at which BM3D ends, over the noise: the default, and what serves it
MARGIN = 24  # samples that are left out where borders shall not count


class Score(NamedTuple):
    """PSNR in dB and SSIM of the whole picture, and PSNR without its borders."""

    decibels: float
    ssim: float
    inner: float


def score(case: Case, found: Tensor) -> Score:
    """Of a picture (1, H, W), clipped to [0, 1]."""
    found = found.clamp(0, 1)
    similar = skimage.metrics.structural_similarity(
        case.x[0].numpy(), found[0].numpy(), data_range=1.0
    )
    inside = (slice(None), slice(MARGIN, -MARGIN), slice(MARGIN, -MARGIN))
    error = (found - case.x)[inside].square().mean()
    return Score(case.psnr(found), float(similar), -10 * float(error.log10()))


def restored(case: Case, prior: Any, **options: Any) -> Tensor:
    """What `unconv.restore` makes of a case by itself, (1, H, W)."""
    A = blur_operator(case.psf, (case.y.shape[1], case.y.shape[2]), "valid")
    found = unconv.restore(A, case.y[None], prior=prior, **options)
    return frame(found.solution[0], case.psf)


def _noise_of(case: Case) -> float:
    return float(case.name.rsplit(", ", 1)[1])


def _mean(scores: Iterable[Score]) -> Score:
    columns = list(zip(*scores, strict=True))
    return Score(*(sum(c) / len(c) for c in columns))


def cases(kernels: str | None) -> dict[str, bool]:
    """Ours beside blurred and Wiener."""
    found: dict[str, dict[str, Score]] = {}
    for case in itertools.islice(whole_cases(kernels), 0, None, 1 if everything() else 2):
        each = {"blurred": case.y, "Wiener": deblur(case.y, case.psf, prior="wiener").planes}
        each |= {prior: restored(case, prior) for prior in PRIORS}
        found[case.name] = {name: score(case, picture) for name, picture in each.items()}
    names = ["blurred", "Wiener", *PRIORS]
    means = {name: _mean(scores[name] for scores in found.values()) for name in names}
    for field, digits in (("decibels", ".2f"), ("ssim", ".3f")):
        rows = [
            [case, *(f"{getattr(scores[name], field):{digits}}" for name in names)]
            for case, scores in [*found.items(), ("mean", means)]
        ]
        title = "unknown surroundings, PSNR in dB" if field == "decibels" else "the same, SSIM"
        print(table(title, ["case", *names], rows), flush=True)
    held = {
        "no case under Wiener": all(
            s[BEST].decibels >= s["Wiener"].decibels - UNDER_WIENER for s in found.values()
        ),
        "no case under blurred": all(
            s[BEST].decibels >= s["blurred"].decibels for s in found.values()
        ),
    }
    if kernels is not None and everything():
        held["mean PSNR"] = means[BEST].decibels >= MEAN
        held["mean SSIM"] = means[BEST].ssim >= SSIM
    return held


def beside(kernels: str | None) -> dict[str, bool]:
    """The other packages, and ours, on the pictures of one scene."""
    found: dict[str, list[Score]] = {}
    for case in (case for case in whole_cases(kernels) if case.name.startswith("camera")):
        own = {"blurred": case.y, "Wiener": deblur(case.y, case.psf, prior="wiener").planes}
        own |= {f"restore, {prior}": restored(case, prior) for prior in ("tv", BEST)}
        for name, picture in own.items():
            found.setdefault(name, []).append(score(case, picture))
        for name, rival in rivals().items():
            scores = [score(case, picture) for picture in rival(case, _noise_of(case))]
            found.setdefault(name, []).append(max(scores, key=lambda s: s.decibels))
    rows = []
    for name, scores in found.items():
        mean = _mean(scores)
        rows.append([name, f"{mean.decibels:.2f}", f"{mean.inner:.2f}", f"{mean.ssim:.3f}"])
    header = ["package", "PSNR, dB", "without borders", "SSIM"]
    print(table("other packages, means of the pictures of camera", header, rows), flush=True)
    return {}


def plug(kernels: str | None) -> dict[str, bool]:
    """BM3D as the prior, noise 0.02."""
    deepinv = deepinv_package()
    try:
        assert deepinv is not None
        denoise = unconv.adapters.from_deepinv_denoiser(deepinv.models.BM3D())
    except (AssertionError, ImportError):
        print("\nplug: skipped, for deepinv or bm3d is not installed", flush=True)
        return {}
    psfs = {"disk:4": psf.disk(4)} | ({} if kernels is None else {"shake": shake(kernels)})
    rows, gains = [], []
    for picture in PLUGGED if everything() else PLUGGED[:1]:
        for name, k in psfs.items():
            case = whole_case(picture, name, k.double(), 0.02)
            found = [score(case, restored(case, prior)).decibels for prior in ("tv", BEST)]
            for last in LAST:
                image = restored(case, denoise, schedule=Schedule(last=last * 0.02))
                found.append(score(case, image).decibels)
            rows.append([case.name, *(f"{v:.2f}" for v in found)])
            gains.append(found[-1] - found[0])
    header = ["case", "tv", BEST, *(f"BM3D, to {last:g} s" for last in LAST)]
    print(table("BM3D as the prior, PSNR in dB", header, rows), flush=True)
    mean = sum(gains) / len(gains)
    print(f"BM3D over total variation: {mean:.2f} dB on average, {min(gains):.2f} at least")
    return {"BM3D over total variation": mean >= PLUG_GAIN} if everything() else {}


SECTIONS: dict[str, Callable[[str | None], dict[str, bool]]] = {
    "cases": cases,
    "plug": plug,
    "cost": restoration_cost.cost,
    "colour": restoration_cost.colour,
    "protocols": restoration_protocols.protocols,
    "rivals": beside,
}


def main() -> bool:
    """Print the tables; whether the figures hold."""
    options = dict(a[2:].split("=", 1) for a in sys.argv[1:] if a.startswith("--") and "=" in a)
    chosen = options.get("only", ",".join(n for n in SECTIONS if n != "rivals")).split(",")
    torch.manual_seed(0)
    held: dict[str, bool] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", unconv.AccuracyWarning)
        for name in chosen:
            held |= SECTIONS[name](options.get("kernels"))
    print("\n" + "\n".join(f"{n}: {'held' if good else 'MISSED'}" for n, good in held.items()))
    return all(held.values())
