"""One question about one operator, as plain data: what a failure is written down as.

The weight is stored tap by tap, so that a case means the same whatever becomes of the draws.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from unconv import ConvOperator
from unconv.inverse.diagonal import dense, separable

from ..helpers import doubled, randn

DATA = ("consistent", "random", "zero", "outside")
"""y in the range of A up to rounding, anywhere, zero, nearly orthogonal to the range."""


@dataclass(frozen=True)
class Case:
    """All arguments of a ConvOperator, and what is asked of it.

    Attributes
    ----------
    weight : nested lists of taps; of a complex weight with the pair (re, im) innermost
    limit : the end of the dense rung, lowered so that the rungs behind it meet small problems
    damp, rtol : as in `lstsq`
    data, seed : kind of right-hand side and its seed
    data_dtype : of y, if it is not the operator's
    family, checks : the draw's name, and which checks to run (all if empty)
    """

    weight: Any
    dtype: str
    input_shape: tuple[int, ...]
    options: dict[str, Any] = field(default_factory=dict)
    limit: int = 1024
    damp: float = 0.0
    rtol: float | None = None
    data: str = "consistent"
    data_dtype: str | None = None
    seed: int = 0
    family: str = ""
    checks: tuple[str, ...] = ()

    @classmethod
    def of(cls, weight: Tensor, input_shape: tuple[int, ...], **rest: Any) -> Case:
        plain = torch.view_as_real(weight) if weight.is_complex() else weight
        dtype = str(weight.dtype).removeprefix("torch.")
        return cls(plain.double().tolist(), dtype, tuple(input_shape), **rest)

    @property
    def torch_dtype(self) -> torch.dtype:
        return getattr(torch, self.dtype)

    def operator(self) -> ConvOperator:
        weight = torch.tensor(self.weight, dtype=torch.float64)
        weight = torch.view_as_complex(weight) if self.torch_dtype.is_complex else weight
        return ConvOperator(weight.to(self.torch_dtype), self.input_shape, **self.options)

    def right_hand_side(self, op: ConvOperator) -> Tensor:
        """(N, *range_shape), two images, or one a kernel."""
        dtype = getattr(torch, self.data_dtype) if self.data_dtype else op.dtype
        N, wide = op.batch_size or 2, doubled(torch.empty(0, dtype=dtype)).dtype
        if self.data == "zero":
            return torch.zeros(N, *op.range_shape, dtype=dtype)
        noise = randn(N, *op.range_shape, dtype=wide, seed=self.seed)
        if self.data == "random":
            return noise.to(dtype)
        A = op.in_double()
        y = A(randn(N, *op.domain_shape, dtype=wide, seed=self.seed + 1))
        y = y.to(wide) if wide.is_complex else y.real
        if self.data == "outside":
            y = noise * (y.abs().amax() + (y.abs().amax() == 0))
            flat = [_outside(a, v) for a, v in zip(_matrices(A, N), y, strict=True)]
            y = torch.stack(flat)
        return y.to(dtype)

    def to_json(self) -> str:
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, line: str) -> Case:
        values = json.loads(line)
        for name in ("input_shape", "checks"):
            values[name] = tuple(values.get(name, ()))
        return cls(**{k: v for k, v in values.items() if k in cls.__dataclass_fields__})

    def only(self, *checks: str) -> Case:
        return replace(self, checks=checks)


def _matrices(A: ConvOperator, N: int) -> Tensor:
    D = A.to_dense()
    return D if A.batch_size else D.expand(N, *D.shape)


def _outside(A: Tensor, y: Tensor) -> Tensor:
    A = A.to(torch.promote_types(A.dtype, y.dtype))
    Q = torch.linalg.svd(A, full_matrices=False)[0]
    v = y.flatten().to(Q.dtype)
    rest = (v - Q @ (Q.mH @ v)).reshape(y.shape)
    return rest if y.is_complex() else rest.real


@contextmanager
def small_problems_end_at(limit: int) -> Iterator[None]:
    """The dense rung, and the separable one in one dimension, end at min(m, n) = limit."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dense, "LIMIT", limit)
        patch.setattr(separable, "LINE_LIMIT", limit)
        yield
