"""A⁺A and (AAᴴ + r)⁻¹ against dense matrices, for any operator and one r after the other."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import unconv
from unconv.adapters import ExactMaps

from ..helpers import C128, F64, assert_says, randn, relative
from ..regularize.test_damp_path import drawn


def dense_precision(A, u, r):
    """(AAᴴ + r)⁻¹u, zero where nothing was seen."""
    matrix = A.to_dense().detach()
    matrix = matrix.to(torch.promote_types(matrix.dtype, u.dtype))
    gram = matrix @ matrix.mH + r * torch.eye(len(matrix), dtype=matrix.dtype)
    found = torch.linalg.solve(gram, u.flatten(1).mT).mT.reshape(u.shape)
    return found if A.seen is None else found * A.seen


@given(st.data())
def test_data_precision_is_the_dense_one(data):
    A, seed = drawn(data.draw)
    maps = ExactMaps(A, tol=1e-11)
    u = randn(2, *A.range_shape, dtype=A.dtype, seed=seed + 1)
    for r in data.draw(st.lists(st.sampled_from((4.0, 1.0, 0.5, 0.45, 1e-2, 1e-5)), max_size=4)):
        assert relative(maps.A_A_adjoint_inverse(u, r), dense_precision(A, u, r)) < 1e-8


@pytest.mark.parametrize("method", ["dense", "boundary", "krylov"])
@pytest.mark.parametrize("shape", [(1, 2), (3, 2)])
def test_data_precision_of_every_method(method, shape):
    A = unconv.ConvOperator(randn(*shape, 3, 3), (7, 6), padding=1)
    maps = ExactMaps(A, method=method, tol=1e-11)
    u = randn(2, *A.range_shape, seed=1)
    for r in (1.0, 0.8, 1e-3):
        assert relative(maps.A_A_adjoint_inverse(u, r), dense_precision(A, u, r)) < 1e-7


def test_single_precision_is_kept_where_its_residual_would_be_round_off():
    A = unconv.ConvOperator(randn(1, 1, 3, 3).float(), (9, 8), padding=1, padding_mode="circular")
    u = randn(2, *A.range_shape, seed=1)
    wide = A.with_weight(A.weight.double())
    for r in (1e-4, 1e-9):
        found = ExactMaps(A).A_A_adjoint_inverse(u.float(), r)
        assert found.dtype == torch.float32
        assert relative(found, dense_precision(wide, u, r)) < 1e-6


def test_each_sample_may_have_its_own_r():
    A = unconv.ConvOperator(randn(1, 1, 3, 3), (6, 6))
    maps, u = ExactMaps(A), randn(3, *A.range_shape)
    r = torch.tensor([0.5, 2.0, 0.5], dtype=F64)
    found = maps.A_A_adjoint_inverse(u, r[:, None, None, None])
    for i in range(3):
        assert relative(found[i : i + 1], dense_precision(A, u[i : i + 1], float(r[i]))) < 1e-12
    same = maps.A_A_adjoint_inverse(u, torch.full((3, 1, 1, 1), 0.5))
    assert relative(same, dense_precision(A, u, 0.5)) < 1e-12


def test_complex_data_of_a_real_operator():
    A = unconv.ConvOperator(randn(1, 1, 3, 3), (6, 6), padding=1, padding_mode="circular")
    u = randn(2, *A.range_shape, dtype=C128)
    assert relative(ExactMaps(A).A_A_adjoint_inverse(u, 0.3), dense_precision(A, u, 0.3)) < 1e-12


def test_r_of_zero_where_data_are_independent():
    A = unconv.ConvOperator(randn(1, 2, 3, 3), (7, 6))
    u = randn(2, *A.range_shape, seed=1)
    assert relative(ExactMaps(A).A_A_adjoint_inverse(u, 0), dense_precision(A, u, 0)) < 1e-9


@pytest.mark.parametrize(
    ("op", "says"),
    [
        (unconv.ConvOperator(randn(3, 1, 3, 3), (6, 6)), "A has rank 36 for 48 outputs"),
        (
            unconv.ConvOperator(torch.ones(1, 1, 2, 1).double(), (6, 6), padding=(1, 0)),
            "A has rank 36 for 42 outputs",
        ),
    ],
)
def test_r_of_zero_where_the_matrix_is_singular(op, says):
    with pytest.raises(ValueError, match="singular") as error:
        ExactMaps(op).A_A_adjoint_inverse(randn(1, *op.range_shape), 0.0)
    assert_says(error, says, "give r > 0", "A_dagger")


def test_refusals():
    A = unconv.ConvOperator(randn(1, 1, 3, 3), (6, 6))
    maps, u = ExactMaps(A), randn(2, *A.range_shape)
    with pytest.raises(ValueError, match=r"r=-1.* must be a finite number >= 0"):
        maps.A_A_adjoint_inverse(u, -1)
    with pytest.raises(ValueError, match="r has 3 values for 2 samples; give one"):
        maps.A_A_adjoint_inverse(u, torch.ones(3))
    with pytest.raises(ValueError, match="expected a tensor of shape"):
        maps.A_A_adjoint_inverse(u[..., :1], 1.0)


@given(st.data())
def test_projection_on_what_data_tell(data):
    A, seed = drawn(data.draw)
    if A.seen is not None:
        return  # A⁺ of data with holes is for damp > 0 only, but of small operators
    x = randn(2, *A.domain_shape, dtype=A.dtype, seed=seed + 1)
    D = A.to_dense()
    expected = (x.flatten(1) @ (torch.linalg.pinv(D) @ D).mT).reshape(x.shape)
    assert relative(ExactMaps(A).A_dagger_A(x), expected) < 1e-7


def test_gradients():
    w = randn(1, 1, 3, 3).requires_grad_()
    u = randn(2, 1, 4, 4, seed=1).requires_grad_()
    r = torch.tensor(0.5, dtype=F64, requires_grad=True)

    def of(w, u, r):
        A = unconv.ConvOperator(w, (4, 4), padding=1)
        return ExactMaps(A).A_A_adjoint_inverse(u, r)

    assert torch.autograd.gradcheck(of, (w, u, r))
    assert torch.autograd.gradgradcheck(of, (w, u, r), fast_mode=True)
