"""deepinv's samplers on A as it is, beside the periodic physics in use; the cost of a step.

*samplers*: DDRM, DDNM, ΠGDM, DiffPIR and plug-and-play (DPIR) on a photograph whose surroundings
have blurred into the frame, with `as_deepinv` of `valid` and with deepinv's `BlurFFT`, which takes
the frame for a tile.  The denoiser is that of examples/posterior_sampling, and total variation for
plug-and-play: nothing is downloaded.  DDRM asks for singular vectors, which `valid` has for the
Gaussian alone.
*steps*: z + (AᴴA + r)⁻¹Aᴴ(y − Az) of a scene of 256² in float32, known to 1e-3, for ten r over two
decades, one after the other: points transformed, in pairs of real FFTs of 256², and processor time
in such pairs in float32: of the ten steps with what they set up, and of the last one again.

Must hold: every sampler gains 3 dB at the edges; no step of the operators that are marked takes
more than 25 pairs.
"""

from __future__ import annotations

import contextlib
import io
import sys
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import unconv
from examples.posterior_sampling.cases import Case, make_case, score
from examples.posterior_sampling.denoiser import load_denoiser
from examples.posterior_sampling.sampling import levels
from unconv import psf
from unconv.adapters import ExactMaps, as_deepinv, pigdm_fidelity

from .common import least_processor_times, table
from .peers import deepinv_package

NOISE_STD, SIZE = 0.02, 200
LEVELS = 20
EDGE_GAIN = 3.0
TOL = 1e-3
DAMPS = torch.logspace(-0.5, -1.5, 10).tolist()
MOST_PAIRS = 25
PSFS = {"Gaussian 1.5": psf.gaussian(1.5), "motion 15": psf.motion(15, 30)}

Sampler = Callable[[Any, Any, Tensor, Any], Tensor]
"""(deepinv, denoiser, y, physics) -> a picture."""


class Cost(NamedTuple):
    """An operator whose steps are timed, and whether they must take at most MOST_PAIRS."""

    op: unconv.ConvOperator
    limited: bool


def main() -> bool:
    """Print both tables; whether all figures are reached."""
    only = next((a[7:] for a in sys.argv if a.startswith("--only=")), "samplers,steps").split(",")
    good = True
    if "samplers" in only:
        good &= samplers()
    if "steps" in only:
        good &= steps()
    return good


# --- samplers
def samplers() -> bool:
    """The table of all samplers; whether each gains what it must at the edges."""
    deepinv = deepinv_package()
    if deepinv is None:
        print("deepinv is not installed: no samplers")
        return True
    rows, good = [], True
    for kind, kernel in PSFS.items():
        case = make_case("camera", kernel, SIZE, NOISE_STD)
        for name, run in SAMPLERS.items():
            found = {}
            for label, physics in both(deepinv, case).items():
                if name == "DDRM" and not isinstance(physics, deepinv.physics.DecomposablePhysics):
                    rows.append([kind, name, label, *["no SVD"] * 4])
                    continue
                x = quietly(run, deepinv, case, physics)
                found[label] = score(case, x)
                rows.append([kind, name, label, *(f"{v:.2f}" for v in found[label])])
            if len(found) == 2:
                as_it_is, periodic = found.values()
                good &= as_it_is.edges > periodic.edges + EDGE_GAIN
    head = ["psf", "sampler", "A", "frame dB", "inside dB", "edges dB", "misfit"]
    print(table("samplers", head, rows))
    return good


def both(deepinv: Any, case: Case) -> dict[str, Any]:
    """The physics of the scene, and of the frame as a tile."""
    noise = deepinv.physics.GaussianNoise(case.noise_std)
    shape = (1, *case.truth.shape[2:])
    tile = deepinv.physics.BlurFFT(shape, case.op.weight.flip(2, 3), noise_model=noise)
    return {"as it is": as_deepinv(case.op, noise_model=noise, tol=TOL), "periodic": tile}


def quietly(run: Sampler, deepinv: Any, case: Case, physics: Any) -> Tensor:
    """A picture, without progress bars and warnings."""
    denoiser = load_denoiser()
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        torch.manual_seed(1)
        return run(deepinv, denoiser, case.y, physics).detach().float()


def ddrm(deepinv: Any, denoiser: Any, y: Tensor, physics: Any) -> Tensor:
    """Kawar et al. 2022."""
    sampler = deepinv.sampling.DDRM(denoiser, sigmas=[*levels(LEVELS, 1.0, 0.02), 0.01])
    found: Tensor = sampler(y, physics)
    return found


def ddnm(deepinv: Any, denoiser: Any, y: Tensor, physics: Any) -> Tensor:
    """Wang et al. 2023, by the prox of the physics: deepinv has no class for it."""
    x = torch.full_like(physics.A_adjoint(y), float(y.mean()))
    for sigma in levels(LEVELS):
        clean = denoiser(x + sigma * torch.randn_like(x), sigma)
        variance = 1 / (sigma**-2 + 0.25**-2)
        x = physics.prox_l2(clean, y, variance / NOISE_STD**2)
    return x


def pigdm(deepinv: Any, denoiser: Any, y: Tensor, physics: Any) -> Tensor:
    """Song et al. 2023, a stochastic differential equation whose noise explodes."""
    s = deepinv.sampling
    sampler = s.PosteriorDiffusion(
        pigdm_fidelity(),
        denoiser=denoiser,
        sde=s.VarianceExplodingDiffusion(sigma_max=2.0, sigma_min=0.04),
        solver=s.AncestralSolver(torch.linspace(1, 0.0, 3 * LEVELS)),
        dtype=torch.float32,
    )
    found: Tensor = sampler(y, physics)
    return found


