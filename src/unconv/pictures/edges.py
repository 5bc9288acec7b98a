"""Edges brought back: a restoration with a prior that photographs obey better than a spectrum.

The Wiener filter (wiener_restoration.py) has found what is datum and what is not, the noise, and a
first scene.  From there goes on

    dct      few cosines in every overlapping block, by plug and play
    tv, sparse, hessian      penalties on differences, the colours sharing them

of `unconv.restoration`, exact for what was not seen likewise.

*Noise that is not white.*  The data term knows one standard deviation.  What counts is the noise at
the frequencies that the psf transmits, s₁² = Σ N|F|²/Σ|F|², but where it is next to nothing there
that of all frequencies, s₂, is the safer one: √(s₁s₂) is taken, which is s for white noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..operators.linear_operator import DEFAULT_MEMORY_LIMIT
from ..parameter_choice.residual_whiteness import Whiteness
from ..parameter_choice.whittle import PictureSpectra, transfer
from ..restoration import RestorationCertificate, Step
from ..restoration.solve import restore_with_remedy
from .data_report import Component
from .operators import blur_operator

MOST_SAMPLES = 2**23
"""Of a picture that 'auto' restores with edges: some five minutes on two cores."""

_NEARLY = 1.3  # times what white noise exceeds once in twenty: it does so once in 250
_GAP_TOL = 1e-3  # as `restore` has it
_WORSE = 1.5  # times the residual that the Wiener filter left: no scene that explains the data

_REMEDY = (
    "take a strength nearer to that of auto, or the prior dct; of counts ask for no pixel below 0"
)


@dataclass(frozen=True)
class Edges:
    """What is asked for.

    Attributes
    ----------
    prior : one of `operators.EDGE_PRIORS`
    strength : of the prior, or 'auto'
    nonnegative : whether no pixel may be below zero
    counts : photons of a pixel of 1 where the noise is theirs (Poisson), else None
    keep_partial : whether an interrupted restoration gives what it has got to
    unless_worse : whether the first scene is kept where the new one explains the data less
    """

    prior: str
    strength: float | str = "auto"
    nonnegative: bool = False
    counts: float | None = None
    keep_partial: bool = False
    unless_worse: bool = False


class Sharpened(NamedTuple):
    """Planes that share their spectra, restored again.

    Attributes
    ----------
    component : with the new scene, what it explains and what not
    certificate : of the solve; None where the first scene was kept
    strength : of the prior
    partial : whether it was interrupted, or left because another component was
    """

    component: Component
    certificate: RestorationCertificate | None
    strength: float
    partial: bool


def sharpened(
    found: Component,
    seen: Tensor,
    psf: Tensor,
    boundary: str,
    edges: Edges,
    say: Callable[[str, float | None], None],
    memory_limit: float = DEFAULT_MEMORY_LIMIT,
) -> Sharpened:
    """Planes (c, H, W) restored with a prior that keeps edges, from what the Wiener filter found.

    seen : (H, W) bool
    """
    c, H, W = found.planes.shape
    op = blur_operator(psf, (H, W), boundary, channels=c)
    A = op if bool(seen.all()) else op.observed(seen)
    unit = edges.counts or 1.0
    last: list[tuple[Step, Tensor]] = []

    def look(_: int, step: Step, x: Tensor) -> None:
        last[:] = [(step, x)]

    strength, certificate, partial = math.nan, None, False
    if edges.prior != "dct" and edges.strength == "auto":
        say(f"{edges.prior}: choosing the strength", None)
    try:
        answer = restore_with_remedy(
            _REMEDY,
            A,
            (unit * found.planes)[None],
            prior=edges.prior,
            strength=edges.strength,
            nonnegative=edges.nonnegative,
            noise_model="poisson" if edges.counts else "gaussian",
            noise_std=None if edges.counts else seen_noise(found.spectra, psf, (H, W)),
            x0=unit * found.x[None],
            gap_tol=_GAP_TOL,
            memory_limit=memory_limit,
            callback=look,
            progress=say,
        )
        x, certificate, strength = answer.solution, answer.certificate, float(answer.strength[0])
    except KeyboardInterrupt:
        if not (edges.keep_partial and last):
            raise
        x, partial = last[0][1], True
    x = x.to(found.x) / unit
    fitted = op(x)[0]
    residual = torch.where(seen, found.planes - fitted, 0.0)
    if edges.unless_worse and float(residual.norm()) > _WORSE * float(found.residual.norm()):
        return Sharpened(found, None, math.nan, False)
    new = found._replace(x=x[0], fitted=fitted, residual=residual)
    return Sharpened(new, certificate, strength, partial)


def is_nearly_white(residual: Whiteness) -> bool:
    """Whether a residual is as the model of the noise expects, but for a small chance.

    One picture in twenty whose noise is as its model would be left without edges else.
    """
    return residual.distance <= _NEARLY * residual.limit


def seen_noise(spectra: PictureSpectra, psf: Tensor, size: tuple[int, int]) -> float:
    """One standard deviation for noise that may be coloured; see the module."""
    N = spectra.noise_psd(size)
    if N.ndim == 0:
        return math.sqrt(float(N))
    half = size[1] // 2 + 1
    gain = transfer(psf, size).abs().square()
    through = float((N[:, :half] * gain).sum() / gain.sum())
    return (through * float(N.mean())) ** 0.25
