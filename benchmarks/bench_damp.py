"""Rules for the damp on photographs: decibels lost against the best damp, beside scikit-image.

Three photographs of 256², three kernels, three levels of noise, circular (`--all`; else one
photograph); restored is min ‖Ax − y‖² + damp²‖x − mean‖².  The loss is in PSNR, against the best of
a fine grid of damps. Must hold for 'risk', the rule of `deblur` where no damp is given: a loss of
at most 0.5 dB on eight of nine cases, and no fewer decibels than `unsupervised_wiener` wherever any
damp reaches those; for the Wiener filter whose spectra are estimated as 'risk' does, no fewer in
any case.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from typing import NamedTuple

import skimage.data
import skimage.restoration
import skimage.transform
import torch
from torch import Tensor

from unconv import psf
from unconv.parameter_choice import choose_damp, estimate_spectra
from unconv.pictures.restoration import blur, blur_operator

from .common import table

SIZE, LIMIT, ENOUGH = 256, 0.5, 8 / 9
PICTURES = ("camera", "astronaut", "coffee")
PSFS = {"gaussian": psf.gaussian(2.0), "motion": psf.motion(15, 45), "disk": psf.disk(5)}
NOISE = (0.001, 0.01, 0.05)
DAMPS = torch.logspace(-3, 0.5, 71, dtype=torch.float64).tolist()
RULES = ("risk", "gcv", "sure", "discrepancy", "lcurve")
KNOWN = ("risk", "sure", "discrepancy")
OURS = "risk"
PEER, FIXED = "unsupervised_wiener", "wiener, balance 0.1"
WIENER = "our wiener"


class Case(NamedTuple):
    picture: str
    kernel: str
    noise: float

    def __str__(self) -> str:
        return f"{self.picture}, {self.kernel}, {100 * self.noise:g} %"


def photograph(name: str) -> Tensor:
    """(1, SIZE, SIZE), grey, in [0, 1]: the largest square in the middle."""
    image = getattr(skimage.data, name)() / 255
    if image.ndim == 3:
        image = image @ (0.2125, 0.7154, 0.0721)
    side = min(image.shape)
    top, left = ((n - side) // 2 for n in image.shape)
    square = image[top : top + side, left : left + side]
    small = skimage.transform.resize(square, (SIZE, SIZE), anti_aliasing=True)
    return torch.from_numpy(small)[None].contiguous()


def decibels(x: Tensor, sharp: Tensor) -> float:
    """PSNR of pictures in [0, 1]."""
    return -10 * math.log10(float((x - sharp).square().mean()))


def candidates(y: Tensor, kernel: Tensor, noise: float) -> Iterator[tuple[str, float | Tensor]]:
    """A damp or a restored picture of every rule and peer."""
    op, detail = blur_operator(kernel, (SIZE, SIZE), boundary="circular"), (y - y.mean())[None]
    for rule in RULES:
        yield rule, choose_damp(op, detail, rule).damp
    for rule in KNOWN:
        yield f"{rule}, noise known", choose_damp(op, detail, rule, noise_std=noise).damp
    yield WIENER, y.mean() + op.wiener(*estimate_spectra(op, detail))(detail)[0]
    picture, k = y[0].numpy(), kernel.numpy()
    guessed, _ = skimage.restoration.unsupervised_wiener(picture, k, clip=False, rng=0)
    yield PEER, torch.from_numpy(guessed)[None]
    fixed = skimage.restoration.wiener(picture, k, 0.1, clip=False)
    yield FIXED, torch.from_numpy(fixed)[None]


def measure(case: Case, sharp: Tensor) -> tuple[float, dict[str, float]]:
    """PSNR at the best damp, and what each candidate loses against it."""
    kernel = PSFS[case.kernel]
    y = blur(sharp, kernel, noise_std=case.noise, boundary="circular")
    op, mean = blur_operator(kernel, (SIZE, SIZE), boundary="circular"), y.mean()

    def restored(damp: float) -> Tensor:
        return mean + op.tikhonov(damp)((y - mean)[None])[0]

    found = {
        name: decibels(answer if isinstance(answer, Tensor) else restored(answer), sharp)
        for name, answer in candidates(y, kernel, case.noise)
    }
    best = max(decibels(restored(damp), sharp) for damp in DAMPS)
    return best, {name: best - value for name, value in found.items()}


def main() -> bool:
    """Print both tables; whether the figures of 'risk' hold."""
    losses: dict[Case, dict[str, float]] = {}
    rows = []
    for picture in PICTURES if "--all" in sys.argv else PICTURES[:1]:
        sharp = photograph(picture)
        for kernel in PSFS:
            for noise in NOISE:
                case = Case(picture, kernel, noise)
                best, losses[case] = measure(case, sharp)
                rows.append(
                    [str(case), f"{best:.2f}", *(f"{v:.2f}" for v in losses[case].values())]
                )
    names = list(next(iter(losses.values())))
    print(table("dB at the best damp, and lost by each rule", ["case", "best", *names], rows))
    summary = []
    for name in names:
        lost = {case: found[name] for case, found in losses.items()}
        missed = [f"{case} ({v:.2f})" for case, v in lost.items() if v > LIMIT]
        shown = ", ".join(missed) if len(missed) <= 4 else f"{len(missed)} cases"
        ahead = sum(found[name] <= found[PEER] for found in losses.values())
        row = [name, f"{len(lost) - len(missed)} of {len(lost)}", f"{max(lost.values()):.2f}"]
        summary.append([*row, str(ahead), shown or "none"])
    header = ["rule", f"within {LIMIT} dB", "worst, dB", f"at least {PEER}", "missed"]
    print(table("all cases", header, summary))
    within = sum(found[OURS] <= LIMIT for found in losses.values())
    possible = [found for found in losses.values() if found[PEER] >= 0]
    reached = sum(found[OURS] <= found[PEER] for found in possible)
    print(
        f"\nsome damp reaches {PEER} in {len(possible)}, {OURS!r} in {reached} of these", flush=True
    )
    filtered = sum(found[WIENER] <= found[PEER] for found in losses.values())
    return within >= ENOUGH * len(losses) and reached == len(possible) and filtered == len(losses)
