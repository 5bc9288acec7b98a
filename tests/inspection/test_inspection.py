"""The figures of an inspection against the dense matrix."""

from __future__ import annotations

import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unconv import ConvOperator, MemoryLimitError, inspection
from unconv.inspection import (
    RTOLS,
    inspect_operator,
    response,
    transfer_function,
    values,
)
from unconv.pictures.restoration import BOUNDARIES, blur_operator
from unconv.psf import models as psf

from ..helpers import assert_says, randn

PLUS = torch.tensor([[0.0, 1, 0], [1, 1, 1], [0, 1, 0]]).double()


@pytest.fixture
def coarse(monkeypatch):
    """A grid of frequencies that takes no time."""
    monkeypatch.setattr(response, "_GRID", {1: 64, 2: 32, 3: 8})


def dense_values(op):
    return torch.linalg.svdvals(op.to_dense().to(torch.complex128))


def has_bounds(found, true, slack=1e-13):
    assert found.lower - slack <= true <= found.upper + slack
    if not math.isnan(found.value):
        assert found.value == pytest.approx(true, rel=1e-6, abs=1e-13)


# --- against the matrix

OPERATORS = {
    "circular": lambda: ConvOperator(randn(2, 3, 3, 3), (6, 5), padding=1, padding_mode="circular"),
    "separable": lambda: blur_operator(psf.gaussian(0.7), (12, 10), "reflect"),
    "dense": lambda: ConvOperator(randn(3, 2, 3), (17,), padding=1),
    "tall": lambda: ConvOperator(randn(4, 1, 2, 2), (5, 6), padding=1, padding_mode="reflect"),
    "stride": lambda: ConvOperator(randn(2, 2, 3, 3), (8, 6), stride=2, padding=1),
    "groups": lambda: ConvOperator(randn(4, 2, 3), (12,), groups=2, padding=1),
    "dilation": lambda: ConvOperator(randn(1, 1, 3), (15,), dilation=2, padding=2),
    "transposed": lambda: ConvOperator(randn(2, 3, 3), (7,), stride=2, transposed=True),
    "volume": lambda: ConvOperator(randn(1, 1, 2, 2, 2), (4, 5, 3), padding=1),
    "complex": lambda: ConvOperator(randn(1, 2, 3, dtype=torch.complex128), (11,), padding=1),
    "float32": lambda: ConvOperator(randn(1, 1, 3, dtype=torch.float32), (20,), padding=1),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_against_the_matrix(name, coarse):
    op = OPERATORS[name]()
    found, S = inspect_operator(op), dense_values(op)
    assert found.values_of == "A"
    torch.testing.assert_close(found.singular_values, S, rtol=1e-8, atol=1e-12)
    has_bounds(found.sigma_max, float(S[0]))
    has_bounds(found.sigma_min, float(S[-1]))
    assert found.shape == op.shape
    assert not found.skipped
    for level in found.levels[:-1]:
        kept = S[level.rtol * S[0] < S]
        assert (level.rank, level.of) == (len(kept), len(S))
        gain = torch.linalg.norm(torch.linalg.pinv(op.to_dense(), rtol=level.rtol))
        assert level.noise_gain == pytest.approx(float(gain) / math.sqrt(op.shape[1]), rel=1e-4)
    assert [level.rtol for level in found.levels[:-1]] == list(RTOLS)


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("kernel", ["plus", "motion"])
def test_every_boundary(boundary, kernel, coarse):
    op = blur_operator(PLUS / 5 if kernel == "plus" else psf.motion(4, 30), (12, 13), boundary)
    found, S = inspect_operator(op), dense_values(op)
    assert found.boundary == boundary
    torch.testing.assert_close(found.singular_values, S, rtol=1e-8, atol=1e-12)
    has_bounds(found.rank, float(torch.linalg.matrix_rank(op.to_dense())))


@pytest.fixture
def hurried(monkeypatch):
    """As if every operator were too large for all of its values."""
    monkeypatch.setattr(values, "_LAPACK_SIDE", 0)


@pytest.mark.parametrize("boundary", ["zeros", "reflect", "replicate", "valid"])
@pytest.mark.parametrize("how", ["doors", "waves"])
def test_extremes_alone(boundary, how, hurried, monkeypatch, coarse):
    if how == "waves":
        monkeypatch.setattr(values, "OPERATIONS", 2e5)
        monkeypatch.setattr(values, "_FACTOR_BYTES", 0)
    op = blur_operator(psf.motion(4, 30), (12, 13), boundary)
    found, S = inspect_operator(op), dense_values(op)
    assert found.values_of.startswith("the circular operator of the same kernel")
    assert bool(found.skipped) or how == "doors"
    has_bounds(found.sigma_min, float(S[-1]))
    assert found.sigma_max.lower - 1e-13 <= S[0] <= found.sigma_max.upper + 1e-13
    if math.isfinite(found.cond.value):
        has_bounds(found.cond, float(S[0] / S[-1]))
    assert math.isnan(found.sigma_min.value) == (how == "waves")
    assert found.rank.lower <= int(torch.linalg.matrix_rank(op.to_dense())) <= found.rank.upper


def test_values_of_the_circular_twin(hurried, coarse):
    op = blur_operator(psf.motion(4, 30), (12, 14), "zeros")
    twin = blur_operator(psf.motion(4, 30), (12, 14), "circular")
    found = inspect_operator(op)
    torch.testing.assert_close(found.singular_values, dense_values(twin), rtol=1e-9, atol=1e-13)


def test_a_coarser_twin_where_the_whole_takes_too_long(monkeypatch):
    op = ConvOperator(randn(4, 4, 3, 3), (16, 12), padding=1, padding_mode="circular")
    monkeypatch.setattr(values, "OPERATIONS", 1e5)
    found, S = inspect_operator(op), dense_values(op)
    assert "on " in found.values_of
    assert found.sigma_max.lower <= S[0] <= found.sigma_max.upper
    assert S[-1] <= found.sigma_min.upper
    assert len(found.skipped) >= 2


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("mode", ["zeros", "circular", "symmetric"])
@given(data=st.data())
def test_waves_bound_both_ends(stride, mode, data):
    shape = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 4)))
    op = ConvOperator(
        randn(*shape, seed=data.draw(st.integers(0, 99))),
        (data.draw(st.integers(4, 12)),),
        stride=stride,
        padding=2,
        padding_mode=mode,
    )
    S = dense_values(op)
    at = [data.draw(st.floats(-0.5, 0.5))]
    assert values._trial(values._forward(op), at, largest=True) <= S[0] * (1 + 1e-12)
    assert values._trial(values._forward(op), at, largest=False) >= S[-1] * (1 - 1e-12)


