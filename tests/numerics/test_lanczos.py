"""Extreme eigenvalues: from below, and exact where the basis is complete."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from unconv.numerics.lanczos import largest_eigenvalue, random_start

from ..helpers import (
    C128,
    DOUBLES,
    F64,
    randn,
    relative,
)


def gram(n: int, dtype: torch.dtype, N: int = 1) -> Tensor:
    B = torch.stack([randn(n, n, dtype=dtype, seed=i) for i in range(N)])
    return B.mH @ B


def largest(H: Tensor, steps: int, rtol: float = 0.0) -> Tensor:
    start = random_start((len(H), H.shape[-1]), H)
    return largest_eigenvalue(lambda v: (H @ v[..., None])[..., 0], start, steps=steps, rtol=rtol)


@pytest.mark.parametrize("dtype", DOUBLES)
@pytest.mark.parametrize("n", [1, 2, 3, 12])
def test_a_complete_basis_is_exact(dtype, n):
    H = gram(n, dtype, N=3)
    assert relative(largest(H, steps=n), torch.linalg.eigvalsh(H)[:, -1]) < 1e-12


@pytest.mark.parametrize("dtype", DOUBLES)
def test_every_step_comes_closer_from_below(dtype):
    H = gram(60, dtype, N=2)
    true = torch.linalg.eigvalsh(H)[:, -1]
    values = torch.stack([largest(H, steps=k) for k in (1, 2, 4, 8, 16, 32)])
    assert (values <= true * (1 + 1e-13)).all()
    assert (values.diff(dim=0) >= -1e-12 * true).all()
    assert (values[3] >= true / 4).all()
    assert relative(values[-1], true) < 1e-6


def test_kernels_of_a_batch_do_not_meet():
    H = gram(20, F64, N=3)
    H[1] *= 1e-9
    together = largest(H, steps=10)
    for i in range(3):
        start = random_start((3, 20), H)[i : i + 1]
        alone = largest_eigenvalue(
            lambda v, i=i: (H[i] @ v[..., None])[..., 0], start, steps=10, rtol=0.0
        )
        assert relative(alone, together[i : i + 1]) < 1e-12


def test_it_stops_where_nothing_changes():
    calls = []

    def apply(v: Tensor) -> Tensor:
        calls.append(None)
        return 3 * v

    found = largest_eigenvalue(apply, random_start((1, 50), torch.zeros(1, dtype=C128)),
                               steps=40, rtol=1e-3)  # fmt: skip
    assert relative(found, torch.tensor([3.0])) < 1e-14
    assert len(calls) == 2


def test_of_a_map_without_values():
    assert largest(torch.zeros(2, 5, 5, dtype=F64), steps=4).tolist() == [0, 0]


def test_a_start_is_the_same_every_time():
    like = torch.zeros(0, dtype=C128)
    assert torch.equal(random_start((3, 4), like), random_start((3, 4), like))
    assert random_start((3, 4), like).dtype == C128


@pytest.mark.parametrize("sign", [1, -1])
def test_a_pivot_of_round_off_is_as_singular_with_either_sign(sign):
    """What stands for 1/0 is ±1e25; the inverse of a Gram matrix cannot be negative."""
    H = torch.diag(torch.tensor([1.0, 2.0, sign * 1e25], dtype=F64))[None]
    found = float(largest(H, steps=3))
    assert found > 1e24
    assert (found == torch.inf) == (sign < 0)
