"""A failed case made as small as it goes: fewer samples, channels and options, plainer numbers."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from .case import Case
from .checks import Failure, examine

PATIENCE = 40.0
"""Seconds for one failure."""


def shrink(case: Case) -> Iterator[tuple[Failure, Case]]:
    """Each of its kinds of failure with the smallest case that still shows it."""
    seen = set()
    for first in examine(case).failures:
        if (first.kind, first.what, first.rung) not in seen:
            seen.add((first.kind, first.what, first.rung))
            yield _smallest(case, first)


def _smallest(case: Case, first: Failure) -> tuple[Failure, Case]:
    until, progress = time.time() + PATIENCE, True
    while progress and time.time() < until:
        progress = False
        for simpler in _simpler(case):
            found = _same_failure(simpler, first)
            if found is not None:
                case, first, progress = simpler, found, True
                break
            if time.time() > until:
                break
    return first, case


def _same_failure(case: Case, wanted: Failure) -> Failure | None:
    try:
        failures = examine(case).failures
    except Exception:  # no valid case
        return None
    kind = wanted.kind, wanted.what, wanted.rung
    return next((f for f in failures if (f.kind, f.what, f.rung) == kind), None)


def _simpler(case: Case) -> Iterator[Case]:
    """Candidates, the boldest first."""
    for i, size in enumerate(case.input_shape):
        for smaller in {size // 2, size - 1} - {0, size}:
            shape = (*case.input_shape[:i], smaller, *case.input_shape[i + 1 :])
            yield replace(case, input_shape=shape)
    o = case.options
    for name, plain in (("flip", False), ("dilation", 1), ("stride", 1), ("padding_mode", "zeros")):
        if o.get(name, plain) != plain:
            yield replace(case, options=o | {name: plain})
    if o.get("transposed"):
        plain = {k: v for k, v in o.items() if k not in ("transposed", "output_padding")}
        yield replace(case, options=plain)
    for name, value in (("data", "consistent"), ("data", "random"), ("rtol", None), ("damp", 0.0)):
        if getattr(case, name) != value and not (value == "random" and case.data == "consistent"):
            yield replace(case, **{name: value})
    if case.dtype != "float64" and case.dtype != "complex128":
        yield replace(case, dtype="complex128" if "complex" in case.dtype else "float64")
    yield from _simpler_weights(case)


def _simpler_weights(case: Case) -> Iterator[Case]:
    w = case.operator().in_double().weight
    if w.ndim == len(case.input_shape) + 3:
        yield from (_with(case, sample) for sample in w)
    else:
        yield from (_with(case, part) for part in _without_a_slice(w))
    size = float(w.abs().max())
    if size and not 0.1 < size < 100:
        unit = 2.0 ** math.frexp(size)[1]
        yield replace(_with(case, w / unit), damp=case.damp / unit)
    for digits in (0, 1, 3):
        rounded = torch.view_as_real(w) if w.is_complex() else w
        rounded = torch.round(rounded, decimals=digits)
        rounded = torch.view_as_complex(rounded) if w.is_complex() else rounded
        if not torch.equal(rounded, w):
            yield _with(case, rounded)
    for place in (w != 0).nonzero().tolist()[:40]:
        sparser = w.clone()
        sparser[tuple(place)] = 0
        yield _with(case, sparser)


def _without_a_slice(w: Tensor) -> Iterator[Tensor]:
    """One channel or one row of taps less."""
    for axis, size in enumerate(w.shape):
        for i in range(size if size > 1 else 0):
            yield w.index_select(axis, torch.tensor([j for j in range(size) if j != i]))


def _with(case: Case, weight: Tensor) -> Case:
    of = Case.of(weight.to(case.torch_dtype), case.input_shape)
    return replace(case, weight=of.weight)


def source(case: Case) -> str:
    """A program that builds the operator and its right-hand side."""
    options = "".join(f", {k}={v!r}" for k, v in case.options.items() if v not in (1, False))
    weight: Any = torch.tensor(case.weight, dtype=torch.float64)
    view = ".view_as_complex()" if case.torch_dtype.is_complex else ""
    lines = [
        f"w = torch.tensor({weight.tolist()}, dtype=torch.float64){view}.to(torch.{case.dtype})",
        f"A = unconv.ConvOperator(w, {case.input_shape}{options})  # dense.LIMIT = {case.limit}",
        f"# damp={case.damp}, rtol={case.rtol}, {case.data} data, seed {case.seed}",
    ]
    return "\n".join(lines)
