"""Every rule against brute force on the matrix, on every rung; and what happens where it fails."""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError

import pytest
import torch
from torch import Tensor

from unconv import ConvOperator, MemoryLimitError
from unconv.parameter_choice import DampChoice, choose_damp
from unconv.parameter_choice.minimum_risk import risk_of
from unconv.parameter_choice.rules import RULES
from unconv.parameter_choice.search import grid, lowest
from unconv.pictures.restoration import blur_operator
from unconv.psf import models as psf

from ..helpers import C128, F64, assert_says, randn
from .cases import operator

NOISE = 0.1
BLURS = ("circular", "symmetric", "zeros", "reflect", "valid")


def example(
    boundary: str = "circular", n: int = 20, images: int = 1
) -> tuple[ConvOperator, Tensor]:
    op = blur_operator(psf.gaussian(0.8, truncate=2.5), (n, n), boundary)
    x = torch.zeros(images, *op.domain_shape, dtype=F64)
    x[..., 4:12, 3:15] = 1
    x[..., 8:16, 6:9] += 2
    y = op(x)
    return op, y + NOISE * randn(*y.shape, seed=3)


def by_force(op: ConvOperator, y: Tensor, rule: str, noise_std: float, damps: list[float]) -> float:
    """The rule of the textbook on a grid of damps, from the SVD of the matrix."""
    U, S, _ = torch.linalg.svd(op.to_dense())
    v = y.flatten(1) @ U
    S = torch.cat([S, S.new_zeros(len(U) - len(S))])
    lost = 1 / (1 + (S / torch.tensor(damps, dtype=F64)[:, None]) ** 2)
    gains = S / (S**2 + torch.tensor(damps, dtype=F64)[:, None] ** 2)
    power, m = v.square().sum(0), y.numel()
    ρ, η, left = lost**2 @ power, gains**2 @ power, len(y) * lost.sum(1)
    if rule == "gcv":
        values = ρ / left**2
    elif rule == "sure":
        values = ρ + 2 * noise_std**2 * (m - left)
    elif rule == "discrepancy":
        values = (ρ / (m * noise_std**2) - 1).abs()
    else:
        v = torch.tensor(damps, dtype=F64).log()

        def slope(f: Tensor) -> Tensor:
            return torch.gradient(f, spacing=(v,))[0]

        a, b = ρ.log() / 2, η.log() / 2
        bend = slope(a) * slope(slope(b)) - slope(slope(a)) * slope(b)
        values = -bend / (slope(a) ** 2 + slope(b) ** 2) ** 1.5
        values[:3], values[-3:] = math.inf, math.inf  # one-sided differences
    return damps[int(values.argmin())]


ON_RUNGS = [
    *((rule, boundary, "auto") for rule in RULES for boundary in BLURS),
    *((rule, "zeros", "boundary") for rule in RULES),
    ("gcv", "circular", "dense"),
    ("sure", "reflect", "krylov"),
    ("discrepancy", "reflect", "krylov"),
]


@pytest.mark.parametrize(("rule", "boundary", "method"), ON_RUNGS)
def test_by_force(rule, boundary, method):
    op, y = example(boundary)
    damps = grid(1e-3, 3, 161)
    expected = by_force(op, y, rule, NOISE, damps)
    choice = choose_damp(op, y, rule, noise_std=NOISE, method=method, probes=8)
    assert "decided inside" in choice.advice
    assert choice.damp == pytest.approx(expected, rel=0.06 if method == "krylov" else 0.03)
    assert (choice.standard_error > 0) == (method == "krylov" and rule in ("gcv", "sure"))


@pytest.mark.parametrize("rule", ["sure", "lcurve"])
@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("fourier-channels", C128),
        ("fourier-per sample", F64),
        ("cosine-channels", F64),
        ("separable-channels", C128),
    ],
)
def test_solves_agree_with_sums(name, dtype, rule):
    """The same values of the rule, one factorisation a damp or one for all."""
    op = operator(name, dtype)
    x = randn(op.batch_size or 2, *op.domain_shape, dtype=dtype)
    y = op(x)
    y = y + 0.3 * randn(*y.shape, dtype=dtype, seed=5)
    curves = []
    for method in ("auto", "boundary"):
        choice = choose_damp(op, y, rule, noise_std=0.3, method=method)
        curves.append(dict(choice.curve.tolist()))
    for damp, value in curves[1].items():
        nearest = min(curves[0], key=lambda d: abs(math.log(d / damp)))
        if abs(nearest / damp - 1) < 1e-9:
            assert value == pytest.approx(curves[0][nearest], rel=1e-6)
    assert len(curves[1]) <= 16 < len(curves[0])


