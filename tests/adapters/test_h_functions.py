"""U, V and the singular values against the matrix, and DDRM's own formulas on dense factors."""

from __future__ import annotations

import pytest
import torch

import unconv
from unconv.adapters import as_h_functions

from ..helpers import F64, assert_says, randn, relative

PLUS = torch.tensor([[0.0, 1, 0], [1, 4, 1], [0, 1, 0]], dtype=F64)
BOX = torch.full((1, 1, 4, 4), 1 / 16, dtype=F64)
BLUR = torch.tensor([1.0, 3.0, 2.0], dtype=F64)
BLURS = BLUR, BLUR.flip(0)


def outer(*shape: int, kernels=BLURS) -> torch.Tensor:
    """(o, i) channels times an outer product."""
    w = randn(*shape)
    for k in kernels:
        w = w[..., None] * k
    return w


def circular(w: torch.Tensor, sizes: tuple[int, ...], **options) -> unconv.ConvOperator:
    return unconv.ConvOperator(w, sizes, **{"padding_mode": "circular", "padding": 1} | options)


CASES = {
    "line": lambda: ("fourier", circular(randn(2, 2, 3), (7,))),
    "even line": lambda: ("fourier", circular(randn(2, 2, 3), (8,))),
    "single channel": lambda: ("fourier", circular(randn(1, 1, 3, 3), (5, 6))),
    "wide": lambda: ("fourier", circular(randn(2, 3, 3, 3), (4, 6))),
    "tall": lambda: ("fourier", circular(randn(3, 2, 3, 3), (6, 3))),
    "stride": lambda: ("fourier", circular(randn(3, 2, 3, 3), (4, 6), stride=2)),
    "groups": lambda: ("fourier", circular(randn(4, 1, 3, 3), (4, 4), groups=2)),
    "transposed": lambda: (
        "fourier",
        circular(randn(2, 3, 3, 3), (4, 3), stride=2, transposed=True, output_padding=1),
    ),
    "one pixel": lambda: ("fourier", circular(randn(2, 3, 3, 3), (1, 4))),
    "volume": lambda: ("fourier", circular(randn(1, 2, 2, 3, 2), (2, 3, 4), padding="same")),
    "rank-deficient": lambda: (
        "fourier",
        unconv.ConvOperator(BOX, (8, 8), padding="same", padding_mode="circular"),
    ),
    "patches": lambda: ("fourier", unconv.ConvOperator(BOX, (8, 8), stride=4)),
    "cosine": lambda: (
        "cosine",
        unconv.ConvOperator(
            randn(3, 2)[..., None, None] * PLUS, (5, 4), padding=1, padding_mode="symmetric"
        ),
    ),
    "zeros": lambda: ("separable", unconv.ConvOperator(outer(1, 1), (6, 5), padding=1)),
    "reflect, stride": lambda: (
        "separable",
        unconv.ConvOperator(outer(2, 3), (6, 5), padding=1, padding_mode="reflect", stride=(2, 1)),
    ),
    "tall axis, wide axis": lambda: (
        "separable",
        unconv.ConvOperator(outer(2, 2), (4, 6), padding=((2, 2), (0, 0))),
    ),
    "separable groups": lambda: (
        "separable",
        unconv.ConvOperator(outer(4, 1), (4, 5), padding=1, groups=2),
    ),
    "separable transposed": lambda: (
        "separable",
        unconv.ConvOperator(outer(2, 1), (3, 4), stride=2, transposed=True),
    ),
    "one axis": lambda: (
        "separable",
        unconv.ConvOperator(outer(1, 1, kernels=(BLUR, torch.ones(1))), (5, 5), padding=(1, 0)),
    ),
}


@pytest.fixture(params=CASES, name="case")
def _case(request):
    method, op = CASES[request.param]()
    H = as_h_functions(op)
    assert H.method == method
    return op, H


def matrix_of(apply, size: int) -> torch.Tensor:
    return apply(torch.eye(size, dtype=F64)).T


def test_bases_are_orthogonal(case):
    op, H = case
    (m, n), k = op.shape, min(op.shape)
    V, U = matrix_of(H.V, n), matrix_of(H.U, k)
    assert relative(V.T @ V, torch.eye(n, dtype=F64)) < 1e-13
    assert relative(V @ V.T, torch.eye(n, dtype=F64)) < 1e-13
    assert relative(U.T @ U, torch.eye(k, dtype=F64)) < 1e-13
    assert relative(matrix_of(H.Vt, n), V.T) < 1e-13
    assert relative(matrix_of(H.Ut, m), U.T) < 1e-13


def test_products_are_those_of_the_operator(case):
    op, H = case
    m, n = op.shape
    A = op.to_dense()
    assert relative(matrix_of(H.H, n), A) < 1e-13
    assert relative(matrix_of(H.Ht, m), A.T) < 1e-13
    assert relative(matrix_of(H.H_pinv, m), torch.linalg.pinv(A, rtol=1e-12)) < 1e-11
    y = randn(2, *op.range_shape, seed=3)
    assert relative(H.H_pinv(y), op.pinv()(y).flatten(1)) < 1e-11


def test_singular_values_are_those_of_the_operator(case):
    op, H = case
    S, expected = H.singulars(), op.svdvals()
    assert S.shape == (min(op.shape),)
    assert float((S - expected).abs().amax()) < 1e-13 * float(expected[0])
    assert int((S == 0).sum()) == len(S) - int(op.matrix_rank())


