"""Numbers and switches that every test uses."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor

import unconv.convolve
import unconv.inverse.diagonal.dense
import unconv.spectrum.values
from unconv import AccuracyWarning, ConvOperator, LinearOperator

F64, C128 = torch.float64, torch.complex128
DOUBLES = [F64, C128]
HALVES = [torch.float16, torch.bfloat16]
SINGLES = [torch.float32, torch.complex64]

# Relative to ‖w‖₁‖x‖, the scale of the sums: round-off of the dtype with a little for the FFT.
ROUND_OFF = {
    torch.float64: 1e-14,
    torch.complex128: 1e-14,
    torch.float32: 2e-6,
    torch.complex64: 2e-6,
    torch.float16: 2e-3,
    torch.bfloat16: 1.6e-2,
}

ENGINES = ["auto", "direct", "gradient", "fft", "slabs", "byte limits", "fft, byte limits"]


def randn(*shape: int, dtype: torch.dtype = F64, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def doubled(t: Tensor) -> Tensor:
    return t.to(C128 if t.is_complex() else F64)


def relative(found: Tensor, expected: Tensor, scale: Tensor | float | None = None) -> float:
    """‖found − expected‖ / scale, by default relative to ‖expected‖; 0/0 = 0."""
    assert found.shape == expected.shape, (found.shape, expected.shape)
    common = torch.promote_types(doubled(found).dtype, doubled(expected).dtype)
    expected = expected.detach().to(common)
    error = torch.linalg.norm((found.detach().to(common) - expected).flatten())
    size = torch.linalg.norm(expected.flatten()) if scale is None else scale
    return float(error) / float(size) if error != 0 else 0.0


def data(
    shape: Sequence[int], op: LinearOperator, N: int = 2, dtype: torch.dtype | None = None, seed=1
) -> Tensor:
    """A Gaussian batch of this shape that `op` can take."""
    return randn(op.batch_size or N, *shape, dtype=dtype or op.dtype, seed=seed)


def apply_matrix(A: Tensor, x: Tensor, shape: Sequence[int]) -> Tensor:
    """A x for a batch, with one matrix or one per sample."""
    common = torch.promote_types(A.dtype, doubled(x).dtype)
    return (A.to(common) @ x.flatten(1).to(common)[..., None])[..., 0].reshape(-1, *shape)


def scale_of(op: ConvOperator, x: Tensor) -> float:
    """‖w‖₁‖E‖‖x‖ for the kernel with the most weight: what an absolute error is relative to."""
    weight = doubled(op.weight.detach()).abs()
    heaviest = weight.flatten(1).sum(1).amax() if op.batch_size else weight.sum()
    norms = []
    for a in op.geometry.axes:
        pads = a.before + a.after
        if a.mode == "antireflective":  # rows 2, −1 for each
            norms.append(1 + 6 * pads)
        elif a.mode != "zeros":
            norms.append(1 + pads)
    return float(heaviest * torch.linalg.norm(doubled(x).flatten())) * math.prod(norms) ** 0.5


@contextmanager
def said_if(doubtful: bool, says: str) -> Iterator[None]:
    """An `AccuracyWarning` with these words, or no warning at all."""
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        yield
    assert bool(heard) == doubtful
    assert all(w.category is AccuracyWarning and says in str(w.message) for w in heard)


@contextmanager
def ambiguous_rank_is_said(gap: float) -> Iterator[None]:
    """A warning where a cut-off falls between values of a ratio under 10, and none elsewhere."""
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        yield
    assert all("the rank is ambiguous" in str(w.message) for w in heard)
    assert bool(heard) == (gap < 10), gap


GAP = 1e-8  # a cut-off that `has_gap` keeps clear of every singular value


def has_gap(A: Tensor) -> bool:
    """Whether every singular value is clearly there (cond ≤ 1e4) or clearly zero."""
    S = torch.linalg.svdvals(A)
    ratio = S / S.amax(-1, keepdim=True)
    zero = max(A.shape[-2:]) * torch.finfo(S.dtype).eps / 4
    return bool(((ratio > 1e-4) | (ratio < zero)).all())


def near_identity(*shape: int, dtype: torch.dtype = F64, seed: int = 0) -> Tensor:
    """A kernel (c_out, c_in, *k) with cond under about 5 on every periodic grid."""
    w = randn(*shape, dtype=dtype, seed=seed)
    w = 0.4 * w / doubled(w).abs().sum(tuple(range(1, w.ndim))).amax()
    diagonal = range(min(shape[:2]))
    w[(diagonal, diagonal, *(k // 2 for k in shape[2:]))] += 1
    return w.to(dtype)


@contextmanager
def engine(name: str) -> Iterator[None]:
    """Force one of the engines of unconv.convolve."""
    with pytest.MonkeyPatch.context() as patch:
        if name != "auto":
            fft, gradient = name.startswith("fft"), name == "gradient"
            patch.setattr(unconv.convolve.choice, "fft_is_cheaper", lambda *_: fft)
            patch.setattr(unconv.convolve.choice, "backward_is_fastest", lambda *_: gradient)
        if name == "slabs":  # whatever the dtype
            patch.setattr(unconv.convolve.direct, "_slabs", _single_rows)
        if name.endswith("byte limits"):  # where the library itself would split
            patch.setattr(unconv.numerics.memory, "LARGEST_KEPT", 0)
            patch.setattr(unconv.numerics.memory, "SLAB_BYTES", 1)
        yield


@contextmanager
def undiagonalised() -> Iterator[None]:
    """Nothing diagonalises: Lanczos, ghosts and inertia answer for small operators too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(unconv.spectrum.values, "RUNGS", {"dense": unconv.inverse.diagonal.dense})
        patch.setattr(unconv.spectrum.values, "VALUES_LIMIT", 0)
        patch.setattr(unconv.inverse.diagonal.dense, "LIMIT", 0)
        yield