def test_the_error_of_an_estimated_damp():
    """Other probes give other damps, by about the stated error."""
    op, y = example("zeros")
    exact = choose_damp(op, y, "gcv", method="boundary").damp
    found = [choose_damp(op, y, "gcv", method="krylov", probes=6, seed=s) for s in range(2)]
    for choice in found:
        assert abs(choice.damp - exact) < 5 * choice.damp_error + 0.02 * exact
        assert 0 < choice.damp_error < 0.3 * exact


# Results


def test_the_record():
    op, y = example()
    choice = choose_damp(op, y, "discrepancy")
    assert isinstance(choice, DampChoice)
    assert choice.rule == "discrepancy"
    damps, values = choice.curve.T
    assert (damps.diff() > 0).all()
    assert float(values[(damps - choice.damp).abs().argmin()]) == pytest.approx(1, abs=0.01)
    assert choice.noise_std == pytest.approx(NOISE, rel=0.15)
    assert "transmits least" in choice.noise_how
    assert choice.advice.endswith(".")
    with pytest.raises(FrozenInstanceError):
        choice.damp = 1.0


def test_residual_is_the_noise():
    op, y = example("zeros")
    for tau in (1.0, 1.5):
        damp = choose_damp(op, y, "discrepancy", noise_std=NOISE, tau=tau).damp
        residual = float((op(op.tikhonov(damp)(y)) - y).square().mean())
        assert residual == pytest.approx(tau * NOISE**2, rel=0.01)


def test_risk_reads_the_noise_where_a_transmits_least():
    op, y = example()
    for noise_std in (None, NOISE):
        choice = choose_damp(op, y, "risk", noise_std=noise_std)
        risk = risk_of(op, y, noise_std)
        assert choice.damp == pytest.approx(lowest(risk, risk.damps).damp, rel=1e-3)
        assert choice.noise_std == pytest.approx(NOISE, rel=0.15)
    assert choice.noise_how == "given"


@pytest.mark.parametrize("rule", [*RULES, "risk"])
@pytest.mark.parametrize(("of_kernel", "of_data"), [(1e-100, 1e100), (-3, 1e-170), (1e100, 1e150)])
def test_units(rule, of_kernel, of_data):
    op, y = example()
    expected = choose_damp(op, y, rule)
    found = choose_damp(op.with_weight(of_kernel * op.weight), of_data * y, rule)
    assert found.damp / abs(of_kernel) == pytest.approx(expected.damp, rel=3e-3)
    if expected.noise_std is not None:
        assert found.noise_std / of_data == pytest.approx(expected.noise_std, rel=1e-6)


@pytest.mark.parametrize("rule", RULES)
def test_a_batch_is_one_problem(rule):
    op, y = example(images=3)
    expected = by_force(op, y, rule, NOISE, grid(1e-2, 3, 161))
    found = choose_damp(op, y, rule, noise_std=NOISE)
    assert found.damp == pytest.approx(expected, rel=0.03)
    again = choose_damp(op, torch.cat([y, y]), rule, noise_std=NOISE)
    assert again.damp == pytest.approx(found.damp, rel=3e-3)


@pytest.mark.parametrize("rule", [*RULES, "risk"])
def test_complex_data_are_two_problems(rule):
    op, y = example(images=2)
    expected = choose_damp(op, y, rule, noise_std=NOISE).damp
    together = torch.complex(y[:1], y[1:])  # E|n|² is the sum of both
    found = choose_damp(op, together, rule, noise_std=NOISE * math.sqrt(2))
    assert found.damp == pytest.approx(expected, rel=3e-3)


def test_single_precision_and_gradients():
    op, y = example()
    expected = choose_damp(op, y, "sure").damp
    layer = op.with_weight(torch.nn.Parameter(op.weight.float()))
    assert choose_damp(layer, y.float(), "sure").damp == pytest.approx(expected, rel=1e-4)
    with torch.inference_mode():
        inside = op.with_weight(op.weight * 1)
        assert choose_damp(inside, y * 1, "sure").damp == pytest.approx(expected, rel=1e-9)


def test_arguments_are_untouched():
    op, y = example("zeros")
    before, weight = y.clone(), op.weight.clone()
    choose_damp(op, y, "lcurve")
    assert torch.equal(y, before)
    assert torch.equal(op.weight, weight)


# No minimum


@pytest.mark.parametrize(("boundary", "stands_for"), [("circular", "risk"), ("zeros", "gcv")])
def test_auto_is_least_risk_where_that_is_known(boundary, stands_for):
    op, y = example(boundary)
    found = choose_damp(op, y)
    assert found.rule == stands_for
    assert found.damp == choose_damp(op, y, "auto").damp == choose_damp(op, y, stands_for).damp


