"""The shape arithmetic of a convolution, in integers only.

A convolution layer is A = P · C · E along every axis: E extends the n samples of the domain by
`before` and `after` padded ones, C correlates with k taps spaced `dilation` apart, P keeps every
`stride`-th output.  One frozen record holds these numbers; no other module derives them again.

    y[i] = Σ_t  weight[t] · x̃[i·stride + t·dilation − before],     i = 0 … m−1

Source of the conventions: `torch.nn.Conv2d` and `torch.nn.ConvTranspose2d`.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from ..numerics.checks import (
    check_choice,
    check_flag,
    is_sequence,
    shown,
)
from .modes import MODES, Pads, check_room, pads_of

_LARGEST_SIZE = 2**40  # of a size along one axis: products of three still fit into what is computed

PerAxis = int | Sequence[int]
Padding = int | str | Sequence[int] | Sequence[Sequence[int]]


@dataclass(frozen=True, slots=True)
class Axis:
    """One spatial axis: n domain samples, m outputs, k taps and how they meet."""

    n: int
    m: int
    k: int
    stride: int
    dilation: int
    before: int
    after: int
    mode: str

    @property
    def extent(self) -> int:
        """Samples from the first tap to the last, both included."""
        return self.dilation * (self.k - 1) + 1

    @property
    def shows_every_tap(self) -> bool:
        """Whether some samples are read by every tap and clear of both ends.

        On a shorter axis taps may read padding alone, or meet on one sample and cancel: A may then
        be small beside its kernel.
        """
        return self.n >= 2 * self.extent + self.stride

    @property
    def padded(self) -> int:
        """Samples of the extended domain."""
        return self.n + self.before + self.after

    @property
    def tail(self) -> int:
        """Extended samples behind the last output's last tap, which no output reads."""
        return self.padded - (self.m - 1) * self.stride - self.extent

    @property
    def on_torus(self) -> bool:
        """Whether the axis is its own periodic grid: it wraps or pads nothing, and lacks no output.

        Circular padding, or none at all under windows that do not overlap (patches, one tap).
        """
        if self.m * self.stride != self.n:
            return False
        return not (self.before or self.after) or (not self.pads_zeros and self.pads.wrap)

    @property
    def pads_zeros(self) -> bool:
        """Whether E appends nothing but zeros, or nothing at all."""
        return not (self.before or self.after) or MODES[self.mode].outside is None

    @property
    def pads(self) -> Pads:
        """The padded samples as sums over the domain, where they are not zeros."""
        return pads_of(self.mode, self.n, self.before, self.after)

    @property
    def read_behind(self) -> int:
        """Padded samples behind the domain that some output reads."""
        return max(0, self.after - self.tail)

    @property
    def smallest_grid(self) -> int:
        """Least coarse size M of a periodic grid on which nothing wraps onto an output.

        Its s·M samples hold the domain and its ghosts; ghosts of both ends may share samples
        where they are zeros.
        """
        strips = self.before, self.read_behind
        room = self.n + (max(strips) if self.pads_zeros else sum(strips))
        return self.m if self.on_torus else max(-(-room // self.stride), self.m)

    def extended(self) -> Axis:
        """The axis after E: the padded samples are domain samples, nothing is left to pad."""
        return replace(self, n=self.padded, before=0, after=0, mode="zeros")


@dataclass(frozen=True, slots=True)
class Geometry:
    """All axes of a convolution, its channels and groups.

    It describes the map x → y of `conv`; a transposed operator reads the same record backwards.
    Its hash is kept: decisions by shape are looked up several times a call.
    """

    axes: tuple[Axis, ...]
    c_in: int
    c_out: int
    groups: int
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_hash", hash((self.axes, self.c_in, self.c_out, self.groups)))

    def __hash__(self) -> int:
        return self._hash

    def __reduce__(self) -> tuple[Any, ...]:  # hashes of strings differ between processes
        return Geometry, (self.axes, self.c_in, self.c_out, self.groups)

    @property
    def nd(self) -> int:
        """Number of spatial axes."""
        return len(self.axes)

    @property
    def domain_shape(self) -> tuple[int, ...]:
        """(c_in, *n), the shape of one x."""
        return (self.c_in, *(a.n for a in self.axes))

    @property
    def range_shape(self) -> tuple[int, ...]:
        """(c_out, *m), the shape of one y."""
        return (self.c_out, *(a.m for a in self.axes))

    def batch_of_inputs(self, N: int) -> tuple[int, ...]:
        """(N, c_in, *n)."""
        return (N, *self.domain_shape)

    def batch_of_outputs(self, N: int) -> tuple[int, ...]:
        """(N, c_out, *m)."""
        return (N, *self.range_shape)

    @property
    def on_torus(self) -> bool:
        """Whether every axis is its own periodic grid, so that A is block-circulant."""
        return all(a.on_torus for a in self.axes)

    @property
    def pads_zeros(self) -> bool:
        """Whether E appends nothing but zeros, or nothing at all."""
        return all(a.pads_zeros for a in self.axes)


@lru_cache(maxsize=1024)
def extended(geometry: Geometry) -> Geometry | None:
    """The geometry of C alone, acting on the extended domain; None if E only appends zeros."""
    if geometry.pads_zeros:
        return None
    left_to_engine = (a.pads_zeros and (a.before or a.after) for a in geometry.axes)
    pairs = zip(geometry.axes, left_to_engine, strict=True)
    axes = tuple(a if left else a.extended() for a, left in pairs)
    return replace(geometry, axes=axes)


def _integers(name: str, value: object, repeat: int) -> tuple[int, ...]:
    """A sequence of integers, or one `repeat` times; NumPy's integers count, bools do not."""
    entries: list[Any] = list(value) if isinstance(value, Sequence) else [value] * repeat
    try:
        if isinstance(value, str | bytes) or any(isinstance(v, bool) for v in entries):
            raise TypeError
        found = tuple(operator.index(v) for v in entries)
    except (TypeError, ValueError):  # a ValueError comes from torch's lazy parameters
        raise TypeError(
            f"{name}={shown(value)} must be an integer or a tuple of integers."
        ) from None
    if any(abs(v) > _LARGEST_SIZE for v in found):
        raise ValueError(f"{name}={shown(value)} is out of range; sizes go up to 2^40.")
    return found


def count_axes(input_shape: Sequence[int]) -> int:
    """Number of spatial axes, of sizes without batch and channels."""
    if not is_sequence(input_shape):
        raise TypeError(
            f"input_shape={shown(input_shape)} must be a tuple of spatial sizes, such as "
            "(128, 128)."
        )
    nd = len(input_shape)
    if nd not in (1, 2, 3):
        raise ValueError(
            f"input_shape={shown(tuple(input_shape))} has {nd} axes, expected the 1, 2 or 3 "
            "spatial sizes without batch and channels."
        )
    return nd


def per_axis(name: str, value: PerAxis, nd: int, least: int) -> tuple[int, ...]:
    """`value` as one integer per axis, each at least `least`."""
    values = _integers(name, value, nd)
    if len(values) != nd:
        raise ValueError(
            f"{name}={shown(value)} has {len(values)} entries, but input_shape has {nd} axes; "
            f"give one integer or {nd} of them."
        )
    if min(values) < least:
        raise ValueError(f"{name}={shown(value)} must be at least {least} along every axis.")
    return values


def padding_pairs(
    padding: Padding, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> tuple[tuple[int, int], ...]:
    """`padding` as one (before, after) pair per axis.

    Examples
    --------
    >>> padding_pairs("same", kernel=(3, 4), stride=(1, 1), dilation=(1, 1))
    ((1, 1), (1, 2))
    """
    nd = len(kernel)
    spans = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    if isinstance(padding, str):
        if padding == "valid":
            return ((0, 0),) * nd
        if padding == "full":
            return tuple((s, s) for s in spans)
        if padding == "same":
            if any(s != 1 for s in stride):
                raise ValueError(
                    f"padding='same' is for stride 1, got stride={tuple(stride)}; give padding as "
                    "integers or (before, after) pairs."
                )
            return tuple((s // 2, s - s // 2) for s in spans)
        raise ValueError(
            f"padding={shown(padding)} is not known; use 'valid', 'same', 'full', an integer, one "
            "integer per axis, or one (before, after) pair per axis."
        )
    entries = list(padding) if is_sequence(padding) else [padding] * nd
    if len(entries) != nd:
        raise ValueError(
            f"padding={shown(padding)} has {len(entries)} entries, but input_shape has {nd} axes; "
            f"give one integer, {nd} integers or {nd} (before, after) pairs."
        )
    pairs = [_integers("padding", entry, 2) for entry in entries]
    if any(len(p) != 2 for p in pairs):
        raise TypeError(
            f"padding={shown(padding)} must hold integers or (before, after) pairs of integers."
        )
    if min(min(p) for p in pairs) < 0:
        raise ValueError(f"padding={shown(padding)} must not be negative; crop the input instead.")
    return tuple((p[0], p[1]) for p in pairs)


def _forward_axis(
    index: int, n: int, k: int, s: int, d: int, pair: tuple[int, int], mode: str
) -> Axis:
    check_room(mode, n, pair, axis=index)
    room = n + sum(pair) - d * (k - 1) - 1
    if room < 0:
        raise ValueError(
            f"the output would be empty: along axis {index} the kernel spans {d * (k - 1) + 1} "
            f"samples, the padded input only {n + sum(pair)}; pad more or use a smaller kernel."
        )
    return Axis(n, room // s + 1, k, s, d, *pair, mode)


def _transposed_axis(
    index: int, m: int, k: int, s: int, d: int, pair: tuple[int, int], mode: str, extra: int
) -> Axis:
    if extra >= max(s, d):
        raise ValueError(
            f"output_padding={extra} along axis {index} must be smaller than the larger of "
            f"stride={s} and dilation={d}."
        )
    n = (m - 1) * s + d * (k - 1) + 1 + extra - sum(pair)
    if n < 1:
        raise ValueError(
            f"the output would be empty: along axis {index} padding {pair} removes all of its "
            f"{n + sum(pair)} samples; pad less."
        )
    check_room(mode, n, pair, axis=index)
    return Axis(n, m, k, s, d, *pair, mode)


def _check_channels(shape: Sequence[int], groups: int, transposed: bool) -> None:
    first = "in_channels" if transposed else "out_channels"
    if shape[0] % groups:
        divisors = ", ".join(str(g) for g in range(1, shape[0]) if shape[0] % g == 0)
        kernel = ""
        if shape[0] == 1:
            sizes = ", ".join(map(str, shape[1:]))
            kernel = f", or weight.expand({groups}, {sizes}) for one kernel for all channels"
        raise ValueError(
            f"groups={groups} must divide {first}={shape[0]}; use "
            f"{divisors + ' or ' if divisors else ''}{shape[0]}{kernel}."
        )


def build_geometry(
    weight_shape: Sequence[int],
    input_shape: Sequence[int],
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
    transposed: bool = False,
    output_padding: PerAxis = 0,
) -> Geometry:
    """Check every option once and derive the record.

    Parameters
    ----------
    weight_shape
        (c_out, c_in/groups, *k), transposed (c_in, c_out/groups, *k), as in torch.nn; no batch.
    input_shape
        Spatial sizes of the tensor that the operator takes (transposed: the coarse one).

    Raises
    ------
    ValueError, TypeError
        One sentence: what was expected, what came, the remedy.
    """
    nd = len(input_shape)
    kernel = tuple(weight_shape[2:])
    sizes = per_axis("input_shape", tuple(input_shape), nd, 1)
    if isinstance(groups, Sequence):
        raise TypeError(f"groups={shown(groups)} must be one positive integer.")
    (groups,) = _integers("groups", groups, 1)
    if groups < 1:
        raise ValueError(f"groups={groups} must be a positive integer.")
    if min(weight_shape) < 1:
        raise ValueError(
            f"weight has shape {tuple(weight_shape)}, which is empty; every size must be >= 1."
        )
    check_choice("padding_mode", padding_mode, MODES)
    check_flag("transposed", transposed)
    _check_channels(weight_shape, groups, transposed)
    strides = per_axis("stride", stride, nd, 1)
    dilations = per_axis("dilation", dilation, nd, 1)
    extras = per_axis("output_padding", output_padding, nd, 0)
    if any(extras) and not transposed:
        raise ValueError(f"output_padding={shown(output_padding)} needs transposed=True.")
    pairs = padding_pairs(padding, kernel, strides, dilations)
    numbers = range(nd), sizes, kernel, strides, dilations, pairs, [padding_mode] * nd
    axes = (
        tuple(map(_transposed_axis, *numbers, extras))
        if transposed
        else tuple(map(_forward_axis, *numbers))
    )
    return Geometry(axes, weight_shape[1] * groups, weight_shape[0], groups)


def smallest_domain(
    output_shape: Sequence[int],
    kernel: Sequence[int],
    *,
    stride: PerAxis,
    padding: Padding,
    dilation: PerAxis,
) -> tuple[int, ...]:
    """The input size that `conv_transpose` with output_padding=0 returns for these outputs.

    Examples
    --------
    >>> smallest_domain((8, 8), (3, 3), stride=2, padding=1, dilation=1)
    (15, 15)
    """
    nd = len(kernel)
    strides = per_axis("stride", stride, nd, 1)
    dilations = per_axis("dilation", dilation, nd, 1)
    pairs = padding_pairs(padding, kernel, strides, dilations)
    sizes = tuple(
        (m - 1) * s + d * (k - 1) + 1 - sum(p)
        for m, s, d, k, p in zip(output_shape, strides, dilations, kernel, pairs, strict=True)
    )
    if min(sizes) < 1:
        raise ValueError(
            f"no input has the output size {tuple(output_shape)} with kernel {tuple(kernel)}, "
            f"padding={padding!r}: its size would be {sizes}; pad less or pass input_shape."
        )
    return sizes
