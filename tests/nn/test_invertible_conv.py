"""Convolutions for flows: exact inverses and log-determinants of three kinds of kernels."""

from __future__ import annotations

import copy

import pytest
import torch

from unconv.nn import InvertibleConv1d, InvertibleConv2d, InvertibleConv3d

from ..helpers import assert_says, randn

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
    for call in (layer, layer.inverse):
        with pytest.raises(ValueError, match="has become singular"):
            call(x)


@pytest.mark.parametrize(
    ("make", "parts"),
    [
        (lambda: InvertibleConv2d(3, 4), ["kernel_size=4", "odd"]),
        (lambda: InvertibleConv2d(3, 3, "reflect"), ["reflect", "circular"]),
        (lambda: InvertibleConv2d(3, 3, "circular", masked=True), ["masked", "zeros"]),
        (lambda: InvertibleConv2d(3, 3)(torch.zeros(3, 5, 5)), ["shape", "x[None]"]),
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
