from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor

import unconv
from unconv import ConvOperator, psf, richardson_lucy

from ..helpers import F64, assert_says, relative
from ..strategies import NONNEGATIVE, Case, cases, is_small
from .textbook import counts_of, nonnegative, textbook

REAL = cases(dtypes=[F64], modes=NONNEGATIVE)


def blurring(size=(40, 36), mode="circular", sigma=1.5, dtype=F64) -> ConvOperator:
    K = psf.gaussian(sigma)[None, None].to(dtype)
    return ConvOperator(K, size, padding="same", padding_mode=mode)


def masked(A: ConvOperator, share: float, seed: int) -> ConvOperator:
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand(A.range_shape, generator=generator) >= share
    mask.flatten()[0] = True
    return A.observed(mask) if share else A


def blocks(light: float, size=(40, 36), N: int = 1) -> Tensor:
    """A scene with edges and dark parts."""
    x = torch.full((N, 1, *size), 0.05, dtype=F64)
    x[..., 8:20, 8:12] = 1
    x[..., 24:30, 10:30] = 0.6
    return light * x


# --- against the textbook


@given(REAL, st.sampled_from([0.0, 0.3]), st.sampled_from([0.0, 0.7]), st.sampled_from([3, 100]))
def test_plain_steps_are_the_textbook(case: Case, share: float, background: float, light: float):
    A = masked(nonnegative(case.operator()), share, case.seed)
    assume(is_small(A))
    y = counts_of(A, light=light, seed=case.seed)
    found = richardson_lucy(A, y, background=background, maxiter=7, accelerate=False, stop=None)
    x, divergences = textbook(A, y, 7, background)
    expected = torch.from_numpy(x).reshape(found.solution.shape)
    assert relative(found.solution, expected) < 1e-9
    history = np.stack(divergences, 1)
    scale = 1 + float(y.sum())
    # where no background is, iterates have the mass of the data, the constant start too
    assert np.abs(found.history.numpy() - history)[1:].max() < 1e-10 * scale
    assert found.iterations.tolist() == [7] * len(y)
    assert found.stopped_by == ("maxiter",) * len(y)


@given(REAL, st.sampled_from([0.0, 0.3]), st.booleans(), st.sampled_from([0.0, 0.05]))
def test_never_negative_never_nan_and_mass_is_kept(case, share, accelerate, tv):
    A = masked(nonnegative(case.operator()), share, case.seed)
    y = counts_of(A, light=5, seed=case.seed)
    found = richardson_lucy(A, y, maxiter=20, accelerate=accelerate, stop=None, tv=tv)
    assert bool(torch.isfinite(found.solution).all())
    assert bool((found.solution >= 0).all())
    if not tv:
        seen = torch.ones_like(y)
        light = (A.H(seen) * found.solution).flatten(1).sum(1)
        rises = found.history.diff(dim=0) > 1e-12 * (1 + y.sum())
        assert not bool(rises.any())
        if _explains_all(A, y):
            assert relative(light, y.flatten(1).sum(1)) < 1e-6


def _explains_all(A: ConvOperator, y: Tensor) -> bool:
    """Whether every count is one that pixels within reach can explain."""
    weights = A.H(torch.ones_like(y)).flatten(2)
    reach = weights > 1e-2 * weights.amax(2, keepdim=True)
    light = A(reach.to(y.dtype).reshape(-1, *A.domain_shape)).flatten(2)
    return bool(((light > 1e-5 * light.amax(2, keepdim=True)) | (y.flatten(2) == 0)).all())


@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("mode", ["circular", "zeros", "reflect", "replicate", "symmetric"])
@pytest.mark.parametrize("accelerate", [True, False])
def test_mass_at_a_hundred_steps(dtype, mode, accelerate):
    A = blurring(mode=mode, dtype=dtype)
    y = torch.poisson(A(blocks(300, N=2).to(dtype)), torch.Generator().manual_seed(0))
    x = richardson_lucy(A, y, stop=None, maxiter=100, accelerate=accelerate).solution
    light = (A.H(torch.ones_like(y)) * x).double().flatten(1).sum(1)
    assert x.dtype == dtype
    assert relative(light, y.double().flatten(1).sum(1)) < 1e-6


