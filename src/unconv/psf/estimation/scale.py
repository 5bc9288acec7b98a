"""The scale of a psf by the spectrum of a picture and by its edges.

A softer scene has the spectrum of a blurred one; but a blurred one has no edge that is sharper than
its psf.  The widths w of its edges (edges.py) begin at the scale s of the psf, and many are wider,
for so the scene was; their errors are normal, and some are neither:

    log w = log s + E + N(0, e²),     E exponential,     or anything, with a small chance.

The likelihood of s is that of a quarter of the points, for neighbours lie on one edge, and is
widened by what the edges of sharp photographs differ in.  It is multiplied by that of the spectrum.
Each of the two may be wrong, so that two that disagree make a result with two modes, which is wide.

Source: the exponentially modified Gaussian, Grushka, Anal. Chem. 44 (1972) 1733; edges as measures
of blur, Elder & Zucker, IEEE Trans. Pattern Anal. Mach. Intell. 20 (1998) 699.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from .coarse import LineProfile
from .edges import Edges, Widths

_LEAST_EDGES = 8
_RATES, _CHANCES = (3.0, 6.0, 12.0, 25.0), (0.03, 0.1, 0.25)  # of E, and of being neither
_NEITHER = 1 / 3  # the density of log w then
_SPREAD = 0.03  # of log w, beside the noise
_NEIGHBOURS = 4.0  # points that count as one
_INEXACT, _OF_OWN = 0.03, 0.16  # relative, and deviation of the square of an edge's own softness
_WRONG = 3e-3  # of its mode: what each of spectrum and edges has everywhere
_GRID_POINTS = 240
_TIMES_AROUND = 4.0  # how many times wider and narrower the grid looks
_LOOKS, _SETTLED_SCALE = 3, 0.1
_GUESSES, _ANY_SCALE = (1.0, 3.0), 3.0  # samples, and the relative error of a guess: none at all
_STANDARD_ERRORS_APART = 3.0  # standard errors between spectrum and edges that cannot both be right


class Scale(NamedTuple):
    """A scale and its standard error; and what the edges alone say."""

    value: float
    error: float
    of_edges: float
    error_of_edges: float

    def disagreement(self, value: float, error: float) -> tuple[str, ...]:
        """A sentence if the edges and a spectrum that says value ± error cannot both be right."""
        apart = abs(math.log(self.of_edges / value))
        both = math.hypot(self.error_of_edges / self.of_edges, error / value)
        if apart < _STANDARD_ERRORS_APART * both:
            return ()
        return (f"its spectrum says {value:.3g} px, its edges {self.of_edges:.3g} px",)


def scale_of(edges: Edges, profile: LineProfile, value: float, error: float) -> Scale | None:
    """The scale of a psf of which the spectrum says value ± error; None where edges are few."""
    around = math.log(_TIMES_AROUND)
    grid = math.log(value) + torch.linspace(-around, around, _GRID_POINTS, dtype=torch.float64)
    spectrum = torch.exp(-0.5 * ((grid - math.log(value)) * value / error).square())
    found, now = None, value
    for _ in range(_LOOKS):
        widths = edges.widths(profile, now)
        if len(widths.errors) < _LEAST_EDGES:
            break
        density = _density(widths, grid, profile.deviation)
        middle, half = _middle(grid, (density + _WRONG) * (spectrum + _WRONG))
        alone, its_half = _middle(grid, density)
        both, edge = math.exp(middle), math.exp(alone)
        found = Scale(both, half * both, edge, its_half * edge)
        settled = abs(middle - math.log(now)) < _SETTLED_SCALE
        now = found.value
        if settled:
            break
    return found


def sharpest(edges: Edges, profile: LineProfile) -> Scale | None:
    """The scale of the sharpest edges, whatever a spectrum says; None where edges are few."""
    for guess in _GUESSES:
        scale = guess / profile.deviation
        found = scale_of(edges, profile, scale, _ANY_SCALE * scale)
        if found is not None:
            return found
    return None


def _density(widths: Widths, grid: Tensor, deviation: float) -> Tensor:
    """The density of the logarithm of the scale, over its mode."""
    likely = _log_likelihood(widths, grid) / _NEIGHBOURS
    density = (likely - likely.max()).exp()
    variance = (deviation * grid.exp()).square()
    own = torch.hypot(torch.full_like(grid, _INEXACT), _OF_OWN / (2 * variance))
    blur = torch.exp(-0.5 * ((grid[:, None] - grid) / own).square())
    density = (blur / blur.sum(0)) @ density
    return density / density.max()


def _log_likelihood(widths: Widths, grid: Tensor) -> Tensor:
    """The log likelihood of log s, for the rate of E and the chance that suit it best."""
    spread = torch.hypot(widths.errors, torch.full_like(widths.errors, _SPREAD))
    z = widths.logarithms - grid[:, None]
    found = []
    for rate in _RATES:
        a = (rate * spread - z / spread) / math.sqrt(2)
        # erfcx overflows where the density is that of E alone
        near = torch.special.erfcx(a.clamp(min=-5)).log() - 0.5 * (z / spread).square()
        far = 0.5 * (rate * spread).square() - rate * z + math.log(2)
        density = rate / 2 * torch.where(a > -5, near, far).exp()
        found += [((1 - p) * density + p * _NEITHER).log().sum(1) for p in _CHANCES]
    return torch.stack(found).amax(0)


def _middle(grid: Tensor, density: Tensor) -> tuple[float, float]:
    """The median, and a standard error that holds for two in three and for 19 in 20."""
    below = density.cumsum(0) / density.sum()
    low2, low1, middle, high1, high2 = (
        float(grid[int((below < q).sum())]) for q in (0.025, 0.16, 0.5, 0.84, 0.975)
    )
    return middle, max((high1 - low1) / 2, (high2 - low2) / 4)
