"""Gradients of damped inverses at every damp, against 120 digits: first and second derivatives."""

from __future__ import annotations

import random
import warnings

import mpmath
import pytest
import torch

from unconv import ConvOperator
from unconv.inverse.normal_equations import refinements_for

from ..helpers import (
    C128,
    DOUBLES,
    F64,
    randn,
    relative,
)
from .gradient_oracle import (
    EPS,
    Oracle,
    Point,
    differentiated,
    distance,
    numbers,
)

MODES = {"fourier": "circular", "cosine": "symmetric", "separable": "reflect"}
SHAPES = {"tall": (3, 2), "square": (2, 2), "wide": (2, 3)}
METHODS = [*MODES, "dense", "boundary", "krylov"]
# times the change by rounding once; an iteration is asked for 1e-13
LIMIT = dict.fromkeys(METHODS, 40.0) | {"krylov": 2e4}
DAMPS = (-10, -9, -8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 3)  # powers of ten of σ_max


def kernel(method, kind, dtype, seed):
    """A random weight that the rung serves, tall, square, wide or with dependent channels."""
    c_out, c_in = SHAPES.get(kind, (2, 2))
    K = randn(c_out, c_in, 3, dtype=dtype, seed=seed)
    if method == "separable":
        K = K[..., :1] * randn(3, dtype=dtype, seed=seed + 1)
    if method == "cosine":
        K = K + K.flip(-1)
    if kind == "deficient":
        K[1] = 2 * K[0]
    return K


def derivatives(op, method, damp, v, g, along, adjoint):
    """First derivatives of Re⟨g, B v⟩ in (v, weight, damp), and their derivative along a change."""
    inputs = v.clone(), op.weight.clone(), torch.tensor(damp, dtype=F64)
    for t in inputs:
        t.requires_grad_()
    inverse = op.with_weight(inputs[1]).tikhonov(inputs[2], method=method, tol=1e-13)
    x = (inverse.H if adjoint else inverse)(inputs[0])
    first = torch.autograd.grad((g.conj() * x).real.sum(), inputs, create_graph=True)
    slope = sum((c.conj() * f).real.sum() for c, f in zip(along, first, strict=True))
    return first, torch.autograd.grad(slope, inputs)


def check(op, method, damp, adjoint, seed):
    """Errors stay within what rounding A, v and g does to the derivatives."""
    shapes = (op.range_shape, op.domain_shape)[:: -1 if adjoint else 1]
    v, g = (randn(1, *s, dtype=op.dtype, seed=seed + i) for i, s in enumerate(shapes))
    along = [
        randn(*t.shape, dtype=op.dtype, seed=seed + 2 + i) for i, t in enumerate((v, op.weight))
    ]
    along.append(torch.tensor(damp, dtype=F64))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an iteration may stop above tol=1e-13
        found = derivatives(op, method, damp, v, g, along, adjoint)
    # what the rung itself takes for nothing: it leaves out a refinement that changes x by less
    one_pass = 2e-12 if method == "boundary" and damp > 1e-4 * float(op.norm()) else 0.0
    with mpmath.workdps(120):
        oracle, at = Oracle(op, adjoint), Point.of(v, op.weight, damp, g)
        direction = Point.of(*along[:2], damp, torch.zeros_like(g))
        for order, find in enumerate((oracle.gradient, differentiated(oracle.gradient, direction))):
            exact, moved = find(at, None), oracle.sensitivity(at, find)
            for name, f, e, s in zip(
                ("v", "weight", "damp"), found[order], exact, moved, strict=True
            ):
                size = float(mpmath.norm(mpmath.matrix(e), 2))
                error = distance(numbers(f), e)
                wrong = error / (LIMIT[method] * (s + EPS * size) + one_pass * size)
                assert wrong <= 1, (order + 1, name, error / size, s / size)


@pytest.mark.parametrize("method", METHODS)
def test_every_rung_shape_and_damp(method):
    draw = random.Random(METHODS.index(method))
    for _ in range(4):
        check_draw(method, draw)


@pytest.mark.parametrize("kind", SHAPES)
def test_boundary_at_a_damp_near_round_off(kind):
    """Where the gradient in damp once was 10–36 % wrong, and x right to 4e-15."""
    op = ConvOperator(kernel("boundary", kind, F64, 0), (4,), padding=1)
    check(op, "boundary", 1e-8 * float(op.norm()), False, 1)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_many_more(method):
    draw = random.Random(100 + METHODS.index(method))
    for _ in range(100):
        check_draw(method, draw)


