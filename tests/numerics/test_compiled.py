"""Operators and inverses under torch.compile(fullgraph=True): the same numbers and gradients."""

from __future__ import annotations

import copy
import gc
import inspect
import warnings

import pytest
import torch
from torch import nn

from unconv import (
    ConvOperator,
    LinearOperator,
    conv1d_adjoint,
    conv1d_pinv,
    tikhonov,
)
from unconv.nn import TikhonovConv2d
from unconv.testing import dot_test

from ..doors import all_doors
from ..helpers import C128, F64, every_pair, randn, relative
from ..inverse.rung_operators import easy_weight, every_direct_rung, served


@pytest.fixture(autouse=True)
def _fresh_compiler():
    torch._dynamo.reset()


def compiled(function):
    return torch.compile(function, fullgraph=True, backend="aot_eager")


def gradients(function, x, tensors):
    return torch.autograd.grad(function(x).abs().square().sum(), (x, *tensors))


@pytest.mark.parametrize("way", ["forward", "adjoint", "gram"])
@pytest.mark.parametrize("dtype", [F64, C128])
def test_operators(way, dtype):
    weight = randn(3, 2, 3, 3, dtype=dtype).requires_grad_()
    op = ConvOperator(weight, (8, 7), stride=2, padding=1, padding_mode="reflect")
    function = {"forward": op, "adjoint": op.H, "gram": op.gram}[way]
    x = randn(2, *function.domain_shape, dtype=dtype).requires_grad_()
    traced = compiled(function)
    assert torch.equal(traced(x), function(x))
    for found, expected in zip(
        gradients(traced, x, [weight]), gradients(function, x, [weight]), strict=True
    ):
        assert relative(found, expected) < 1e-13


@every_direct_rung
@pytest.mark.parametrize("adjoint", [False, True])
def test_every_direct_rung(method, adjoint):
    weight, damp = easy_weight(method).requires_grad_(), torch.tensor(0.3, requires_grad=True)
    inverse = served(method, weight).tikhonov(damp, method=method)
    function = inverse.H if adjoint else inverse
    x = randn(2, *function.domain_shape).requires_grad_()
    traced = compiled(function)
    assert torch.equal(traced(x), function(x))
    for found, expected in zip(
        gradients(traced, x, [weight, damp]), gradients(function, x, [weight, damp]), strict=True
    ):
        assert relative(found, expected) < 1e-12


def test_iterations_penalties_and_wiener():
    op = ConvOperator(randn(1, 1, 3, 3).requires_grad_(), (8, 7), padding=1)
    x = randn(1, 1, 8, 7).requires_grad_()
    for function in (
        op.tikhonov(0.5, method="krylov"),
        op.tikhonov(0.5, penalty="gradient"),
        op.wiener(0.1, 1.0),
    ):
        traced = compiled(function)
        assert relative(traced(x), function(x)) < 1e-13
        found, expected = (gradients(f, x, [op.weight]) for f in (traced, function))
        assert relative(found[1], expected[1]) < 1e-10


@every_pair(
    kind=["adjoint", "boundary", "krylov", "penalty"], c=[1, 2], dtype=[torch.complex64, C128]
)
def test_lazy_conjugates_are_resolved(kind, c, dtype):
    """Compiled code switches them off for the operations that it runs."""
    weight = randn(c, c, 3, 3, dtype=dtype).requires_grad_()
    op = ConvOperator(weight, (6, 5), padding=1)
    function = {
        "adjoint": lambda: op.H,
        "boundary": lambda: op.tikhonov(0.5, method="boundary").H,
        "krylov": lambda: op.tikhonov(0.5, method="krylov"),
        "penalty": lambda: op.tikhonov(0.5, penalty="gradient"),
    }[kind]()
    y = randn(1, c, 6, 5, dtype=dtype).requires_grad_()
    traced = compiled(function)
    found, expected = traced(y), function(y)
    if kind == "penalty":  # a product with a conjugate that is written out rounds its last bit
        assert relative(found, expected) < 4 * torch.finfo(dtype).eps
    else:
        assert torch.equal(found, expected)
    for found, expected in zip(
        gradients(traced, y, [weight]), gradients(function, y, [weight]), strict=True
    ):
        assert relative(found, expected) < 1e-5


