"""`inverse_kernel`: known figures, the laws of an optimum, and dense least squares."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from unconv import ConvOperator, MemoryLimitError
from unconv.fir import InverseKernel, inverse_kernel

from ..helpers import C128, F64, randn, relative

PLUS = torch.tensor([[0, 1, 0], [1, 1, 1], [0, 1, 0]], dtype=F64)
CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}

# (c_out, c_in, *k), size: tall, wide, square, even, asymmetric, one tap, 1-D to 3-D
CASES = [
    ((1, 1, 4), (7,)),
    ((3, 2, 3), (4,)),
    ((2, 3, 2), (5,)),
    ((1, 1, 3, 2), (4, 5)),
    ((2, 1, 3, 3), (3, 2)),
    ((3, 1, 3, 3), (4, 4)),
    ((2, 2, 2, 3), (3, 4)),
    ((1, 2, 5, 1), (2, 2)),
    ((1, 1, 1, 1), (1, 1)),
    ((1, 1, 2, 3, 2), (3, 2, 3)),
    ((2, 1, 2, 2, 2), (2, 2, 3)),
]


def composed(f: Tensor, g: Tensor, side: str) -> Tensor:
    """f ∗ g from its definition, by convolving an impulse with one and then the other."""
    nd = f.ndim - 2
    first, second = (f, g) if side == "left" else (g, f)
    spans = [a + b - 1 for a, b in zip(f.shape[2:], g.shape[2:], strict=True)]
    c = first.shape[1]
    impulse = torch.zeros(c, c, *(2 * s - 1 for s in spans), dtype=f.dtype)
    impulse[(range(c), range(c), *(s - 1 for s in spans))] = 1
    y = CONV[nd](CONV[nd](impulse, first), second)
    # A correlation shows its kernel flipped.
    return y.flip(tuple(range(2, 2 + nd))).transpose(0, 1)


def dense_optimum(f: Tensor, g: InverseKernel) -> Tensor:
    """g by torch.linalg.pinv of the matrix of g ↦ f ∗ g, column by column from the definition."""
    n = g.weight.numel()
    columns = [
        composed(f, unit.reshape(g.weight.shape), g.side).flatten()
        for unit in torch.eye(n, dtype=f.dtype)
    ]
    A = torch.stack(columns, 1)
    y = target(g).flatten()
    if g.damp:
        A, y = torch.cat([A, g.damp * torch.eye(n, dtype=f.dtype)]), torch.cat([y, y.new_zeros(n)])
    return (torch.linalg.pinv(A) @ y).reshape(g.weight.shape)


def target(g: InverseKernel) -> Tensor:
    t = torch.zeros_like(g.response)
    c = len(t)
    t[(range(c), range(c), *g.delay)] = 1
    return t


# Figures


def test_plus_kernel():
    g = inverse_kernel(PLUS, (3, 3))
    centre, edge, corner = 5 / 21, 13 / 126, -8 / 63
    expected = torch.tensor(
        [[corner, edge, corner], [edge, centre, edge], [corner, edge, corner]], dtype=F64
    )
    assert g.delay == (2, 2)
    assert relative(g.weight[0, 0], expected) < 1e-14
    assert float(g.residual**2) == pytest.approx(22 / 63, rel=1e-14)


@pytest.mark.parametrize(
    ("size", "residual"),
    [
        (5, 0.486993),
        (7, 0.450560),
        (9, 0.402284),
        (11, 0.361936),
        (15, 0.315580),
        (21, 0.272329),
        (31, 0.226503),
    ],
)
def test_residuals_of_the_plus_kernel(size, residual):
    g = inverse_kernel(PLUS, size)
    assert float(g.residual) == pytest.approx(residual, abs=5e-7)
    d = (size + 1) // 2
    assert float(g.residual**2) == pytest.approx(1 - float(g.response[0, 0, d, d]), rel=1e-12)


def test_random_kernel_of_11_by_7():
    f = torch.from_numpy(np.random.default_rng(0).random((11, 7)))
    g = inverse_kernel(f, (201, 201))
    assert float(g.residual**2) / 2 == pytest.approx(1.784393e-3, abs=5e-10)
    assert bool(g.certificate.converged.all())


@pytest.mark.parametrize("seed", range(5))
def test_three_channels_undo_one(seed):
    f = randn(3, 1, 3, 3, seed=seed)
    g = inverse_kernel(f, (4, 4))
    assert g.residual <= 1e-12
    x = randn(2, 1, 20, 17, seed=seed + 1)
    restored = F.conv2d(F.conv2d(x, f), g.weight)
    (r, c), (m, n) = g.delay, restored.shape[2:]
    assert relative(restored, x[:, :, r : r + m, c : c + n]) < 1e-11


# Laws


@pytest.mark.parametrize("damp", [0.0, 0.3])
@pytest.mark.parametrize("dtype", [F64, C128])
@pytest.mark.parametrize("delay", ["center", "best"])
@pytest.mark.parametrize(("shape", "size"), CASES)
def test_optimum(shape, size, delay, dtype, damp):
    f = randn(*shape, dtype=dtype)
    g = inverse_kernel(f, size, delay=delay, damp=damp)
    assert g.weight.shape == (shape[1], shape[0], *size)
    assert g.side == ("left" if shape[0] >= shape[1] else "right")
    h = composed(f, g.weight, g.side)
    assert relative(g.response, h) < 1e-12
    error = torch.linalg.vector_norm(h - target(g))
    assert abs(float(g.residual) - float(error)) < 1e-12
    assert float(g.noise_gain) == pytest.approx(float(g.weight.norm()))
    peak = sum(h[(i, i, *g.delay)] for i in range(len(h)))
    objective = float(error**2 + damp**2 * g.noise_gain**2)
    assert objective == pytest.approx(len(h) - float(peak.real), abs=1e-12)
    assert relative(g.weight, dense_optimum(f, g)) < 1e-9


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize(
    ("shape", "size"), [((2, 2, 3), (6,)), ((2, 2, 2, 3), (4, 4)), ((2, 2, 2, 2, 2), (3, 3, 3))]
)
def test_shows_a_shifted_signal(shape, size, side):
    """The error of conv(conv(x, f), g) is x correlated with f ∗ g − δ."""
    nd, f = len(size), randn(*shape)
    g = inverse_kernel(f, size, side=side)
    x = randn(2, 2, *[12] * nd, seed=3)
    first, second = (f, g.weight) if side == "left" else (g.weight, f)
    z = CONV[nd](CONV[nd](x, first), second)
    window = tuple(slice(d, d + m) for d, m in zip(g.delay, z.shape[2:], strict=True))
    shifted = x[(slice(None), slice(None), *window)]
    assert relative(z - shifted, CONV[nd](x, g.response - target(g)), x.norm()) < 1e-13
    assert relative(dense_optimum(f, g), g.weight) < 1e-9


@pytest.mark.parametrize("scale", [1e-6, 1e6, 1e-150])
@pytest.mark.parametrize(("shape", "size"), [((1, 1, 3, 3), (7, 7)), ((3, 1, 3, 3), (4, 4))])
def test_scale(shape, size, scale):
    f = randn(*shape)
    g, scaled = inverse_kernel(f, size), inverse_kernel(scale * f, size)
    assert relative(scaled.weight * scale, g.weight) < 1e-10
    assert scaled.residual == pytest.approx(float(g.residual), rel=1e-9, abs=1e-13)


@given(
    st.integers(1, 3), st.integers(1, 3), st.lists(st.integers(1, 4), min_size=1, max_size=3),
    st.data(),
)  # fmt: skip
def test_any_delay(c_out, c_in, kernel, draw):
    f = randn(c_out, c_in, *kernel, seed=draw.draw(st.integers(0, 99)))
    size = tuple(draw.draw(st.integers(1, 4)) for _ in kernel)
    full = [k + n - 1 for k, n in zip(kernel, size, strict=True)]
    delay = tuple(draw.draw(st.integers(0, m - 1)) for m in full)
    g = inverse_kernel(f, size, delay=delay)
    gap = len(g.response) - sum(float(g.response[(i, i, *delay)]) for i in range(len(g.response)))
    assert float(g.residual) ** 2 == pytest.approx(gap, abs=1e-11)
    assert g.certificate.optimality.max() < 1e-12


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.complex64])
def test_low_precision(dtype):
    f = randn(2, 1, 3, 3, dtype=C128 if dtype.is_complex else F64).to(dtype)
    g, exact = inverse_kernel(f, 5), inverse_kernel(f.to(C128 if dtype.is_complex else F64), 5)
    assert g.weight.dtype == dtype
    assert g.response.dtype == exact.response.dtype
    assert relative(g.weight, exact.weight) < 2 * torch.finfo(dtype).eps


def test_damping_lowers_the_noise():
    gains = [inverse_kernel(PLUS, 9, damp=damp).noise_gain for damp in (0.0, 0.1, 1.0)]
    assert gains[0] > gains[1] > gains[2]


def test_argument_is_untouched():
    f = randn(1, 1, 3, 3)
    before = f.clone()
    inverse_kernel(f, 5, delay="best")
    assert torch.equal(f, before)


def test_taps_alone_are_one_channel():
    f = randn(3, 4)
    assert torch.equal(inverse_kernel(f, 5).weight, inverse_kernel(f[None, None], (5, 5)).weight)
    line, volume = inverse_kernel(f[0], 5), inverse_kernel(randn(2, 3, 2), (2, 2, 2))
    assert line.weight.shape == (1, 1, 5)
    assert volume.weight.shape == (1, 1, 2, 2, 2)


# Gradients


@pytest.mark.parametrize("check", [gradcheck, gradgradcheck])
@pytest.mark.parametrize(
    ("shape", "size", "damp"),
    [((1, 1, 3), (4,), 0.0), ((2, 1, 2, 2), (2, 2), 0.2), ((3, 1, 2, 2), (2, 2), 0.0)],
)
def test_gradients(shape, size, damp, check):
    f = randn(*shape).requires_grad_()

    def of(f: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        g = inverse_kernel(f, size, damp=damp)
        return g.weight, g.response, g.noise_gain

    assert check(of, (f,), atol=1e-6)


def test_gradient_of_the_residual_in_kernel_and_damp():
    f, damp = randn(1, 1, 3, 2).requires_grad_(), torch.tensor(0.3, dtype=F64, requires_grad=True)
    assert gradcheck(lambda f, d: inverse_kernel(f, 3, damp=d).residual, (f, damp), atol=1e-7)


@pytest.mark.parametrize("delay", ["center", "best"])
def test_evidence_of_a_kernel_that_wants_a_gradient(delay):
    f = randn(1, 1, 3, 3).requires_grad_()
    g = inverse_kernel(f, 3, delay=delay)
    assert g.as_dict() == inverse_kernel(f.detach(), 3, delay=delay).as_dict()
    assert g.residual.requires_grad
    assert not inverse_kernel(f, 3, exact=True).residual.requires_grad


def test_transforms_of_torch_func():
    f = randn(1, 1, 3)

    def residual(f: Tensor) -> Tensor:
        return inverse_kernel(f, 4).residual

    (expected,) = torch.autograd.grad(residual(f.requires_grad_()), f)
    assert relative(torch.func.grad(residual)(f.detach()), expected) < 1e-12
    assert relative(torch.func.jacfwd(residual)(f.detach()), expected) < 1e-12


# Failures


@pytest.mark.parametrize(
    ("weight", "size", "options", "error", "says"),
    [
        (PLUS, 0, {}, ValueError, ("size=(0, 0)", "at least 1")),
        (PLUS, (3, -1), {}, ValueError, ("(3, -1)", "at least 1")),
        (PLUS, (3, 2.5), {}, TypeError, ("(3, 2.5)", "whole number")),
        (PLUS, "3x3", {}, TypeError, ("'3x3'", "(9, 9)")),
        (PLUS, True, {}, TypeError, ("True",)),
        (PLUS, (3,), {}, ValueError, ("(3, 3)", "match size")),
        (PLUS, (3,) * 4, {}, ValueError, ("4 axes", "1, 2 or 3")),
        (torch.ones(()), 3, {}, ValueError, ("0 axes",)),
        (torch.zeros(3, 3), 3, {}, ValueError, ("zeros alone",)),
        (torch.zeros(1, 0, 3), 3, {}, ValueError, ("at least one tap",)),
        (PLUS * math.nan, 3, {}, ValueError, ("9 NaN",)),
        (PLUS.long(), 3, {}, TypeError, ("int64", ".double()")),
        ([[1.0]], 3, {}, TypeError, ("torch.Tensor", "list")),
        (PLUS, 3, {"delay": (5, 0)}, ValueError, ("(5, 0)", "(5, 5)", "(4, 4)")),
        (PLUS, 3, {"delay": (-1, 0)}, ValueError, ("outside",)),
        (PLUS, 3, {"delay": (1,)}, ValueError, ("one position per axis",)),
        (PLUS, 3, {"delay": (1.0, 1)}, TypeError, ("whole numbers",)),
        (PLUS, 3, {"delay": 2}, TypeError, ("'center', 'best'",)),
        (PLUS, 3, {"delay": "middle"}, ValueError, ("'middle'", "'center'")),
        (PLUS, 3, {"damp": -1.0}, ValueError, ("damp=-1.0",)),
        (PLUS, 3, {"side": "up"}, ValueError, ("'up'", "'left'")),
        (torch.ones(1, 2, 3), 3, {"side": "left"}, ValueError, ("c_out >= c_in", "side='right'")),
        (torch.ones(2, 1, 3), 3, {"side": "right"}, ValueError, ("c_out <= c_in", "side='left'")),
    ],
)
def test_failures(weight, size, options, error, says):
    with pytest.raises(error) as caught:
        inverse_kernel(weight, size, **options)
    for part in says:
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("options", [{}, {"damp": 0.1}, {"delay": "best"}])
def test_memory_is_refused_with_the_figure(options):
    with pytest.raises(MemoryLimitError, match=r"takes [\d.]+ GB .* smaller size"):
        inverse_kernel(PLUS, 20000, **options)
    with pytest.raises(MemoryLimitError, match="memory_limit=1 kB"):
        inverse_kernel(PLUS, 9, memory_limit=1000, **options)


def test_never_iterates():
    """Where iterations are cheaper, as for one well-damped solve, it is direct all the same."""
    f, size = randn(1, 1, 25, 25), (60, 60)
    op = ConvOperator(f, size, padding="full", flip=True)
    assert op.plan(damp=100.0, expected_solves=1).method == "krylov"
    g = inverse_kernel(f, size, damp=100.0)
    assert g.method == "boundary"
    assert bool(g.certificate.converged.all())


def test_record():
    g = inverse_kernel(PLUS, 3)
    facts = g.as_dict()
    assert facts["size"] == [3, 3]
    assert facts["residual"] == pytest.approx(math.sqrt(Fraction(22, 63)))
    assert facts["zeros"]
    assert g.exact is None