# --- the likelihood


@pytest.mark.parametrize("light", [3, 100, 10_000])
@pytest.mark.parametrize("mode", ["circular", "zeros"])
@pytest.mark.parametrize("background", [0.0, 4.0])
def test_acceleration_needs_a_fraction_of_the_steps(light, mode, background):
    A = blurring(mode=mode)
    y = torch.poisson(A(blocks(light)) + background, torch.Generator().manual_seed(0))
    arguments = {"background": background, "stop": None}
    plain = richardson_lucy(A, y, maxiter=400, accelerate=False, **arguments).history
    ahead = richardson_lucy(A, y, maxiter=400, **arguments).history
    assert bool((plain.diff(dim=0) <= 0).all())
    assert bool((ahead.diff(dim=0) <= 1e-12 * y.sum()).all())
    assert int((ahead > plain[-1]).sum()) < 80


def test_the_safeguard_holds_where_extrapolation_fails():
    # a start far from the data, where changes grow and a step ahead overshoots
    A = blurring()
    y = torch.poisson(A(blocks(1000)), torch.Generator().manual_seed(0))
    x0 = torch.rand(1, 1, 40, 36, dtype=F64, generator=torch.Generator().manual_seed(1)) ** 30
    found = richardson_lucy(A, y, x0=x0, background=1.0, stop=None, maxiter=200)
    assert bool((found.history.diff(dim=0) <= 1e-12 * y.sum()).all())
    assert bool((found.solution >= 0).all())


def test_noiseless_data_are_found_again():
    A = blurring(sigma=0.6, mode="zeros")
    x = blocks(100)
    found = richardson_lucy(A, A(x), stop=None, maxiter=2000)
    assert relative(found.solution, x) < 1e-3


# --- images apart


@pytest.mark.parametrize("per_sample", [False, True])
@pytest.mark.parametrize("tv", [0.0, 0.03])
def test_every_image_is_accelerated_and_stopped_by_itself(per_sample, tv):
    K = torch.stack([psf.gaussian(s, truncate=6 / s)[None, None] for s in (1.0, 1.5, 2.0)])
    K = K if per_sample else K[0]
    A = ConvOperator(K, (40, 36), padding="same", padding_mode="zeros")
    light = torch.tensor([10.0, 1000.0, 100.0], dtype=F64).reshape(3, 1, 1, 1)
    generator = torch.Generator().manual_seed(0)
    y = torch.poisson(A(light * blocks(1, N=3)) + 0.5, generator)
    together = richardson_lucy(A, y, background=0.5, tv=tv)
    assert len(set(together.iterations.tolist())) > 1
    for i in range(3):
        one = A.of_sample(i) if per_sample else A
        alone = richardson_lucy(one, y[i : i + 1], background=0.5, tv=tv)
        assert int(alone.iterations) == int(together.iterations[i])
        assert relative(together.solution[i], alone.solution[0]) < 1e-9
        steps = int(alone.iterations)
        assert relative(together.history[: steps + 1, i], alone.history[:, 0]) < 1e-9
        assert bool((together.history[steps:, i] == together.history[steps, i]).all())


# --- what is missing, and zeros


def test_unseen_outputs_are_without_effect():
    A = blurring(mode="zeros")
    mask = torch.rand(40, 36, generator=torch.Generator().manual_seed(0)) > 0.2
    B = A.observed(mask)
    y = torch.poisson(A(blocks(100)), torch.Generator().manual_seed(0))
    results = [richardson_lucy(B, y.where(mask, v)) for v in (0.0, -3.0, math.nan, math.inf)]
    for found in results[1:]:
        assert torch.equal(found.solution, results[0].solution)


