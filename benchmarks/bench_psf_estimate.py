"""psfs read from one picture, against those that blurred it.

Six photographs of scikit-image in grey (retina reduced to a quarter: at its own size it is itself
a blurred picture), parts of 256 to 512 samples drawn anywhere, blurred with what lies around them
unknown by a disk of radius 2 to 6, a Gaussian of σ 0.8 to 3, a movement of 5 to 21 samples at any
angle, or not at all; noise 1 % or 0.2 %; stored as PNG of 8 bits or as JPEG of quality 90.

Must hold: the radius within 0.15, σ within 10 %, length within 1.0 and angle within 4° in 95 % of
the cases, and a doubt in the rest; the picture restored (Wiener) within 0.5 dB of that with the
true psf in 90 %; 'none' for 95 % of the pictures without blur; 3 s at most.

`python -m benchmarks psf_estimate --cases=240 --restored=24` draws as many (48 and 8 if nothing is
said); only the first are restored, and asked for their family as well, which takes most of the
time.
"""

from __future__ import annotations

import io
import math
import random
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import skimage.data
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import avg_pool2d

from unconv import psf
from unconv.parameter_choice.noise_models import JpegRounding
from unconv.pictures import blur, deblur

from .common import table

PICTURES = ("astronaut", "camera", "coffee", "chelsea", "rocket", "retina")
KINDS = ("disk", "gaussian", "motion", "none")
CASES, WITH_PICTURES, QUALITY = 48, 8, 90
RADIUS, SIGMA, LENGTH, ANGLE = 0.15, 0.1, 1.0, 4.0
ENOUGH, LOSS, RESTORED, SECONDS = 0.95, 0.5, 0.9, 3.0


class Case(NamedTuple):
    picture: str
    kind: str
    values: tuple[float, ...]
    noise: float
    stored: str
    size: int
    seed: int

    def __str__(self) -> str:
        values = ", ".join(f"{value:.2f}" for value in self.values)
        noise = f"{100 * self.noise:g} %"
        return f"{self.picture} {self.size}, {self.kind} {values}, {noise}, {self.stored}"

    @property
    def kernel(self) -> Tensor:
        if self.kind == "none":
            return torch.ones(1, 1, dtype=torch.float64)
        return getattr(psf, self.kind)(*self.values)


class Outcome(NamedTuple):
    right: bool
    doubted: bool
    family: str
    lost: float | None
    seconds: float
    said: str


def photograph(name: str) -> Tensor:
    """(1, H, W) grey in [0, 1]."""
    image = torch.from_numpy(getattr(skimage.data, name)() / 255)
    if image.ndim == 3:
        image = image @ image.new_tensor([0.299, 0.587, 0.114])
    return avg_pool2d(image[None], 4) if name == "retina" else image[None]


