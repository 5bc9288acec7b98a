"""A and Aᴴ of varying blurs against matrices that are built pixel by pixel."""

from __future__ import annotations

import copy
import itertools
import pickle
import random

import pytest
import torch

import unconv
from unconv import ConvolutionProduct, ConvOperator, ProductConvolution
from unconv.testing import dense_twin, dot_test

from .dense import matrix

KINDS = {True: ProductConvolution, False: ConvolutionProduct}
BOUNDARIES = [("valid", "zeros"), ("same", "zeros"), ("same", "circular")]


def drawn(draw: random.Random, nd: int, padding: str):
    """(psfs, nodes, sizes) of a small operator."""
    top = {1: 24, 2: 9, 3: 5}[nd]
    n = [draw.randint(2, top) for _ in range(nd)]
    k = [draw.randint(1, min(6, a) if padding == "valid" else 6 if nd < 3 else 3) for a in n]
    m = [a - b + 1 for a, b in zip(n, k, strict=True)] if padding == "valid" else n
    grid = [draw.randint(1, min(4, a)) for a in m]
    generator = torch.Generator().manual_seed(draw.randint(0, 2**31))
    psfs = torch.randn(*grid, *k, dtype=torch.float64, generator=generator)
    nodes = []
    for g, a in zip(grid, m, strict=True):
        steps = torch.rand(g + 1, dtype=torch.float64, generator=generator) + 0.01
        nodes.append(-0.5 + a * steps.cumsum(0)[:g] / steps.sum())
    return psfs, tuple(nodes), tuple(n)


@pytest.mark.parametrize("nd", [1, 2, 3])
@pytest.mark.parametrize(("padding", "mode"), BOUNDARIES)
@pytest.mark.parametrize("by_source", KINDS)
def test_matrix_and_adjoint(nd, padding, mode, by_source):
    draw = random.Random(f"{nd}{padding}{mode}{by_source}")
    for _ in range(8 if nd < 3 else 3):
        psfs, nodes, n = drawn(draw, nd, padding)
        smooth = draw.random() < 0.5
        A = KINDS[by_source](
            psfs,
            nodes,
            n,
            padding=padding,
            padding_mode=mode,
            interpolation="smooth" if smooth else "linear",
        )
        twin = matrix(by_source, psfs, nodes, n, padding, mode, smooth)
        assert (A.to_dense() - twin).norm() <= 1e-13 * twin.norm()
        assert (A.H.to_dense() - twin.mT).norm() <= 1e-13 * twin.norm()
        assert dot_test(A) < 1e-13


@pytest.mark.parametrize("by_source", KINDS)
@pytest.mark.parametrize(("padding", "mode"), BOUNDARIES)
def test_one_psf_is_a_convolution(by_source, padding, mode):
    K = torch.rand(4, 5, dtype=torch.float64)
    A = KINDS[by_source](
        K[None, None].expand(2, 3, 4, 5),
        (torch.tensor([0.0, 5.0]), torch.tensor([1.0, 4.0, 7.0])),
        (11, 12),
        padding=padding,
        padding_mode=mode,
    )
    B = ConvOperator(K[None, None], (11, 12), padding=padding, padding_mode=mode, flip=True)
    assert (A.to_dense() - dense_twin(B)).abs().max() < 1e-13


@pytest.mark.parametrize("by_source", KINDS)
def test_many_cells(by_source):
    """Grids that are cut, merged and cut again give what one cell gives."""
    draw = random.Random(5)
    for grid, k in [((9, 7), (3, 5)), ((2, 30), (9, 9)), ((1, 2), (2, 3))]:
        n = draw.randint(70, 90), draw.randint(380, 420)
        psfs = torch.randn(*grid, *k, dtype=torch.float64)
        nodes = tuple(
            torch.linspace(0, a - 9, g, dtype=torch.float64) for a, g in zip(n, grid, strict=True)
        )
        A = KINDS[by_source](psfs, nodes, n)
        assert len(A._cells_in(A.dtype).cells) > 1
        assert dot_test(A) < 1e-13
        o = tuple(draw.randrange(m) for m in A.range_shape[1:])
        w = A.shares.block([slice(None)] * 2)[1]
        w = w if by_source else w[(slice(None), *o)]
        h = psfs.flatten(0, 1).flip(1, 2)
        window = tuple(slice(a, a + b) for a, b in zip(o, k, strict=True))
        row = torch.zeros(n, dtype=torch.float64)
        row[window] = (
            (h * w[(slice(None), *window)]).sum(0) if by_source else torch.einsum("i,iyx->yx", w, h)
        )
        e = torch.zeros(1, *A.range_shape, dtype=torch.float64)
        e[(0, 0, *o)] = 1
        assert (A.H(e)[0, 0] - row).abs().max() < 1e-13 * row.norm()


