"""What a penalty charges: its value, its prox and its ball, against minimisation by brute force."""

import math

import pytest
import torch
from scipy.optimize import minimize

from unconv import ConvOperator
from unconv.restoration.differences import differences
from unconv.restoration.grid_problem import GridProblem
from unconv.restoration.penalties import Penalty

from ..helpers import C128, F64, randn, relative
from .dense import difference_matrices

COUPLED = pytest.mark.parametrize("coupled", [True, False])
KINDS = pytest.mark.parametrize("kind", ["gradient", "hessian"])


def penalty_of(kind: str, p: float, coupled: bool, delta: float = 0.0, dtype=F64):
    op = ConvOperator(randn(3, 3, 2, 2, dtype=dtype), (4, 5))
    problem = GridProblem(op, F64)
    return problem, Penalty(
        differences(kind, op, problem.torus, (1.0, 2.0), F64), p, coupled, delta
    )


def norms(stack: torch.Tensor, coupled: bool) -> torch.Tensor:
    """(J, c, n) -> norms at every place, and channel where they are not coupled."""
    return stack.abs().square().sum((0, 1) if coupled else 0).sqrt()


@KINDS
@COUPLED
@pytest.mark.parametrize("dtype", [F64, C128])
@pytest.mark.parametrize("p", [1.0, 0.5])
def test_the_value(kind, coupled, dtype, p):
    delta = 0.0 if p == 1 else 0.2
    problem, penalty = penalty_of(kind, p, coupled, delta, dtype)
    x = randn(1, 3, 4, 5, dtype=dtype, seed=3)
    matrices = difference_matrices(kind, (4, 5), (1.0, 2.0), (False, False))
    D = torch.stack(matrices).to(dtype)
    stack = torch.einsum("jmn,cn->jcm", D, x.flatten(2)[0])
    size = norms(stack, coupled)
    expected = float(((size + delta) ** p - delta**p).sum())
    assert math.isclose(penalty.value(problem.embed(x)), expected, rel_tol=1e-12)


@COUPLED
def test_the_prox_minimises(coupled):
    """v − outside(v) against a general minimiser, at places of every kind."""
    _, penalty = penalty_of("gradient", 1.0, coupled)
    sizes = penalty.differences.torus.coarse
    v, radius = randn(2, 3, *sizes, seed=4), 0.7
    found = v - penalty.outside(v, radius)
    for place in [(0, 0), (1, 2), (2, 3)]:
        where = (slice(None), slice(None), *place)
        target = v[where].flatten().numpy()

        def objective(g, target=target):
            stack = torch.from_numpy(g).reshape(2, 3, 1)
            return float(norms(stack, coupled).sum()) * radius + ((g - target) ** 2).sum() / 2

        tried = minimize(
            objective, 0.5 * target, method="Powell", options={"xtol": 1e-9, "ftol": 1e-14}
        )
        g = found[where].flatten().numpy()
        assert objective(g) <= tried.fun + 1e-9
        assert abs(g - tried.x).max() < 2e-4


@KINDS
@COUPLED
@pytest.mark.parametrize("dtype", [F64, C128])
def test_the_part_outside_is_the_projection_on_the_ball(kind, coupled, dtype):
    _, penalty = penalty_of(kind, 1.0, coupled, dtype=dtype)
    counted = penalty.differences.counted
    v = randn(len(counted), 3, *penalty.differences.torus.coarse, dtype=dtype, seed=5)
    ball = penalty.into_ball(v, 0.9)
    assert relative(penalty.outside(v, 0.9), ball) < 1e-14
    size = norms(ball.flatten(2), coupled)
    assert float(size.max()) <= 0.9 * (1 + 1e-14)
    assert bool((ball * (1 - counted) == 0).all())
    # nothing in the ball is nearer: ⟨v − P v, P v⟩ is the support function of v − P v
    rest = v * counted - ball
    assert math.isclose(
        float(torch.vdot(rest.flatten(), ball.flatten()).real),
        0.9 * float(norms(rest.flatten(2), coupled).sum()),
        rel_tol=1e-12,
    )


def test_zeros_stay_zeros():
    _, penalty = penalty_of("gradient", 1.0, True)
    zeros = torch.zeros(2, 3, *penalty.differences.torus.coarse, dtype=torch.float32)
    assert float(penalty.outside(zeros, 0.5).abs().max()) == 0


@COUPLED
@pytest.mark.parametrize("p", [0.3, 0.8])
def test_the_tangent_of_a_concave_penalty_lies_above_it(coupled, p):
    """φ(t) ≤ φ(s) + φ′(s)(t − s), with the slope of φ by its difference quotient."""
    _, penalty = penalty_of("gradient", p, coupled, 0.1)
    counted = penalty.differences.counted
    a = randn(2, 3, *penalty.differences.torus.coarse, seed=6) * counted
    b = randn(2, 3, *penalty.differences.torus.coarse, seed=7) * counted
    s, t = (norms(d.flatten(2), coupled).flatten() for d in (a, b))
    slope = penalty.slope(a).flatten()

    def phi(size):
        return (size + 0.1) ** p - 0.1**p

    h = 1e-6
    assert relative(slope, (phi(s + h) - phi(s)) / h) < 1e-4
    assert bool((phi(t) <= phi(s) + slope * (t - s) + 1e-12).all())
