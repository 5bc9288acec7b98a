"""What other packages make of a blurred picture, as their users call them and at their best.

*As called*: the numbers of their own examples, and where they ask for the noise its true level,
which ours is not told.  *Best*: of a grid of strengths or iterations, by looking at the truth.
A package that is not installed is left out.
"""

from __future__ import annotations

import functools
import importlib.util
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from skimage import restoration as skimage_restoration
from torch import Tensor

from unconv.pictures.restoration import frame

from .bench_pictures import Case
from .peers import deepinv_package

BALANCES = tuple(10.0**k for k in (-4, -3, -2, -1, 0))
STEPS = (5, 10, 20, 40, 80)
IN_VARIANCES = (10.0, 40.0)  # strengths of total variation, over the variance of the noise
MUS = (30.0, 100.0, 300.0)  # of PyLops

Rival = Callable[[Case, float], Iterable[Tensor]]
"""Pictures (1, H, W) that it makes of a case with this level of noise; the best counts."""


def _arrays(case: Case) -> tuple[Any, Any]:
    return case.y[0].numpy(), case.psf.numpy()


def _picture(found: Any) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(found))[None].double()


# --- scikit-image
def _wiener(case: Case, balances: tuple[float, ...]) -> Iterable[Tensor]:
    y, psf = _arrays(case)
    return (_picture(skimage_restoration.wiener(y, psf, balance)) for balance in balances)


def _unsupervised(case: Case, _: float) -> Iterable[Tensor]:
    y, psf = _arrays(case)
    yield _picture(skimage_restoration.unsupervised_wiener(y, psf, rng=0)[0])


def _richardson_lucy(case: Case, steps: tuple[int, ...]) -> Iterable[Tensor]:
    y, psf = _arrays(case)
    return (_picture(skimage_restoration.richardson_lucy(y, psf, num_iter=n)) for n in steps)


# --- deepinv, without padding: a larger scene, as its Blur has it by default
def _deepinv_answer(case: Case, solver: Any, deepinv: Any) -> Tensor:
    physics = deepinv.physics.Blur(case.psf.float()[None, None], padding="valid", use_fft=True)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return frame(solver(case.y[None].float(), physics)[0].double(), case.psf)


def _pgd(case: Case, strengths: Iterable[float], deepinv: Any) -> Iterable[Tensor]:
    optim = deepinv.optim
    for strength in strengths:
        solver = optim.PGD(
            prior=optim.TVPrior(n_it_max=20),
            data_fidelity=optim.L2(),
            stepsize=1.0,
            lambda_reg=strength,
            max_iter=300,
            early_stop=True,
            crit_conv="cost",
            thres_conv=1e-5,
        )
        yield _deepinv_answer(case, solver, deepinv)


def _dpir(case: Case, noise_std: float, deepinv: Any) -> Iterable[Tensor]:
    solver = deepinv.optim.DPIR(sigma=noise_std, denoiser=deepinv.models.BM3D())
    yield _deepinv_answer(case, solver, deepinv)


# --- PyLops and PyProximal: dark outside, as their Convolve2D has it
def _blur_of_pylops(case: Case, pylops: Any) -> tuple[Any, Any]:
    y, psf = _arrays(case)
    h, w = psf.shape
    A = pylops.signalprocessing.Convolve2D(y.shape, h=psf, offset=(h // 2, w // 2))
    return A, y


def _split_bregman(case: Case, mus: tuple[float, ...], pylops: Any) -> Iterable[Tensor]:
    A, y = _blur_of_pylops(case, pylops)
    D = [pylops.FirstDerivative(y.shape, axis=axis, edge=False) for axis in (0, 1)]
    for mu in mus:
        found = pylops.optimization.sparsity.splitbregman(
            A,
            y.ravel(),
            D,
            niter_outer=10,
            niter_inner=5,
            mu=mu,
            epsRL1s=[1.0, 1.0],
            tol=1e-4,
            tau=1.0,
            iter_lim=5,
            damp=1e-4,
        )[0]
        yield _picture(found.reshape(y.shape))


def _primal_dual(case: Case, strengths: Iterable[float], pylops: Any) -> Iterable[Tensor]:
    import pyproximal

    A, y = _blur_of_pylops(case, pylops)
    D = pylops.Gradient(y.shape, edge=False, kind="forward")
    step = 0.99 / np.sqrt(8)
    for strength in strengths:
        found = pyproximal.optimization.primaldual.PrimalDual(
            pyproximal.L2(Op=A, b=y.ravel(), niter=10, warm=True),
            pyproximal.L21(ndim=2, sigma=strength),
            D,
            tau=step,
            mu=step,
            x0=y.ravel(),
            niter=100,
        )
        yield _picture(found.reshape(y.shape))


def rivals() -> dict[str, Rival]:
    """Those that are installed."""
    found: dict[str, Rival] = {
        "skimage wiener, 0.1": lambda case, _: _wiener(case, (0.1,)),
        "skimage wiener, best": lambda case, _: _wiener(case, BALANCES),
        "skimage unsupervised_wiener": _unsupervised,
        "skimage richardson_lucy, 30": lambda case, _: _richardson_lucy(case, (30,)),
        "skimage richardson_lucy, best": lambda case, _: _richardson_lucy(case, STEPS),
    }
    deepinv = deepinv_package()
    if deepinv is not None:
        pgd = functools.partial(_pgd, deepinv=deepinv)
        found["deepinv PGD + TV, 0.01"] = lambda case, _: pgd(case, (0.01,))
        found["deepinv PGD + TV, best"] = lambda case, s: pgd(
            case, [t * s**2 for t in IN_VARIANCES]
        )
        if importlib.util.find_spec("bm3d"):
            found["deepinv DPIR + BM3D"] = functools.partial(_dpir, deepinv=deepinv)
    if importlib.util.find_spec("pylops"):
        import pylops

        bregman = functools.partial(_split_bregman, pylops=pylops)
        found["PyLops splitbregman, 1.5"] = lambda case, _: bregman(case, (1.5,))
        found["PyLops splitbregman, best"] = lambda case, _: bregman(case, MUS)
        if importlib.util.find_spec("pyproximal"):
            found["PyProximal TV, best"] = lambda case, s: _primal_dual(
                case, [t * s**2 for t in IN_VARIANCES], pylops
            )
    return found
