"""Convolutions for flows: exact inverses and log-determinants of three kinds of kernels."""

from __future__ import annotations

import copy

import pytest
import torch

from unconv.nn import InvertibleConv1d, InvertibleConv2d, InvertibleConv3d, invertible_conv

from ..helpers import HALVES, assert_says, randn

F64 = torch.float64
KINDS = [
    (InvertibleConv1d, (2, 5), {}, (9,)),
    (InvertibleConv1d, (3, 3), {"padding_mode": "circular"}, (8,)),
    (InvertibleConv1d, (2, 5), {"masked": True}, (9,)),
    (InvertibleConv2d, (3, 3), {"bias": False}, (5, 6)),
    (InvertibleConv2d, (2, 3), {"padding_mode": "circular"}, (5, 6)),
    (InvertibleConv2d, (2, (3, 5)), {"masked": True}, (5, 6)),
    (InvertibleConv3d, (1, 3), {}, (3, 4, 3)),
    (InvertibleConv3d, (2, 3), {"masked": True}, (3, 2, 3)),
]
every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda k: f"{k[0].__name__} {k[2]}")


def layer_of(kind, noise=0.1):
    make, sizes, options, shape = kind
    torch.manual_seed(0)
    layer = make(*sizes, dtype=F64, **options)
    with torch.no_grad():
        layer.weight.add_(noise * torch.randn_like(layer.weight))
        if layer.bias is not None:
            layer.bias.normal_()
    return layer, randn(3, layer.channels, *shape)


@every_kind
def test_inverse_and_log_determinant_are_those_of_the_matrix(kind):
    layer, x = layer_of(kind)
    y, logabsdet = layer(x)
    assert torch.allclose(layer.inverse(y), x, rtol=1e-10)
    A = torch.func.jacrev(lambda v: layer(v[None])[0][0])(x[0]).reshape(x[0].numel(), -1)
    assert torch.allclose(torch.linalg.slogdet(A)[1], logabsdet, rtol=1e-12)


@every_kind
def test_gradients_are_those_of_the_matrix(kind):
    layer, x = layer_of(kind)

    def loss_of_matrix():
        A = layer.operator(x.shape[2:]).to_dense()
        b = 0 if layer.bias is None else layer.bias.reshape(-1, *[1] * layer.nd)
        undone = torch.linalg.solve(A, (x - b).flatten(1).mT)
        return torch.linalg.slogdet(A)[1] + undone.square().sum()

    found = torch.autograd.grad(layer(x)[1] + layer.inverse(x).square().sum(), layer.weight)[0]
    expected = torch.autograd.grad(loss_of_matrix(), layer.weight)[0]
    assert torch.allclose(found, expected, rtol=1e-8, atol=1e-8)


def test_a_masked_kernel_is_triangular():
    layer, x = layer_of(KINDS[5])
    A = layer.operator(x.shape[2:]).to_dense().reshape(2, 30, 2, 30).transpose(0, 1)
    A = A.transpose(2, 3).reshape(60, 60)  # pixel by pixel, its channels together
    assert torch.equal(A, A.tril())


@every_kind
def test_a_layer_starts_near_the_identity(kind):
    layer, x = layer_of(kind, noise=0.0)
    y, logabsdet = (t.detach() for t in layer(x))
    bias = 0 if layer.bias is None else layer.bias.detach().reshape(-1, *[1] * layer.nd)
    assert float((y - bias - x).norm()) < 0.2 * float(x.norm())
    assert abs(float(logabsdet)) < 0.2 * x[0].numel()


def test_a_step_of_training_makes_a_new_factor():
    layer, x = layer_of(KINDS[3])
    twin = copy.deepcopy(layer)
    layer.inverse(x)
    with torch.no_grad():
        layer.weight.mul_(2)
    assert torch.allclose(layer.inverse(x), twin.inverse(x) / 2)
    assert torch.allclose(layer.float().inverse(x.float()).double(), twin.inverse(x) / 2, atol=1e-4)


@pytest.mark.parametrize("kind", [KINDS[1], KINDS[3], KINDS[5]])
def test_a_layer_that_became_singular_says_so(kind):
    layer, x = layer_of(kind)
    with torch.no_grad():
        layer.weight.zero_()
    with pytest.raises(ValueError, match="has become singular"):
        layer(x)
    with pytest.raises(ValueError, match=r"singular.*reset_parameters"):
        layer.inverse(x)


def test_a_determinant_may_be_known_where_no_digit_of_an_inverse_is():
    layer = InvertibleConv1d(1, 3, "circular", dtype=F64)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[[1, 1 + 4e-16, 0]]], dtype=F64))  # 4e-16 at ω = π
    x = randn(1, 1, 8)
    assert -34 < float(layer(x)[1].detach()) < -32
    with pytest.raises(ValueError, match="singular to double precision, so that no digit"):
        layer.inverse(x)


