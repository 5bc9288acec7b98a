"""Images and stacks of any number of axes deconvolved; nothing of napari.

A psf of two axes blurs every plane of a stack by itself, one of three the volume; axes before those
are a series (time, channels), each item restored by itself.  Nothing is assumed of what lies
outside the data: A pads nothing, so that x is larger than y, and the part that y shows is kept.

    two axes, Gaussian noise      `unconv.pictures.deblur`, with spectra read from each plane
    three axes, Gaussian noise    `unconv.restore`, total variation by default
    counts                        `unconv.richardson_lucy` by default, or `unconv.restore`
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..doors import ConvOperator
from ..operators.linear_operator import DEFAULT_MEMORY_LIMIT, gigabytes
from ..pictures import deblur
from ..psf import gaussian, measured
from ..psf.families import FAMILIES
from ..restoration import Step, richardson_lucy
from ..restoration.solve import restore_with_remedy
from .memory import check_memory, memory_needed

Array = npt.NDArray[Any]

PRIORS = (
    "auto",
    "dct",
    "tv",
    "sparse",
    "hessian",
    "wiener",
    "damp",
    "richardson-lucy",
)
NOISE_MODELS = ("gaussian", "poisson")

_OF_PICTURES = ("wiener", "damp")
"""Priors that read spectra, which planes with Gaussian noise have."""

_REMEDY = "take a strength nearer to the one that is chosen from the data, or the prior dct"


@dataclass(frozen=True)
class Wanted:
    """How data are to be deconvolved.

    Attributes
    ----------
    psf : (h, w) or (d, h, w) float64, sum 1, its centre the sample n//2 along each axis
    prior : one of `PRIORS`
    noise_model : one of `NOISE_MODELS`; with 'poisson' the data are counts
    strength
        Of tv, sparse and hessian, for data whose largest value is 1 ('gaussian') or counts; None to
        choose it from the data
    background : mean count without light, for 'poisson'
    spacing : of the samples along the axes of the psf
    memory_limit : bytes that one item of the data may take
    """

    psf: Tensor
    prior: str = "auto"
    noise_model: str = "gaussian"
    strength: float | None = None
    background: float = 0.0
    spacing: tuple[float, ...] = (1.0, 1.0)
    memory_limit: float = DEFAULT_MEMORY_LIMIT

    @property
    def method(self) -> str:
        """The prior, 'auto' replaced where it is not left to `deblur`."""
        if self.prior != "auto":
            return self.prior
        if self.noise_model == "poisson":
            return "richardson-lucy"
        return "auto" if self.psf.ndim == 2 else "tv"

    @property
    def by_deblur(self) -> bool:
        """Whether the data are pictures with Gaussian noise."""
        return self.psf.ndim == 2 and self.noise_model == "gaussian"


def psf_of_family(family: str, numbers: tuple[float, ...], sigma_z: float = 0.0) -> Tensor:
    """A psf of one of `FAMILIES`, (h, w), or a Gaussian (d, h, w) where sigma_z is not 0."""
    plane = FAMILIES[family].kernel(*numbers)
    if family != "gaussian" or sigma_z == 0:
        return plane
    return gaussian(sigma_z).sum(0)[:, None, None] * plane


def psf_of_array(values: Array) -> Tensor:
    """A measured psf of two or three axes, as float64 with sum 1."""
    return measured(torch.from_numpy(np.asarray(values, dtype=np.float64).copy()))


def deconvolve(
    data: Array, wanted: Wanted, say: Callable[[str], None], *, rgb: bool = False
) -> tuple[Array, list[str]]:
    """Data of the same shape, as float32, and what is to be said of them.

    Parameters
    ----------
    data : (..., *axes of the psf), with colours behind them where `rgb`
    say : is told what begins, and may raise to end it
    """
    _check(data, wanted, rgb=rgb)
    nd = wanted.psf.ndim
    moved = np.moveaxis(data, -1, -1 - nd) if rgb else data
    items = moved.shape[: moved.ndim - nd - rgb]
    if not wanted.by_deblur:
        size, channels = moved.shape[-nd:], moved.shape[-1 - nd] if rgb else 1
        need = memory_needed(size, wanted.psf.shape, wanted.method, channels)
        check_memory(need, wanted.memory_limit, size, wanted.method)
        say(f"{wanted.method}, which takes about {gigabytes(need)}")
    found = np.empty(moved.shape, dtype=np.float32)
    said: dict[str, None] = {}
    count = int(np.prod(items)) if items else 1
    for number, index in enumerate(itertools.product(*map(range, items)), start=1):
        which = f"{number} of {count}: " if count > 1 else ""
        y = torch.from_numpy(np.asarray(moved[index], dtype=np.float64))
        y = y if rgb else y[None]

        def tell(step: str, fraction: float | None = None, which: str = which) -> None:
            done = "" if fraction is None else f", {100 * fraction:.0f} %"
            say(f"{which}{step}{done}")

        x, sentences = _deblurred(y, wanted, tell) if wanted.by_deblur else _solved(y, wanted, tell)
        found[index] = (x if rgb else x[0]).numpy()
        said |= dict.fromkeys(sentences)
    return (np.moveaxis(found, -1 - nd, -1) if rgb else found), list(said)


def _check(data: Array, wanted: Wanted, *, rgb: bool) -> None:
    nd = wanted.psf.ndim
    if rgb and nd == 3:
        raise ValueError("a layer in colours has planes, which a psf of three axes does not blur.")
    if data.ndim < nd + rgb or 0 in data.shape:
        raise ValueError(
            f"the image has the shape {data.shape} and the psf {tuple(wanted.psf.shape)}; the psf "
            "must not have more axes than the image."
        )
    if np.iscomplexobj(data):
        raise TypeError("the image is complex; show its real part or its modulus.")
    if wanted.noise_model == "poisson" and wanted.method in _OF_PICTURES:
        raise ValueError(
            f"{wanted.method} is for Gaussian noise; counts take richardson-lucy, dct, tv, sparse "
            "or hessian."
        )
    if wanted.noise_model == "gaussian" and wanted.method == "richardson-lucy":
        raise ValueError("richardson-lucy is for counts; choose the noise 'poisson'.")
    if nd == 3 and wanted.method in _OF_PICTURES:
        raise ValueError(
            f"{wanted.method} reads the spectrum of planes; volumes take dct, tv, sparse or "
            "hessian."
        )


def _deblurred(
    y: Tensor, wanted: Wanted, say: Callable[..., None]
) -> tuple[Tensor, tuple[str, ...]]:
    """Planes (C, H, W) with Gaussian noise."""
    unit = _largest(y)
    strength: float | str = "auto" if wanted.strength is None else wanted.strength
    found = deblur(
        y / unit,
        wanted.psf,
        prior=wanted.prior,
        strength=strength,
        memory_limit=wanted.memory_limit,
        progress=say,
    )
    said = () if found.data is None else (found.data.sentence, *found.data.doubts)
    return unit * found.planes, (f"prior {found.prior}", *said)


def _solved(y: Tensor, wanted: Wanted, say: Callable[..., None]) -> tuple[Tensor, tuple[str, ...]]:
    """Channels (C, *n), planes or volumes, each by itself."""
    n, k = y.shape[1:], wanted.psf.shape
    domain = tuple(a + b - 1 for a, b in zip(n, k, strict=True))
    A = ConvOperator(wanted.psf[None, None], domain, padding="valid", flip=True)
    seen = y.isfinite().all(0)
    if not bool(seen.any()):
        raise ValueError("the image holds no finite sample; check how it was read.")
    if not bool(seen.all()):
        A, y = A.observed(seen), torch.where(seen, y, 0.0)
    solve = _counted if wanted.method == "richardson-lucy" else _penalised
    x, said = solve(A, y[:, None], wanted, say)
    x = x[:, 0]
    for axis, (size, taps) in enumerate(zip(n, k, strict=True), start=1):
        x = x.narrow(axis, (taps - 1) // 2, size)
    return x, said


def _counted(
    A: ConvOperator, y: Tensor, wanted: Wanted, say: Callable[..., None]
) -> tuple[Tensor, tuple[str, ...]]:
    def look(step: int, _: Tensor) -> None:
        say(f"richardson-lucy: step {step}")

    found = richardson_lucy(A, y, background=wanted.background, callback=look)
    steps = ", ".join(f"{int(count)} steps" for count in found.iterations)
    return found.solution, (f"richardson-lucy, {steps}, ended by {found.stopped_by[0]}",)


def _penalised(
    A: ConvOperator, y: Tensor, wanted: Wanted, say: Callable[..., None]
) -> tuple[Tensor, tuple[str, ...]]:
    def look(_: int, step: Step, __: Tensor) -> None:
        say(f"{wanted.method}: step {step.iteration}")

    unit = 1.0 if wanted.noise_model == "poisson" else _largest(y)
    found = restore_with_remedy(
        _REMEDY,
        A,
        y / unit,
        prior=wanted.method,
        strength="auto" if wanted.strength is None else wanted.strength,
        spacing=wanted.spacing,
        noise_model=wanted.noise_model,
        background=wanted.background,
        memory_limit=wanted.memory_limit,
        callback=look,
    )
    strength = ", ".join(f"{float(value):.3g}" for value in found.strength)
    said = (f"{wanted.method}, strength {strength}", found.certificate.advice)
    return unit * found.solution, said


def _largest(y: Tensor) -> float:
    """The largest finite size of a sample, 1 where all are 0."""
    return float(y[y.isfinite()].abs().max()) or 1.0 if bool(y.isfinite().any()) else 1.0
