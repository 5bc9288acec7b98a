"""`restoration_path`: the answers of `restore` for each strength, and fewer iterations in sum."""

import inspect
import math
import random
import warnings

import pytest
import torch
from torch import Tensor

from unconv import AccuracyWarning, ConvOperator, psf, restore
from unconv.restoration import Restoration, restoration_path, sliding_dct

from ..helpers import F64, randn, relative
from .test_restore import (
    bounds_exclude,
    dense_twin,
    drawn_data,
    drawn_operator,
    noise,
    picture,
)

TOL = 1e-4
N = 64


def boxes(n: int) -> Tensor:
    g, x = random.Random(1), torch.zeros(1, 1, n, n, dtype=F64)
    for _ in range(12):
        top, left = g.randrange(n - 6), g.randrange(n - 6)
        x[..., top : top + g.randint(4, n // 2), left : left + g.randint(4, n // 2)] = g.random()
    return x


def around(strength: float) -> list[float]:
    """From four times as strong to a quarter."""
    return [strength * 2 ** (2 - k / 2) for k in range(9)]


def each_alone(A: ConvOperator, y: Tensor, strengths: list[float], **asked) -> list[Restoration]:
    return [restore(A, y, strength=s, **asked) for s in strengths]


def iterations(found: list[Restoration]) -> int:
    return sum(int(one.certificate.iterations.sum()) for one in found)


# --- the same answers, in the order that was asked for


def checked_by_the_matrix(seed: int) -> bool:
    """False where the draw was refused."""
    g = random.Random(seed)
    A = drawn_operator(g, seed)
    y, asked = drawn_data(g, A, seed)
    if bounds_exclude(A, y, asked):
        return False
    middle = asked.pop("strength")
    strengths = [middle * 10 ** g.uniform(-1, 1) for _ in range(g.randint(1, 3))]
    asked |= {"gap_tol": TOL, "maxiter": 300}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = restoration_path(A, y, strengths, **asked)
        alone = each_alone(A, y, strengths, **asked)
    assert len(path) == len(strengths)
    for warm, cold, strength in zip(path, alone, strengths, strict=True):
        assert warm.solution.shape == cold.solution.shape
        assert warm.solution.dtype == cold.solution.dtype
        assert warm.strength.tolist() == pytest.approx([strength])
        twin = dense_twin(A, y, asked | {"strength": strength}, float(warm.certificate.epsilon))
        mine = twin.objective(warm.solution.flatten())
        if math.isinf(mine):
            assert math.isinf(float(warm.certificate.objective))
            continue
        assert math.isclose(mine, float(warm.certificate.objective), rel_tol=1e-9, abs_tol=1e-12)
        # proofs hold against each other's images
        least = min(mine, float(cold.certificate.objective)) * (1 + 1e-12)
        assert float(warm.certificate.bound) <= least
        if bool(warm.certificate.converged & cold.certificate.converged):
            assert abs(mine - float(cold.certificate.objective)) <= 2 * TOL * mine
        looks = [step.iteration for step in warm.history[0]]
        assert looks == sorted(looks)
        assert looks[-1] == int(warm.certificate.iterations) <= 300
    return True


@pytest.mark.parametrize("first", range(0, 16, 8))
def test_drawn_problems(first):
    assert sum(checked_by_the_matrix(seed) for seed in range(first, first + 8)) >= 5


@pytest.mark.slow
@pytest.mark.parametrize("first", range(1_000, 1_400, 50))
def test_many_drawn_problems(first):
    assert sum(checked_by_the_matrix(seed) for seed in range(first, first + 50)) >= 35


def test_the_order_is_that_of_the_strengths():
    A, _, y = picture()
    strengths = [1e-3, 1e-2, 1e-4, 1e-2, 3e-3]
    path = restoration_path(A, y, strengths)
    by_size = restoration_path(A, y, sorted(strengths, reverse=True))
    assert [float(found.strength) for found in path] == pytest.approx(strengths)
    for k, s in enumerate(sorted(range(5), key=lambda k: -strengths[k])):
        assert torch.equal(path[s].solution, by_size[k].solution)
    assert [float(f.strength) for f in restoration_path(A, y, torch.tensor(strengths).tolist())]


def test_an_image_of_a_batch_is_restored_as_if_alone():
    A, x, y = picture()
    batch = torch.cat([y, noise(A(x.flip(2)), 0.05, 3), 7 * y])
    path = restoration_path(A, batch, [1e-2, 1e-3])
    for i in range(3):
        alone = restoration_path(A, batch[i : i + 1], [1e-2, 1e-3])
        for several, one in zip(path, alone, strict=True):
            assert torch.equal(several.solution[i : i + 1], one.solution)
            assert several.certificate.iterations[i] == one.certificate.iterations
            assert several.history[i] == one.history[0]
    assert [found.solution.shape[0] for found in restoration_path(A, batch[:0], [1e-2, 1e-3])] == [
        0,
        0,
    ]


def test_the_unit_of_the_data_is_without_effect():
    A, _, y = picture()
    one = restoration_path(A, y, [1e-2, 1e-3], bounds=(0.0, 1.3))
    other = restoration_path(A, 1024 * y, [1024e-2, 1024e-3], bounds=(0.0, 1024 * 1.3))
    for a, b in zip(one, other, strict=True):
        assert relative(b.solution, 1024 * a.solution) < 1e-12


def test_one_strength_is_what_restore_does():
    A, _, y = picture()
    path = restoration_path(A, y, [2e-3], nonnegative=True)
    assert torch.equal(path[0].solution, restore(A, y, strength=2e-3, nonnegative=True).solution)


# --- what it saves


def case(name: str) -> tuple[ConvOperator, Tensor, dict, float]:
    """(A, y, options, a strength that is about right)."""
    if name in ("circular", "mirrored"):
        mode = {"circular": "circular", "mirrored": "reflect"}[name]
        kernel = psf.gaussian(1.5).double()[None, None]
        A = ConvOperator(kernel, (N, N), padding="same", padding_mode=mode)
    else:
        A = ConvOperator(psf.disk(3.0).double()[None, None], (N, N))
    y, generator = A(boxes(N)), torch.Generator().manual_seed(0)
    if name == "counts":
        options = {"noise_model": "poisson", "nonnegative": True, "gap_tol": 1e-2}
        return A, torch.poisson(100 * y, generator=generator), options, 0.1
    options = {"bounds": (0.0, 1.0)} if name == "bounds" else {}
    options |= {"prior": name} if name in ("hessian", "sparse") else {}
    return A, y + 0.02 * torch.randn(y.shape, generator=generator, dtype=F64), options, 2e-3


@pytest.mark.parametrize(
    ("name", "at_most"),
    [  # of the iterations that each strength takes by itself; as measured, with a margin
        ("unknown surroundings", 0.78),  # 0.66
        ("circular", 0.72),  # 0.60
        ("mirrored", 0.85),  # 0.74
        ("bounds", 0.75),  # 0.63
        ("hessian", 0.83),  # 0.71
        ("sparse", 1.1),  # 0.99: what takes time are the weights, taken anew at each strength
        ("counts", 0.5),  # 0.29
    ],
)
def test_a_path_takes_fewer_iterations_in_sum(name, at_most):
    A, y, options, right = case(name)
    strengths = around(right)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = restoration_path(A, y, strengths, **options)
        alone = each_alone(A, y, strengths, **options)
    assert iterations(path) <= at_most * iterations(alone)
    tol = 1e-2 if name == "sparse" else options.get("gap_tol", 1e-3)
    for warm, cold in zip(path, alone, strict=True):
        pair = float(warm.certificate.objective), float(cold.certificate.objective)
        assert pair[0] <= pair[1] * (1 + tol)
        if name != "sparse":  # which has local minima
            assert bool(warm.certificate.converged)


def test_more_than_an_image_is_carried_over():
    A, y, _, right = case("bounds")
    strengths, warm, x = around(right), [], None
    path = restoration_path(A, y, strengths, bounds=(0.0, 1.0))
    for s in strengths:
        warm.append(restore(A, y, strength=s, bounds=(0.0, 1.0), x0=x))
        x = warm[-1].solution
    assert iterations(path) < 0.87 * iterations(warm)  # 0.75


# --- looks, warnings, refusals


def test_the_callback_is_told_the_strength():
    A, _, y = picture()
    told = []
    path = restoration_path(
        A, torch.cat([y, y]), [1e-3, 1e-2], callback=lambda *args: told.append(args)
    )
    for found in path:
        for i in range(2):
            mine = [t for t in told if (t[0], t[1]) == (float(found.strength[i]), i)]
            assert [step.iteration for _, _, step, _ in mine] == [
                step.iteration for step in found.history[i]
            ]
            assert torch.equal(mine[-1][3], found.solution[i : i + 1])
    assert [t[0] for t in told] == sorted((t[0] for t in told if t[1] == 0), reverse=True) + sorted(
        (t[0] for t in told if t[1] == 1), reverse=True
    )


def test_what_did_not_converge_warns():
    A, _, y = picture()
    with pytest.warns(AccuracyWarning, match="raise maxiter"):
        path = restoration_path(A, y, [1e-2, 1e-3], gap_tol=1e-9, maxiter=5)
    assert [one.certificate.iterations.tolist() for one in path] == [[5], [5]]


def test_options_are_those_of_restore():
    path, one = (set(inspect.signature(f).parameters) for f in (restoration_path, restore))
    assert path ^ one == {"strengths", "strength", "schedule"}


REFUSED = [
    ((), {}, ["strengths is empty", "[0.01, 0.1]"]),
    ([1e-3, 0.0], {}, ["strengths=0", "> 0"]),
    ([-1.0], {}, ["strengths=-1", "> 0"]),
    ([math.nan], {}, ["strengths=nan"]),
    ([1e-3, "auto"], {}, ["strengths must be a number", "str"]),
    (1e-3, {}, ["strengths=0.001", "several numbers"]),
    ("auto", {}, ["'auto'", "several numbers"]),
    (torch.ones(2), {}, ["several numbers", "strengths.tolist()"]),
    ([1e-3], {"prior": "dct"}, ["'dct' is a denoiser", "'tv'", "restore for each strength"]),
    ([1e-3], {"prior": sliding_dct}, ["is a denoiser", "'tv'"]),
    ([1e-3], {"prior": "tvv"}, ["'tvv'", "'tv', 'sparse', 'hessian'."]),
    ([1e-3], {"gap_tol": 0.0}, ["gap_tol"]),
    ([1e-3], {"callback": 3}, ["callback", "function", "int"]),
    ([1e-3], {"x0": torch.zeros(1, 1, 3, 3)}, ["x0", "(1, 1, 24, 24)"]),
]


@pytest.mark.parametrize(("strengths", "asked", "parts"), REFUSED, ids=lambda v: str(v)[:30])
def test_what_cannot_be_meant_is_refused_in_one_sentence(strengths, asked, parts):
    A, _, y = picture()
    with pytest.raises((ValueError, TypeError)) as error:
        restoration_path(A, y, strengths, **asked)
    sentence = str(error.value)
    assert all(part in sentence for part in parts), sentence
    assert sentence.endswith(".")
    assert "\n" not in sentence


def test_gradients_are_refused():
    A, _, y = picture()
    with pytest.raises(NotImplementedError, match="no_grad"):
        restoration_path(A, y.requires_grad_(), [1e-3])


def test_complex_images():
    A, _, y = picture()
    y = torch.complex(y, randn(*y.shape, dtype=F64))
    path = restoration_path(A, y, [1e-1, 1e-2])
    for found, strength in zip(path, [1e-1, 1e-2], strict=True):
        assert relative(found.solution, restore(A, y, strength=strength).solution) < 0.05
