"""One image after the other: units, noise, strength, and what restores it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..numerics.norms import unit_of
from ..numerics.precision import double_dtype
from ..operators.convolution import Convolution
from .certificate import Step
from .data_step import CountStep, DataStep, GaussianStep
from .data_terms import HUBER_IN_STD, Poisson
from .noise_level import noise_level
from .plug_and_play import (
    LAMBDA,
    LAST_LEVEL,
    LAST_LEVEL_OF_COUNTS,
    PlugAndPlay,
    checked_image,
)
from .question import Question, check_bounds_fit
from .splitting import Bounds
from .strength import choose_strength
from .subproblem import part_of
from .variational import Image, Restorer
from .varying_grid import Blur, convolution_of

_NOISE_OF_A_DATUM = 1e-4  # of the mean datum: what data without noise are taken to have
_LEAST_DELTA = 1e-3  # of the mean datum: with less of it ε outweighs Huber's term


@dataclass(frozen=True)
class Answer:
    """One image in the user's units; fields as in the certificate."""

    x: Tensor
    strength: float
    noise_std: float
    objective: float
    bound: float
    residual: float
    iterations: int
    solves: int
    epsilon: float
    history: list[Step]


class Images:
    """Restores images of one operator; what does not depend on the image is made once."""

    def __init__(self, A: Blur, question: Question) -> None:
        self.A, self.question = A, question
        self._restorer: Restorer | None = None

    def restored(self, y: Tensor, x0: Tensor | None, i: int) -> list[Answer]:
        """Image i of data y (N, c_out, *m), an answer for each strength."""
        op: Blur = self.A
        if isinstance(op, Convolution):
            op = op.of_sample(i)
        if y.is_complex() and not op.dtype.is_complex:
            op = op.with_weight(op.weight.to(op.dtype.to_complex()))
        q, counts = self.question, self.question.problem.noise_model == "poisson"
        data = y[i : i + 1].to(double_dtype(torch.promote_types(op.dtype, y.dtype)))
        unit = 1.0 if counts else float(unit_of(data.abs().amax()))
        noise_std, outliers = math.nan, q.problem.noise_model == "huber"
        if not counts and (not q.strengths or q.denoise or outliers):
            told, convolution = q.noise_std, convolution_of(op)
            noise_std = noise_level(convolution, data, outliers) if told is None else told
        restorer = self._restorer_of(op)
        mean = float(data.abs().mean()) / unit or 1.0
        std = 0.0 if math.isnan(noise_std) else max(noise_std / unit, _NOISE_OF_A_DATUM * mean)
        scale = unit / restorer.unit  # x in the user's unit over x of the restorer
        image = Image(
            data / unit,
            std,
            max(HUBER_IN_STD * std, _LEAST_DELTA * mean) if outliers else 0.0,
            Bounds(q.bounds.lower / scale, q.bounds.upper / scale),
            None if q.background is None else q.background[i : i + 1].double(),
        )
        said = restorer.start(image.y)
        check_bounds_fit(q.bounds, said * scale)
        if image.background is not None:
            said = restorer.start(image.y - image.background)
        x = said if x0 is None else x0[i : i + 1].to(data) / scale
        if q.denoise:
            return [self._plugged(restorer, image, x, unit, noise_std, i)]
        return self._penalised(restorer, image, x, unit, noise_std, i)

    def _restorer_of(self, op: Blur) -> Restorer:
        if self._restorer is None or self.A.batch_size is not None:
            self._restorer = Restorer(op, self.question.problem)
        return self._restorer

    def _penalised(
        self, r: Restorer, image: Image, x: Tensor, unit: float, noise_std: float, i: int
    ) -> list[Answer]:
        q, p, scale = self.question, self.question.problem.p, unit / r.unit
        size = unit**2 if q.problem.noise_model != "poisson" else 1.0
        in_unit = (scale * q.problem.difference_unit) ** p / size
        strengths = [s * in_unit for s in q.strengths] or [self._chosen(r, image)]

        def tell(strength: float, step: Step, x: Tensor) -> None:
            q.tell(strength / in_unit, i, step, x * scale)

        return [
            Answer(
                found.x * scale,
                strength / in_unit,
                noise_std,
                found.objective * size,
                found.bound * size,
                found.residual,
                found.iterations,
                found.solves,
                r.epsilon(r.term(image)) * r.unit**2,
                [s._replace(objective=s.objective * size) for s in found.history],
            )
            for strength, found in zip(
                strengths, r.minimise(image, strengths, x, tell), strict=True
            )
        ]

    def _chosen(self, r: Restorer, image: Image) -> float:
        """The strength of the least risk, on a part of large data."""
        found = part_of(r.A, image.y)
        if found is None:
            return choose_strength(r, image)
        part, where = found
        background = None if image.background is None else image.background[where]
        small = replace(image, y=image.y[where], background=background)
        return choose_strength(Restorer(part, self.question.problem), small)

    def _plugged(
        self, r: Restorer, image: Image, x: Tensor, unit: float, noise_std: float, i: int
    ) -> Answer:
        q, scale = self.question, unit / r.unit
        assert q.denoise is not None
        denoise, kind = q.denoise, torch.promote_types(self.A.dtype, torch.float32)

        def in_users_unit(x: Tensor, sigma: float) -> Tensor:
            return checked_image(denoise, (x * scale).to(kind), sigma * scale) / scale

        step, s, last = self._data_step(r, image, x), image.noise_std, LAST_LEVEL
        if isinstance(step, CountStep):
            s, last = step.weight**-0.5, LAST_LEVEL_OF_COUNTS
        amplitude, gain = r.amplitude(image), r.grid.gain
        levels = q.schedule.in_unit(scale).levels(amplitude, last * s / gain)
        strength = q.strengths[0] if q.strengths else LAMBDA
        found, residual, history = PlugAndPlay(step, in_users_unit, image.bounds).restore(
            x, levels, strength, s, lambda look, x: q.tell(strength, i, look, x * scale)
        )
        steps = len(history)
        return Answer(
            found * scale,
            strength,
            noise_std,
            math.nan,
            -math.inf,
            residual,
            steps,
            steps if isinstance(step, GaussianStep) else 0,
            0.0,
            history,
        )

    def _data_step(self, r: Restorer, image: Image, x: Tensor) -> DataStep:
        """What puts the data back between two denoisings."""
        term = r.term(image)
        if not isinstance(term, Poisson):
            return GaussianStep(r.A, image.y, r.grid.gain, self.question.problem.memory_limit)
        seen = r.seen.expand_as(image.y)
        mean = max(float(image.y[seen].sum()), 1.0) / int(seen.sum())  # one count at least
        return CountStep(r.grid, r.term_on_grid(image), math.sqrt(mean), image.bounds, x)
