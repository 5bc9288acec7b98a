"""What `make fuzz-answers` draws: every kind of kernel crossed with every option.

A draw is a function of its seed alone.  Kernel and padding come first, then an input that is at
least as large as they need, often no larger.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import torch
from torch import Tensor

from unconv import ConvOperator

from .case import DATA, Case

MODES = ("zeros", "zeros", "circular", "reflect", "replicate", "symmetric", "antireflective")
DTYPES = ("float64",) * 6 + ("float32",) * 3 + ("complex128",) * 2 + ("complex64", "float16")
OTHERS = ("tikhonov", "tsvd", "functional", "layer", "spectrum", "logabsdet", "svd", "projectors")
_LARGEST_KERNEL = {1: 6, 2: 4, 3: 3}
_LIMITS = (1024, 24, 8, 8, 4)
_EXPONENTS = (0,) * 8 + (-150, 150, -6, 6)
_OTHER_DATA = {
    torch.float64: ("float32", "complex128"),
    torch.float32: ("float64", "complex64"),
    torch.complex128: ("float64",),
    torch.complex64: ("complex128",),
    torch.float16: ("float32",),
}
_RTOLS = (None,) * 6 + (1e-3, 1e-6, 1e-8, 1e-10, 1e-12)


class Draw:
    """Random numbers of one seed."""

    def __init__(self, seed: int) -> None:
        self.seed, self.random = seed, Random(seed)
        self.torch = torch.Generator().manual_seed(seed)

    def one_of(self, *values: Any) -> Any:
        return self.random.choice(values)

    def integer(self, low: int, high: int) -> int:
        return self.random.randint(low, high)

    def chance(self, p: float) -> bool:
        return self.random.random() < p

    def power(self, low: float, high: float) -> float:
        """10^u for a uniform u."""
        return 10 ** self.random.uniform(low, high)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, dtype=self.dtype, generator=self.torch)

    def integers(self, low: int, high: int, *shape: int) -> Tensor:
        return torch.randint(low, high + 1, shape, generator=self.torch).to(self.dtype)

    dtype = torch.float64


# --- kernels: (c_out, c_in, *k) of the draw's dtype


def _random(d: Draw, *shape: int) -> Tensor:
    return d.normal(*shape)


def _integers(d: Draw, *shape: int) -> Tensor:
    return d.integers(*d.one_of((-3, 3), (0, 3), (1, 5), (-1, 1), (0, 1)), *shape)


def _zero_slices(d: Draw, *shape: int) -> Tensor:
    """Zero rows or columns, first or last taps."""
    w = d.one_of(_random, _integers)(d, *shape)
    for _ in range(d.integer(1, 2)):
        axis = d.integer(2, len(shape) - 1)
        w.select(axis, d.one_of(0, -1, d.integer(0, shape[axis] - 1))).zero_()
    return w


def _masked(d: Draw, *shape: int) -> Tensor:
    return d.one_of(_random, _integers)(d, *shape) * d.integers(0, 1, *shape)


def _causal(d: Draw, *shape: int) -> Tensor:
    """Only taps up to one, in raster order; of channels, triangular at that tap."""
    w, taps = d.one_of(_random, _integers)(d, *shape), math.prod(shape[2:])
    flat = w.flatten(2)
    last = d.one_of(taps // 2, taps - 1, d.integer(0, taps - 1))
    flat[:, :, last + 1 :] = 0
    if d.chance(0.7):
        flat[:, :, last] = flat[:, :, last].tril()
    return flat.reshape(shape).flip(2) if d.chance(0.3) else flat.reshape(shape)


def _triangular(d: Draw, *shape: int) -> Tensor:
    """Channels of which each reads only those before it."""
    w = d.normal(*shape)
    return w.movedim((0, 1), (-2, -1)).tril().movedim((-2, -1), (0, 1)).contiguous()


def _one_tap(d: Draw, *shape: int) -> Tensor:
    w = torch.zeros(shape, dtype=d.dtype)
    tap = [d.integer(0, k - 1) for k in shape[2:]]
    w[(slice(None), slice(None), *tap)] = d.one_of(_random, _integers)(d, *shape[:2])
    return w


def _scattered_taps(d: Draw, *shape: int) -> Tensor:
    """One tap an output channel, each at a place and of an input channel of its own."""
    w = torch.zeros(shape, dtype=d.dtype)
    for i in range(shape[0]):
        w[(i, *(d.integer(0, k - 1) for k in shape[1:]))] = d.integer(1, 3)
    return w


def _outer_product(d: Draw, *shape: int) -> Tensor:
    w = d.normal(*shape[:2], *[1] * (len(shape) - 2))
    for axis, k in enumerate(shape[2:], 2):
        line = d.one_of(_random, _integers)(d, k)
        w = w * line.reshape([-1 if i == axis else 1 for i in range(len(shape))])
    return w + d.normal(*shape) * d.power(-17, -3) if d.chance(0.3) else w


def _sum_zero(d: Draw, *shape: int) -> Tensor:
    w = d.one_of(_random, _integers)(d, *shape).flatten(2)
    w[:, :, -1] = -w[:, :, :-1].sum(2)
    return w.reshape(shape)


def _symmetric(d: Draw, *shape: int) -> Tensor:
    w = d.one_of(_random, _integers)(d, *shape)
    for axis in range(2, len(shape)):
        w = w + w.flip(axis)
    return w


def _smooth(d: Draw, *shape: int) -> Tensor:
    """Boxes, binomials: blurs with zeros in their response."""
    w = torch.ones(shape, dtype=d.dtype)
    for axis, k in enumerate(shape[2:], 2):
        line = torch.tensor([math.comb(k - 1, j) for j in range(k)], dtype=d.dtype)
        if d.chance(0.5):
            w = w * line.reshape([-1 if i == axis else 1 for i in range(len(shape))])
    return w * d.normal(*shape[:2], *[1] * (len(shape) - 2)) / math.prod(shape[2:])


def _near_identity(d: Draw, *shape: int) -> Tensor:
    w = 0.3 * d.normal(*shape) / math.prod(shape[1:])
    for i in range(min(shape[:2])):
        w[(i, i, *(k // 2 for k in shape[2:]))] += 1
    return w


def _growing(d: Draw, *shape: int) -> Tensor:
    """A dominant tap at one end: condition numbers that grow exponentially with the size."""
    w = d.normal(*shape) * d.power(-2, 0)
    w[(slice(None), slice(None), *(d.one_of(0, -1) for _ in shape[2:]))] += d.integer(1, 4)
    return w


KERNELS: tuple[Callable[..., Tensor], ...] = (
    _random, _random, _integers, _integers, _zero_slices, _zero_slices, _masked, _causal, _causal,
    _triangular, _one_tap, _scattered_taps, _outer_product, _sum_zero, _symmetric, _smooth,
    _near_identity, _growing,
)  # fmt: skip


def _nearly_dependent(d: Draw, w: Tensor) -> Tensor:
    """One channel of outputs or inputs nearly a copy of another one."""
    axis = d.integer(0, 1)
    if w.shape[axis] < 2:
        return w
    i, j = d.random.sample(range(w.shape[axis]), 2)
    v = w.movedim(axis, 0).clone()
    epsilon = d.one_of(0.0, d.power(-17, -1), d.power(-13, -5))
    v[i] = d.one_of(1, 2, 0.5) * v[j] + epsilon * v[i]
    return v.movedim(0, axis).contiguous()


def _graded(d: Draw, w: Tensor) -> Tensor:
    """Channels of very different sizes."""
    sizes = [d.power(-d.one_of(3, 8, 14), 0) for _ in range(w.shape[0])]
    return w * torch.tensor(sizes, dtype=w.real.dtype).reshape(-1, *[1] * (w.ndim - 1))


# --- operators


def draw(seed: int) -> Case:
    """The case of this seed."""
    d = Draw(seed)
    dtype: torch.dtype = getattr(torch, d.one_of(*DTYPES))
    d.dtype = torch.complex128 if dtype.is_complex else torch.float64
    nd = d.one_of(1, 1, 2, 2, 2, 3)
    kernel = [d.integer(1, _LARGEST_KERNEL[nd]) for _ in range(nd)]
    plain = d.chance(0.5)  # as most layers are: stride and dilation 1
    dilation = [1 if plain else d.one_of(1, 1, 2) for _ in range(nd)]
    stride = [1 if plain else d.integer(1, 3 if nd < 3 else 2) for _ in range(nd)]
    groups = d.one_of(1, 1, 1, 1, 2, 3)
    c_out, c_in = _channels(d, groups)
    samples = (d.integer(1, 3),) if d.chance(0.07) else ()
    make = d.one_of(*KERNELS)
    family = make.__name__.removeprefix("_")
    w = make(d, c_out * groups, c_in, *kernel)
    if d.chance(0.15):
        w, family = _nearly_dependent(d, w), family + ", dependent"
    if d.chance(0.05):
        w, family = _graded(d, w), family + ", graded"
    if samples:
        w = torch.stack([w, *(make(d, *w.shape) for _ in range(samples[0] - 1))])
    if dtype.to_real() == torch.float64:
        w = w * 10.0 ** d.one_of(*_EXPONENTS)
    shape, options = _options(d, nd, kernel, dilation, stride, max(c_out, c_in) * groups)
    weight = w.to(dtype)
    case = Case.of(
        weight,
        shape,
        options=options | {"groups": groups},
        limit=d.one_of(*_LIMITS),
        rtol=d.one_of(*_RTOLS),
        data=d.one_of(*DATA[:2], *DATA),
        data_dtype=d.one_of(*_OTHER_DATA[dtype]) if d.chance(0.04) else None,
        seed=d.integer(0, 10**6),
        family=family,
        checks=("matrix", "lstsq", "pinv", *d.random.sample(OTHERS, 2)),
    )
    return _with_damp(d, case)


def _channels(d: Draw, groups: int) -> tuple[int, int]:
    """Outputs and inputs of a group: one, a few, square, tall, wide."""
    if groups > 1 or d.chance(0.4):
        return d.one_of((1, 1), (1, 1), (1, 2), (2, 1))
    if d.chance(0.05):
        return d.one_of((2, 30), (30, 2), (8, 8), (1, 12))
    c = d.integer(2, 4)
    return d.one_of((c, c), (c, c - 1), (c - 1, c), (c, 1), (1, c))


def _options(
    d: Draw, nd: int, kernel: list[int], dilation: list[int], stride: list[int], channels: int
) -> tuple[tuple[int, ...], dict[str, Any]]:
    mode = d.one_of(*MODES)
    spans = [g * (k - 1) for g, k in zip(dilation, kernel, strict=True)]
    form = d.one_of("none", "same", "full", "integer", "pairs", "pairs")
    if form == "none":
        pairs = [(0, 0)] * nd
    elif form == "same":
        pairs = [(s // 2, s - s // 2) for s in spans]
    elif form == "full":
        pairs = [(s, s) for s in spans]
    elif form == "integer":
        pairs = [(d.integer(0, max(spans) // 2 + 1),) * 2] * nd
    else:
        pairs = [(d.integer(0, s + 1), d.integer(0, s + 1)) for s in spans]
    transposed = d.chance(0.15)
    # Unknowns of one channel, such that most problems are small and a few reach 300.
    unknowns = d.power(0.7, d.one_of(1.6, 2.0, 2.4)) / channels
    inputs, extras = [], []
    for s, g, span, pair in zip(stride, dilation, spans, pairs, strict=True):
        room = {"reflect": max(pair) + 1, "symmetric": max(pair)}
        room["antireflective"] = room["reflect"]
        least = max(1, span + 1 - sum(pair), room.get(mode, 1))
        extra = d.integer(0, max(s, g) - 1) if transposed else 0
        if transposed:  # the smallest coarse size whose fine size is large enough
            least = max(1, -(-(least - span - 1 - extra + sum(pair)) // s) + 1)
        size = max(least, round(unknowns ** (1 / nd) * d.random.uniform(0.6, 1.5)))
        inputs.append(least if d.chance(0.1) else size)
        extras.append(extra)
    options: dict[str, Any] = {
        "stride": stride,
        "padding": pairs[0][0] if form == "integer" else pairs,
        "dilation": dilation,
        "padding_mode": mode,
        "flip": d.chance(0.2),
    }
    if transposed:
        options |= {"transposed": True, "output_padding": extras}
    return tuple(inputs), options


def _with_damp(d: Draw, case: Case) -> Case:
    """Half of the questions are damped, from 1e-13 to 1e3 times σ_max."""
    if d.chance(0.55):
        return case
    op: ConvOperator = case.operator()
    unit = float(op.in_double().weight.abs().amax())
    size = unit * math.sqrt(math.prod(op.weight.shape[1:])) or 1.0
    damp = size * d.one_of(d.power(-13, 3), d.power(-4, 0), d.power(-9, -4))
    return replace(case, damp=float(damp))
