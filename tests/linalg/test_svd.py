"""`svd` beside torch's, beside the 2 × 2 systems at ties, and under every transform."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck, gradgradcheck
from torch.func import grad, jacfwd, jacrev, jvp, vmap
from torch.utils._python_dispatch import TorchDispatchMode

from unconv.linalg import svd, svdvals

from .reference import minimum_norm_rotations

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")  # torch's own

DTYPES = (torch.float32, torch.float64, torch.complex64, torch.complex128)
DOUBLE = (torch.float64, torch.complex128)
SHAPES = ((3, 3), (4, 2), (2, 3), (2, 3, 2), (1, 3), (3, 1))
TIED = {
    "diag(3, 3, 1)": torch.diag(torch.tensor([3.0, 3, 1])),
    "2 I": 2 * torch.eye(3),
    "0 I": torch.zeros(3, 3),
    "diag(1, 1, 2, 3)": torch.diag(torch.tensor([1.0, 1, 2, 3])),
    "rank 1": torch.outer(torch.tensor([1.0, 2, 3, 4]), torch.tensor([1.0, -1, 2])),
    "tall": torch.tensor([[3.0, 0], [0, 3], [0, 0]]),
}


def draw(*shape, dtype=torch.float64, seed=0):
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def invariants(A, full=False):
    """What does not depend on signs, phases or bases of a complement."""
    U, S, Vh = svd(A, full)
    k = S.shape[-1]
    thin_U, thin_V = U[..., :k], Vh[..., :k, :]
    found = [S, thin_U @ thin_V, (thin_U * S[..., None, :]) @ thin_U.mH]
    found.append((thin_V.mH * S[..., None, :]) @ thin_V)
    if full:
        found += [U[..., k:] @ U[..., k:].mH, Vh[..., k:, :].mH @ Vh[..., k:, :]]
    return tuple(found)


# --- laws
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_factors(dtype, shape, full):
    A = draw(*shape, dtype=dtype)
    U, S, Vh = svd(A, full)
    for ours, theirs in zip((U, S, Vh), torch.linalg.svd(A, full), strict=True):
        assert ours.shape == theirs.shape
        assert ours.dtype == theirs.dtype
    k, eps = S.shape[-1], torch.finfo(dtype).eps
    assert torch.allclose((U[..., :k] * S[..., None, :]) @ Vh[..., :k, :], A, atol=20 * eps)
    for Q in (U.mH @ U, Vh @ Vh.mH):
        assert torch.allclose(Q, torch.eye(Q.shape[-1], dtype=dtype).expand_as(Q), atol=20 * eps)


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", DOUBLE)
def test_derivatives(dtype, shape, full):
    A = draw(*shape, dtype=dtype).requires_grad_()

    def function(A):
        return invariants(A, full)

    assert gradcheck(function, A, check_forward_ad=True, check_batched_grad=True)
    assert gradgradcheck(function, A, check_fwd_over_rev=True, fast_mode=True)


@settings(deadline=None, max_examples=25)
@given(
    m=st.integers(1, 7),
    n=st.integers(1, 7),
    seed=st.integers(0, 2**31),
    exponent=st.sampled_from([-6, 0, 6]),
)
def test_backward_is_torchs_where_values_differ(m, n, seed, exponent):
    A, k = draw(m, n, seed=seed) * 10.0**exponent, min(m, n)
    gU, gS, gVh = draw(m, k, seed=1), draw(k, seed=2), draw(k, n, seed=3)

    def gradient(factorize):
        B = A.clone().requires_grad_()
        U, S, Vh = factorize(B)
        return torch.autograd.grad((U * gU).sum() + (S * gS).sum() + (Vh * gVh).sum(), B)[0]

    ours, theirs = gradient(svd), gradient(lambda A: torch.linalg.svd(A, full_matrices=False))
    S = torch.linalg.svdvals(A)
    gaps = torch.cat([S, (S[:-1] - S[1:])]).amin() / S[0]
    size = gS.norm() + (gU.norm() + gVh.norm()) / S[0]
    assert (ours - theirs).norm() <= 1e-13 / gaps**2 * size


@pytest.mark.parametrize("given", ["U", "S", "V", "US", "UV"])
@pytest.mark.parametrize("shape", [(4, 3), (3, 4), (3, 3)])
@pytest.mark.parametrize("dtype", DOUBLE)
def test_any_subset_of_cotangents(dtype, shape, given):
    A = draw(*shape, dtype=dtype)

    def gradient(factorize):
        B = A.clone().requires_grad_()
        U, S, Vh = factorize(B)
        moduli = {"U": U.abs().square(), "S": S, "V": Vh.abs().square()}
        loss = sum((moduli[name] * draw(*moduli[name].shape)).sum() for name in given)
        return torch.autograd.grad(loss, B)[0]

    torch.testing.assert_close(
        gradient(svd),
        gradient(lambda A: torch.linalg.svd(A, full_matrices=False)),
        rtol=1e-12,
        atol=1e-12,
    )


@pytest.mark.parametrize("shape", [(4, 3), (3, 4), (3, 3)])
def test_transforms_agree(shape):
    A, weight = draw(2, *shape), draw(*shape)

    def loss(A):
        values, polar, *_ = invariants(A)
        return (values**3).sum() + (polar * weight).sum()

    alone = torch.stack([grad(loss)(a) for a in A])
    torch.testing.assert_close(vmap(grad(loss))(A), alone)
    torch.testing.assert_close(grad(lambda A: vmap(loss)(A).sum())(A), alone)
    torch.testing.assert_close(vmap(jacfwd(loss), in_dims=2)(A.movedim(0, 2)), alone)
    hessian = jacfwd(jacrev(loss))(A[0])
    torch.testing.assert_close(jacrev(jacrev(loss))(A[0]), hessian)
    torch.testing.assert_close(jacrev(jacfwd(loss))(A[0]), hessian)


# --- ties
@pytest.mark.parametrize("dtype", DOUBLE)
@pytest.mark.parametrize("name", TIED)
def test_ties_get_the_minimum_norm_solution(name, dtype):
    A = TIED[name].to(dtype)
    dA = draw(*A.shape, dtype=dtype)
    (U, S, Vh), (dU, dS, dVh) = jvp(svd, (A,), (dA,))
    S = torch.where(S > 1e-12, S, 0.0)  # LAPACK's zeros are round-off
    P = U.mH @ dA @ Vh.mH
    omega, psi = minimum_norm_rotations(S, P)
    torch.testing.assert_close(U.mH @ dU, omega, atol=1e-13, rtol=1e-12)
    torch.testing.assert_close((dVh @ Vh.mH).mH, psi, atol=1e-13, rtol=1e-12)
    torch.testing.assert_close(dS, P.diagonal().real)


def test_a_tied_pair_in_letters():
    (U, S, Vh), (dU, _, dVh) = jvp(svd, (2 * torch.eye(2).double(),), (draw(2, 2),))
    P = U.mT @ draw(2, 2) @ Vh.mT
    omega = (P[0, 1] - P[1, 0]) / (4 * S[0])
    torch.testing.assert_close((U.mT @ dU)[0, 1], omega)
    torch.testing.assert_close((Vh @ dVh.mT)[0, 1], -omega)


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("name", TIED)
def test_both_modes_are_adjoint_at_ties(name, full):
    A = TIED[name].double()
    factors, pull = torch.func.vjp(lambda A: svd(A, full), A)
    cotangents = tuple(draw(*v.shape, seed=i) for i, v in enumerate(factors))
    dA = draw(*A.shape, seed=9)
    _, changes = jvp(lambda A: svd(A, full), (A,), (dA,))
    inner = sum((g * d).sum() for g, d in zip(cotangents, changes, strict=True))
    torch.testing.assert_close((pull(cotangents)[0] * dA).sum(), inner)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", TIED)
def test_first_and_second_derivatives_are_finite_at_ties(name, dtype):
    A = TIED[name].to(dtype).requires_grad_()
    U, S, Vh = svd(A)
    loss = (U.abs() ** 4).sum() + (Vh.abs() ** 4).sum() + (S**3).sum()
    (first,) = torch.autograd.grad(loss, A, create_graph=True)
    (second,) = torch.autograd.grad(first.abs().square().sum(), A)
    assert first.isfinite().all()
    assert second.isfinite().all()
    assert second.abs().amax() < 1e6  # and not 1/round-off


def test_a_loss_on_v_alone_has_a_gradient_at_a_tie():
    A = torch.tensor([[2.0, 4], [-4, 2]], dtype=torch.float64, requires_grad=True)
    svd(A)[2][0, 1].backward()
    assert A.grad.norm() > 1e-3


def test_a_tie_of_floats_that_differ_in_the_last_bits():
    A = torch.diag(torch.tensor([1.0, 1 - 2**-24, 0.5])).requires_grad_()
    U, _, Vh = svd(A)
    ((U * draw(3, 3).float()).sum() + (Vh * draw(3, 3).float()).sum()).backward()
    assert A.grad.abs().amax() < 10


def test_svdvals():
    A = draw(3, 4).requires_grad_()
    assert gradcheck(svdvals, A)
    assert gradgradcheck(svdvals, A)
    tied = torch.eye(3).double().requires_grad_()
    svdvals(tied).sum().backward()
    torch.testing.assert_close(tied.grad, torch.eye(3).double())


# --- phases
@pytest.mark.parametrize("scale", [1e-6, 1, 1e6])
@pytest.mark.parametrize("part", [0, 2])
def test_a_loss_that_depends_on_phases_is_refused(part, scale):
    A = draw(3, 3, dtype=torch.complex64).requires_grad_()
    with pytest.raises(RuntimeError, match="must not depend on their phases"):
        (scale * svd(A)[part].real.sum()).backward()


@pytest.mark.parametrize("scale", [1e-6, 1, 1e6])
def test_a_loss_that_does_not_is_not(scale):
    A = draw(30, 20, dtype=torch.complex64).requires_grad_()
    U, S, Vh = svd(A)
    Y = (U * S**2) @ Vh
    (scale * (Y * draw(30, 20, dtype=torch.complex64)).real.sum()).backward()
    assert A.grad.isfinite().all()


def test_under_vmap_phases_give_nan():
    A = draw(2, 3, 3, dtype=torch.complex128)
    torch.manual_seed(0)
    _, pull = torch.func.vjp(lambda A: vmap(lambda a: svd(a)[0])(A), A)
    found = vmap(lambda g: pull(g)[0])(draw(4, 2, 3, 3, dtype=torch.complex128))
    assert found.isnan().all()


# --- failures
@pytest.mark.parametrize("function", [svd, svdvals])
@pytest.mark.parametrize(
    ("A", "error", "message"),
    [
        ([[1.0]], TypeError, "must be a torch.Tensor"),
        (
            torch.ones(2, 2, dtype=torch.int64),
            TypeError,
            "floating point or complex, got torch.int",
        ),
        (torch.ones(2, 2, dtype=torch.float16), TypeError, "single or double precision"),
        (torch.ones(3), ValueError, r"got shape \(3,\)"),
        (torch.ones(0, 3), ValueError, "rows and columns"),
        (torch.ones(2, 3, 0), ValueError, "rows and columns"),
        (torch.tensor([[1.0, torch.nan], [0, 1]]), ValueError, "1 NaN or infinite values"),
        (torch.full((40, 40), torch.inf), ValueError, "NaN or infinite"),
    ],
)
def test_refusals(function, A, error, message):
    with pytest.raises(error, match=message):
        function(A)


def test_an_empty_batch_is_none_the_worse():
    assert [tuple(v.shape) for v in svd(torch.ones(0, 3, 2))] == [(0, 3, 2), (0, 2), (0, 2, 2)]


def test_nan_is_found_under_vmap():
    with pytest.raises(ValueError, match="NaN"):
        vmap(svd)(torch.full((2, 3, 3), torch.nan))


class NoLook(TorchDispatchMode):
    """Refuses whatever would wait for a device."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert func not in (
            torch.ops.aten._local_scalar_dense.default,
            torch.ops.aten.nonzero.default,
            torch.ops.aten.is_nonzero.default,
        )
        return func(*args, **(kwargs or {}))


def test_backward_waits_for_no_device():
    A = draw(4, 3).requires_grad_()
    loss = sum(v.sum() for v in svd(A))
    with NoLook():
        (grad,) = torch.autograd.grad(loss, A)
    assert grad.isfinite().all()