def diffpir(deepinv: Any, denoiser: Any, y: Tensor, physics: Any) -> Tensor:
    """Zhu et al. 2023."""
    start = torch.full_like(physics.A_adjoint(y), float(y.mean()))
    fidelity = deepinv.optim.data_fidelity.L2()
    sampler = deepinv.sampling.DiffPIR(
        _Limited(denoiser), fidelity, sigma=NOISE_STD, max_iter=LEVELS, zeta=1.0
    )
    found: Tensor = sampler(y, physics, x_init=start)
    return found


def plug_and_play(deepinv: Any, denoiser: Any, y: Tensor, physics: Any) -> Tensor:
    """DPIR, Zhang et al. 2021."""
    found: Tensor = deepinv.optim.DPIR(NOISE_STD, denoiser)(y, physics)
    return found


def plug_and_play_tv(deepinv: Any, denoiser: Any, y: Tensor, physics: Any) -> Tensor:
    """The same by total variation."""
    return plug_and_play(deepinv, _TV(deepinv.models.TVDenoiser(n_it_max=100)), y, physics)


class _Limited(torch.nn.Module):
    """A denoiser that is asked for no more noise than it has learnt."""

    def __init__(self, denoiser: Any) -> None:
        super().__init__()
        self.denoiser = denoiser

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        clean: Tensor = self.denoiser(x, sigma.clamp(max=1.0))
        return clean


class _TV(torch.nn.Module):
    """Total variation with half the noise level as its threshold."""

    def __init__(self, denoiser: Any) -> None:
        super().__init__()
        self.denoiser = denoiser

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        clean: Tensor = self.denoiser(x, ths=float(sigma) / 2)
        return clean


SAMPLERS: dict[str, Sampler] = {
    "DDRM": ddrm,
    "DDNM": ddnm,
    "ΠGDM": pigdm,
    "DiffPIR": diffpir,
    "PnP": plug_and_play,
    "PnP, TV": plug_and_play_tv,
}


# --- steps
def operators() -> dict[str, Cost]:
    """Blurs of 256² scenes."""
    disk, motion = (k.float()[None, None] for k in (psf.disk(7), psf.motion(15, 30)))
    gauss, size = psf.gaussian(2.0).float()[None, None], (256, 256)
    holes = torch.rand(242, 242, generator=torch.Generator().manual_seed(0)) > 0.02
    A = unconv.ConvOperator
    circle = {"padding": 7, "padding_mode": "circular"}
    return {
        "valid, Gaussian": Cost(A(gauss, size), True),
        "valid, disk": Cost(A(disk, size), True),
        "valid, motion": Cost(A(motion, size), True),
        "valid, disk, every 2nd": Cost(A(disk, size, stride=2), True),
        "valid, motion, every 4th": Cost(A(motion, size, stride=4), True),
        "valid, disk, 2 % holes": Cost(A(disk, size).observed(holes), True),
        "circular, disk": Cost(A(disk, size, **circle), True),
        "zeros, Gaussian": Cost(A(gauss, size, padding=8), True),
        "zeros, motion": Cost(A(motion, size, padding=motion.shape[-1] // 2), True),
    }


def steps() -> bool:
    """The table of costs; whether those that are limited keep the limit."""
    x, grid = torch.rand(1, 1, 256, 256), torch.rand(1, 1, 256, 256)
    pair = least_processor_times(
        {"pair": lambda: torch.fft.irfft2(torch.fft.rfft2(grid), s=grid.shape[2:])},
        rounds=50,
        seconds=2.0,
    )["pair"]
    rows, good = [], True
    for name, cost in operators().items():
        with torch.no_grad():
            y = cost.op(x) + NOISE_STD * torch.randn(1, *cost.op.range_shape)
            maps = ExactMaps(cost.op, tol=TOL)
            each = {f"{d:.3f}": partial(maps.prox_l2, x, y, d**-2) for d in DAMPS}
            first = least_processor_times(each, rounds=1, seconds=0.0)
            counted = [transforms(run) for run in each.values()]
            last = list(each)[-1]
            again = least_processor_times({last: each[last]}, rounds=5, seconds=3)[last]
        good &= max(counted) <= MOST_PAIRS or not cost.limited
        numbers = min(counted), max(counted), sum(first.values()) / len(first) / pair, again / pair
        rows.append([name, *(f"{n:.0f}" for n in numbers), "≤ 25" if cost.limited else ""])
    head = ["operator", "pairs, least", "most", "must", "time, ten r", "time, again"]
    rows = [[*row[:3], row[5], *row[3:5]] for row in rows]
    print(table("what a step costs, in pairs of FFTs", head, rows))
    print(f"a pair of 256² in float32: {1e6 * pair:.0f} µs")
    return good


class _Transforms(TorchDispatchMode):
    """Counts points that are transformed, complex ones twice."""

    points = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if "_fft_" in str(func):
            large = max(args[0], found, key=torch.numel)
            real = not (args[0].is_complex() and found.is_complex())
            self.points += large.numel() * (1 if real else 2)
        return found


def transforms(run: Callable[[], object]) -> float:
    """Transforms of a call, in pairs of real ones of 256²."""
    with _Transforms() as counted:
        run()
    return counted.points / (2 * 256**2)


if __name__ == "__main__":
    raise SystemExit(not main())
