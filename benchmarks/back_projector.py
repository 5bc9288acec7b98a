"""`python -m benchmarks.back_projector`: Richardson–Lucy with an unmatched back-projector.

The Wiener–Butterworth back-projector of Guo et al. (Nature Biotechnology 38, 2020) stands where Aᴴ
stands in a step of Richardson–Lucy:

    H̄/(|H|² + α) · 1/(1 + (β⁻² − 1)(f/f_c)²ⁿ)^½,

f_c where |H| has fallen to `cutoff` along each axis.  It is no adjoint, so the steps descend no
likelihood, keep no mass, and leave negative pixels, which are set to the least that is positive.
Compared at the best step, by looking at the truth, with the accelerated matched one: at the
published setting, at the single setting that is best on average, and at the best of all settings
for each case.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import torch
from torch import Tensor

from .bench_poisson import ACCELERATED, Found, best_step
from .common import table
from .phantoms import PoissonCase, cases

STEPS = 20


class Setting(NamedTuple):
    """α, β, order n and the transfer at the cut-off."""

    alpha: float
    beta: float
    order: int
    cutoff: float


PUBLISHED = Setting(0.001, 0.001, 10, 0.1)
SETTINGS = [
    PUBLISHED,
    *itertools.starmap(
        Setting, itertools.product((0.01, 0.03, 0.1, 0.3), (0.01, 0.1, 0.5), (2, 10), (0.03, 0.1))
    ),
]


class BackProjector:
    """Data on the grid of the domain, filtered."""

    def __init__(self, case: PoissonCase, setting: Setting) -> None:
        kernel = case.A.weight[0, 0]
        self.case, self.size = case, case.A.domain_shape[1:]
        self.axes = tuple(range(2, 2 + kernel.ndim))
        padded = torch.zeros(self.size, dtype=kernel.dtype)
        padded[tuple(slice(0, k) for k in kernel.shape)] = kernel
        shifts = tuple(-((k - 1) // 2) for k in kernel.shape)
        transfer = torch.fft.rfftn(padded.roll(shifts, tuple(range(kernel.ndim))))
        wiener = transfer.conj() / (transfer.abs().square() + setting.alpha)
        squares = self._relative_squares(kernel, setting.cutoff).clamp(max=1e12)
        gain = 1 + (setting.beta**-2 - 1) * squares**setting.order
        self.spectrum = wiener / gain.sqrt()

    def __call__(self, y: Tensor) -> Tensor:
        whole = torch.zeros(1, 1, *self.size, dtype=y.dtype)
        whole[(..., *self.case.inside)] = y
        spectrum = torch.fft.rfftn(whole, dim=self.axes) * self.spectrum
        return torch.fft.irfftn(spectrum, s=self.size, dim=self.axes)

    def _relative_squares(self, kernel: Tensor, cutoff: float) -> Tensor:
        """(f/f_c)², summed over the axes."""
        found = torch.zeros(1)
        for axis, n in enumerate(self.size):
            line = kernel.sum(tuple(i for i in range(kernel.ndim) if i != axis))
            below = torch.fft.rfft(line, n=4096).abs() < cutoff
            limit = int(below.nonzero()[0]) / 4096 if bool(below.any()) else 0.5
            last = axis == kernel.ndim - 1
            f = torch.fft.rfftfreq(n) if last else torch.fft.fftfreq(n)
            shape = [-1 if i == axis else 1 for i in range(kernel.ndim)]
            found = found + (f.double() / limit).square().reshape(shape)
        return found


def unmatched(case: PoissonCase, setting: Setting) -> Found:
    """The best of the first steps."""
    back, A, y = BackProjector(case, setting), case.A, case.y
    one = torch.ones_like(y)
    light, weights = A.H(one), back(one)
    reach = (light > 0.01 * light.max()) & (weights > 0.01 * weights.max())
    x = (y.sum() / light.sum()) * reach
    least, found = 1e-6 * x.max(), []
    for _ in range(STEPS):
        ratio = y / (A(x) + case.background).clamp(min=1e-9)
        x = (x * back(ratio) / weights.where(reach, 1)).clamp(min=least) * reach
        value = case.decibels(x)
        found.append(value if value == value else -100.0)
    best = max(range(STEPS), key=found.__getitem__)
    return Found(found[best], f"{best + 1}")


def main() -> None:
    """Print the comparison."""
    torch.set_num_threads(1)
    rows, every = [], {setting: 0.0 for setting in SETTINGS}
    found: list[tuple[PoissonCase, Found, dict[Setting, Found]]] = []
    for case in cases():
        matched = best_step(case, maxiter=ACCELERATED)
        tried = {setting: unmatched(case, setting) for setting in SETTINGS}
        found.append((case, matched, tried))
        for setting, one in tried.items():
            every[setting] += one.decibels - matched.decibels
    single = max(every, key=every.__getitem__)
    for case, matched, tried in found:
        best = max(tried.values())
        shown = (matched, tried[PUBLISHED], tried[single], best)
        rows.append([case.name, str(case.peak), *(f"{f.decibels:.2f} ({f.how})" for f in shown)])
    header = ["scene", "peak", "matched", "published", str(tuple(single)), "best of all settings"]
    print(table("Wiener–Butterworth back-projector, PSNR in dB (steps)", header, rows))
    print(f"mean against matched: {every[PUBLISHED] / 12:.2f}, {every[single] / 12:.2f}")


if __name__ == "__main__":
    main()