def test_formulas_of_ddrm(case):
    """H = U Σ V₁ᵀ, Hᵀ = V [Σ; 0] Uᵀ as the base class of DDRM writes them, on this U and V."""
    op, H = case
    x, y = randn(2, op.shape[1]), randn(2, op.shape[0], seed=2)
    S = H.singulars()
    assert relative(H.U(S * H.Vt(x)[:, : len(S)]), H.H(x)) == 0
    assert relative(H.V(H.add_zeros(S * H.Ut(y)[:, : len(S)])), H.Ht(y)) == 0
    assert H.add_zeros(H.Ut(y)).shape == x.shape


@pytest.mark.parametrize("name", ["wide", "cosine", "zeros"])
def test_single_precision(name):
    _, op = CASES[name]()
    H, exact = as_h_functions(op.float()), as_h_functions(CASES[name]()[1])
    x = randn(3, *op.domain_shape).float()
    assert H.H(x).dtype == H.singulars().dtype == torch.float32
    assert relative(H.H(x), exact.H(x.double())) < 1e-6
    assert relative(H.V(H.Vt(x)), x.flatten(1)) < 1e-6
    assert H.H(x.double()).dtype == F64


@pytest.mark.parametrize("name", ["wide", "cosine", "zeros"])
@pytest.mark.parametrize("scale", [1e-160, 1e160])
def test_scale_of_the_weight_does_not_matter(name, scale):
    _, op = CASES[name]()
    y = randn(2, *op.range_shape)
    scaled = as_h_functions(op.with_weight(op.weight * scale))
    assert relative(scaled.H_pinv(y) * scale, as_h_functions(op).H_pinv(y)) < 1e-12


def test_cutoff():
    _, op = CASES["zeros"]()
    H = as_h_functions(op, rtol=0.3)
    y, A = randn(1, op.shape[0]), op.to_dense()
    assert int((H.singulars() > 0).sum()) == int(torch.linalg.matrix_rank(A, rtol=0.3))
    assert relative(H.H_pinv(y), y @ torch.linalg.pinv(A, rtol=0.3).T) < 1e-12


def test_vanishing_weight():
    H = as_h_functions(circular(torch.zeros(1, 1, 3, 3, dtype=F64), (4, 4)))
    assert not H.singulars().any()
    assert not H.H_pinv(randn(1, 16)).any()


def test_gradients_and_untouched_vectors():
    _, op = CASES["wide"]()
    H, x = as_h_functions(op), randn(1, *op.domain_shape).requires_grad_()
    before = x.detach().clone()
    assert torch.autograd.gradcheck(H.H, (x,), fast_mode=True)
    assert torch.equal(x.detach(), before)
    assert not H.singulars().requires_grad


@pytest.mark.parametrize("name", ["wide", "cosine", "zeros"])
def test_empty_batches_and_autocast(name):
    _, op = CASES[name]()
    H = as_h_functions(op.float())
    m, n = op.shape
    assert H.H(torch.zeros(0, n)).shape == (0, m)
    assert H.H_pinv(torch.zeros(0, m)).shape == (0, n)
    x = randn(2, n).float()
    with torch.autocast("cpu", torch.bfloat16):
        assert relative(H.V(H.Vt(x)), x) < 1e-6


def test_refusals():
    op = unconv.ConvOperator(randn(1, 1, 3, 3), (40, 40), padding=1)
    with pytest.raises(NotImplementedError) as error:
        as_h_functions(op)
    assert_says(error, "fourier: the boundary", "cosine:", "separable:", "as_deepinv()")
    with pytest.raises(ValueError, match="one kernel for each of 2 samples") as error:
        as_h_functions(unconv.ConvOperator(randn(2, 1, 1, 3, 3), (4, 4)))
    assert_says(error, "op.of_sample(i)")
    with pytest.raises(TypeError, match=r"needs an unconv\.ConvOperator, got Tensor"):
        as_h_functions(randn(2, 2))
    complex_op = circular(randn(1, 1, 3, dtype=torch.complex128), (4,))
    with pytest.raises(NotImplementedError, match="are real, got an operator of"):
        as_h_functions(complex_op)
    with pytest.raises(ValueError, match="weight holds 3 NaN or infinite values"):
        as_h_functions(circular(torch.full((1, 1, 3), torch.nan), (8,)))
    with pytest.raises(unconv.MemoryLimitError, match="raise it or use a smaller"):
        as_h_functions(circular(randn(1, 1, 3), (8,)), memory_limit=10)


def test_wrong_vectors():
    H = as_h_functions(circular(randn(1, 1, 3), (8,)))
    with pytest.raises(ValueError, match=r"expected vec of shape \(N, 8\)") as error:
        H.V(randn(2, 7))
    assert_says(error, "got (2, 7)", "8 × 8")
    with pytest.raises(TypeError, match=r"vec must be a torch\.Tensor, got list"):
        H.V([[0.0] * 8])
    with pytest.raises(ValueError, match="vec is on meta, the singular vectors on cpu"):
        H.V(torch.empty(2, 8, device="meta"))
    with pytest.raises(TypeError, match="got a complex vec"):
        H.V(randn(2, 8, dtype=torch.complex128))
