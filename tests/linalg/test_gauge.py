"""Within `detect_gauge_dependence` a gradient is right, or refused."""

from __future__ import annotations

import contextlib

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unconv.linalg import detect_gauge_dependence, spectral_apply, svd, svdvals

DTYPES = (torch.float32, torch.float64, torch.complex64, torch.complex128)
PARTS = (
    (torch.ones_like, torch.zeros_like),
    (torch.square, lambda s: 2 * s),
    (lambda s: s, torch.ones_like),
)


def draw(*shape, dtype=torch.float64, seed=0):
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def with_values(values: list[float], m: int, n: int, dtype: torch.dtype, seed: int) -> torch.Tensor:
    """A matrix of these singular values, to round-off of its dtype."""
    wide = torch.complex128 if dtype.is_complex else torch.float64
    U = torch.linalg.qr(draw(m, len(values), dtype=wide, seed=seed)).Q
    V = torch.linalg.qr(draw(n, len(values), dtype=wide, seed=seed + 1)).Q
    return ((U * torch.tensor(values, dtype=torch.float64)) @ V.mH).to(dtype)


def refused(A: torch.Tensor, loss, *, sees_values_alone: bool = False) -> torch.Tensor | None:
    """The gradient of a loss on the factors, or None where it is refused."""
    A = A.clone().requires_grad_()
    with detect_gauge_dependence():
        factors = svdvals(A) if sees_values_alone else svd(A)
    try:
        return torch.autograd.grad(loss(factors), A)[0]
    except RuntimeError as error:
        said = str(error)
    assert "tie" in said
    assert "spectral_apply" in said
    return None


def product(f, weight):
    return lambda found: ((found[0] * f(found[1])[..., None, :]) @ found[2] * weight).sum().real


@settings(deadline=None, max_examples=40)
@given(
    m=st.integers(2, 5),
    n=st.integers(2, 5),
    tied=st.booleans(),
    which=st.integers(0, 2),
    dtype=st.sampled_from(DTYPES),
    seed=st.integers(0, 2**20),
)
def test_what_is_not_refused_is_right(m, n, tied, which, dtype, seed):
    """U f(S) Vᴴ: of distinct values none is refused, at a tie all but f = 1, whose f′ is zero."""
    values = [3.0, 3.0 if tied else 2.0, 1.0, 0.7, 0.3][: min(m, n)]
    A, weight = with_values(values, m, n, dtype, seed), draw(m, n, dtype=dtype, seed=seed + 2)
    f, df = PARTS[which]
    found = refused(A, product(f, weight))
    assert (found is None) == (tied and which > 0)
    if found is not None:
        A.requires_grad_()
        exact = (spectral_apply(A, f, df) * weight).sum().real
        (right,) = torch.autograd.grad(exact, A)
        # by way of the factors the error is eps·s/gap, and of values beside zero more
        assert (found - right).norm() <= 1e3 * torch.finfo(dtype).eps * right.norm()


@pytest.mark.parametrize("dtype", DTYPES)
def test_values_at_a_tie(dtype):
    A = with_values([2.0, 2.0, 1.0], 4, 3, dtype, 5)
    assert refused(A, lambda s: s.sum(), sees_values_alone=True) is not None
    assert refused(A, lambda s: s[2] + 3 * s[:2].square().sum(), sees_values_alone=True) is not None
    assert refused(A, lambda s: s[0], sees_values_alone=True) is None


@pytest.mark.parametrize("dtype", DTYPES)
def test_vectors_at_a_tie(dtype):
    A = with_values([2.0, 2.0, 1.0], 3, 3, dtype, 7)
    weight = draw(3, 3, dtype=dtype, seed=3)
    assert refused(A, lambda f: f[0].abs()[0, 0]) is None
    assert refused(A, lambda f: (f[2].abs()[0] ** 4).sum()) is None
    together = refused(A, lambda f: (f[0][:, :2] @ f[0][:, :2].mH * weight).sum().real)
    alone = refused(A, lambda f: (f[0][:, 2:] @ f[0][:, 2:].mH * weight).sum().real)
    assert together is not None
    torch.testing.assert_close(together, -alone, atol=1e-4, rtol=1e-4)  # projectors that add to I


@pytest.mark.parametrize("zeros", [1, 2, 3])
def test_values_of_zero(zeros):
    values = [2.0, 1.0, 0.5][: 3 - zeros] + [0.0] * zeros
    A, weight = with_values(values, 3, 3, torch.float64, 11), draw(3, 3, seed=12)
    assert refused(A, lambda s: s.sum(), sees_values_alone=True) is not None  # a subgradient
    assert (refused(A, product(lambda s: s, weight)) is None) == (zeros > 1)
    assert (refused(A, product(torch.ones_like, weight)) is None) == (zeros > 1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(5, 2), (2, 5)])
def test_columns_that_complete_the_range(dtype, shape):
    A, k = draw(*shape, dtype=dtype, seed=1), min(shape)
    weight = draw(max(shape), max(shape), dtype=dtype, seed=2)

    def gradient(loss):
        B = A.clone().requires_grad_()
        with detect_gauge_dependence():
            U, _, Vh = svd(B, full_matrices=True)
        Q = U[:, k:] if shape[0] > shape[1] else Vh[k:].mH
        return torch.autograd.grad(loss(Q), B)[0]

    assert gradient(lambda Q: (Q @ Q.mH * weight).sum().real).isfinite().all()
    with pytest.raises(RuntimeError, match="any basis of its complement"):
        gradient(lambda Q: (Q.abs() ** 4).sum() + Q[0, 0].abs())


def test_the_tie_of_the_readme():
    A = torch.tensor([[2.0, 4], [-4, 2]], requires_grad=True)
    U, S, Vh = svd(A)
    (gradient,) = torch.autograd.grad((U @ torch.diag(S) @ Vh).sum(), A)
    assert not torch.allclose(gradient, torch.ones(2, 2))  # a convention, and why there is a check
    with detect_gauge_dependence():
        U, S, Vh = svd(A)
    with pytest.raises(RuntimeError, match=r"values 0 and 1 tie \(4\.47214 and 4\.47214\)"):
        (U @ torch.diag(S) @ Vh).sum().backward()


def test_the_matrix_of_a_batch_is_named_and_vmap_gives_nan():
    good, bad = draw(2, 2), torch.eye(2, dtype=torch.float64)
    A = torch.stack([good, bad]).requires_grad_()
    with detect_gauge_dependence():
        U, S, _ = svd(A)
        with pytest.raises(RuntimeError, match=r"of matrix \(1,\) tie"):
            (U[..., 0, :] * S).sum().backward()
        found = torch.func.vmap(torch.func.grad(lambda A: svd(A)[1][0]))(A.detach())
    assert found[0].isfinite().all()
    assert found[1].isnan().all()


def test_outside_of_it_nothing_is_refused():
    A = torch.eye(2, dtype=torch.float64, requires_grad=True)
    with contextlib.suppress(ZeroDivisionError), detect_gauge_dependence():
        raise ZeroDivisionError  # it ends with the block, however that ends
    svd(A)[1][0].backward()
    assert A.grad.isfinite().all()