def test_a_hole_is_filled_from_its_rim_and_an_edge_is_no_darker():
    x = torch.full((1, 1, 48, 48), 200.0, dtype=F64)
    K = psf.gaussian(2.0)[None, None]
    A = ConvOperator(K, (48, 48))  # what lies outside of the data is unknown
    mask = torch.ones(A.range_shape, dtype=torch.bool)
    mask[:, 10:13, 10:13] = False
    y = A(x)
    found = richardson_lucy(A.observed(mask), y, stop=None, maxiter=50).solution
    shown = found[..., 8:-8, 8:-8]  # what the data show, edges and the hole included
    assert relative(shown, x[..., 8:-8, 8:-8]) < 0.01
    assert float(shown.min()) > 0.95 * 200
    assert float(found[0, 0, 0, 0]) == 0  # a corner of which the data hold next to nothing


def test_a_count_that_nothing_explains_is_left_out():
    A = ConvOperator(torch.ones(1, 1, 3, dtype=F64), (5,), padding=4)  # ends see padding alone
    y = torch.tensor([[[7.0, 0, 1, 2, 3, 3, 3, 2, 1, 0, 9]]], dtype=F64)
    x = richardson_lucy(A, y, stop=None, maxiter=50).solution
    assert relative(x, torch.ones(1, 1, 5, dtype=F64)) < 1e-6


@pytest.mark.parametrize("stop", ["discrepancy", "thinning", None])
@pytest.mark.parametrize("background", [0.0, 2.0])
@pytest.mark.parametrize("tv", [0.0, 0.1])
@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_no_counts_at_all_give_zeros(stop, background, tv, dtype):
    A = blurring(dtype=dtype)
    found = richardson_lucy(
        A, torch.zeros(2, 1, 40, 36, dtype=dtype), stop=stop, background=background, tv=tv
    )
    assert not bool(found.solution.any())
    assert bool(torch.isfinite(found.history).all())


def test_few_counts():
    A = blurring()
    y = torch.poisson(A(blocks(0.02)), torch.Generator().manual_seed(1))
    assert 0 < float(y.sum()) < 20
    found = richardson_lucy(A, y, stop=None, maxiter=300)
    assert bool(torch.isfinite(found.solution).all())
    assert abs(float(found.solution.sum() / y.sum()) - 1) < 1e-6


@pytest.mark.parametrize("scale", [1e-200, 1e-30, 1e30, 1e150])
def test_the_unit_changes_nothing_but_the_unit(scale):
    A = blurring()
    y = torch.poisson(A(blocks(100)), torch.Generator().manual_seed(0))
    one = richardson_lucy(A, y, stop=None, maxiter=20)
    other = richardson_lucy(A, scale * y, stop=None, maxiter=20)
    assert relative(other.solution / scale, one.solution) < 1e-6


def test_an_empty_batch():
    found = richardson_lucy(blurring(), torch.zeros(0, 1, 40, 36, dtype=F64))
    assert found.solution.shape == (0, 1, 40, 36)
    assert found.stopped_by == ()


# --- arguments


def test_background_as_a_tensor():
    A = blurring()
    b = torch.linspace(0, 5, 36, dtype=F64)
    y = torch.poisson(A(blocks(100)) + b, torch.Generator().manual_seed(0))
    wide = richardson_lucy(A, y, background=b)
    full = richardson_lucy(A, y, background=b.expand(1, 1, 40, 36).clone())
    assert torch.equal(wide.solution, full.solution)
    truth = A(blocks(100))
    assert float((A(wide.solution) - truth).norm() / truth.norm()) < 0.1


def test_a_start_is_kept_and_its_zeros_too():
    A = blurring()
    y = torch.poisson(A(blocks(100)), torch.Generator().manual_seed(0))
    x0 = torch.ones(1, 1, 40, 36, dtype=F64)
    x0[..., :5] = 0
    before = x0.clone(), y.clone()
    found = richardson_lucy(A, y, x0=x0)
    assert not bool(found.solution[..., :5].any())
    assert torch.equal(x0, before[0])
    assert torch.equal(y, before[1])
    later = richardson_lucy(A, y, x0=richardson_lucy(A, y, stop=None, maxiter=5).solution)
    assert later.stopped_by == ("discrepancy",)


