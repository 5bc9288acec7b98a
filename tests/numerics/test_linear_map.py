"""The adjoint of a linear map, and of one that depends on parameters."""

from __future__ import annotations

import torch

from unconv.numerics.linear_map import Adjoint, ParametricAdjoint

from ..helpers import randn


class Matrix:
    """x ↦ M x, whose parameter is M."""

    per_sample = False

    def __init__(self, M: torch.Tensor) -> None:
        self.M, self.domain_shape, self.range_shape = M, M.shape[1:], M.shape[:1]

    def matvec(self, x, out=None):
        return x @ self.M.mT

    def rmatvec(self, y, out=None):
        return y @ self.M.conj()

    def gradients(self, x, y):
        return [torch.einsum("nm,nk->mk", y, x.conj())]


def test_an_adjoint_turns_shapes_and_products():
    A = Matrix(randn(3, 2, dtype=torch.complex128))
    x, y = (randn(4, n, dtype=torch.complex128, seed=n) for n in (2, 3))
    H = Adjoint(A)
    assert (tuple(H.domain_shape), tuple(H.range_shape)) == ((3,), (2,))
    assert torch.equal(H.matvec(y), A.rmatvec(y))
    assert torch.equal(Adjoint(H).matvec(x), A.matvec(x))


def test_the_gradient_of_an_adjoint_is_that_of_its_products():
    M = randn(3, 2, dtype=torch.complex128).requires_grad_()
    x, y = (randn(4, n, dtype=torch.complex128, seed=n) for n in (2, 3))
    H = ParametricAdjoint(Matrix(M))
    product = (x.conj() * H.matvec(y)).real.sum()
    expected = torch.autograd.grad(product, M)[0]
    assert torch.allclose(H.gradients(y, x)[0], expected)
