"""A convolution layer of torch.nn with the operator norm that it was given."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from unconv import ConvOperator
from unconv.nn.utils import spectral_norm

from ..helpers import HALVES, assert_says, randn

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


@pytest.mark.parametrize("dtype", HALVES)
def test_halves_are_followed_in_float32(dtype):
    made, shape = layer_of((nn.Conv2d, (3, 4, 3), {"padding": 1, "dtype": dtype}, (9, 8)))
    cast = layer_of((nn.Conv2d, (3, 4, 3), {"padding": 1, "dtype": torch.float32}, (9, 8)))[0]
    for layer in (made, cast.to(dtype)):
        y = layer(torch.ones(1, 3, *shape, dtype=dtype))
        y.float().square().mean().backward()
        assert y.dtype == layer.parametrizations.weight.original.grad.dtype == dtype
        assert layer.parametrizations.weight[0].v.dtype == torch.float32
        assert true_norm(layer.eval().float(), shape) == pytest.approx(1, rel=1e-2)


def test_autocast_does_not_coarsen_the_norm():
    layer, shape = layer_of((nn.Conv2d, (3, 4, 3), {"padding": 1, "dtype": torch.float32}, (9, 8)))
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.zeros(1, 3, *shape)).dtype == torch.bfloat16
        weight = layer.weight
    A = ConvOperator(weight.detach().double(), shape, padding=1)
    assert float(A.norm()) == pytest.approx(1, rel=1e-5)
    assert layer.parametrizations.weight[0].v.dtype == torch.float32


@pytest.mark.parametrize("training", [True, False])
def test_a_layer_of_zeros_learns(training):
    bare = nn.Conv2d(3, 4, 3, padding=1, dtype=F64)
    nn.init.zeros_(bare.weight)
    layer = spectral_norm(copy.deepcopy(bare), (9, 8), bound=10.0).train(training)
    x = randn(2, 3, 9, 8)
    for one in (layer, bare):
        (one(x) - 1).square().mean().backward()
    original = layer.parametrizations.weight.original
    assert torch.equal(original.grad, bare.weight.grad)
    with torch.no_grad():
        original.sub_(original.grad)
    assert true_norm(layer, (9, 8)) == pytest.approx(10, rel=1e-8)


def test_an_assigned_weight_has_its_own_vector_in_training():
    layer, shape = layer_of(KINDS[1])
    layer.weight = randn(*layer.weight.shape, seed=7)
    assert true_norm(layer, shape) == pytest.approx(1, rel=1e-8)


def test_buffers_written_in_place_between_two_forwards_and_a_backward():
    """As parallel training does with those of every other process."""
    layer, shape = layer_of(KINDS[1])
    x, total = randn(2, 3, *shape), 0
    for _ in range(2):
        total = total + layer(x).square().sum()
        for buffer in layer.buffers():
            buffer.copy_(buffer.clone())
    total.backward()
    assert layer.parametrizations.weight.original.grad.isfinite().all()


@pytest.mark.parametrize("training", [True, False])
def test_a_weight_that_is_not_finite_is_named(training):
    layer, shape = layer_of(KINDS[1])
    with torch.no_grad():
        layer.train(training).parametrizations.weight.original[0, 0, 0, 0] = torch.nan
    with pytest.raises(ValueError, match=r"weight holds 1 NaN .* \(0, 0, 0, 0\)"):
        layer(randn(1, 3, *shape))


def test_more_steps_follow_more_closely():
    lags = []
    for steps in (1, 4):
        torch.manual_seed(0)
        layer = spectral_norm(nn.Conv2d(3, 4, 3, padding=1, dtype=F64), (9, 8), steps=steps)
        optimizer = torch.optim.Adam(layer.parameters(), lr=0.01)
        for step in range(10):
            loss = -layer(randn(4, 3, 9, 8, seed=step)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        lags.append(true_norm(copy.deepcopy(layer), (9, 8)) - 1)
    assert 0 <= lags[1] < lags[0] / 2


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