def check_draw(method, draw):
    kind = draw.choice([*SHAPES, "deficient"])
    power = draw.choice([p for p in DAMPS if method != "krylov" or p >= -3])
    dtype, adjoint, seed = draw.choice(DOUBLES), draw.random() < 0.5, draw.randrange(10**6)
    mode = MODES.get(method) or draw.choice(["zeros", "zeros", "replicate", "circular"])
    op = ConvOperator(
        kernel(method, kind, dtype, seed), (draw.choice([4, 5]),), padding=1, padding_mode=mode
    )
    damp = 10.0**power * float(op.svdvals().max())
    if method == "boundary" and kind == "deficient" and power < -7:
        return  # where no digit of x itself is right
    try:
        op.tikhonov(damp, method=method)
    except ValueError:  # this rung does not factor it
        return
    try:
        check(op, method, damp, adjoint, seed)
    except AssertionError as error:
        raise AssertionError(f"{method}, {kind}, 1e{power}, {dtype}, {adjoint}, {seed}") from error


@pytest.mark.parametrize("method", ["fourier", "cosine"])
@pytest.mark.parametrize("damp", [1e-10, 1e-8, 1e-6, 1e-4, 1e-2, 4e-2, 1.0])
def test_a_null_space_that_its_structure_holds_in_place(method, damp):
    """Constants under (1, −2, 1): a derivative that rounding the matrix would change altogether."""
    weight = torch.tensor([[[1.0, -2, 1]]], dtype=F64)
    op = ConvOperator(weight, (6,), padding=1, padding_mode=MODES[method])
    v, g = randn(1, 1, 6, seed=1), randn(1, 1, 6, seed=2)
    d = torch.tensor(damp, dtype=F64, requires_grad=True)
    (found,) = torch.autograd.grad((g * op.tikhonov(d, method=method)(v)).sum(), d)
    with mpmath.workdps(120):
        (exact,) = Oracle(op, False).gradient(Point.of(v, weight, damp, g), None)[2]
        assert abs(float(found) / float(exact) - 1) < 1e-12
    (tangent,) = torch.func.jvp(
        lambda d: op.tikhonov(d, method=method)(v), (d.detach(),), (d * 0 + 1,)
    )[1:]
    assert abs(float((g * tangent).sum().detach()) / float(exact) - 1) < 1e-12


@pytest.mark.parametrize("damp", [1e-8, 1e-4])
@pytest.mark.parametrize("c_in", [2, 3])
@pytest.mark.parametrize("mode", ["circular", "zeros"])
def test_one_kernel_a_sample(mode, c_in, damp):
    """As each of them alone."""
    K, v = randn(2, 2, c_in, 3).requires_grad_(), randn(2, 2, 5, seed=1, dtype=C128)
    d = torch.tensor(damp, dtype=F64, requires_grad=True)

    def gradients(K, v):
        x = ConvOperator(K, (5,), padding=1, padding_mode=mode).tikhonov(d)(v)
        return torch.autograd.grad(x.abs().square().sum(), (K, d))

    together = gradients(K, v)
    alone = [gradients(K[i], v[i : i + 1]) for i in range(2)]
    assert relative(together[0], torch.stack([a[0] for a in alone])) < 1e-12
    assert relative(together[1], sum(a[1] for a in alone)) < 1e-12


@pytest.mark.parametrize("damp", [1e-3, 1e-6])
@pytest.mark.parametrize("shape", [(3, 2, 3), (2, 2, 3), (2, 3, 3)])
def test_transforms_agree(shape, damp):
    # Of condition 155 where they are square: at 1e4 some processors' round-off is 1.1e-12.
    weights, v = randn(2, *shape, seed=10), randn(1, shape[0], 5, seed=11)

    def loss(weight, damp):
        return ConvOperator(weight, (5,), padding=1).tikhonov(damp)(v).square().sum()

    d = torch.tensor(damp, dtype=F64)
    mapped = torch.func.vmap(torch.func.grad(loss), (0, None))(weights, d)
    alone = torch.stack([torch.func.grad(loss)(w, d) for w in weights])
    assert relative(mapped, alone) < 1e-12
    forward = torch.func.jacfwd(torch.func.grad(loss, (0, 1)), (0, 1))(weights[0], d)
    backward = torch.func.jacrev(torch.func.grad(loss, (0, 1)), (0, 1))(weights[0], d)
    for f, b in zip((x for y in forward for x in y), (x for y in backward for x in y), strict=True):
        assert relative(f, b) < 1e-10


@pytest.mark.parametrize(("ratio", "dtype", "count"), [
    (80, F64, 0), (100, F64, 1), (1e8, F64, 1), (1e10, F64, 2), (30, torch.float32, 1),
])  # fmt: skip
def test_steps(ratio, dtype, count):
    assert refinements_for(ratio, dtype) == count