# --- the response


@pytest.mark.parametrize(
    ("kernel", "zeros"),
    [
        ([1.0, 1, 1], [1 / 3]),
        ([1.0, 2, 1], [0.5]),
        ([1.0, -1], [0.0]),
        ([1.0, 0, 1], [0.25]),
        ([1.0] * 7, [1 / 7, 2 / 7, 3 / 7]),
        ([1.0, 3, 1], []),
        ([1.0, -2 * math.cos(2), 1], [1 / math.pi]),
    ],
)
def test_zeros_of_a_line(kernel, zeros):
    op = ConvOperator(torch.tensor(kernel)[None, None].double(), (20,), padding="same")
    assert [z[0] for z in transfer_function(op).zeros] == pytest.approx(zeros, abs=1e-6)


def test_zeros_of_the_plus_lie_on_its_curve():
    found = transfer_function(blur_operator(PLUS, (16, 16), "zeros"))
    assert found.zeros
    for f, g in found.zeros:
        wave = 1 + 2 * math.cos(2 * math.pi * f) + 2 * math.cos(2 * math.pi * g)
        assert abs(wave) < 1e-6
    assert found.maximum == pytest.approx(5)
    assert found.minimum < 1e-11


def test_zeros_of_several_channels_and_phases():
    for op in (
        ConvOperator(randn(2, 2, 3), (8,), padding=1),
        ConvOperator(randn(2, 1, 3, 3), (8, 8), stride=2, padding=1),
        ConvOperator(randn(4, 2, 3, 3), (8, 8), groups=2, padding=1),
    ):
        found = transfer_function(op)
        waves = response.Response(op)
        for zero in found.zeros:
            f = torch.tensor([zero]).double().expand(waves.groups, -1)
            S = waves.svd(f, torch.arange(waves.groups))[1]
            assert float(S[:, -1].min()) < 1e-7 * found.maximum


