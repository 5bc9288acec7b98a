"""Layers: right, factored once, following their weight, and at home in torch's machinery."""

from __future__ import annotations

import copy
import inspect
import io
import pickle

import pytest
import torch
import torch.utils.checkpoint
from torch import nn

import unconv
from unconv import psf
from unconv.nn import (
    PinvConv1d,
    PinvConv2d,
    PinvConv3d,
    TikhonovConv1d,
    TikhonovConv2d,
    TikhonovConv3d,
    WienerConv1d,
    WienerConv2d,
    WienerConv3d,
)

from ..helpers import F64, assert_says, randn, relative

CONV = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
LAYERS = {
    1: (PinvConv1d, TikhonovConv1d, WienerConv1d),
    2: (PinvConv2d, TikhonovConv2d, WienerConv2d),
    3: (PinvConv3d, TikhonovConv3d, WienerConv3d),
}
EVERY = [(nd, layer) for nd, layers in LAYERS.items() for layer in layers]


def conv_of(nd, **options):
    torch.manual_seed(0)
    return CONV[nd](2, 3, 3, dtype=F64, **({"padding": 1} | options))


def expected(layer, op, y):
    if isinstance(layer, (PinvConv1d, PinvConv2d, PinvConv3d)):
        return op.pinv()(y)
    if isinstance(layer, (TikhonovConv1d, TikhonovConv2d, TikhonovConv3d)):
        return op.tikhonov(0.1)(y)
    return op.wiener(0.01, 1.0)(y)


@pytest.mark.parametrize(("nd", "kind"), EVERY)
@pytest.mark.parametrize("options", [{}, {"bias": False}, {"padding_mode": "circular"}])
def test_undoes_a_convolution(nd, kind, options):
    conv = conv_of(nd, **options)
    layer = kind.from_conv(conv)
    size = (6, 5, 4)[:nd]
    op = unconv.ConvOperator.from_module(conv, size)
    y = randn(2, *op.range_shape)
    bias = 0 if conv.bias is None else conv.bias.reshape(-1, *[1] * nd)
    x = layer(y)
    assert relative(x, expected(layer, op, y - bias)) < 1e-7
    x.sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in layer.parameters())
    assert conv.weight.grad is layer.weight.grad


@pytest.mark.parametrize(("nd", "kind"), EVERY)
def test_data_that_were_seen_in_part(nd, kind):
    conv = conv_of(nd, padding=0)
    layer = kind.from_conv(conv)
    op = unconv.ConvOperator.from_module(conv, (8, 7, 6)[:nd])
    seen = torch.rand(op.range_shape[1:], generator=torch.Generator().manual_seed(nd)) > 0.2
    y = randn(2, *op.range_shape)
    bias = conv.bias.reshape(-1, *[1] * nd)
    x = layer(y.masked_fill(~seen, torch.nan), observed=seen)
    assert relative(x, expected(layer, op.observed(seen), y - bias)) < 1e-5
    # Neither another mask nor none is taken for the one whose factor is kept.
    other = seen.roll(1, 0)
    assert relative(layer(y, observed=other), expected(layer, op.observed(other), y - bias)) < 1e-5
    assert relative(layer(y), expected(layer, op, y - bias)) < 1e-5


@pytest.mark.parametrize(("nd", "kind"), EVERY)
def test_made_of_the_arguments_of_a_convolution(nd, kind):
    layer = kind(4, 6, 3, stride=2, padding=1, groups=2, padding_mode="symmetric", dtype=F64)
    assert layer.weight.shape == (6, 2, *[3] * nd)
    y = layer.operator((7,) * nd)(randn(1, 4, *[7] * nd))
    assert layer(y).shape == layer(y, (7,) * nd).shape == (1, 4, *[7] * nd)
    assert layer(y, (8,) * nd).shape == (1, 4, *[8] * nd)
    fixed = kind(4, 6, 3, stride=2, padding=1, groups=2, input_shape=(8,) * nd, dtype=F64)
    assert fixed(y).shape == (1, 4, *[8] * nd)
    assert "stride=2" in repr(layer)


def test_transposed():
    conv = nn.ConvTranspose2d(2, 3, 3, stride=2, padding=1, output_padding=1, dtype=F64)
    layer = PinvConv2d.from_conv(conv, input_shape=(4, 5))
    x = randn(1, 2, 4, 5)
    assert relative(layer(conv(x)), x) < 1e-10


class Counting:
    def __init__(self, monkeypatch):
        self.count = 0
        factorize = unconv.inverse.plan.factorize

        def counted(*args):
            self.count += 1
            return factorize(*args)

        monkeypatch.setattr("unconv.doors.inverse_methods.factorize", counted)


