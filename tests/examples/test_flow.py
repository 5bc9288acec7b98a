"""The flow: its bits per dimension are those of a dense Jacobian, and it finds patches again."""

from __future__ import annotations

import math

import pytest
import torch

from examples.flow import (
    KINDS,
    Flow,
    bits_per_dimension,
    gaussian_bits,
    patches,
    trained,
)


@pytest.fixture(scope="module")
def small():
    return patches(("camera", "coins"), 40)[..., :4, :4]


def moved(kind, seed=1):
    torch.manual_seed(seed)
    flow = Flow(kind, depth=2, side=4)
    with torch.no_grad():
        for p in flow.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return flow


@pytest.mark.parametrize("kind", KINDS)
def test_bits_are_those_of_a_dense_jacobian(kind, small):
    flow, size = moved(kind), 16
    J = torch.func.vmap(torch.func.jacrev(lambda x: flow(x[None])[0][0]), chunk_size=1)(small[:5])
    log_det = torch.linalg.slogdet(J.reshape(5, size, size))[1]
    z = flow(small[:5])[0].flatten(1)
    normal = torch.distributions.Normal(torch.zeros(()).double(), 1.0)
    log_p = normal.log_prob(z).sum(1) + log_det
    expected = 8 - log_p.mean() / (size * math.log(2))
    assert float((bits_per_dimension(flow, small[:5]) - expected).detach().abs()) < 1e-12


@pytest.mark.parametrize("kind", KINDS)
def test_patches_are_found_again(kind, small):
    flow = moved(kind)
    with torch.no_grad():
        assert torch.allclose(flow.inverse(flow(small)[0]), small, atol=1e-9)


def test_patches_are_grey_values_and_noise():
    x = patches(("camera",), 100)
    assert x.shape == (100, 1, 8, 8)
    assert float(x.amin()) >= -0.5
    assert float(x.amax()) < 0.5
    assert torch.equal(x, patches(("camera",), 100))


@pytest.mark.slow
def test_a_short_training_beats_the_gaussian():
    training, held_out = patches(("astronaut", "coffee"), 8_000), patches(("camera",), 1_000)
    flow = trained("masked", training, 120)
    with torch.no_grad():
        bits = float(bits_per_dimension(flow, held_out))
    assert bits < gaussian_bits(training, held_out)