@pytest.mark.parametrize("sizes", [(8,), (6, 8), (4, 4, 4)])
@pytest.mark.parametrize("stride", [1, 2])
def test_grid_is_the_response(sizes, stride):
    op = ConvOperator(randn(2, 2, *[3] * len(sizes)), sizes, stride=stride, padding=1)
    found, waves = transfer_function(op), response.Response(op)
    index = [5 % len(f) for f in found.frequencies]
    f = torch.tensor([[float(w[i]) for w, i in zip(found.frequencies, index, strict=True)]])
    S = waves.svd(f.double(), torch.zeros(1, dtype=torch.long))[1][0]
    assert float(found.largest[tuple(index)]) == pytest.approx(float(S[0]), rel=1e-9)
    assert float(found.smallest[tuple(index)]) == pytest.approx(float(S[-1]), rel=1e-9)
    assert all(float(w[len(w) // 2]) == 0 for w in found.frequencies)


# --- advice


def advice(kernel, size=(32,), **options) -> str:
    op = ConvOperator(torch.tensor(kernel)[None, None].double(), size, padding="same", **options)
    return " ".join(inspect_operator(op).advice)


def test_advice():
    assert advice([0.0, 1, 0]).startswith("Invertible to round-off")
    assert "noise grows 1 times as much as what σ_max transmits" in advice([0.0, 1, 0])
    assert "does not exist: |F| is zero at 0.5" in advice([1.0, 2, 1], padding_mode="circular")
    steep = advice([1.0, 2.001, 1], padding_mode="circular")
    assert "Invertible for exact data" in steep
    assert "Needs damp about" in steep
    assert "nothing can be restored" in advice([0.0, 0, 0])
    wide = inspect_operator(ConvOperator(randn(1, 1, 3), (20,)))
    assert any("18 outputs for 20 unknowns" in s for s in wide.advice)


def test_damp_keeps_what_it_promises():
    op = blur_operator(psf.gaussian(1.5), (16, 16), "circular")
    found, S = inspect_operator(op), dense_values(op)
    gain = (S / (S**2 + found.damp**2)).square().mean().sqrt() * S[0]
    assert float(gain) == pytest.approx(inspection.NOISE_GAIN, rel=1e-6)
    assert found.damped_gain == pytest.approx(inspection.NOISE_GAIN, rel=1e-6)


@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_unit_of_the_weight(scale, coarse):
    kernel = psf.motion(4, 30)
    one = inspect_operator(blur_operator(kernel, (12, 12), "zeros"))
    other = inspect_operator(blur_operator(scale * kernel, (12, 12), "zeros"))
    assert other.damp == pytest.approx(scale * one.damp, rel=1e-9)
    assert [level.rank for level in other.levels] == [level.rank for level in one.levels]
    assert len(other.transfer.zeros) == len(one.transfer.zeros)


# --- the record


def test_as_dict_is_plain():
    found = inspect_operator(blur_operator(psf.disk(2), (12, 12), "reflect"))
    plain = found.as_dict()
    assert json.loads(json.dumps(plain)).keys() == plain.keys()
    assert len(plain["singular_values"]) == 21
    assert plain["singular_values"][0] == pytest.approx(plain["sigma_max"]["value"])
    assert plain["transfer"]["grid"] == [256, 256]


def test_leaves_the_operator_alone(coarse):
    weight = torch.nn.Parameter(randn(2, 2, 3, 3))
    before = weight.detach().clone()
    found = inspect_operator(ConvOperator(weight, (8, 8), padding=1))
    assert torch.equal(weight, before)
    assert weight.grad is None
    assert not found.kernel.requires_grad


def test_refusals():
    with pytest.raises(ValueError, match="kernels") as error:
        inspect_operator(ConvOperator(randn(2, 1, 1, 3), (8,)))
    assert_says(error, "2 kernels", "of_sample")
    with pytest.raises(ValueError, match="NaN") as error:
        inspect_operator(ConvOperator(torch.full((1, 1, 3), math.nan), (8,)))
    assert_says(error, "weight", "index (0, 0, 0)")
    with pytest.raises(MemoryLimitError) as error:
        inspect_operator(ConvOperator(randn(1, 1, 3, 3), (200_000, 200_000)))
    assert_says(error, "GB", "smaller sizes")
