"""`restore` against dense matrices: optimal, bounded from below by a proof, and of any unit."""

import itertools
import math
import random
import warnings
from functools import cache

import pytest
import torch
from torch import Tensor

from unconv import AccuracyWarning, ConvOperator, restore
from unconv.restoration import Schedule, Step

from ..helpers import C128, F64, every_pair, randn, relative
from .dense import DenseProblem, dense_problem

TOL = 1e-4


def blocks(*shape: int, seed: int = 0) -> Tensor:
    """Boxes of random sizes and brightness, (1, C, *spatial)."""
    g = random.Random(seed)
    x = torch.zeros(1, *shape, dtype=F64)
    for c in range(shape[0]):
        for _ in range(3):
            first = [g.randrange(n) for n in shape[1:]]
            box = [slice(a, a + 1 + g.randrange(n)) for a, n in zip(first, shape[1:], strict=True)]
            x[(0, c, *box)] += g.random()
    return x


def noise(like: Tensor, std: float, seed: int = 0) -> Tensor:
    return like + std * randn(*like.shape, dtype=like.dtype, seed=seed)


def psf(*shape: int, seed: int = 0) -> Tensor:
    w = torch.rand(1, 1, *shape, dtype=F64, generator=torch.Generator().manual_seed(seed))
    return w / w.sum()


def picture(n: int = 24) -> tuple[ConvOperator, Tensor, Tensor]:
    """(A, x, y) with noise of 0.01."""
    x = torch.zeros(1, 1, n, n, dtype=F64)
    x[..., 5:15, 8:20] = 1
    x[..., 10:18, 3:9] += 0.5
    A = ConvOperator(psf(3, 3), (n, n))
    return A, x, noise(A(x), 0.01)