@pytest.mark.parametrize("by_source", KINDS)
def test_given_weights(by_source):
    sizes = (9, 8) if by_source else (7, 6)
    w = torch.rand(4, *sizes, dtype=torch.float64)
    w[2, :4] = 0
    w /= w.sum(0)
    psfs = torch.rand(4, 3, 3, dtype=torch.float64)
    A = KINDS[by_source](psfs, None, (9, 8), weights=w)
    x = torch.rand(2, 1, 9, 8, dtype=torch.float64)
    y = 0
    for h, w_i in zip(psfs, w, strict=True):
        C = ConvOperator(h[None, None], (9, 8), flip=True)
        y = y + (C(w_i * x) if by_source else w_i * C(x))
    assert (A(x) - y).abs().max() < 1e-13
    assert dot_test(A) < 1e-13


def test_channels():
    psfs = torch.rand(3, 2, 2, 3, 3, dtype=torch.float64)
    nodes = torch.tensor([0.0, 5.0]), torch.tensor([1.0, 5.0])
    x = torch.rand(2, 3, 9, 8, dtype=torch.float64)
    for kind in KINDS.values():
        y = kind(psfs, nodes, (9, 8))(x)
        shared = kind(psfs[1], nodes, (9, 8), channels=3)(x)
        for c in range(3):
            alone = kind(psfs[c], nodes, (9, 8))(x[:, c : c + 1])
            assert (y[:, c : c + 1] - alone).abs().max() < 1e-13
        assert (shared[:, 1] - y[:, 1]).abs().max() < 1e-13


def test_dtypes_and_gradients():
    psfs, nodes = torch.rand(2, 3), (torch.tensor([0.0, 6.0]),)
    for kind in KINDS.values():
        A = kind(psfs, nodes, (9,), padding="same")
        twin = kind(psfs.double(), nodes, (9,), padding="same").to_dense()
        for dtype in (torch.float16, torch.float32, torch.float64, torch.complex64):
            x = torch.rand(2, 1, 9, dtype=torch.float64).to(dtype)
            y = A(x)
            assert y.dtype == torch.promote_types(torch.float32, dtype)
            exact = x.to(torch.promote_types(dtype, torch.float64)) @ twin.mT.to(
                torch.promote_types(dtype, torch.float64)
            )
            assert (y - exact).abs().max() < (1e-14 if dtype == torch.float64 else 1e-6)
        B = copy.deepcopy(A).double()
        assert B.dtype == torch.float64
        assert (B.to_dense() - twin).abs().max() < 1e-14
        assert A.dtype == torch.float32
        C = pickle.loads(pickle.dumps(B))
        x = torch.rand(2, 1, 9, dtype=torch.float64, requires_grad=True)
        assert torch.equal(C(x), B(x))
        assert torch.autograd.gradcheck(B, (x,))
        assert torch.autograd.gradcheck(B.H, (x,))


def test_observed():
    A = ProductConvolution(torch.rand(2, 3).double(), (torch.tensor([0.0, 6.0]),), (9,))
    seen = torch.tensor([1, 0, 1, 1, 1, 0, 1]).bool()
    B = A.observed(seen)
    assert torch.equal(B.to_dense(), A.to_dense() * seen[:, None])
    assert dot_test(B) < 1e-13
    y = torch.where(seen, torch.rand(1, 1, 7).double(), torch.nan)
    assert bool(B.H(y).isfinite().all())
    assert torch.equal(B.observed(~torch.eye(7).bool()[0]).seen[0], seen & ~torch.eye(7).bool()[0])


