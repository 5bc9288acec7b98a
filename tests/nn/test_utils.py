"""A convolution layer of torch.nn with the operator norm that it was given."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from unconv import ConvOperator
from unconv.nn.utils import spectral_norm

from ..helpers import assert_says, randn

F64 = torch.float64
KINDS = [
    (nn.Conv1d, (3, 4, 5), {"padding": 2, "padding_mode": "circular"}, (12,)),
    (nn.Conv2d, (3, 4, 3), {"padding": 1}, (9, 8)),
    (nn.Conv2d, (4, 6, 3), {"padding": 2, "dilation": 2, "groups": 2, "stride": 2}, (9, 8)),
    (nn.Conv2d, (2, 3, 5), {"padding": 2, "padding_mode": "reflect"}, (7, 7)),
    (nn.Conv2d, (2, 2, 3), {"padding": "same", "padding_mode": "replicate"}, (6, 7)),
    (nn.Conv2d, (2, 2, 3), {"padding": 1, "dtype": torch.complex128}, (6, 6)),
    (nn.Conv3d, (1, 2, 3), {}, (4, 5, 4)),
    (nn.ConvTranspose1d, (2, 3, 3), {"stride": 2, "output_padding": 1}, (6,)),
    (nn.ConvTranspose2d, (2, 3, 3), {"padding": 1}, (5, 6)),
]


def layer_of(kind, bound=1.0):
    make, sizes, options, shape = kind
    torch.manual_seed(0)
    return spectral_norm(make(*sizes, **{"dtype": F64} | options), shape, bound), shape


def true_norm(layer, shape):
    A = ConvOperator.from_module(layer, shape).to_dense()
    return float(torch.linalg.matrix_norm(A.detach(), 2))


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: f"{k[0].__name__} {k[2]}")
def test_the_norm_in_evaluation_is_the_bound(kind):
    layer, shape = layer_of(kind, bound=0.7)
    with torch.no_grad():
        layer.parametrizations.weight.original.mul_(3).add_(0.1)
    assert true_norm(layer.eval(), shape) == pytest.approx(0.7, rel=1e-10)
    kept = layer.parametrizations.weight[0]._known
    layer(torch.zeros(1, layer.in_channels, *shape, dtype=layer.weight.dtype))
    assert layer.parametrizations.weight[0]._known is kept  # found once for a weight


def test_training_follows_a_weight_that_moves():
    layer, shape = layer_of(KINDS[1])
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.01)
    for step in range(20):
        loss = -layer(randn(4, 3, *shape, seed=step)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert true_norm(copy.deepcopy(layer), shape) == pytest.approx(1, rel=5e-2)
    for _ in range(40):
        weight = layer.weight  # each look is a step
    A = ConvOperator(weight.detach(), shape, padding=1).to_dense()
    assert float(torch.linalg.matrix_norm(A, 2)) == pytest.approx(1, rel=1e-10)


def test_the_gradient_goes_through_the_norm():
    layer, shape = layer_of(KINDS[1])
    layer.eval()
    original = layer.parametrizations.weight.original
    probe = randn(*original.shape, seed=3)

    def normalised(w):
        A = ConvOperator(w, shape, padding=1).to_dense()
        return (probe * w / torch.linalg.matrix_norm(A, 2)).sum()

    (found,) = torch.autograd.grad((probe * layer.weight).sum(), original)
    (expected,) = torch.autograd.grad(normalised(original), original)
    assert torch.allclose(found, expected, rtol=1e-8)


def test_two_calls_before_one_backward():
    layer, shape = layer_of(KINDS[1])
    x = randn(2, 3, *shape)
    (layer(x).sum() + layer(x).square().sum()).backward()
    assert bool(layer.parametrizations.weight.original.grad.isfinite().all())


def test_state_copies_and_removal():
    layer, shape = layer_of(KINDS[1])
    for _ in range(3):
        layer(randn(1, 3, *shape))
    other, _ = layer_of(KINDS[1])
    with torch.no_grad():
        other.parametrizations.weight.original.zero_().add_(1)
    other.load_state_dict(layer.state_dict())
    twin = copy.deepcopy(layer)
    for one in (other, twin):
        assert torch.equal(one.parametrizations.weight[0].v, layer.parametrizations.weight[0].v)
        assert torch.equal(one.weight, copy.deepcopy(layer).weight)
    weight = layer.eval().weight.detach().clone()
    parametrize.remove_parametrizations(layer, "weight")
    assert torch.equal(layer.weight, weight)
    assert not parametrize.is_parametrized(layer)


def test_an_assigned_weight_is_normalised_and_zero_stays_zero():
    layer, shape = layer_of(KINDS[1])
    layer.eval()
    layer.weight = torch.ones_like(layer.weight)
    assert true_norm(layer, shape) == pytest.approx(1)
    layer.weight = torch.zeros_like(layer.weight)
    assert not bool(layer.weight.any())


def test_float32_and_another_dtype():
    layer, shape = layer_of((nn.Conv2d, (3, 4, 3), {"padding": 1, "dtype": torch.float32}, (9, 8)))
    assert layer(torch.zeros(1, 3, *shape)).dtype == torch.float32
    assert true_norm(layer.double().eval(), shape) == pytest.approx(1, rel=1e-6)


def test_gradients_of_functional_calls():
    layer, shape = layer_of(KINDS[1])
    layer.eval()
    x, held = randn(1, 3, *shape), dict(layer.named_parameters())

    def energy(parameters):
        return torch.func.functional_call(layer, parameters, (x,)).square().sum()

    found = torch.func.grad(energy)(held)["parametrizations.weight.original"]
    (expected,) = torch.autograd.grad(energy(held), layer.parametrizations.weight.original)
    assert torch.allclose(found, expected)


@pytest.mark.parametrize(
    ("make", "error", "parts"),
    [
        (lambda: spectral_norm(nn.Linear(3, 3), (4,)), TypeError, ["Linear", "Conv2d"]),
        (lambda: spectral_norm(nn.Conv2d(1, 1, 3), (4, 4), 0), ValueError, ["bound"]),
        (lambda: spectral_norm(nn.Conv2d(1, 1, 3), (4, 4), steps=0), ValueError, ["steps"]),
        (lambda: spectral_norm(nn.Conv2d(1, 1, 3), (2, 2)), ValueError, ["2"]),
    ],
)
def test_refusals(make, error, parts):
    with pytest.raises(error) as raised:
        make()
    assert_says(raised, *parts)
