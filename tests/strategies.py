"""Hypothesis draws a convolution: every option crossed with every other, at small sizes.

Each draw is valid by construction: kernel and padding first, then a domain that is at least as
large as they need, often no larger (one-pixel images, kernels larger than the image).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import strategies as st

from unconv import ConvOperator
from unconv.grid.modes import MODES

from .helpers import DOUBLES, randn

FORMS = ("valid", "same", "full", "int", "tuple", "pairs")
_LARGEST_KERNEL = {1: 7, 2: 4, 3: 3}
_EXTRA_SIZE = {1: 6, 2: 3, 3: 1}


@dataclass(frozen=True)
class Case:
    """All arguments of a ConvOperator, as data."""

    weight_shape: tuple[int, ...]
    input_shape: tuple[int, ...]
    options: dict[str, Any]
    dtype: torch.dtype
    seed: int

    def operator(self, dtype: torch.dtype | None = None) -> ConvOperator:
        weight = randn(*self.weight_shape, dtype=dtype or self.dtype, seed=self.seed)
        return ConvOperator(weight, self.input_shape, **self.options)


SMALL = 120


def is_small(op: ConvOperator) -> bool:
    """Whether the matrix takes a moment; some draws in three dimensions take a minute."""
    return max(op.shape) * (op.batch_size or 1) <= SMALL


NONNEGATIVE = tuple(mode for mode in MODES if mode != "antireflective")
"""Padding that takes no sample off another, as counts need it."""


@st.composite
def cases(
    draw: st.DrawFn,
    *,
    dims: tuple[int, ...] = (1, 2, 3),
    modes: tuple[str, ...] = tuple(MODES),
    forms: tuple[str, ...] = FORMS,
    transposed: bool | None = None,
    per_sample: bool | None = None,
    flip: bool | None = None,
    dtypes: list[torch.dtype] = DOUBLES,
) -> Case:
    nd = draw(st.sampled_from(dims))
    turned = draw(st.booleans()) if transposed is None else transposed
    mode = draw(st.sampled_from(modes))
    form = draw(st.sampled_from(forms))
    kernel = _list(draw, nd, 1, _LARGEST_KERNEL[nd])
    dilation = _list(draw, nd, 1, 2)
    stride = [1] * nd if form == "same" else _list(draw, nd, 1, 3 if nd < 3 else 2)
    spans = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    padding, pairs = _padding(draw, form, spans)
    inputs, extras = [], []
    for s, d, span, pair in zip(stride, dilation, spans, pairs, strict=True):
        least = max(1, span + 1 - sum(pair), _room(mode, max(pair)))
        extra = draw(st.integers(0, max(s, d) - 1)) if turned else 0
        if turned:  # the smallest coarse size whose fine size is large enough
            least = max(1, -(-(least - span - 1 - extra + sum(pair)) // s) + 1)
        inputs.append(least + draw(st.integers(0, _EXTRA_SIZE[nd])))
        extras.append(extra)
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    most = 3 if nd < 3 and groups == 1 else 2
    channels = (groups * draw(st.integers(1, most)), draw(st.integers(1, most)))
    samples = draw(st.booleans()) if per_sample is None else per_sample
    batch = (draw(st.integers(1, 3)),) if samples else ()
    options: dict[str, Any] = {
        "stride": _uniform(stride),
        "padding": padding,
        "dilation": _uniform(dilation),
        "groups": groups,
        "padding_mode": mode,
        "flip": draw(st.booleans()) if flip is None else flip,
    }
    if turned:
        options |= {"transposed": True, "output_padding": tuple(extras)}
    dtype = draw(st.sampled_from(dtypes))
    seed = draw(st.integers(0, 999))
    return Case((*batch, *channels, *kernel), tuple(inputs), options, dtype, seed)


@st.composite
def circulant_cases(draw: st.DrawFn, *, dtypes: list[torch.dtype] = DOUBLES) -> Case:
    """Circular convolutions that are their own periodic grid: what the fourier rung serves."""
    nd = draw(st.sampled_from((1, 2, 3)))
    kernel = _list(draw, nd, 1, _LARGEST_KERNEL[nd])
    dilation = _list(draw, nd, 1, 2)
    stride = _list(draw, nd, 1, 3 if nd == 1 else 2)
    coarse = _list(draw, nd, 1, {1: 8, 2: 5, 3: 3}[nd])
    turned = draw(st.booleans())
    pairs, extras = [], []
    for k, d, s in zip(kernel, dilation, stride, strict=True):
        span = d * (k - 1)
        # s·M samples give M outputs where the paddings sum to span + 1 − s … span
        total = max(0, span - draw(st.integers(0, s - 1)))
        before = draw(st.integers(0, total))
        pairs.append((before, total - before))
        extras.append(total - span - 1 + s)
    groups = draw(st.sampled_from([1, 1, 2]))
    channels = (groups * draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    batch = (draw(st.integers(1, 2)),) if draw(st.booleans()) else ()
    options: dict[str, Any] = {
        "stride": tuple(stride),
        "padding": pairs,
        "dilation": tuple(dilation),
        "groups": groups,
        "padding_mode": "circular",
        "flip": draw(st.booleans()),
    }
    inputs = tuple(coarse)
    if turned:
        options |= {"transposed": True, "output_padding": tuple(extras)}
    else:
        inputs = tuple(s * M for s, M in zip(stride, coarse, strict=True))
    dtype = draw(st.sampled_from(dtypes))
    seed = draw(st.integers(0, 999))
    return Case((*batch, *channels, *kernel), inputs, options, dtype, seed)


def _list(draw: st.DrawFn, nd: int, low: int, high: int) -> list[int]:
    return draw(st.lists(st.integers(low, high), min_size=nd, max_size=nd))


def _room(mode: str, widest: int) -> int:
    """Samples that a mode needs to pad this many."""
    room = {"reflect": widest + 1, "symmetric": widest, "antireflective": widest + 1}
    return room.get(mode, 1)


def _uniform(values: list[int]) -> int | tuple[int, ...]:
    """One integer where torch would take one, so that both forms are drawn."""
    return values[0] if len(set(values)) == 1 else tuple(values)


def _padding(draw: st.DrawFn, form: str, spans: list[int]) -> tuple[Any, list[tuple[int, int]]]:
    nd = len(spans)
    widest = [st.integers(0, s + 1) for s in spans]
    match form:
        case "valid":
            return form, [(0, 0)] * nd
        case "full":
            return form, [(s, s) for s in spans]
        case "same":
            return form, [(s // 2, s - s // 2) for s in spans]
        case "int":
            p = draw(st.integers(0, min(spans) + 1))
            return p, [(p, p)] * nd
        case "tuple":
            entries = tuple(draw(w) for w in widest)
            return entries, [(p, p) for p in entries]
    pairs = [(draw(w), draw(w)) for w in widest]
    return pairs, pairs