@pytest.mark.parametrize("kind", [PinvConv1d, TikhonovConv1d])
def test_factors_when_the_weight_has_changed_and_only_then(kind, monkeypatch):
    counting = Counting(monkeypatch)
    layer, y = kind.from_conv(conv_of(1)), randn(1, 3, 6)
    for _ in range(3):
        layer(y)
    with torch.no_grad():
        layer(y)
    assert counting.count == 1
    before = layer(y)
    optimizer = torch.optim.SGD(layer.parameters(), 0.1)
    before.sum().backward()
    optimizer.step()
    after = layer(y)
    assert counting.count == 2
    assert relative(after, before) > 1e-3
    layer(randn(1, 3, 7))
    layer(y)
    assert counting.count == 3  # a factor a size
    layer.weight.data = layer.weight.data * 2
    layer(y)
    assert counting.count == 4
    layer.weight.data.mul_(2)  # leaves no trace in torch's count of changes
    layer(y)
    assert counting.count == 5
    fused = torch.optim.Adam(layer.parameters(), 0.1, fused=True)  # nor does this
    layer(y).sum().backward()
    fused.step()
    layer(y)
    assert counting.count == 6


def test_a_learnt_damp_follows_its_optimiser():
    layer, y = TikhonovConv1d.from_conv(conv_of(1), damp=0.5), randn(1, 3, 6)
    layer.weight.requires_grad_(False)
    optimizer = torch.optim.Adam([layer.log_damp], 0.1)
    losses = []
    for _ in range(5):
        optimizer.zero_grad()
        loss = layer(y).square().sum()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses == sorted(losses, reverse=True)
    assert float(layer.damp.detach()) > 0.5


def test_two_graphs_of_one_factor():
    """Each call has a graph of its own, also of what is computed before the factor."""
    layer, y = TikhonovConv1d.from_conv(conv_of(1)), randn(1, 3, 6)
    first, second = layer(y).sum(), layer(y).sum()
    first.backward()
    once = [p.grad.clone() for p in layer.parameters()]
    second.backward()
    assert all(grad.any() for grad in once)
    assert all(
        relative(p.grad, 2 * g) < 1e-13 for p, g in zip(layer.parameters(), once, strict=True)
    )


@pytest.mark.parametrize("kind", [PinvConv2d, TikhonovConv2d, WienerConv2d])
def test_state(kind):
    layer = kind.from_conv(conv_of(2))
    y = randn(1, 3, 6, 5)
    x = layer(y)
    other = kind(2, 3, 3, padding=1, dtype=F64)
    other(y)
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other(y), x)
    for copied in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(copied(y), x)
        assert copied.weight is not layer.weight
    stored = io.BytesIO()
    torch.save(layer.state_dict(), stored)
    assert stored.tell() < 10_000  # no factors
    single = layer.to(torch.float32)
    assert single(y.float()).dtype == torch.float32
    assert relative(single(y.float()), x) < 1e-4


def test_settings_that_are_not_learnt_are_buffers():
    layer = TikhonovConv1d(2, 3, 3, damp=0.25, learn_damp=False)
    assert "log_damp" in layer.state_dict()
    assert dict(layer.named_parameters()).keys() == {"weight", "bias"}
    assert layer.damp.item() == pytest.approx(0.25)
    layer = WienerConv1d(2, 3, 3, noise_psd=0.1, signal_psd=torch.ones(6), learn_psd=False)
    assert layer.signal_psd.shape == (6,)
    assert "channel_covariance" not in layer.state_dict()


def test_the_covariance_of_channels_is_the_methods():
    conv, y = conv_of(1, padding_mode="circular", bias=False), randn(2, 3, 6)
    R = torch.tensor([[1.0, 0.8], [0.8, 1.0]], dtype=F64)
    layer = WienerConv1d.from_conv(conv, channel_covariance=R)
    assert torch.equal(layer.state_dict()["channel_covariance"], R)
    op = unconv.ConvOperator.from_module(conv, (6,))
    assert relative(layer(y), op.wiener(0.01, 1.0, channel_covariance=R)(y)) < 1e-12
    assert relative(layer(y), WienerConv1d.from_conv(conv)(y)) > 1e-3
    layer(y).sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in layer.parameters())
    layer.channel_covariance.mul_(2)  # the factor follows
    assert relative(layer(y), op.wiener(0.01, 1.0, channel_covariance=2 * R)(y)) < 1e-12
    with pytest.raises(ValueError, match="complex channel_covariance"):
        WienerConv1d(2, 3, 3, channel_covariance=R.to(torch.complex128))


@pytest.mark.parametrize("kind", [PinvConv1d, TikhonovConv1d, WienerConv1d])
def test_options_of_the_solver_reach_it(kind):
    y, conv = randn(1, 3, 6), conv_of(1)
    names = inspect.signature(kind).parameters
    limits = {"memory_limit": 1e9, "tol": 1e-8, "maxiter": 500, "check_finite": False}
    if "expected_solves" in names:
        limits["expected_solves"] = 3
    if "atol" in names:
        limits["atol"] = 1e-9
        everything_cut = kind.from_conv(conv, atol=1e9)
        assert not everything_cut(y).any()
    layer = kind.from_conv(conv, **limits)
    assert layer.solver == limits
    assert layer(y).isfinite().all()
    with pytest.raises(TypeError, match="'penalty' is neither a setting of this layer"):
        kind.from_conv(conv, penalty="gradient")