def test_costs_do_not_grow_with_the_grid():
    """FFT samples of one product, by counting them."""
    counts = []
    for g in (3, 9, 25):
        psfs = torch.rand(g, g, 5, 5)
        nodes = (torch.linspace(0, 255, g),) * 2
        cells = ProductConvolution(psfs, nodes, (256, 256), padding="same")
        cells = cells._cells_in(cells.dtype).cells
        counts.append(
            sum((len(cell.active) + 1) * cell.grid[0] * cell.grid[1] for cell in cells) / 256**2
        )
    assert counts[0] < 7
    assert counts[-1] < 11


def test_wrong_calls():
    h, nodes, n = torch.rand(2, 3, 3, 3), (torch.arange(2.0), torch.arange(3.0)), (9, 9)
    cases = [
        ({"psfs": h[0]}, ValueError, "expected 4 axes"),
        ({"psfs": h * torch.nan}, ValueError, "54 NaN"),
        ({"psfs": h.to(torch.complex64)}, TypeError, "psfs must be real"),
        ({"psfs": h.requires_grad_()}, NotImplementedError, "psfs.detach"),
        ({"nodes": nodes[:1]}, ValueError, "tuple of 2 tensors"),
        ({"nodes": nodes[::-1]}, ValueError, "for 2 psfs along this axis"),
        ({"nodes": (torch.tensor([1.0, 0.0]), nodes[1])}, ValueError, "must increase"),
        ({"nodes": (torch.tensor([1.0, 7.0]), nodes[1])}, ValueError, "outside of the 7 samples"),
        ({"nodes": (torch.tensor([1.0, torch.nan]), nodes[1])}, ValueError, "NaN"),
        ({"nodes": None}, ValueError, "either nodes or weights="),
        ({"input_shape": (9, 2)}, ValueError, "input_shape|kernel"),
        ({"input_shape": 9}, TypeError, "input_shape"),
        ({"padding": "full"}, ValueError, "'valid', 'same'"),
        ({"padding": "same", "padding_mode": "reflect"}, ValueError, "'zeros', 'circular'"),
        ({"padding_mode": "circular"}, ValueError, "needs padding='same'"),
        ({"interpolation": "cubic"}, ValueError, "'linear', 'smooth'"),
        ({"channels": 0}, ValueError, "at least 1"),
        ({"weights": torch.ones(6, 9, 9)}, ValueError, "either nodes or weights="),
    ]
    for change, error, match in cases:
        arguments = {"psfs": h.detach(), "nodes": nodes, "input_shape": n, **change}
        with pytest.raises(error, match=match):
            ProductConvolution(**arguments)
    for w, match in [
        (torch.ones(2, 7, 7), "shape"),
        (torch.ones(2, 9, 9), "add up to 1"),
        (torch.stack([torch.full((9, 9), 2.0), torch.full((9, 9), -1.0)]), ">= 0"),
        (torch.full((2, 9, 9), torch.nan), "NaN"),
    ]:
        with pytest.raises(ValueError, match=match):
            ProductConvolution(h[0, :2].detach(), None, n, weights=w)
    with pytest.raises(ValueError, match="psfs of 2 channels"):
        ProductConvolution(h.detach()[None].repeat(2, 1, 1, 1, 1), nodes, n, channels=3)


def test_both_are_at_the_top():
    assert unconv.ProductConvolution is unconv.varying.ProductConvolution
    assert {"ProductConvolution", "ConvolutionProduct", "varying"} <= set(dir(unconv))
    assert len(set(itertools.chain(unconv.varying.__all__))) == 3


def test_a_precision_is_prepared_once():
    psfs = torch.rand(3, 5)
    A = ProductConvolution(psfs, (torch.tensor([0.0, 6, 13]),), (18,))
    x = torch.rand(2, 1, 18, dtype=torch.float64)
    y = A(x)
    prepared = A._cells_in(torch.float64)
    torch.testing.assert_close(y, A.in_double()(x), rtol=1e-14, atol=0)
    A(x)
    assert A._cells_in(torch.float64) is prepared