@pytest.mark.parametrize("kind", [KINDS[1], KINDS[3], KINDS[5]])
def test_no_samples_and_half_precision(kind):
    layer, x = layer_of(kind)
    assert layer.inverse(x[:0]).shape == x[:0].shape == layer(x[:0])[0].shape
    for dtype in HALVES:
        made = kind[0](*kind[1], dtype=dtype, **kind[2])
        y, _ = made(x.to(dtype))
        assert y.dtype == made.inverse(y).dtype == dtype
        assert torch.allclose(made.inverse(y).double(), x, atol=0.05)


@pytest.mark.parametrize("kind", [KINDS[1], KINDS[3], KINDS[5]])
def test_ensembles_by_vmap(kind):
    layer, x = layer_of(kind)
    held = {k: torch.stack([v, 1.1 * v]).detach() for k, v in layer.named_parameters()}

    def forward(parameters, x):
        return torch.func.functional_call(layer, parameters, (x,))

    def inverse(parameters, x):
        undo = torch.nn.Module()
        undo.layer, undo.forward = layer, layer.inverse
        renamed = {f"layer.{k}": v for k, v in parameters.items()}
        return torch.func.functional_call(undo, renamed, (x,))

    y, logabsdet = torch.func.vmap(forward, (0, None))(held, x)
    assert torch.allclose(logabsdet[0], layer(x)[1], rtol=1e-12)
    assert torch.allclose(torch.func.vmap(inverse)(held, y), x.expand_as(y), rtol=1e-10)


@pytest.mark.parametrize(("noise", "most"), [(0.03, 20), (0.1, 150)])
def test_substitution_ends_where_it_has_settled(noise, most, monkeypatch):
    """Of 4,096 unknowns in float32, in which residuals stay a few round-offs large."""
    calls = []

    def counted(found):
        calls.append(found)
        return is_settled(found)

    is_settled = invertible_conv._is_settled
    monkeypatch.setattr(invertible_conv, "_is_settled", counted)
    torch.manual_seed(0)
    layer = InvertibleConv2d(16, 3, masked=True)
    with torch.no_grad():
        layer.weight.add_(noise * torch.randn_like(layer.weight))
        x = torch.randn(2, 16, 16, 16)
        assert torch.allclose(layer.inverse(layer(x)[0]), x, atol=1e-5)
    assert len(calls) <= most


def test_a_longest_row_of_taps_is_followed_to_its_end():
    """Each pixel waits for its left and its upper right neighbour: 6 + 2·4 waves."""
    layer = InvertibleConv2d(1, 3, masked=True, bias=False, dtype=F64)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.0, 0, -2], [-2, 1, 0], [0, 0, 0]]))
    x = randn(1, 1, 5, 6).round()  # whole numbers: no round-off hides what is missing
    assert torch.equal(layer.inverse(layer(x)[0]), x)


def test_an_inverse_without_room_says_so():
    layer = InvertibleConv1d(1, 3, masked=True, bias=False, dtype=F64)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[[3.0, 1, 0]]]))
        with pytest.raises(ValueError, match=r"grows beyond torch.float64, for taps outweigh"):
            layer.inverse(randn(1, 1, 1000))
        with pytest.raises(ValueError, match=r"y holds 1 NaN"):
            layer.inverse(torch.full((1, 1, 1), torch.nan, dtype=F64))
        layer.weight[0, 0, 1] = torch.nan
        for call in (layer, layer.inverse):
            with pytest.raises(ValueError, match=r"weight holds 1 NaN"):
                call(randn(1, 1, 9))


@pytest.mark.parametrize(
    ("make", "parts"),
    [
        (lambda: InvertibleConv2d(3, 4), ["kernel_size=4", "odd"]),
        (lambda: InvertibleConv2d(3, 3, "reflect"), ["reflect", "circular"]),
        (lambda: InvertibleConv2d(3, 3, "circular", masked=True), ["masked", "zeros"]),
        (lambda: InvertibleConv2d(3, 3)(torch.zeros(5, 5)), ["shape", "x[None]"]),
        (lambda: InvertibleConv2d(3, 3)(torch.zeros(1, 2, 5, 5)), ["shape", "(N, 3, 5, 5)"]),
        (
            lambda: InvertibleConv2d(3, 3).inverse(torch.zeros(1, 2, 5, 5)),
            ["shape", "(N, 3, 5, 5)"],
        ),
    ],
)
def test_refusals(make, parts):
    with pytest.raises(ValueError, match=parts[0]) as raised:
        make()
    assert_says(raised, *parts)