def drawn_operator(g: random.Random, seed: int) -> ConvOperator:
    nd = g.choice([1, 2, 2, 2, 3])
    low, high = {1: (8, 30), 2: (4, 8), 3: (2, 4)}[nd]
    n = [g.randint(low, high) for _ in range(nd)]
    k = [g.randint(1, min(3, m)) for m in n]
    groups = g.choice([1, 1, 2]) if nd < 3 else 1
    rows, columns = (g.choice([1, 1, 2]) if nd < 3 else 1 for _ in range(2))
    options = {"groups": groups, "stride": [g.choice([1, 1, 1, 2]) for _ in n]}
    mode = g.choice(["valid", "valid", "circular", "zeros", "reflect", "replicate"])
    if mode != "valid":
        whole = g.random() < 0.5
        pairs = [(m // 2,) * 2 if whole else (g.randrange(m), g.randrange(m)) for m in k]
        options |= {"padding": pairs, "padding_mode": mode}
    weight = randn(groups * rows, columns, *k, seed=seed)
    A = ConvOperator(weight.abs() if g.random() < 0.5 else weight, n, **options)
    if g.random() < 0.3:
        mask = torch.rand(A.range_shape[1:], generator=torch.Generator().manual_seed(seed)) < 0.7
        A = A.observed(mask) if bool(mask.any()) else A
    return A


def drawn_data(g: random.Random, A: ConvOperator, seed: int) -> tuple[Tensor, dict]:
    """Data, and what is asked of them."""
    y = A(blocks(*A.domain_shape, seed=seed))
    model = g.choice(["gaussian", "gaussian", "gaussian", "poisson", "huber"])
    asked = {
        "noise_model": model,
        "prior": g.choice(["tv", "tv", "hessian"]),
        "coupled": g.random() < 0.6,
        "spacing": [g.choice([0.5, 1.0, 1.0, 2.0]) for _ in A.domain_shape[1:]],
    }
    if model == "poisson":
        peak, background = 10 ** g.uniform(0, 3), g.choice([0.0, 1.0])
        generator = torch.Generator().manual_seed(seed)
        mean = peak * (y / (float(y.max()) or 1.0)).clamp(min=0) + background
        y = torch.poisson(mean, generator=generator)
        asked |= {"background": background, "strength": 10 ** g.uniform(-2, 0), "nonnegative": True}
        return y, asked
    std = 0.05 * float(y.std(correction=0)) + 1e-3
    y = noise(y, std, seed)
    asked["strength"] = std**2 * 10 ** g.uniform(0, 1.5)
    if model == "huber":
        asked["noise_std"] = std
        y[torch.rand(y.shape, generator=torch.Generator().manual_seed(seed)) < 0.05] += 5 * y.max()
    if g.random() < 0.4:
        asked["bounds"] = g.choice([(0.0, None), (0.0, 0.8), (None, 0.6), (0.1, 0.7)])
    return y, asked


def dense_twin(A: ConvOperator, y: Tensor, asked: dict, epsilon: float) -> DenseProblem:
    lower, upper = asked.get("bounds", (0.0 if asked.get("nonnegative") else None, None))
    mean = float(y.abs().mean() if A.seen is None else (y * A.seen).abs().mean())
    return dense_problem(
        A,
        y,
        asked["strength"],
        epsilon,
        kind="hessian" if asked.get("prior") == "hessian" else "gradient",
        spacing=asked.get("spacing"),
        wraps=[
            a.on_torus and a.before + a.after > 0 and a.mode == "circular" for a in A.geometry.axes
        ],
        coupled=asked.get("coupled", True),
        noise_model=asked.get("noise_model", "gaussian"),
        background=asked.get("background", 0.0),
        delta=max(1.345 * asked.get("noise_std", 0.0), 1e-3 * mean),
        lower=-math.inf if lower is None else lower,
        upper=math.inf if upper is None else upper,
    )


def bounds_exclude(A: ConvOperator, y: Tensor, asked: dict) -> bool:
    """Whether what the data say of each sample lies outside of the bounds.

    That is the mean of the data that it reaches, in the unit in which its data fit y.
    """
    lower, upper = asked.get("bounds", (0.0 if asked.get("nonnegative") else None, None))
    seen = torch.ones_like(y) if A.seen is None else (torch.ones_like(y) * A.seen)
    weight, back = A.H(seen), A.H(y * seen)
    reached = weight.abs() > 1e-3 * float(weight.abs().max())
    x = torch.where(reached, back / weight, y[seen > 0].mean())
    blurred = A(x)
    power = float(blurred.square().sum())
    x = x * (float((blurred * y).sum()) / power if power else 0.0)
    below = upper is not None and float(x.min()) > upper
    return below or (lower is not None and float(x.max()) < lower)


def checked_by_the_matrix(seed: int, iterations: int) -> bool:
    """False where the draw was refused."""
    g = random.Random(seed)
    A = drawn_operator(g, seed)
    y, asked = drawn_data(g, A, seed)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        if bounds_exclude(A, y, asked):
            with pytest.raises(ValueError, match="outside of the bounds"):
                restore(A, y, **asked)
            return False
        x, certificate, strength, history = restore(A, y, gap_tol=TOL, maxiter=1500, **asked)
    twin = dense_twin(A, y, asked, float(certificate.epsilon))
    found = x.flatten()
    mine = twin.objective(found)
    if math.isinf(mine):  # a mean count below zero, of an A with negative taps
        assert (float(certificate.objective), float(certificate.gap)) == (math.inf, math.inf)
        return True
    assert math.isclose(mine, float(certificate.objective), rel_tol=1e-9, abs_tol=1e-12)
    if mine == 0:
        assert float(certificate.gap) == 0
        assert bool(certificate.converged)
        return True
    assert strength.tolist() == pytest.approx([asked["strength"]])
    reference = twin.solve(randn(*found.shape, seed=seed), iterations)
    least = twin.objective(reference)
    # a proof holds against every image
    assert float(certificate.bound) <= min(mine, least) * (1 + 1e-12)
    gap = float(certificate.gap)
    if math.isfinite(gap):
        assert math.isclose(gap, (mine - float(certificate.bound)) / mine, abs_tol=1e-9)
        assert (mine - least) / mine <= gap + 1e-12
    said = bool(heard)
    assert said == (not bool(certificate.converged))
    assert len(history) == 1
    assert bool(certificate.converged) == (gap <= TOL or float(certificate.residual) <= TOL / 10)
    assert int(certificate.iterations) <= 1500
    assert int(certificate.solves) <= 3
    if bool(certificate.converged):
        assert (mine - least) / mine <= 2 * TOL
        # ε makes the objective strongly convex: images of nearly one value are near
        radius = math.sqrt(2 * (max(mine - least, 0) + TOL * mine) / twin.epsilon)
        assert float((found - reference).norm()) <= 2 * radius
    return True


@pytest.mark.parametrize("first", range(0, 40, 8))
def test_drawn_problems(first):
    assert sum(checked_by_the_matrix(seed, 1500) for seed in range(first, first + 8)) >= 5


@pytest.mark.slow
@pytest.mark.parametrize("first", range(1_000, 2_000, 50))
def test_many_drawn_problems(first):
    assert sum(checked_by_the_matrix(seed, 6000) for seed in range(first, first + 50)) >= 35


# --- laws
PENALTIES = pytest.mark.parametrize("prior", ["tv", "sparse", "hessian"])


@cache
def in_a_unit(prior: str, noise_model: str, unit: float):
    A, _, y = picture()
    asked = {"prior": prior, "noise_model": noise_model, "maxiter": 30}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return restore(A, y * unit, bounds=(0.0, 1.3 * unit), **asked)


@every_pair(
    unit=[2.0**40, 2.0**-40, 2.0**100, 2.0**-100],
    prior=["tv", "sparse", "hessian"],
    noise_model=["gaussian", "huber"],
)
def test_the_unit_of_the_data_is_without_effect(prior, noise_model, unit):
    one, other = (in_a_unit(prior, noise_model, u) for u in (1.0, unit))
    assert torch.equal(other.solution, one.solution * unit)
    p = 0.8 if prior == "sparse" else 1.0
    assert relative(other.strength, one.strength * unit ** (2 - p)) < 1e-12
    assert relative(other.certificate.objective, one.certificate.objective * unit**2) < 1e-12
    assert relative(other.certificate.noise_std, one.certificate.noise_std * unit) < 1e-12
    assert torch.equal(other.certificate.gap, one.certificate.gap)


@pytest.mark.parametrize("noise_model", ["gaussian", "huber", "poisson"])
@pytest.mark.parametrize("unit", [2.0**30, 2.0**-100])
def test_the_unit_of_the_weight_is_without_effect(noise_model, unit):
    A, x, y = picture()
    if noise_model == "poisson":
        y = torch.poisson(40 * A(x), generator=torch.Generator().manual_seed(0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        one = restore(A, y, noise_model=noise_model, maxiter=30)
        other = restore(A.with_weight(A.weight * unit), y, noise_model=noise_model, maxiter=30)
    assert torch.equal(other.solution, one.solution / unit)
    assert relative(other.strength, one.strength * unit) < 1e-12
    assert relative(other.certificate.epsilon, one.certificate.epsilon * unit**2) < 1e-12


@PENALTIES
def test_the_unit_of_the_spacing_is_without_effect(prior):
    A, _, y = picture()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        one = restore(A, y, prior=prior, spacing=(1.0, 2.0), maxiter=30)
        other = restore(A, y, prior=prior, spacing=(1e-9, 2e-9), maxiter=30)
    assert relative(other.solution, one.solution) < 1e-6
    power = {"tv": 1.0, "sparse": 0.8, "hessian": 2.0}[prior]
    assert relative(other.strength, one.strength * 1e-9**power) < 1e-5


def test_more_noise_takes_more_strength():
    A, _, y = picture()
    strengths = [float(restore(A, y, noise_std=s).strength) for s in (0.01, 0.04)]
    assert 2 < strengths[1] / strengths[0] < 30


def test_an_image_of_a_batch_is_restored_as_if_alone():
    A, x, y = picture()
    batch = torch.cat([y, noise(A(x.flip(2)), 0.05, 3), 7 * y])
    found = restore(A, batch)
    for i in range(3):
        alone = restore(A, batch[i : i + 1])
        assert torch.equal(found.solution[i : i + 1], alone.solution)
        assert torch.equal(found.strength[i : i + 1], alone.strength)
        for name in ("objective", "bound", "gap", "iterations", "solves", "epsilon", "noise_std"):
            several = getattr(found.certificate, name)
            assert several.shape == (3,)
            assert torch.equal(several[i : i + 1], getattr(alone.certificate, name))
        assert found.history[i] == alone.history[0]
    assert len(found.certificate) == 3


def test_each_sample_may_have_a_kernel_of_its_own():
    _, x, _ = picture()
    kernels = torch.stack([psf(3, 3, seed=1), psf(3, 3, seed=2)])
    A = ConvOperator(kernels, (24, 24))
    y = noise(A(torch.cat([x, x.flip(3)])), 0.01)
    found = restore(A, y, strength=1e-3)
    for i in range(2):
        alone = restore(ConvOperator(kernels[i], (24, 24)), y[i : i + 1], strength=1e-3)
        assert torch.equal(found.solution[i : i + 1], alone.solution)
        assert torch.equal(found.certificate.epsilon[i : i + 1], alone.certificate.epsilon)


@pytest.mark.parametrize("prior", ["tv", "sparse", "dct"])
def test_single_precision_has_the_same_answer(prior):
    A, _, y = picture()
    exact = restore(A, y, prior=prior).solution
    single = restore(A.with_weight(A.weight.float()), y.float(), prior=prior).solution
    assert single.dtype == torch.float32
    assert relative(single, exact) < 1e-3


@pytest.mark.parametrize("kind", ["complex kernel", "real kernel"])
@pytest.mark.parametrize("strength", [2e-3, "auto"])
def test_complex_images(kind, strength):
    _, x, _ = picture()
    x = torch.complex(x, x.flip(2))
    w = psf(3, 3)
    A = ConvOperator(torch.complex(w, w.flip(3)) if kind == "complex kernel" else w, (24, 24))
    whole = ConvOperator(A.weight.to(C128), (24, 24))
    y = noise(whole(x), 0.01)
    found = restore(A, y, strength=strength)
    assert found.solution.dtype == C128
    assert bool(found.certificate.converged)
    assert relative(found.solution, x) < 0.3
    asked = {"strength": float(found.strength)}
    twin = dense_twin(whole, y, asked, float(found.certificate.epsilon))
    mine = twin.objective(found.solution.flatten())
    assert math.isclose(mine, float(found.certificate.objective), rel_tol=1e-9)
    # real and imaginary data of a real kernel are no better apart
    if kind == "real kernel":
        parts = [restore(A, part, strength=2e-3).solution for part in (y.real, y.imag)]
        assert relative(found.solution.real, parts[0]) < 0.2


def test_masked_data_are_without_effect():
    A, _, y = picture()
    mask = torch.rand(22, 22, generator=torch.Generator().manual_seed(0)) < 0.8
    found = restore(A.observed(mask), y)
    other = restore(A.observed(mask), torch.where(mask, y, torch.nan))
    assert torch.equal(found.solution, other.solution)


# --- data with nothing in them
PENALTIES = "tv", "sparse", "hessian"
WITH_EVERY_NOISE = pytest.mark.parametrize(
    ("prior", "noise_model"),
    [
        *itertools.product(PENALTIES, ("gaussian", "huber", "poisson")),
        ("dct", "gaussian"),
        ("dct", "poisson"),
    ],
)


@WITH_EVERY_NOISE
def test_data_of_nothing_are_an_image_of_nothing(prior, noise_model):
    A, _, y = picture()
    found = restore(A, torch.zeros_like(y), prior=prior, noise_model=noise_model)
    assert float(found.solution.abs().max()) == 0
    assert bool(found.certificate.converged)
    assert bool(found.strength > 0)


@WITH_EVERY_NOISE
def test_constant_data_are_a_constant_image(prior, noise_model):
    A, _, y = picture()
    found = restore(A, torch.full_like(y, 3.0), prior=prior, noise_model=noise_model)
    assert relative(found.solution, torch.full_like(found.solution, 3.0)) < 0.01
    assert bool(found.certificate.converged)


@pytest.mark.parametrize(
    ("prior", "noise_model"),
    [*itertools.product(PENALTIES, ("gaussian", "huber")), ("dct", "gaussian")],
)
def test_data_without_noise_are_followed(prior, noise_model):
    A, x, _ = picture()
    y = A(x)
    found = restore(A, y, prior=prior, noise_model=noise_model, noise_std=0.0)
    assert relative(A(found.solution), y) < 0.01
    assert relative(found.solution, x) < 0.06


@pytest.mark.parametrize("prior", ["tv", "sparse", "dct"])
def test_a_kernel_of_zeros_has_an_image_of_zeros(prior):
    A, _, y = picture()
    found = restore(A.with_weight(torch.zeros_like(A.weight)), y, prior=prior)
    assert float(found.solution.abs().max()) < 1e-6


@pytest.mark.parametrize("prior", ["tv", "sparse", "hessian", "dct"])
def test_axes_of_one_sample(prior):
    """A line is restored alike as a line and as an image of one row."""
    x = blocks(1, 40, seed=1)
    w = psf(1, 5)
    y = noise(ConvOperator(w, (1, 40))(x[:, :, None]), 0.01)
    row = restore(ConvOperator(w, (1, 40)), y, prior=prior, noise_std=0.01, maxiter=2000)
    line = restore(
        ConvOperator(w[:, :, 0], (40,)), y[:, :, 0], prior=prior, noise_std=0.01, maxiter=2000
    )
    assert row.solution.shape == (1, 1, 1, 40)
    if prior != "dct":  # of which blocks of one sample leave nothing
        assert relative(row.solution[:, :, 0], line.solution) < 1e-4
    assert restore(ConvOperator(w, (1, 40)), y, maxiter=2000).certificate.noise_std < 0.1


def test_images_smaller_than_the_psf():
    A = ConvOperator(psf(9, 9), (4, 5), padding=6)
    y = noise(A(blocks(1, 4, 5)), 0.01)
    found = restore(A, y, strength=1e-4, maxiter=2000)
    assert bool(found.certificate.converged)
    twin = dense_twin(A, y, {"strength": 1e-4}, float(found.certificate.epsilon))
    least = twin.objective(twin.solve(randn(20)))
    assert float(found.certificate.bound) <= least * (1 + 1e-12)


def test_no_images():
    A, _, y = picture()
    found = restore(A, y[:0])
    assert found.solution.shape == (0, 1, 24, 24)
    assert len(found.certificate) == 0


# --- bounds and starts
def test_bounds_are_kept_to_the_letter():
    A, _, y = picture()
    for bounds in [(float(y.min()), float(y.max())), (0.2, 0.9), (None, 1.0), (0.0, None)]:
        x = restore(A, y, bounds=bounds, strength=1e-3, maxiter=2000).solution
        assert float(x.min()) >= (-math.inf if bounds[0] is None else bounds[0])
        assert float(x.max()) <= (math.inf if bounds[1] is None else bounds[1])
    same = [
        restore(A, y, strength=1e-3, **kw).solution
        for kw in ({"nonnegative": True}, {"bounds": (0, None)})
    ]
    assert torch.equal(*same)


def test_a_start_is_used_and_does_not_decide():
    A, x, y = picture()
    cold = restore(A, y, strength=2e-3, gap_tol=1e-6, maxiter=2000)
    warm = restore(A, y, strength=2e-3, gap_tol=1e-6, maxiter=2000, x0=cold.solution)
    assert relative(warm.solution, cold.solution) < 1e-3
    zeros = restore(A, y, strength=2e-3, x0=torch.zeros_like(x), bounds=(0.1, 2.0), maxiter=2000)
    assert float(zeros.solution.min()) >= 0.1


def test_every_look_is_told():
    A, _, y = picture()
    told: list[tuple[int, Step, Tensor]] = []
    found = restore(A, torch.cat([y, y]), callback=lambda *look: told.append(look))
    assert [(i, step) for i, step, _ in told] == [
        (i, step) for i, looks in enumerate(found.history) for step in looks
    ]
    assert torch.equal(told[-1][2], found.solution[1:])
    assert all(x.shape == (1, 1, 24, 24) for _, _, x in told)
    iterations = [step.iteration for step in found.history[0]]
    assert iterations == sorted(set(iterations))


@pytest.mark.parametrize("noise_model", ["gaussian", "huber", "poisson"])
@pytest.mark.parametrize("maxiter", [1, 2, 7])
def test_too_few_iterations_are_said(noise_model, maxiter):
    A, _, y = picture()
    y = torch.poisson(30 * y.clamp(min=0)) if noise_model == "poisson" else y
    with pytest.warns(AccuracyWarning, match="raise maxiter"):
        found = restore(A, y, noise_model=noise_model, strength=1e-3, maxiter=maxiter)
    assert found.certificate.iterations.tolist() == [maxiter]
    assert not bool(found.certificate.converged)
    assert "stopped after" in found.certificate.advice
    assert bool(found.solution.isfinite().all())


def counts_of_a_bar(background: float = 0.0) -> tuple[ConvOperator, Tensor]:
    """Some 100 counts at most, of a bar in the dark whose surroundings are unknown."""
    A, x, _ = picture()
    return A, torch.poisson(60 * A(x) + background, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("noise_model", ["gaussian", "huber", "poisson"])
def test_epsilon_of_the_iteration_is_that_of_the_problem(noise_model):
    """The grid has more places than the data, and is zero there: no part of their mean."""
    A, y = counts_of_a_bar()
    asked = {"noise_model": noise_model, "strength": 0.1, "nonnegative": True, "noise_std": 3.0}
    _, certificate, _, _ = restore(A, y, gap_tol=1e-5, maxiter=3000, **asked)
    curvature = 1 / float(y.mean()) if noise_model == "poisson" else 1.0
    assert float(certificate.epsilon) == pytest.approx(1e-4 * curvature)  # the gain is the sum, 1
    assert float(certificate.gap) <= 1e-4


def test_an_infinite_objective_has_not_converged():
    A, y = counts_of_a_bar()
    asked = {"noise_model": "poisson", "strength": 0.1, "gap_tol": 1e-2}
    with pytest.warns(AccuracyWarning, match="ask for nonnegative=True"):
        found = restore(A, y, **asked)
    assert float(found.certificate.objective) == math.inf
    assert not bool(found.certificate.converged)
    assert bool(restore(A, y, nonnegative=True, **asked).certificate.converged)


@pytest.mark.parametrize("near", [True, False])
def test_advice_is_of_what_ended_the_iteration(near):
    A, y = counts_of_a_bar()
    asked = {"noise_model": "poisson", "nonnegative": True, "maxiter": 3000}
    found = restore(A, y, strength=0.1 if near else 1e-5, **asked).certificate
    assert bool(found.converged)
    assert (float(found.gap) <= found.gap_tol) == near
    assert ("proven" in found.advice) == near
    assert ("fixed-point residual" in found.advice) != near


# --- denoisers
def test_a_denoiser_is_told_the_unit_of_the_picture():
    A, _, y = picture()
    seen: list[tuple[float, float]] = []

    def denoise(x: Tensor, sigma: float) -> Tensor:
        assert x.shape == (1, 1, 24, 24)
        assert x.dtype == F64
        seen.append((float(x.abs().max()), sigma))
        return x

    for unit in (1.0, 1e20):
        restore(A, y * unit, prior=denoise)
    half = len(seen) // 2
    for (size, sigma), (larger, wider) in zip(seen[:half], seen[half:], strict=True):
        assert math.isclose(larger, size * 1e20, rel_tol=1e-4)
        assert math.isclose(wider, sigma * 1e20, rel_tol=1e-6)
    sigmas = [sigma for _, sigma in seen[:half]]
    assert sigmas == sorted(sigmas, reverse=True)
    assert sigmas[-1] > 0


def test_a_denoiser_that_does_nothing_is_a_least_squares_solution():
    """z = x: the fixed point of v + (AᴴA + ρ)⁻¹Aᴴ(y − Av) fits the data."""
    A, x, _ = picture()
    y = A(x)
    found = restore(A, y, prior=lambda x, sigma: x, noise_std=1e-3)
    assert relative(A(found.solution), y) < 1e-3


@pytest.mark.parametrize(
    ("denoise", "says"),
    [
        (lambda x, s: x * math.nan, "NaN or Inf at sigma"),
        (lambda x, s: x[..., 1:], r"shape \(1, 1, 24, 23\)"),
        (lambda x, s: None, "a NoneType"),
        (lambda x, s: x.numpy(), "a ndarray"),
        (lambda x, s: x + 1j, "return its real part"),
    ],
)
def test_denoisers_that_return_no_image(denoise, says):
    A, _, y = picture()
    with pytest.raises(ValueError, match=says):
        restore(A, y, prior=denoise)


@pytest.mark.parametrize("bad", [{"steps": 0}, {"first": 0.0}, {"last": -1.0}, {"steps": 1.5}])
def test_schedules_that_cannot_be(bad):
    with pytest.raises((ValueError, TypeError), match=next(iter(bad))):
        Schedule(**bad)


# --- refusals: expected, got, remedy
REFUSED = [
    ({"prior": "tvv"}, ["prior", "'tvv'", "denoise(x, sigma)"]),
    ({"prior": 3}, ["prior", "3"]),
    ({"strength": 0.0}, ["strength", "0"]),
    ({"strength": -1.0}, ["strength", "-1"]),
    ({"strength": math.nan}, ["strength", "nan"]),
    ({"strength": "best"}, ["strength", "'best'", "'auto'"]),
    ({"prior": "sparse", "p": 0.0}, ["p", "0"]),
    ({"prior": "sparse", "p": 1.5}, ["p", "1.5"]),
    ({"spacing": (1.0, 2.0, 3.0)}, ["spacing", "3 entries", "2 axes"]),
    ({"spacing": 0.0}, ["spacing", "0"]),
    ({"bounds": (1.0, 0.0)}, ["bounds 1 and 0", "smaller one first"]),
    ({"bounds": (0.0, 0.0)}, ["bounds 0 and 0"]),
    ({"bounds": (0.0, math.nan)}, ["nan"]),
    ({"bounds": 1.0}, ["bounds=1.0", "(lower, upper)"]),
    ({"bounds": (0.0, -1.0), "nonnegative": True}, ["bounds 0 and -1"]),
    ({"bounds": (1e3, 2e3)}, ["values from", "1000 to 2000", "unit of the data"]),
    ({"nonnegative": 1}, ["nonnegative", "1"]),
    ({"noise_model": "gauss"}, ["noise_model", "'gauss'", "poisson"]),
    ({"noise_model": "poisson"}, ["counts must be >= 0", "background="]),
    ({"noise_std": -1.0}, ["noise_std", "-1"]),
    ({"background": 1.0}, ["background", "noise_model='poisson'"]),
    ({"prior": "dct", "noise_model": "huber"}, ["noise_model='huber'", "'tv'"]),
    ({"gap_tol": 0.0}, ["gap_tol", "0"]),
    ({"maxiter": 0}, ["maxiter", "0"]),
    ({"x0": torch.zeros(1, 1, 3, 3)}, ["x0", "(1, 1, 24, 24)", "(1, 1, 3, 3)", "leave it out"]),
    ({"x0": torch.full((1, 1, 24, 24), math.nan)}, ["x0", "leave it out"]),
    ({"schedule": 8}, ["schedule", "Schedule(steps=8)"]),
    ({"callback": 3}, ["callback", "function", "int"]),
    ({"memory_limit": -1}, ["memory_limit", "-1"]),
]


@pytest.mark.parametrize(("asked", "parts"), REFUSED, ids=lambda v: str(v)[:40])
def test_what_cannot_be_meant_is_refused_in_one_sentence(asked, parts):
    A, _, y = picture()
    with pytest.raises((ValueError, TypeError)) as error:
        restore(A, y - 0.5 if asked.get("noise_model") == "poisson" else y, **asked)
    sentence = str(error.value)
    assert all(part in sentence for part in parts), sentence
    assert sentence.endswith(".")
    assert "\n" not in sentence


def test_data_that_cannot_be_restored():
    A, _, y = picture()
    for call, says in [
        (lambda: restore(A, y[..., 1:]), "22"),
        (lambda: restore(A, y * math.nan), "observed"),
        (lambda: restore(A.weight, y), "ConvOperator"),
        (lambda: restore(A, y.abs() * 1e20, noise_model="poisson"), "number of photons"),
        (lambda: restore(A, torch.complex(y, y), noise_model="huber"), "real data"),
        (lambda: restore(A, torch.complex(y, y), nonnegative=True), "real images"),
        (lambda: restore(A, torch.complex(y, y), prior="dct"), "real images"),
        (lambda: restore(A, y.abs(), noise_model="poisson", background=-1.0), "background"),
        (lambda: restore(A, y.abs(), noise_model="poisson", background=y[..., 1:]), "broadcast"),
    ]:
        with pytest.raises((ValueError, TypeError), match=says):
            call()


def test_gradients_are_refused():
    A, _, y = picture()
    with pytest.raises(NotImplementedError, match="no_grad"):
        restore(A, y.requires_grad_())
    with torch.no_grad():
        restore(A, y)
