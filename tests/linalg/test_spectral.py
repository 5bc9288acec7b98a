"""`spectral_apply`, `svt` and `pinv` against 60 digits, at every gap and at none."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck, gradgradcheck
from torch.func import grad, jacfwd, jacrev, vmap

from benchmarks.svd_compare import MATRICES, METHODS, gradient
from benchmarks.svd_compare import exact_gradient as polar_gradient
from unconv.linalg import pinv, spectral_apply, svt

from .reference import FUNCTIONS, exact_gradient
from .test_svd import DOUBLE, SHAPES, NoLook, draw

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")  # torch's own

GAPS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-10, 1e-12, 0.0)
DEGENERATE = {
    "diag(3, 3, 1)": torch.diag(torch.tensor([3.0, 3, 1]).double()),
    "2 I": 2 * torch.eye(3).double(),
    "0 I": torch.zeros(3, 3).double(),
    "diag(1, 1, 2, 3)": torch.diag(torch.tensor([1.0, 1, 2, 3]).double()),
    "rank 1": torch.outer(torch.tensor([1.0, 2, 2, 4]), torch.tensor([2.0, -1, 2])).double(),
    "diag(1e-16, 3e-16)": torch.diag(torch.tensor([1e-16, 3e-16]).double()),
    "kink": torch.diag(torch.tensor([0.5 + 1e-9, 0.5 - 1e-9, 0.2]).double()),
}
README = {
    "matrix_dup[0]": (1.0178885438, 0.9910557281, 1.0089442719, 1.0178885438),
    "matrix_dup[1]": (1.0178882755, 0.9910556387, 1.0089443613, 1.0178882755),
}


def applied(name, A):
    return spectral_apply(A, FUNCTIONS[name].f, FUNCTIONS[name].df)


def gradient_of(A, G, apply):
    A = A.clone().requires_grad_()
    return torch.autograd.grad((apply(A) * G).real.sum(), A)[0]


def with_gap(gap):
    S = torch.tensor([3, 2, 2 - gap, 1, 1 - gap / 2, 0.7, 0.4, 0.2], dtype=torch.float64)
    return (torch.linalg.qr(draw(8, 8, seed=1)).Q * S) @ torch.linalg.qr(draw(8, 8, seed=2)).Q


# --- the published example
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
@pytest.mark.parametrize("name", MATRICES)
def test_readme_of_svd_inv(name, dtype, tolerance):
    A = torch.tensor(MATRICES[name], dtype=dtype)
    found = gradient(METHODS["unconv spectral_apply"], A).double()
    exact = polar_gradient(A)
    assert (found - exact).abs().amax() <= tolerance
    if name in README:
        assert (exact.flatten() - torch.tensor(README[name]).double()).abs().amax() < 2e-7


def test_matrix_normal_as_torch():
    A = torch.tensor(MATRICES["matrix_normal"], dtype=torch.float64)
    truth = gradient(METHODS["torch.linalg.svd"], A)
    for method in ("unconv svd", "unconv spectral_apply"):
        torch.testing.assert_close(gradient(METHODS[method], A), truth, rtol=1e-12, atol=0)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 5e-2), (torch.float64, 1e-9)])
def test_the_same_by_way_of_the_factors(dtype, tolerance):
    """What factors allow: eps·s/gap beside the tie, and at it all but f′·sym(P)_ij."""
    A = torch.tensor(MATRICES["matrix_dup[1]"], dtype=dtype)
    found = gradient(METHODS["unconv svd"], A).double()
    assert (found - polar_gradient(A)).abs().amax() <= tolerance
    A = torch.tensor(MATRICES["matrix_dup[0]"], dtype=dtype)
    U, _, Vh = torch.linalg.svd(A)
    P = U.mT @ torch.ones_like(A) @ Vh.mT
    lost = U @ torch.tensor([[0, 1], [1, 0]], dtype=dtype) @ Vh * (P[0, 1] + P[1, 0]) / 2
    found = gradient(METHODS["unconv svd"], A) + lost
    assert (found.double() - polar_gradient(A)).abs().amax() <= 10 * torch.finfo(dtype).eps


# --- accuracy
@pytest.mark.parametrize("gap", GAPS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_gap(name, gap):
    A, G = with_gap(gap), draw(8, 8, seed=3)
    exact = exact_gradient(A, G, FUNCTIONS[name])
    found = gradient_of(A, G, lambda A: applied(name, A))
    assert (found - exact).abs().amax() <= 1e-12
    single = gradient_of(A.float(), G.float(), lambda A: applied(name, A))
    exact = exact_gradient(A.float().double(), G.float().double(), FUNCTIONS[name])
    assert (single.double() - exact).abs().amax() <= 1e-6


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("matrix", DEGENERATE)
def test_degenerate_matrices(matrix, name):
    A = DEGENERATE[matrix]
    G = draw(*A.shape, seed=4)
    found = gradient_of(A, G, lambda A: applied(name, A))
    assert found.isfinite().all()
    if name in ("sqrt", "polar") and matrix in ("0 I", "rank 1"):
        return  # no derivative at a singular value of zero
    exact = exact_gradient(A, G, FUNCTIONS[name])
    assert (found - exact).abs().amax() <= 1e-12 * exact.abs().amax()


@pytest.mark.parametrize("matrix", DEGENERATE)
def test_svt_is_the_spectral_function(matrix):
    A = DEGENERATE[matrix]
    G = draw(*A.shape, seed=4)
    exact = exact_gradient(A, G, FUNCTIONS["svt"])
    torch.testing.assert_close(gradient_of(A, G, lambda A: svt(A, 0.5)), exact, atol=1e-12, rtol=0)
    torch.testing.assert_close(gradient_of(A, G, lambda A: svt(A, 0.0)), G)  # the identity


def test_large_single_precision_matrices():
    A = with_gap(1e-6)
    A = torch.block_diag(A, 0.9 * A, 1.1 * A).float()
    G = draw(24, 24).float()
    exact = gradient_of(A.double(), G.double(), lambda A: svt(A, 0.5))
    found = gradient_of(A, G, lambda A: svt(A, 0.5))
    assert (found - exact).abs().amax() <= 2e-5


# --- laws
@settings(deadline=None, max_examples=25)
@given(
    m=st.integers(1, 6),
    n=st.integers(1, 6),
    dtype=st.sampled_from(DOUBLE),
    name=st.sampled_from(sorted(FUNCTIONS)),
    seed=st.integers(0, 2**31),
)
def test_transposition(m, n, dtype, name, seed):
    A, G = draw(m, n, dtype=dtype, seed=seed), draw(m, n, dtype=dtype, seed=1)
    upright = gradient_of(A, G, lambda A: applied(name, A))
    turned = gradient_of(A.mH, G.mH, lambda A: applied(name, A)).mH
    S = torch.linalg.svdvals(A)
    torch.testing.assert_close(upright, turned, rtol=1e-12, atol=1e-12 / float(S[-1]))


@pytest.mark.parametrize("matrix", DEGENERATE)
def test_transposition_at_ties(matrix):
    A, G = DEGENERATE[matrix], draw(*DEGENERATE[matrix].shape)
    upright = gradient_of(A, G, lambda A: svt(A, 0.5))
    turned = gradient_of(A.mT, G.mT, lambda A: svt(A, 0.5)).mT
    torch.testing.assert_close(upright, turned, rtol=0, atol=1e-12)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_scale(scale):
    A, G = with_gap(1e-7), draw(8, 8)
    torch.testing.assert_close(svt(scale * A, scale * 0.5), scale * svt(A, 0.5))
    scaled = gradient_of(scale * A, G, lambda A: svt(A, scale * 0.5))
    torch.testing.assert_close(scaled, gradient_of(A, G, lambda A: svt(A, 0.5)))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", DOUBLE)
def test_derivatives_in_matrix_and_parameter(dtype, shape):
    A = draw(*shape, dtype=dtype).requires_grad_()
    tau = (0.1 + draw(*shape[:-2]).abs()).requires_grad_()

    def wiener(A, tau):
        return spectral_apply(
            A, lambda s, t: s**2 / (s**2 + t), lambda s, t: 2 * s * t / (s**2 + t) ** 2, tau
        )

    for function in (svt, wiener):
        assert gradcheck(function, (A, tau), check_forward_ad=True, check_batched_grad=True)
        assert gradgradcheck(function, (A, tau), check_fwd_over_rev=True, fast_mode=True)
    assert gradcheck(pinv, A, check_forward_ad=True)
    assert gradgradcheck(pinv, A, fast_mode=True)


@pytest.mark.parametrize("dtype", DOUBLE)
@pytest.mark.parametrize("matrix", ["diag(3, 3, 1)", "2 I", "diag(1, 1, 2, 3)"])
def test_finite_differences_at_ties(matrix, dtype):
    A = DEGENERATE[matrix].to(dtype).requires_grad_()
    for name in FUNCTIONS:
        if name != "svt":  # whose kink gradcheck is told of below
            assert gradcheck(lambda A, name=name: applied(name, A), A, check_forward_ad=True)
    assert gradcheck(lambda A: svt(A, 1.5 if matrix[0] == "d" else 0.5), A, check_forward_ad=True)
    assert gradcheck(pinv, A)


def test_transforms_agree():
    A, tau = draw(3, 4, 3), 0.2 + draw(3).abs()

    def loss(A, tau):
        return (svt(A, tau) ** 3).sum() + applied("sqrt", A).sum()

    alone = [
        torch.stack(v)
        for v in zip(*[grad(loss, (0, 1))(a, t) for a, t in zip(A, tau, strict=True)], strict=True)
    ]
    for found in (
        vmap(grad(loss, (0, 1)))(A, tau),
        grad(lambda A, tau: vmap(loss)(A, tau).sum(), (0, 1))(A, tau),
        grad(lambda A, tau: loss(A, tau), (0, 1))(A, tau),
    ):
        torch.testing.assert_close(list(found), alone)
    hessian = jacfwd(jacrev(loss, (0, 1)), (0, 1))(A[0], tau[0])
    torch.testing.assert_close(jacrev(jacfwd(loss, (0, 1)), (0, 1))(A[0], tau[0]), hessian)


@pytest.mark.parametrize("matrix", DEGENERATE)
def test_second_derivatives_are_finite_at_ties(matrix):
    A = DEGENERATE[matrix].clone().requires_grad_()
    for function in (lambda A: svt(A, 0.5), lambda A: applied("wiener", A), pinv):
        (first,) = torch.autograd.grad((function(A) ** 2).sum(), A, create_graph=True)
        (second,) = torch.autograd.grad((first**2).sum(), A)
        assert second.isfinite().all()


# --- the pseudo-inverse
@pytest.mark.parametrize("dtype", DOUBLE)
@pytest.mark.parametrize("shape", SHAPES)
def test_penrose_conditions(shape, dtype):
    A = draw(*shape, dtype=dtype)
    A[..., 0, :] = 0
    X = pinv(A)
    for product, truth in (
        (A @ X @ A, A),
        (X @ A @ X, X),
        (A @ X, (A @ X).mH),
        (X @ A, (X @ A).mH),
    ):
        torch.testing.assert_close(product, truth, atol=1e-12, rtol=0)


def test_a_cut_through_values_that_are_not_zero():
    A = with_gap(1e-6).requires_grad_()
    assert gradcheck(lambda A: pinv(A, rtol=0.3), A)
    assert gradcheck(lambda A: pinv(A, atol=0.9), A)


def test_constant_rank_is_golub_pereyra():
    A, dA, G = draw(4, 2, seed=5) @ draw(2, 3, seed=6), draw(4, 3), draw(3, 4)
    X = pinv(A)
    change = -X @ dA @ X + X @ X.mT @ dA.mT @ (torch.eye(4).double() - A @ X)
    change = change + (torch.eye(3).double() - X @ A) @ dA.mT @ X.mT @ X
    found = (gradient_of(A, G, pinv) * dA).sum()
    torch.testing.assert_close(found, (G * change).sum(), rtol=1e-10, atol=1e-10)


# --- failures
@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda A: spectral_apply(A, 2, torch.ones_like), TypeError, "f must be a function"),
        (lambda A: spectral_apply(A, torch.sqrt, None), TypeError, "df must be a function"),
        (lambda A: spectral_apply(A, torch.sum, torch.ones_like), ValueError, "act elementwise"),
        (lambda A: spectral_apply(A, torch.sub, torch.sub, 0.5), TypeError, "must be tensors"),
        (lambda A: svt(A, -1), ValueError, "tau=-1 must be a finite"),
        (lambda A: svt(A, float("nan")), ValueError, "tau=nan must be a finite"),
        (lambda A: svt(A, torch.tensor(-1.0)), ValueError, "must not be negative or NaN, got -1"),
        (lambda A: svt(A, torch.tensor(1j)), TypeError, "a parameter must be real"),
        (
            lambda A: spectral_apply(A, lambda s: s + 1j, torch.sqrt),
            TypeError,
            "f must return a re",
        ),
        (lambda A: spectral_apply(A, lambda s: s.numpy(), torch.sqrt), TypeError, "got ndarray"),
        (lambda A: svt(A, torch.ones(3)), ValueError, r"broadcast to the batch \(\)"),
        (lambda A: svt(A[0], 1.0), ValueError, "must be a matrix"),
        (lambda A: svt(A.long(), 1.0), TypeError, "floating point or complex"),
        (lambda A: pinv(A, rtol=-1), ValueError, "rtol=-1 must be a finite number >= 0"),
        (lambda A: pinv(A, atol=-1), ValueError, "atol=-1 must be a finite number >= 0"),
        (lambda A: pinv(A, rtol=2), ValueError, "and < 1"),
        (lambda A: pinv(A / 0), ValueError, "NaN or infinite"),
    ],
)
def test_refusals(call, error, message):
    with pytest.raises(error, match=message):
        call(draw(3, 2))


@pytest.mark.parametrize("df", [lambda s: s.detach().numpy(), lambda s: s[..., :1], torch.sum])
def test_a_wrong_slope_is_refused_where_it_is_needed(df):
    Y = spectral_apply(draw(3, 2).requires_grad_(), torch.sqrt, df)
    with pytest.raises((TypeError, ValueError), match="df must"):
        Y.sum().backward()


def test_a_negative_threshold_under_vmap_shows_itself():
    """Nobody can look at it there."""
    found = vmap(svt)(draw(2, 3, 2), torch.tensor([1.0, -1.0]))
    assert found[0].isfinite().all()
    assert found[1].isnan().all()


def test_arguments_are_left_alone():
    A, before = with_gap(0.0), with_gap(0.0)
    gradient_of(A, before, lambda A: svt(A, 0.5))
    assert torch.equal(A, before)


@pytest.mark.parametrize("dtype", DOUBLE)
def test_backward_waits_for_no_device(dtype):
    A, tau = draw(4, 3, dtype=dtype).requires_grad_(), torch.tensor(0.5, requires_grad=True)
    loss = sum(v.abs().sum() for v in (svt(A, tau), pinv(A), applied("sqrt", A)))
    with NoLook():
        grads = torch.autograd.grad(loss, (A, tau))
    assert all(grad.isfinite().all() for grad in grads)
