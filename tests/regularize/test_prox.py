"""A.prox against the dense solution, its factors and its gradients."""

import copy
import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import unconv
from unconv.regularize import damp_path

from ..helpers import F64, randn, relative


def dense(A, v, y, rho):
    """argmin ½‖Ax − y‖² + (rho/2)‖x − v‖² by the normal equations."""
    matrix = A.to_dense()
    gram = matrix.mT.conj() @ matrix + rho * torch.eye(matrix.shape[1], dtype=matrix.dtype)
    right = y.flatten(1) @ matrix.conj() + rho * v.flatten(1)
    return torch.linalg.solve(gram, right.mT).mT.reshape(v.shape)


@given(
    st.sampled_from(("valid", "zeros", "circular", "reflect", "replicate")),
    st.sampled_from((1, 2)),
    st.sampled_from((2.0, 0.1, 1e-3)),
    st.booleans(),
    st.integers(0, 100),
)
def test_it_is_the_dense_solution(mode, stride, rho, holes, seed):
    padding = {"padding": 1, "padding_mode": mode} if mode != "valid" else {}
    A = unconv.ConvOperator(randn(2, 2, 3, 3, seed=seed), (7, 6), stride=stride, **padding)
    if holes:
        A = A.observed(randn(*A.range_shape[1:], seed=seed) > -1)
    v, y = randn(2, *A.domain_shape, seed=seed + 1), randn(2, *A.range_shape, seed=seed + 2)
    seen = y if A.seen is None else y * A.seen
    assert relative(A.prox(v, y, rho, tol=1e-10), dense(A, v, seen, rho)) < 1e-8


def test_singular_vectors_are_kept_for_every_rho(monkeypatch):
    made, diagonal = [], damp_path._diagonal
    monkeypatch.setattr(damp_path, "_diagonal", lambda op, r: made.append(1) or diagonal(op, r))
    A = unconv.ConvOperator(randn(1, 1, 3, 3), (6, 6), padding=1)
    v, y = randn(1, 1, 6, 6), randn(1, 1, 6, 6, seed=1)
    for rho in (0.25, 0.25, 1.0, 1e-3, 0.25):
        assert relative(A.prox(v, y, rho), dense(A, v, y, rho)) < 1e-11
    assert len(made) == 1
    A.weight.mul_(2)
    assert relative(A.prox(v, y, 0.25), dense(A, v, y, 0.25)) < 1e-11
    assert len(made) == 2
    for other in (copy.deepcopy(A), pickle.loads(pickle.dumps(A))):
        assert torch.equal(other.prox(v, y, 0.25), A.prox(v, y, 0.25))
    assert "_prox" not in dict(A.named_modules())
    assert not A.state_dict().keys() - {"weight"}


def test_gradients():
    weight = randn(1, 1, 3, 3).requires_grad_()
    v, y = (randn(1, 1, 4, 4, seed=s).requires_grad_() for s in (1, 2))
    rho = torch.tensor(0.7, dtype=F64, requires_grad=True)

    def of(weight, v, y, rho):
        return unconv.ConvOperator(weight, (4, 4), padding=1).prox(v, y, rho)

    assert torch.autograd.gradcheck(of, (weight, v, y, rho))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"rho": 0.0}, "rho=0.0 must be a finite number > 0; for rho = 0 use lstsq"),
        ({"rho": -1.0}, "rho=-1.0 must be a finite number >= 0"),
        ({"v": randn(2, 1, 4, 4)}, "v holds 2 samples and y 1; give one v for each y"),
        ({"v": randn(1, 1, 3, 4)}, "expected a tensor of shape"),
    ],
)
def test_refusals(change, sentence):
    A = unconv.ConvOperator(randn(1, 1, 3, 3), (4, 4), padding=1)
    valid = {"v": randn(1, 1, 4, 4), "y": randn(1, 1, 4, 4), "rho": 1.0}
    with pytest.raises(ValueError, match=sentence):
        A.prox(**valid | change)