def drawn(i: int) -> Case:
    """The i-th case, always the same."""
    rng = random.Random(i)
    kind = KINDS[i % len(KINDS)]
    values = {
        "disk": (rng.uniform(2, 6),),
        "gaussian": (rng.uniform(0.8, 3),),
        "motion": (rng.uniform(5, 21), rng.uniform(0, 180)),
        "none": (),
    }[kind]
    return Case(
        PICTURES[i // len(KINDS) % len(PICTURES)],
        kind,
        values,
        rng.choice((0.01, 0.002)),
        rng.choice(("PNG", "JPEG")),
        rng.choice((256, 320, 400, 512)),
        rng.randrange(10**6),
    )


def taken(case: Case) -> tuple[Tensor, Tensor, tuple[JpegRounding] | None]:
    """The scene, the blurred picture as it is stored, and the rounding of its JPEG."""
    scene, kernel = photograph(case.picture), case.kernel
    rng = random.Random(case.seed)
    margins = [n - 1 for n in kernel.shape]
    H, W = (min(n, case.size + m) for n, m in zip(scene.shape[1:], margins, strict=True))
    top, left = rng.randint(0, scene.shape[1] - H), rng.randint(0, scene.shape[2] - W)
    wide = scene[:, top : top + H, left : left + W]
    y = blur(wide, kernel, boundary="valid", noise_std=case.noise, seed=case.seed)
    y = (255 * y.clamp(0, 1)).round()
    rows, columns = (m // 2 for m in margins)
    sharp = wide[:, rows : rows + y.shape[1], columns : columns + y.shape[2]]
    if case.stored == "PNG":
        return sharp, y / 255, None
    file = io.BytesIO()
    Image.fromarray(y[0].byte().numpy()).save(file, "JPEG", quality=QUALITY)
    image = Image.open(file)
    steps = torch.tensor(image.quantization[0], dtype=torch.float64).reshape(8, 8)
    values = torch.tensor(list(image.getdata()), dtype=torch.float64)
    return sharp, values.reshape(y.shape) / 255, (JpegRounding(steps),)


def is_right(case: Case, found: psf.PsfEstimate) -> bool:
    """Whether the parameters are as near as they must be."""
    if case.kind != found.family or case.kind == "none":
        return case.kind == found.family
    values = list(found.parameters.values())
    off = abs(values[0] - case.values[0])
    if case.kind == "motion":
        turn = abs((values[1] - case.values[1] + 90) % 180 - 90)
        return off <= LENGTH and turn <= ANGLE
    return off <= (RADIUS if case.kind == "disk" else SIGMA * case.values[0])


def decibels(x: Tensor, sharp: Tensor) -> float:
    return -10 * math.log10(float((x - sharp).square().mean()))


def measured(case: Case, family: str, *, restore: bool) -> Outcome:
    """What is found when a family is asked for."""
    sharp, y, jpeg = taken(case)
    start = time.process_time()
    found = psf.estimate(y, family, jpeg=jpeg)
    seconds = time.process_time() - start
    lost = None
    if restore:
        told, true = (
            decibels(deblur(y, kernel, prior="wiener", jpeg=jpeg).planes, sharp)
            for kernel in (found.psf, case.kernel)
        )
        lost = true - told
    right = is_right(case, found)
    return Outcome(right, not found.reliable, found.family, lost, seconds, found.described)


def main() -> bool:
    """Print the table and all misses; whether the figures hold."""
    count = _asked("--cases=", CASES)
    restored = _asked("--restored=", WITH_PICTURES)
    found: dict[tuple[str, str], list[Outcome]] = {}
    for i in range(count):
        case = drawn(i)
        named = "auto" if case.kind == "none" else case.kind
        for way in dict.fromkeys((named, "auto") if i < restored else (named,)):
            outcome = measured(case, way, restore=case.kind != "none" and i < restored)
            found.setdefault((case.kind, way), []).append(outcome)
            if not outcome.right:
                doubt = "doubted" if outcome.doubted else "NOT doubted"
                print(f"{case}, {way}: {outcome.said}, {doubt}", flush=True)
    rows = []
    for (kind, way), all_ in found.items():
        missed = [one for one in all_ if not one.right]
        lost = [one.lost for one in all_ if one.lost is not None]
        rows.append(
            [
                kind,
                way,
                str(len(all_)),
                f"{100 * (1 - len(missed) / len(all_)):.0f} %",
                str(sum(not one.doubted for one in missed)),
                f"{100 * sum(one.doubted for one in all_ if one.right) / len(all_):.0f} %",
                f"{sum(loss <= LOSS for loss in lost)} of {len(lost)}",
                f"{max(lost, default=0.0):.1f}",
                f"{max(one.seconds for one in all_):.1f}",
            ]
        )
    header = ["blur", "asked", "cases", "right", "wrong, no doubt", "right, doubted"]
    header += [f"within {LOSS} dB", "worst, dB", "most s"]
    print(table("psfs from one picture", header, rows))
    named = [one for (kind, way), all_ in found.items() if way == kind for one in all_]
    sharp = [one for (kind, _), all_ in found.items() if kind == "none" for one in all_]
    return (
        _share(named, lambda one: one.right) >= ENOUGH
        and all(one.right or one.doubted for one in named)
        and _share([one for one in named if one.lost is not None], _is_kept) >= RESTORED
        and _share(sharp, lambda one: one.right) >= ENOUGH
        and max(one.seconds for all_ in found.values() for one in all_) <= SECONDS
    )


def _is_kept(one: Outcome) -> bool:
    return one.lost is None or one.lost <= LOSS


def _asked(option: str, otherwise: int) -> int:
    """The number behind an option."""
    return next((int(a.split("=")[1]) for a in sys.argv if a.startswith(option)), otherwise)


def _share(all_: list[Outcome], is_so: Callable[[Outcome], bool]) -> float:
    return sum(map(is_so, all_)) / max(len(all_), 1)
