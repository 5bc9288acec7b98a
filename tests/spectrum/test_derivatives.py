"""Gradients and second derivatives of norm, svdvals, cond and logabsdet, against dense matrices."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from unconv import ConvOperator
from unconv.inverse.diagonal import dense
from unconv.operators.linear_operator import MemoryLimitError
from unconv.spectrum import values
from unconv.spectrum.derivatives import volume_derivatives

from ..helpers import C128, F64, randn, relative
from ..strategies import Case, cases, circulant_cases, is_small

APART = (
    1e-3  # of σ_max: values that are closer have larger second derivatives than round-off allows
)


@pytest.fixture(scope="module", params=[False, True], ids=["by blocks", "by vectors"])
def no_matrices(request):
    """Small operators as large ones are served: by Lanczos, conjugate gradients and ghosts."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param:
            patch.setattr(values, "VALUES_LIMIT", 0)
            patch.setattr(dense, "LIMIT", 0)
        yield request.param


def derivatives(f: Callable[[Tensor], Tensor], w: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Value, gradient, and the second derivative along a direction."""
    w = w.detach().clone().requires_grad_()
    value = f(w)
    weights = torch.arange(1, value.numel() + 1, dtype=F64).reshape(value.shape)
    (g,) = torch.autograd.grad((value * weights).sum(), w, create_graph=True)
    along = randn(*w.shape, dtype=w.dtype, seed=5)
    (h,) = torch.autograd.grad((g.conj() * along).real.sum(), w)
    return value.detach(), g.detach(), h


def assert_same_derivatives(case: Case, f, of_matrix, size: float = 1.0) -> None:
    w = case.operator().weight

    def truth(w: Tensor) -> Tensor:
        return of_matrix(ConvOperator(w, case.input_shape, **case.options).to_dense())

    def found(w: Tensor) -> Tensor:
        return f(ConvOperator(w, case.input_shape, **case.options))

    expected = derivatives(truth, w)
    for one, other in zip(derivatives(found, w), expected, strict=True):
        assert relative(one, other, max(size, float(other.norm()))) < 1e-7


def values_of(case: Case) -> Tensor:
    op = case.operator()
    assume(is_small(op) and bool(op.weight.any()))
    S = torch.linalg.svdvals(op.to_dense())
    assume(float(S.amin()) > APART * float(S.amax()))
    return S


ANY = st.one_of(
    cases(dims=(1, 2), per_sample=False), circulant_cases().filter(lambda c: len(c.input_shape) < 3)
)


@settings(max_examples=12)
@given(case=ANY, k=st.integers(1, 3), which=st.sampled_from(["largest", "smallest"]))
def test_a_few_values_are_those_of_the_matrix(no_matrices, case, k, which):
    S = values_of(case)
    assume(S.ndim == 1)
    gaps = S[:-1] - S[1:]
    assume(bool((gaps > APART * S[0]).all()))  # torch's own second derivative is wrong at repeats
    k = min(k, len(S))

    def of_matrix(A: Tensor) -> Tensor:
        S = torch.linalg.svdvals(A)
        return S[:k] if which == "largest" else S[-k:]

    assert_same_derivatives(case, lambda op: op.svdvals(k, which), of_matrix, float(1 / S.amin()))


@settings(max_examples=12)
@given(case=ANY)
def test_the_determinant_is_that_of_the_matrix(no_matrices, case):
    S = values_of(case)
    m, n = case.operator().shape

    def of_matrix(A: Tensor) -> Tensor:
        if m == n:
            return torch.linalg.slogdet(A)[1]
        return torch.linalg.slogdet(A.mH @ A if m > n else A @ A.mH)[1] / 2

    assert_same_derivatives(case, lambda op: op.logabsdet(), of_matrix, float(1 / S.amin() ** 2))


@settings(max_examples=12)
@given(case=ANY, damp=st.sampled_from([0.1, 1.0]))
def test_the_damped_determinant_is_that_of_the_matrix(no_matrices, case, damp):
    op = case.operator()
    assume(is_small(op))
    eye = damp**2 * torch.eye(op.shape[1], dtype=F64)

    def of_matrix(A: Tensor) -> Tensor:
        return torch.linalg.slogdet(A.mH @ A + eye)[1] / 2

    assert_same_derivatives(case, lambda op: op.logabsdet(damp), of_matrix, 1 / damp**2)


SMALL = [
    ((1, 1, 3), (5,), {"padding": 1}),
    ((1, 1, 3), (6,), {"padding": 1, "padding_mode": "circular"}),  # values in pairs
    ((2, 1, 3), (6,), {"padding": 1, "padding_mode": "symmetric", "stride": 2}),
]
QUANTITIES = {
    "norm": lambda op: op.norm(),
    "svdvals": lambda op: op.svdvals(2, "smallest"),
    "cond": lambda op: op.cond(),
    "logabsdet": lambda op: op.logabsdet(),
}


def small_problem(kind, name, dtype=F64):
    shape, sizes, options = kind
    w = 0.3 * randn(*shape, dtype=dtype, seed=2)
    w[..., 1] += 1
    return w, lambda w: QUANTITIES[name](ConvOperator(w, sizes, **options))


# what the draws above leave out: values that repeat, and condition numbers
NOT_DRAWN = [(SMALL[1], F64, name) for name in QUANTITIES]
NOT_DRAWN += [(SMALL[0], F64, "cond"), (SMALL[0], C128, "cond"), (SMALL[2], F64, "cond")]


@pytest.mark.parametrize(("kind", "dtype", "name"), NOT_DRAWN)
def test_gradcheck(no_matrices, kind, dtype, name):
    w, f = small_problem(kind, name, dtype)
    options = {"fast_mode": True, "check_undefined_grad": kind is SMALL[0]}
    assert torch.autograd.gradcheck(f, w.requires_grad_(), **options)
    assert torch.autograd.gradgradcheck(f, w, **options)


@pytest.mark.parametrize("name", QUANTITIES)
def test_transforms_of_torch_func(no_matrices, name):
    w, f = small_problem(SMALL[0], name)
    W = torch.stack([w, 1.5 * w + 0.01])
    first, second = torch.func.jacrev(f), torch.func.hessian(f)
    assert torch.allclose(first(w), torch.func.jacfwd(f)(w))
    tracked = w.clone().requires_grad_()
    (g,) = torch.autograd.grad(f(tracked).sum(), tracked)
    assert torch.allclose(first(w).reshape(-1, *w.shape).sum(0), g)
    assert torch.allclose(second(w), torch.func.jacrev(first)(w), atol=1e-9)
    for of in (f, first):
        assert torch.allclose(torch.func.vmap(of)(W), torch.stack([of(x) for x in W]))
    assert torch.allclose(f(W.requires_grad_()), torch.stack([f(x) for x in W]))


def test_values_that_repeat_share_the_mean_of_their_derivatives(no_matrices):
    """Of the identity all are equal: σ(1 + t) moves each, and a tap aside moves none on average."""
    w = torch.tensor([[[0.0, 1.0, 0.0]]], dtype=F64, requires_grad=True)
    op = ConvOperator(w, (7,), padding=1)
    (g,) = torch.autograd.grad(op.svdvals(3)[1], w)
    assert torch.allclose(g, torch.tensor([[[0.0, 1.0, 0.0]]], dtype=F64), atol=1e-12)


def test_second_derivatives_of_the_mean_of_a_pair():
    """σ = |Σ w_t e^{iωt}| twice: ω and −ω."""
    w = randn(1, 1, 3, seed=4)

    def modulus(w: Tensor) -> Tensor:
        turn = 2 * math.pi / 8 * torch.arange(-1, 2, dtype=F64)
        every = [
            (w[0, 0] * torch.polar(torch.ones(3, dtype=F64), q * turn)).sum() for q in range(8)
        ]
        return torch.stack(every).abs().sort(descending=True).values[:4]

    def found(w: Tensor) -> Tensor:
        return ConvOperator(w, (8,), padding=1, padding_mode="circular").svdvals(4)

    hessian = torch.func.hessian
    assert torch.allclose(hessian(found)(w), hessian(modulus)(w), atol=1e-10)


@pytest.mark.parametrize("name", ["norm", "svdvals", "cond"])
def test_a_third_derivative_of_values_is_refused(no_matrices, name):
    w, f = small_problem(SMALL[0], name)
    for third in (
        torch.func.jacrev(torch.func.hessian(f)),
        torch.func.jacfwd(torch.func.hessian(f)),
    ):
        with pytest.raises(NotImplementedError, match="third derivative"):
            third(w)
    (g,) = torch.autograd.grad(f(w.requires_grad_()).sum(), w, create_graph=True)
    (h,) = torch.autograd.grad(g.square().sum(), w, create_graph=True)
    with pytest.raises(NotImplementedError, match="third derivative"):
        h.sum().backward()


def test_a_third_derivative_of_a_determinant_is_that_of_the_matrix():
    w, f = small_problem(SMALL[0], "logabsdet")

    def of_matrix(w: Tensor) -> Tensor:
        return torch.linalg.slogdet(ConvOperator(w, (5,), padding=1).to_dense())[1]

    def third(f: Callable[[Tensor], Tensor]) -> Tensor:
        for _ in range(3):  # forward mode of torch's slogdet is wrong from the third on
            f = torch.func.jacrev(f)
        return f(w)

    found, expected = third(f), third(of_matrix)
    assert torch.allclose(found, expected, atol=1e-9)


def test_float32_weights_have_gradients_of_their_own_dtype():
    w = randn(2, 2, 3, 3).float().requires_grad_()
    op = ConvOperator(w, (6, 6), padding=1)
    value = op.norm() + op.logabsdet()
    value.backward()
    assert value.dtype == F64
    assert w.grad.dtype == torch.float32


def test_a_singular_operator_says_why_its_gradient_does_not_exist():
    w = torch.tensor([[[1.0, -1.0]]], dtype=F64, requires_grad=True)
    op = ConvOperator(w, (8,), padding=((0, 1),), padding_mode="circular")
    value = op.logabsdet()
    assert value == -math.inf
    with pytest.raises(ValueError, match=r"A is singular, and has no derivative there; give damp"):
        value.backward()
    assert op.cond() == math.inf
    with pytest.raises(ValueError, match="condition number is infinite"):
        op.cond().backward()
    with pytest.raises(ValueError, match="A is singular"):
        torch.func.grad(lambda w: op.with_weight(w).logabsdet())(w.detach())


@pytest.mark.parametrize("options", [{}, {"flip": True}, {"transposed": True}])
def test_causal_kernels_whose_inverse_grows_without_bounds(options):
    """A⁻¹[i, j] = (−2)^(i−j): the tap behind the centre meets −2 at 1,499 pixels."""
    w = torch.tensor([[[2.0, 1.0, 0.0]]], dtype=F64, requires_grad=True)
    ConvOperator(w, (1500,), padding=1, **options).logabsdet().backward()
    assert torch.allclose(w.grad, torch.tensor([[[0.0, 1500, -2998]]], dtype=F64))


def test_a_masked_kernel_in_two_dimensions():
    w = randn(2, 2, 3, 3)
    w[:, :, 1, 2], w[:, :, 2] = 0, 0
    w[:, :, 1, 1] += 2 * torch.eye(2)
    small, large = (ConvOperator(w.requires_grad_(), (n, n), padding=1) for n in (5, 33))
    (found,) = torch.autograd.grad(large.logabsdet(), w)
    (centre,) = torch.autograd.grad(torch.linalg.slogdet(w[:, :, 1, 1])[1], w)
    assert torch.allclose(found[:, :, 1, 1], 33**2 * centre[:, :, 1, 1])
    assert not bool(found[:, :, 0].abs().amax() > 1e-8)
    (expected,) = torch.autograd.grad(torch.linalg.slogdet(small.to_dense())[1], w)
    assert torch.allclose(torch.autograd.grad(small.logabsdet(), w)[0], expected)


def test_values_whose_vectors_have_no_room_have_no_gradient():
    w = torch.outer(torch.tensor([1.0, 3, 1]), torch.tensor([1.0, 4, 1])).to(F64)[None, None]
    op = ConvOperator(w.requires_grad_(), (48, 48), padding=1)
    found = op.svdvals(memory_limit=1e8)
    assert torch.equal(found, op.with_weight(w.detach()).svdvals())
    with pytest.raises(MemoryLimitError, match="detach the weight"):
        found.sum().backward()


def test_a_determinant_that_no_way_confirms_has_no_gradient(monkeypatch):
    monkeypatch.setattr(volume_derivatives, "_AGREES", -1.0)
    op = ConvOperator(randn(1, 1, 3, 3).requires_grad_(), (6, 6), padding=1)
    value = op.logabsdet()
    with pytest.raises(NotImplementedError, match="derivative of the determinant of this 36 × 36"):
        value.backward()


def test_a_bracket_and_a_detached_weight_carry_no_gradient():
    w = randn(1, 1, 3, 3).requires_grad_()
    op = ConvOperator(w, (6, 6), padding=1)
    assert not op.norm(bracket=True).value.requires_grad
    assert not op.with_weight(w.detach()).norm().requires_grad
    with torch.no_grad():
        assert not op.norm().requires_grad


def test_complex_weights_follow_the_convention_of_torch():
    w = randn(1, 1, 3, dtype=C128).requires_grad_()
    ConvOperator(w, (5,), padding=1).norm().backward()
    step = 1e-6 * w.grad
    moved = ConvOperator(w.detach() + step, (5,), padding=1).norm()
    expected = float(step.abs().square().sum()) / 1e-6
    assert abs(float(moved - ConvOperator(w.detach(), (5,), padding=1).norm()) - expected) < 1e-10
