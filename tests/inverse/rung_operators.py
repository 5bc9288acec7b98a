"""Operators for every rung of the ladder: drawn, well-conditioned, and of the kind it is for."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import pytest
import torch
from hypothesis import assume
from hypothesis import strategies as st
from torch import Tensor

from unconv import ConvOperator
from unconv.inverse import AccuracyWarning
from unconv.inverse.plan import LADDER
from unconv.testing import dense_twin

from ..helpers import F64, has_gap, near_identity, randn
from ..strategies import Case, cases, circulant_cases, is_small
from .diagonal.test_cosine import cosine_cases
from .diagonal.test_separable import separable_cases


@dataclass(frozen=True)
class EasyCase(Case):
    """A case near the identity, for a rung whose steps are the condition number."""

    def operator(self, dtype: torch.dtype | None = None) -> ConvOperator:
        weight = near_identity(*self.weight_shape, dtype=dtype or self.dtype, seed=self.seed)
        if not self.options["flip"]:  # padding="same" has an even kernel's centre before its middle
            even = [a for a in range(2, weight.ndim) if weight.shape[a] % 2 == 0]
            weight = weight.roll([-1] * len(even), even) if even else weight
        return ConvOperator(weight, self.input_shape, **self.options)


@st.composite
def easy_cases(draw: st.DrawFn, *, any_taps: bool = False) -> EasyCase:
    """any_taps : of an even number of taps two apart none is on the centre, and A is not easy"""
    case = draw(cases(forms=("same",), dims=(1, 2), transposed=False, per_sample=False))
    c, kernel = case.weight_shape[1], case.weight_shape[2:]
    dilation = case.options["dilation"]
    steps = dilation if isinstance(dilation, tuple) else (dilation,) * len(kernel)
    if not any_taps:
        kernel = tuple(k - (k % 2 == d % 2 == 0) for k, d in zip(kernel, steps, strict=True))
    shape = (c, c, *kernel)
    options = case.options | {"groups": 1}
    return EasyCase(shape, case.input_shape, options, case.dtype, case.seed)


RUNGS = {
    "fourier": circulant_cases,
    "cosine": cosine_cases,
    "separable": separable_cases,
    "dense": cases,
    "boundary": cases,
    "krylov": easy_cases,
}
_DAMPED = ["completion"]  # rungs that have no A⁺, with tests of their own
assert list(RUNGS) == [rung.name for rung in LADDER if rung.name not in _DAMPED]

every_rung = pytest.mark.parametrize("method", RUNGS)
every_direct_rung = pytest.mark.parametrize("method", [name for name in RUNGS if name != "krylov"])


def draw_operator(
    method: str, draw, *, any_size: bool = False, damped: bool = False
) -> tuple[ConvOperator, Tensor]:
    """An operator that the rung serves, small unless any size will do, and its matrix.

    damped : whether the law damps, so that an iteration, too, may be given one of any condition
    """
    own = easy_cases(any_taps=True) if damped and method == "krylov" else RUNGS[method]()
    case: Case = draw.draw(own)
    op = case.operator()
    assume(any_size or is_small(op))
    A = dense_twin(op)
    assume(has_gap(A))
    return op, A


MODES = {"fourier": "circular", "cosine": "symmetric", "separable": "reflect", "krylov": "zeros"}


def weight_for(method: str, shape: tuple[int, ...], dtype=F64, seed: int = 0) -> Tensor:
    """A random kernel (..., c, c, *k) of the kind that the rung is for."""
    nd = 2 if len(shape) > 3 else 1
    if method == "separable":
        weight = randn(*shape[:-nd], dtype=dtype, seed=seed)
        for a, k in enumerate(shape[-nd:]):
            line = randn(k, dtype=dtype, seed=seed + 1 + a)
            weight = weight[..., None] * line
        return weight
    weight = randn(*shape, dtype=dtype, seed=seed)
    if method == "cosine":
        for dim in range(-nd, 0):
            weight = weight + weight.flip(dim)
    return weight


def easy_weight(method: str, dtype=F64) -> Tensor:
    """Two channels, 3×3, cond under about 5."""
    if method not in ("cosine", "separable"):
        return near_identity(2, 2, 3, 3, dtype=dtype)
    line = torch.tensor([0.1, 1.0, 0.1]).to(dtype)
    return near_identity(2, 2, dtype=dtype)[..., None, None] * torch.outer(line, line)


def served(method: str, weight: Tensor, size: tuple[int, ...] = (4, 5)) -> ConvOperator:
    """An operator that the rung serves, padded to its own size."""
    return ConvOperator(
        weight, size, padding=weight.shape[-1] // 2, padding_mode=MODES.get(method, "replicate")
    )


def easy(method: str, dtype=F64) -> ConvOperator:
    """A well-conditioned operator that the rung serves."""
    return served(method, easy_weight(method, dtype))


def warned(method: str) -> AbstractContextManager:
    """Without damping an iteration has no bound for its answer, and says so for each."""
    if method != "krylov":
        return nullcontext()
    return pytest.warns(AccuracyWarning, match="no bound o[fn] the error is known")