def test_a_stale_factor_and_a_lost_operator_are_refused():
    weight = randn(1, 1, 3).requires_grad_()
    inverse = ConvOperator(weight, (6,), padding=1).tikhonov(0.5)
    traced = compiled(inverse)
    x = traced(randn(1, 1, 6))
    with torch.no_grad():
        weight.mul_(2)
    with pytest.raises(RuntimeError, match="factor it again"):
        traced(randn(1, 1, 6))
    with pytest.raises(RuntimeError, match="modified by an inplace"):
        x.sum().backward()

    def forgotten():
        own = ConvOperator(weight, (6,), padding=1).tikhonov(0.5)
        return torch.compile(lambda y: own(y).sin(), backend="aot_eager")(randn(1, 1, 6))

    x = forgotten()
    torch._dynamo.reset()
    gc.collect()
    with pytest.raises(RuntimeError, match="keep a reference"):
        x.sum().backward()


def test_data_alone_and_other_batches():
    inverse = ConvOperator(randn(1, 1, 3, 3), (8, 7), padding=1).tikhonov(0.5)
    traced = compiled(inverse)
    for N in (1, 2, 5):
        x = randn(N, 1, 8, 7).requires_grad_()
        found, expected = (gradients(f, x, []) for f in (traced, inverse))
        assert relative(found[0], expected[0]) < 1e-14
        with torch.no_grad():
            assert torch.equal(traced(x), inverse(x))
    mixed = compiled(inverse)(randn(1, 1, 8, 7, dtype=C128))
    assert mixed.dtype == C128


def test_copies_are_operators_of_their_own():
    op = ConvOperator(randn(1, 1, 3), (6,), padding=1)
    inverse = op.tikhonov(0.5)
    for original in (op, inverse):
        other = copy.deepcopy(original)
        assert other.handle != original.handle
        assert dot_test(other) < 1e-13
        x = randn(1, 1, 6)
        assert torch.equal(compiled(other)(x), original(x))


def test_within_a_network():
    op = ConvOperator(randn(2, 1, 3, 3), (8, 7), padding=1)
    inverse = op.tikhonov(0.5)
    conv = nn.Conv2d(1, 1, 3, padding=1, dtype=F64)
    x = randn(1, 1, 8, 7)

    def network(x):
        return inverse(torch.relu(op(conv(x)))) - x

    assert relative(compiled(network)(x), network(x)) < 1e-14


def test_layers_break_the_graph_and_nothing_else():
    layer = TikhonovConv2d(1, 2, 3, padding=1, dtype=F64)
    net = nn.Sequential(layer, nn.Conv2d(1, 1, 3, dtype=F64))
    y = randn(1, 2, 6, 6)
    assert relative(torch.compile(net, backend="aot_eager")(y), net(y)) < 1e-14


@pytest.mark.filterwarnings("ignore:.torch.jit.script_method:DeprecationWarning")  # inductor's own
@pytest.mark.parametrize("backend", ["eager", "aot_eager", "inductor"])
def test_solves_break_the_graph(backend):
    """Their certificates once went lost inside: an IndexError."""
    op, y = ConvOperator(randn(2, 1, 3), (7,), padding=1), randn(1, 2, 7)

    def solve(y):
        found = op.lstsq(2 * y, 0.1)
        return found.solution + tikhonov(y, op.weight, 0.3, padding=1), found.certificate

    (x, certificate), (expected, _) = torch.compile(solve, backend=backend)(y), solve(y)
    assert relative(x, expected) < 1e-14
    assert certificate.converged.all()


MADE_INSIDE = {
    "lstsq": lambda op, y, damp: op.lstsq(y, damp).solution,
    "tikhonov": lambda op, y, damp: op.tikhonov(damp)(y),
    "its adjoint": lambda op, y, damp: op.tikhonov(damp).H(op.H(y)),
    "penalty": lambda op, y, damp: op.tikhonov(damp, penalty="gradient")(y),
    "pinv": lambda op, y, damp: op.pinv()(y) * damp,
    "operator": lambda op, y, damp: op.with_weight(op.weight * damp)(op.H(y)),
}
"""What trains a weight: operator and inverse are made anew in every step."""