def _single_rows(x: Tensor, weight: Tensor, geometry) -> list[tuple[int, int]]:
    return [(i, i + 1) for i in range(geometry.axes[0].m)]


def assert_says(error: pytest.ExceptionInfo, *parts: str) -> None:
    """Expected, got and remedy are all in the sentence."""
    message = str(error.value)
    for part in parts:
        assert part in message, f"{part!r} is not in {message!r}"


def assert_differentiable(
    function,
    inputs: tuple[Tensor, ...],
    atol: float = 1e-6,
    *,
    undefined: bool = True,
    twice: bool = True,
) -> None:
    """First and second derivatives, in reverse and forward mode, against differences.

    undefined : also with gradients that are not defined, for which torch calls everything again;
        what does with them is the same for all inverses, and need not be asked of iterations
    """
    fast = {"atol": atol, "fast_mode": True, "check_undefined_grad": undefined}
    assert torch.autograd.gradcheck(function, inputs, check_forward_ad=True, **fast)
    if twice:
        assert torch.autograd.gradgradcheck(function, inputs, check_fwd_over_rev=True, **fast)


def every_pair(**values: Sequence) -> pytest.MarkDecorator:
    """Parametrize by enough rows for every pair of values; the whole product is slow.

    Rows are taken greedily, always the first with the most pairs that no row before it has.
    """
    rows = list(itertools.product(*(range(len(v)) for v in values.values())))
    pairs = {row: set(itertools.combinations(enumerate(row), 2)) for row in rows}
    left, kept = set().union(*pairs.values()), set()
    while left:
        best = max(rows, key=lambda row: len(pairs[row] & left))
        left -= pairs[best]
        kept.add(best)

    def case(row: tuple[int, ...]):
        marks = () if row in kept else pytest.mark.slow
        chosen = (v[i] for v, i in zip(values.values(), row, strict=True))
        return pytest.param(*chosen, marks=marks)

    return pytest.mark.parametrize(tuple(values), [case(row) for row in rows])