def test_own_parameters_on_request():
    conv = conv_of(2)
    layer = PinvConv2d.from_conv(conv, share=False)
    assert layer.weight is not conv.weight
    assert torch.equal(layer.weight, conv.weight)
    assert layer.weight.requires_grad


def test_functional_call_and_parametrised_weights():
    layer, y = TikhonovConv1d.from_conv(conv_of(1)), randn(1, 3, 6)
    params = {k: v.detach() for k, v in layer.named_parameters()}

    def loss(params):
        return torch.func.functional_call(layer, params, (y,)).square().sum()

    grads = torch.func.grad(loss)(params)
    layer(y).square().sum().backward()
    for name, p in layer.named_parameters():
        assert relative(grads[name], p.grad) < 1e-12
    spectral = nn.utils.parametrizations.spectral_norm(TikhonovConv1d.from_conv(conv_of(1)))
    spectral(y).sum().backward()


def test_trains_in_a_network():
    torch.manual_seed(0)
    blur = psf.gaussian(1.0)[None, None].float()
    net = nn.Sequential(
        TikhonovConv2d(1, 1, blur.shape[-1], padding=blur.shape[-1] // 2, bias=False),
        nn.Conv2d(1, 1, 3, padding=1),
    )
    with torch.no_grad():
        net[0].weight.copy_(blur)
    x = torch.rand(4, 1, 16, 16)
    y = nn.functional.conv2d(x, blur, padding=blur.shape[-1] // 2)
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    losses = []
    for _ in range(15):
        optimizer.zero_grad()
        loss = (net(y) - x).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] / 2


@pytest.mark.parametrize("kind", [PinvConv1d, TikhonovConv1d, WienerConv1d])
def test_checkpoints(kind):
    layer, y = kind.from_conv(conv_of(1)), randn(1, 3, 6).requires_grad_()
    expected = torch.autograd.grad(layer(y).square().sum(), layer.weight)[0]
    torch.utils.checkpoint.checkpoint(layer, y, use_reentrant=False).square().sum().backward()
    assert relative(layer.weight.grad, expected) < 1e-12


def test_inference_mode():
    with torch.inference_mode():
        layer = PinvConv2d(2, 3, 3, padding=1)
        assert layer(torch.randn(1, 3, 6, 6)).isfinite().all()


def test_a_moved_inverse_leaves_the_layer_alone():
    layer, y = TikhonovConv1d(2, 3, 3, padding=1), torch.randn(1, 3, 6)
    layer(y)
    layer.inverse(layer.operator((6,))).double()
    assert layer(y).dtype == torch.float32


def test_parametrised_convolutions_are_refused():
    conv = nn.utils.parametrizations.weight_norm(conv_of(1))
    with pytest.raises(ValueError, match="parametrisation"):
        TikhonovConv1d.from_conv(conv)


def test_autocast():
    layer = TikhonovConv2d(2, 3, 3, padding=1)
    y = torch.randn(1, 3, 6, 6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        x = layer(y)
        x.float().sum().backward()
    assert x.dtype == torch.bfloat16
    assert relative(x.float(), layer(y)) < 1e-2
    assert layer.weight.grad.dtype == torch.float32


def test_bad_input():
    conv = conv_of(2)
    with pytest.raises(ValueError, match="spatial axes") as error:
        PinvConv1d.from_conv(conv)
    assert_says(error, "Conv2d", "PinvConv2d")
    with pytest.raises(TypeError, match=r"nn\.Conv1d"):
        PinvConv2d.from_conv(nn.Linear(2, 3))
    with pytest.raises(ValueError, match="input_shape"):
        PinvConv2d.from_conv(nn.ConvTranspose2d(2, 3, 3))
    with pytest.raises(ValueError, match="damp=0"):
        TikhonovConv2d(2, 3, 3, damp=0.0)
    with pytest.raises(ValueError, match="noise_psd must be positive"):
        WienerConv2d(2, 3, 3, noise_psd=0.0)
    with pytest.raises(TypeError, match="'damp' is neither"):
        PinvConv2d(2, 3, 3, damp=0.1)
    layer = PinvConv2d.from_conv(conv)
    with pytest.raises(ValueError, match=r"y\[None\]"):
        layer(randn(6, 6))
    with pytest.raises(ValueError, match="channels"):
        layer(randn(1, 2, 6, 6))
    with pytest.raises(TypeError, match="floating point"):
        layer(torch.ones(1, 3, 6, 6, dtype=torch.long))


@pytest.mark.parametrize(("nd", "kind"), EVERY)
def test_docstrings_tell_every_setting_and_have_an_example(nd, kind):
    text = kind.__doc__
    assert f"nn.Conv{nd}d" in text
    assert f"unconv.nn.{kind.__name__}(3, 8, 3" in text
    assert "{" not in text
    for name in inspect.signature(kind).parameters:
        assert name in text