def test_the_callback_is_told_every_step():
    A = blurring()
    y = torch.poisson(A(blocks(100)), torch.Generator().manual_seed(0))
    told: list[tuple[int, Tensor]] = []
    found = richardson_lucy(A, y, stop="thinning", callback=lambda k, x: told.append((k, x)))
    assert [k for k, _ in told] == list(range(1, int(found.iterations) + 1))
    assert torch.equal(told[-1][1], found.solution)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_single(dtype):
    A = blurring(dtype=dtype)
    y = torch.poisson(A(blocks(50).to(dtype)).float(), torch.Generator().manual_seed(0)).to(dtype)
    found = richardson_lucy(A, y, stop=None, maxiter=10)
    single = richardson_lucy(blurring(dtype=torch.float32).with_weight(A.weight.float()), y.float(),
                             stop=None, maxiter=10)  # fmt: skip
    assert found.solution.dtype == dtype
    assert torch.equal(found.solution, single.solution.to(dtype))


def test_a_layer_under_no_grad_and_not_else():
    layer = torch.nn.Conv2d(1, 1, 5, padding=2, bias=False, dtype=F64)
    torch.nn.init.constant_(layer.weight, 1 / 25)
    A = ConvOperator.from_module(layer, (40, 36))
    y = torch.poisson(A(blocks(100)).detach(), torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert richardson_lucy(A, y).solution.shape == y.shape
    with pytest.raises(NotImplementedError) as error:
        richardson_lucy(A, y)
    assert_says(error, "not differentiated", "torch.no_grad()")
    with pytest.raises(NotImplementedError, match="not differentiated"):
        torch.func.vmap(lambda y: richardson_lucy(blurring(), y[None]).solution)(y)


Y = torch.ones(1, 1, 40, 36, dtype=F64)


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"y": -Y}, ("counts >= 0", "-1", "background=")),
        ({"y": Y.to(torch.complex128)}, ("y must be real", "real part")),
        ({"y": Y[..., :-1]}, ("(N, 1, 40, 36)", "(1, 1, 40, 35)")),
        ({"y": Y * math.nan}, ("y holds 1440 NaN", "A.observed")),
        ({"y": 0.5 * Y, "stop": "thinning"}, ("whole counts", "stop='discrepancy'")),
        ({"background": -1.0}, ("background=-1.0", ">= 0")),
        ({"background": -Y}, ("background must be >= 0", "-1")),
        ({"background": Y[..., :5]}, ("broadcast to the shape of y", "(1, 1, 40, 5)")),
        ({"background": Y[None]}, ("broadcast", "(1, 1, 1, 40, 36)")),
        ({"background": Y / 0}, ("background holds", "infinite")),
        ({"x0": Y[..., :-1]}, ("x0 must have shape (1, 1, 40, 36)", "(1, 1, 40, 35)")),
        ({"x0": -Y}, ("x0 must be >= 0", "clamp")),
        ({"x0": Y * math.nan}, ("x0 holds", "NaN")),
        ({"stop": "patience"}, ("'patience'", "'discrepancy', 'thinning' or None")),
        ({"tv": -0.1}, ("tv=-0.1", ">= 0")),
        ({"maxiter": 0}, ("maxiter=0", "at least 1")),
    ],
)
def test_wrong_arguments_are_refused_in_a_sentence(changes, parts):
    with pytest.raises((ValueError, TypeError)) as error:
        richardson_lucy(**({"A": blurring(), "y": Y} | changes))
    assert_says(error, *parts)


@pytest.mark.parametrize(
    ("weight", "parts"),
    [
        (torch.tensor([0.5, -0.1, 0.5], dtype=F64), ("1 negative taps", "clamp(min=0)")),
        (torch.tensor([0.5, math.nan, 0.5], dtype=F64), ("the weight of A", "NaN")),
        (torch.tensor([0.5, 0.1, 0.5], dtype=torch.complex128), ("must be real", "modulus")),
    ],
)
def test_kernels_that_no_counts_have(weight, parts):
    A = ConvOperator(weight[None, None], (8,), padding=1)
    with pytest.raises((ValueError, TypeError)) as error:
        richardson_lucy(A, torch.ones(1, 1, 8, dtype=F64))
    assert_says(error, *parts)


def test_the_public_name():
    assert unconv.richardson_lucy is unconv.restoration.richardson_lucy
    assert isinstance(richardson_lucy(blurring(), Y), unconv.RichardsonLucyResult)