@pytest.mark.filterwarnings("ignore:.torch.jit.script_method:DeprecationWarning")  # inductor's own
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # dynamo's, at the break
@pytest.mark.parametrize(
    ("name", "backend"),
    [
        ("lstsq", "inductor"),
        ("tikhonov", "aot_eager"),
        ("operator", "aot_eager"),
        *(pytest.param(n, "inductor", marks=pytest.mark.slow) for n in MADE_INSIDE if n != "lstsq"),
    ],
)
def test_training_steps_that_make_operator_and_inverse(name, backend):
    """One graph for all steps, though each step makes its own operators; gradients reach back."""
    solve = MADE_INSIDE[name]

    def step(y, weight, damp):
        op = ConvOperator(weight, (6, 7), padding=1)
        return solve(op, y.sin(), damp.exp()).cos()

    y, damp = randn(2, 2, 6, 7).requires_grad_(), torch.tensor(-1.0, dtype=F64).requires_grad_()
    traced = torch.compile(step, backend=backend)
    for i in range(3):
        if i == 1:
            torch._dynamo.utils.counters.clear()
        weight = (randn(2, 2, 3, 3) + i).requires_grad_()
        found, expected = traced(y, weight, damp), step(y, weight, damp)
        assert relative(found, expected) < 1e-12
        for a, b in zip(
            torch.autograd.grad(found.square().sum(), (y, weight, damp)),
            torch.autograd.grad(expected.square().sum(), (y, weight, damp)),
            strict=True,
        ):
            assert relative(a, b) < 1e-9
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 0  # none after the first


def test_one_image_and_channels_last():
    op = ConvOperator(randn(2, 2, 3, 3), (8, 7), padding=1)
    inverse = op.tikhonov(0.5)
    last = randn(2, 2, 8, 7).to(memory_format=torch.channels_last)
    for function in (op, inverse):
        for x in (randn(2, 8, 7), last):
            found, expected = compiled(function)(x), function(x)
            assert torch.equal(found, expected)
            assert found.stride() == expected.stride()


def tensors_in(found):
    """What a call returned, as numbers to compare."""
    if isinstance(found, torch.Tensor):
        return [found.detach().to_dense()]
    if isinstance(found, LinearOperator):
        return tensors_in(found(torch.ones(found.batch_size or 1, *found.domain_shape, dtype=F64)))
    if isinstance(found, tuple | list):
        return [t for part in found for t in tensors_in(part)]
    return [torch.tensor(found)] if isinstance(found, float) else []


def compared(door):
    tensors = {k: v for k, v in door.valid.items() if isinstance(v, torch.Tensor)}
    rest = {k: v for k, v in door.valid.items() if k not in tensors}

    def call(tensors):
        found = door.call(**{k: 1 * t for k, t in tensors.items()}, **rest)
        return tensors_in(list(found) if inspect.isgenerator(found) else found)

    torch.manual_seed(0)
    expected = call(tensors)
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch, about what it could not trace
        found = torch.compile(call, backend="aot_eager")(tensors)
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11, equal_nan=True)


DOORS = {door.name: door for door in all_doors()}
QUICK = ("conv1d_pinv", "wiener", "choose_damp", "inverse_kernel", "ConvOperator.svd", "svt")


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow)
                                  for n in DOORS])  # fmt: skip
def test_every_public_function_inside_compiled_code(name):
    compared(DOORS[name])


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # dynamo's, at the break
def test_gradients_of_functions_that_make_their_own_operator():
    y, weight = randn(1, 2, 7), randn(2, 1, 3).requires_grad_()
    for function in (conv1d_adjoint, conv1d_pinv):
        whole = torch.compile(
            lambda y, w, f=function: f(y.sin(), w, padding=1).cos(), backend="aot_eager"
        )
        (found,) = torch.autograd.grad(whole(y, weight).sum(), weight)
        (expected,) = torch.autograd.grad(function(y.sin(), weight, padding=1).cos().sum(), weight)
        assert relative(found, expected) < 1e-12