def test_flat_cross_validation():
    """With A = 3·I the rule is constant: nothing tells signal from noise."""
    op = ConvOperator(torch.full((1, 1, 1, 1), 3.0, dtype=F64), (16, 16))
    choice = choose_damp(op, randn(1, 1, 16, 16).cumsum(2).cumsum(3), "gcv")
    assert_says_advice(choice, "gcv is flat", "the damp is that of 'risk'")


@pytest.mark.parametrize("rule", ["gcv", "sure", "lcurve"])
def test_data_without_noise(rule):
    op, _ = example("circular", n=32)
    x = torch.zeros(1, *op.domain_shape, dtype=F64)
    x[..., 4:12, 3:15] = 1
    choice = choose_damp(op, op(x), rule)
    assert_says_advice(choice, "still falling at the smallest", "that of 'risk'")
    assert 0 < choice.damp < 0.1


@pytest.mark.parametrize("boundary", ["circular", "zeros"])
def test_nothing_but_noise(boundary):
    op = example(boundary)[0]
    choice = choose_damp(op, randn(1, 1, 20, 20), "gcv")
    assert choice.damp > 0.3
    if "decided" not in choice.advice:
        assert "still falling at the largest" in choice.advice


@pytest.mark.parametrize("boundary", ["circular", "zeros"])
@pytest.mark.parametrize("rule", RULES)
def test_data_that_are_zero(rule, boundary):
    """Every damp gives x = 0: a black picture is no error."""
    op, y = example(boundary)
    for method in ("auto", "boundary"):
        choice = choose_damp(op, 0 * y, rule, method=method)
        assert 0 < choice.damp < 11
        assert "decided" not in choice.advice


def test_noise_that_no_residual_reaches():
    """Tall A: what lies outside its range stays in the residual."""
    op = ConvOperator(randn(3, 1, 3, 3), (8, 8), padding=1)
    choice = choose_damp(op, randn(1, 3, 8, 8), "discrepancy", noise_std=0.01)
    assert_says_advice(choice, "exceeds the noise at the smallest", "no other rule")


def assert_says_advice(choice: DampChoice, *parts: str) -> None:
    for part in parts:
        assert part in choice.advice


# Refused


@pytest.mark.parametrize(
    ("options", "kind", "says"),
    [
        (
            {"rule": "gvc"},
            ValueError,
            "rule='gvc' is not known; use one of 'auto', 'gcv', 'lcurve'",
        ),
        ({"method": "lu"}, ValueError, "method='lu' is not known; use one of 'auto', 'fourier'"),
        ({"noise_std": -1.0}, ValueError, "noise_std=-1.0 must be a finite number >= 0"),
        ({"noise_std": math.nan}, ValueError, "noise_std=nan must be a finite number >= 0"),
        ({"noise_std": "1"}, TypeError, "noise_std must be a number, got str"),
        ({"tau": 0.0}, ValueError, "tau=0.0 must be a finite number > 0"),
        ({"probes": 0}, ValueError, "probes=0 must be at least 1"),
        ({"rule": "risk"}, NotImplementedError, "'zeros', not 'circular'"),
        (
            {"method": "fourier"},
            ValueError,
            "does not serve this operator: the boundary is 'zeros'",
        ),
        ({"method": "dense", "memory_limit": 10}, MemoryLimitError, "memory_limit is 10 B"),
    ],
)
def test_options(options, kind, says):
    with pytest.raises(kind, match=r"^[^\n]+\.$") as error:
        choose_damp(*example("zeros"), **options)
    assert_says(error, says)


@pytest.mark.parametrize("boundary", ["circular", "zeros"])
def test_more_noise_than_data(boundary):
    op, y = example(boundary)
    with pytest.raises(ValueError, match=r"^[^\n]+\.$") as error:
        choose_damp(op, y, "discrepancy", noise_std=10.0)
    assert_says(error, "noise_std=10 asks", "no damp can bring above ‖y‖", "check its unit")


@pytest.mark.parametrize(
    ("y", "says"),
    [
        (randn(1, 1, 20, 19), "expected a tensor of shape (N, 1, 20, 20)"),
        (randn(0, 1, 20, 20), "y holds no picture"),
        (randn(1, 1, 20, 20) * math.nan, "NaN or infinite"),
    ],
)
def test_data(y, says):
    with pytest.raises(ValueError, match=r"^[^\n]+\.$") as error:
        choose_damp(example()[0], y)
    assert_says(error, says)


def test_zero_kernel_and_single_samples():
    op, y = example()
    with pytest.raises(ValueError, match="the kernel is zero everywhere"):
        choose_damp(op.with_weight(0 * op.weight), y)
    line = ConvOperator(randn(1, 1, 3, 1), (2000, 1), padding=(1, 0), padding_mode="reflect")
    with pytest.raises(ValueError, match=r"at least 2 samples.*give noise_std"):
        choose_damp(line, randn(1, 1, 2000, 1), "sure", method="boundary")
