"""The psf of a family that explains a periodogram best: a coarse search, then Newton's steps.

The coarse search has every candidate of the family, in closed form, on some of the cells, and fits
a scene to each; candidates are so close that the best psf lies in the basin of one of them.  The
best few that are not one and the same are refined on all cells with the sampled kernel, by
Gauss–Newton steps in the parameters of psf, scene and noise together (the likelihood is that of
independent cells, so that its expected second derivatives are sums of products of first ones).

The error of the parameters is the sandwich H⁻¹ (Σ g gᵀ) H⁻¹ over sectors of the frequency plane:
what a photograph has beside its smooth spectrum is alike for neighbouring frequencies.

Source: Fisher's scoring; the sandwich of clusters, Liang & Zeger, Biometrika 73 (1986) 13.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...parameter_choice.whittle import likelihood
from ..families import Family
from .cells import Cells
from .coarse import COARSE, Coarse
from .scene import SceneModel, Scenes

_COARSE_CELLS = 1200  # cells
_BATCH = 64  # candidates at once
_FIRST_STEPS, _MORE_STEPS = 3, 8  # of scoring: of all candidates, and of the best
_SOME_CANDIDATES, _ONE_IN = 200, 10  # these: so many, and one in so many
_FAR_BEHIND = 60.0  # natural units of the coarse search: no start there
_GAUSS_NEWTON_STEPS = 12
_OF_STEP = 0.01  # of a parameter, in a difference quotient
_OF_ANGLE = 0.5  # degrees
_TURN = 60.0  # degrees, over the length: ends turned by half a sample, less may change no sample
_VAGUE, _VAGUE_ANGLE = 2.0, 100.0  # deviations of parameters, relative and of angles
_LEAST_GAINED = 0.01  # of a natural unit: a step that gains less is the last
_CALIBRATED = 1.4  # times what the sandwich says, by 120 photographs of which the psf was known
_SECTORS, _OCTAVES = 12, 5


@dataclass(frozen=True)
class Fitted:
    """The best psf of a family, or no psf.

    Attributes
    ----------
    family : None for no blur and for a psf that is told
    values : of its parameters
    loss : minus the logarithm of likelihood and prior of the scene, without that of the psf
    evidence : the logarithm of the likelihood of the family, everything else integrated out
    errors : (k,) standard errors
    gain : (K,) |F|² of the cells
    scene : and noise
    """

    family: Family | None
    values: tuple[float, ...]
    loss: float
    evidence: float
    errors: tuple[float, ...]
    gain: Tensor
    scene: Scenes


class Search:
    """All searches in one picture.

    Parameters
    ----------
    cells : of the picture
    reach : how far a psf may reach from its centre, in samples
    noise_std : of white noise, if it is known
    """

    def __init__(self, cells: Cells, reach: float, noise_std: float | None) -> None:
        self.cells, self.reach = cells, reach
        self.model = SceneModel.of(cells, noise_std)
        some = _spread(cells)
        self._corners = tuple(f[:, some].float() for f in cells.corners())
        self._coarse = SceneModel.of(cells, noise_std, some)

    def without(self) -> Fitted:
        """No blur."""
        return self.told(torch.ones(1, 1, dtype=torch.float64))

    def told(self, psf: Tensor) -> Fitted:
        """A psf of no family; only the scene is looked for."""
        gain = self.cells.gain(psf)
        scene = self.model.fitted(gain[None], steps=40)
        return Fitted(None, (), float(scene.loss), _evidence(scene, None, 0.0), (), gain, scene)

    def best(self, family: Family) -> list[Fitted]:
        """The best psfs of a family, each in another place, the best first."""
        coarse = COARSE[family.name]
        candidates = coarse.candidates(self.reach).float()
        some = max(_SOME_CANDIDATES, len(candidates) // _ONE_IN)
        if len(candidates) > some:
            losses = self._losses(coarse, candidates, _FIRST_STEPS)
            candidates = candidates[losses.argsort()[:some]]
        losses = self._losses(coarse, candidates, _MORE_STEPS)
        starts = _apart(coarse, family.turns, candidates, losses)
        found = [self._refined(family, start) for start in starts]
        return sorted(found, key=lambda one: one.loss)

    def rescaled(self, found: Fitted, value: float, error: float) -> Fitted:
        """A psf with another first parameter and the scene that fits it; the evidence stays."""
        if found.family is None:
            return found
        values, errors = (value, *found.values[1:]), (error, *found.errors[1:])
        gain = self.cells.gain(found.family.kernel(*values))
        scene = self.model.fitted(gain[None])
        return replace(found, values=values, errors=errors, gain=gain, scene=scene)

    def _losses(self, coarse: Coarse, candidates: Tensor, steps: int) -> Tensor:
        """The losses of psfs (n, k), each with a scene of so many steps, on some of the cells."""
        found = []
        for values in candidates.split(_BATCH):
            each = [coarse.transfer(values, *f).square() for f in zip(*self._corners, strict=True)]
            found.append(self._coarse.fitted(torch.stack(each).mean(0), steps=steps).loss)
        return torch.cat(found)

    def _gain(self, family: Family, values: Tensor) -> Tensor:
        return self.cells.gain(family.kernel(*values.tolist()))

    def _refined(self, family: Family, start: Tensor) -> Fitted:
        model, low_high = self.model, torch.tensor(family.limits(self.reach)).double()
        low, high = low_high.unbind(1)
        theta = start.double().clamp(low, high)
        gain = self._gain(family, theta)
        scene = model.fitted(gain[None])
        k, damping = len(theta), 1e-2
        for _ in range(_GAUSS_NEWTON_STEPS):
            slopes = self._slopes(family, theta)
            each = self._scores(gain, slopes, scene)
            downhill, precision = each.sum(0), self._information(family, theta, gain, slopes, scene)
            downhill[k:] = 0  # the scene is at its mode
            damped = precision + damping * torch.diag(precision.diagonal())
            step = torch.linalg.solve(damped, downhill)
            other = (theta + step[:k]).clamp(low, high)
            new_gain = self._gain(family, other)
            new = model.fitted(new_gain[None], scene.values + step[k:], steps=4)
            gained = float(scene.loss - new.loss)
            if gained > 0:
                theta, gain, scene, damping = other, new_gain, new, damping / 4
            else:
                damping = max(8 * damping, 1e-2)
            if (gained > 0 and gained < _LEAST_GAINED) or damping > 1e3:
                break
        return self._concluded(family, theta, gain, scene)

    def _slopes(self, family: Family, theta: Tensor) -> Tensor:
        """∂|F|²/∂θ, (K, k)."""
        slopes = []
        for i, turn in enumerate(family.turns):
            h = torch.zeros_like(theta)
            h[i] = _OF_ANGLE if turn else _OF_STEP * float(theta[i])
            up, down = self._gain(family, theta + h), self._gain(family, theta - h)
            slopes.append((up - down) / (2 * h[i]))
        return torch.stack(slopes, 1)

    def _parts(self, gain: Tensor, slopes: Tensor, scene: Scenes) -> tuple[Tensor, Tensor]:
        """Derivatives of log v by psf, scene and noise, (K, k + q + 1), and v."""
        model = self.model
        law, noise = model.signal(scene.values), model.noise(scene.values)
        v = law * gain + noise + model.error
        rest = model.parts(law * gain, noise, v)[0]
        return torch.cat([law[0, :, None] * slopes / v[0, :, None], rest], 1), v[0]

    def _scores(self, gain: Tensor, slopes: Tensor, scene: Scenes) -> Tensor:
        parts, v = self._parts(gain, slopes, scene)
        _, slope = likelihood(self.model.power, v, self.model.degrees)
        return -(self.model.weight * slope)[:, None] * parts

    def _information(
        self, family: Family, theta: Tensor, gain: Tensor, slopes: Tensor, scene: Scenes
    ) -> Tensor:
        parts, _ = self._parts(gain, slopes, scene)
        precision = parts.mT @ (parts * self.model.information[:, None])
        k = slopes.shape[1]
        precision[k:, k:] += torch.diag(self.model.prior)
        vague = torch.where(torch.tensor(family.turns), _VAGUE_ANGLE, _VAGUE * theta.abs())
        precision[:k, :k] += torch.diag(vague**-2)
        return precision

    def _concluded(self, family: Family, theta: Tensor, gain: Tensor, scene: Scenes) -> Fitted:
        slopes = self._slopes(family, theta)
        precision = self._information(family, theta, gain, slopes, scene)
        k = len(theta)
        covariance = torch.linalg.inv(precision)
        scores = self._scores(gain, slopes, scene)
        sums = scores.new_zeros(_SECTORS * _OCTAVES, scores.shape[1])
        sums.index_add_(0, _clusters(self.cells), scores)
        robust = covariance @ (sums.mT @ sums) @ covariance
        errors = _CALIBRATED * torch.maximum(robust.diagonal(), covariance.diagonal())[:k].sqrt()
        errors = torch.where(self._is_unresolved(family, theta), _flat(theta), errors)
        marginal = torch.linalg.inv(covariance[:k, :k])
        evidence = _evidence(scene, marginal, self._prior(family, theta))
        values = [
            float(v) % 180 if turn else float(v)
            for v, turn in zip(theta, family.turns, strict=True)
        ]
        return Fitted(
            family, tuple(values), float(scene.loss), evidence, tuple(errors.tolist()), gain, scene
        )

    def _is_unresolved(self, family: Family, theta: Tensor) -> Tensor:
        """Which parameters are angles so near an axis that no sample tells them, (k,)."""
        same = torch.zeros_like(theta, dtype=torch.bool)
        for i, turn in enumerate(family.turns):
            if turn:
                h = torch.zeros_like(theta)
                h[i] = _OF_ANGLE
                up, down = (family.kernel(*(theta + s * h).tolist()) for s in (1, -1))
                same[i] = up.shape == down.shape and torch.allclose(up, down, atol=1e-9)
        return same

    def _prior(self, family: Family, theta: Tensor) -> float:
        """The logarithm of the density of the parameters: even in angles and logarithms."""
        total = 0.0
        for value, (low, high) in zip(theta.tolist(), family.limits(self.reach), strict=True):
            total -= math.log(180.0) if math.isinf(low) else math.log(value * math.log(high / low))
        return total


def _spread(cells: Cells) -> Tensor:
    """Some cells, the more the lower the frequency; always the same."""
    radius = torch.hypot(cells.fy, cells.fx)
    n = min(_COARSE_CELLS, len(radius))
    drawn = torch.rand(len(radius), generator=torch.Generator().manual_seed(0)).double()
    return (-drawn.log() * radius).argsort()[:n]  # exponential races: odds of 1/|ω|


def _apart(
    coarse: Coarse, turning: tuple[bool, ...], candidates: Tensor, losses: Tensor
) -> list[Tensor]:
    """The best few that lie in different places."""
    chosen: list[Tensor] = []
    limits, turns = torch.tensor(coarse.apart), torch.tensor(turning)
    least = float(losses.min()) + _FAR_BEHIND
    for i in losses.argsort().tolist():
        one = candidates[i]
        if float(losses[i]) > least:
            break
        for other in chosen:
            off = (one - other).abs()
            off = torch.where(turns, torch.minimum(off, 180 - off), off)
            if bool((off / limits < 1).all()):
                break
        else:
            chosen.append(one)
        if len(chosen) == coarse.starts:
            break
    return chosen


def _clusters(cells: Cells) -> Tensor:
    """Numbers of sectors and octaves of the frequency plane, (K,)."""
    angle = torch.atan2(cells.fy, cells.fx) / math.pi + 0.5
    sector = (angle * _SECTORS).long().clamp(0, _SECTORS - 1)
    octave = (-torch.hypot(cells.fy, cells.fx).clamp(max=0.49) * 2).abs().log2().neg().long()
    return sector * _OCTAVES + octave.clamp(0, _OCTAVES - 1)


def _evidence(scene: Scenes, marginal: Tensor | None, prior: float) -> float:
    """Laplace's: everything but the family integrated out, up to what all families share."""
    found = -float(scene.loss) - 0.5 * float(torch.linalg.slogdet(scene.precision)[1])
    if marginal is None:
        return found
    k = len(marginal)
    return found + prior + 0.5 * (k * math.log(2 * math.pi) - float(torch.slogdet(marginal)[1]))


def _flat(theta: Tensor) -> Tensor:
    """The deviation of an angle that is even over what turns a path by half a sample, (k,)."""
    return _TURN / math.sqrt(3) / theta[0].expand_as(theta)
