"""The law of the noise: prox and conjugate by brute force, Fenchel–Young, slopes by differences."""

import math

import pytest
import torch
from scipy.optimize import minimize_scalar

from unconv.restoration.data_terms import Gaussian, Huber, Poisson

from ..helpers import C128, F64, randn, relative

COUNTS = torch.tensor([0.0, 0.0, 1.0, 3.0, 40.0, 2.5e4], dtype=F64)
BACKGROUND = torch.tensor([0.0, 0.5, 0.0, 2.0, 0.0, 7.0], dtype=F64)
TERMS = {
    "gaussian": Gaussian(randn(6)),
    "huber": Huber(randn(6), 0.4),
    "poisson": Poisson(COUNTS, BACKGROUND),
}
EACH = pytest.mark.parametrize("name", TERMS)


def at_one(term, i: int):
    """f of place i alone, as a function of a number."""
    parts = {
        name: value[i] for name, value in vars(term).items() if isinstance(value, torch.Tensor)
    }
    rest = {name: value for name, value in vars(term).items() if name not in parts}
    one = type(term)(**parts, **rest)
    return lambda z: float(one.value(torch.tensor(z, dtype=F64)))


def domain(term, i: int, reach: float) -> tuple[float, float]:
    if isinstance(term, Poisson):
        return -float(term.background[i]), float(term.y[i]) + reach
    return float(term.y[i]) - reach, float(term.y[i]) + reach


@EACH
@pytest.mark.parametrize("r", [1e-3, 0.3, 20.0])
@pytest.mark.parametrize("shift", [-3.0, -0.2, 0.0, 0.1, 4.0])
def test_the_prox_is_a_minimum(name, r, shift):
    term = TERMS[name]
    c = term.y + shift
    found = term.prox(c, r)
    for i in range(len(c)):
        f = at_one(term, i)

        def objective(z, f=f, c=float(c[i])):
            return f(z) + r / 2 * (z - c) ** 2

        ends = domain(term, i, abs(shift) + 1)
        tried = minimize_scalar(objective, bounds=ends, method="bounded", options={"xatol": 1e-12})
        best = min(tried.fun, *(objective(e) for e in ends if math.isfinite(objective(e))))
        assert objective(float(found[i])) <= best + 1e-9 * (1 + abs(best))


@EACH
def test_the_conjugate_is_a_supremum(name):
    term = TERMS[name]
    for w in (-2.0, -0.39, 0.0, 0.2, 0.39, 0.9):
        found = term.conjugate(torch.full_like(term.y, w))
        for i in range(len(found)):
            if math.isinf(float(found[i])):
                assert (name, abs(w) > 0.4) == ("huber", True)
                continue
            f = at_one(term, i)
            low, high = domain(term, i, 10 * (1 + float(term.y[i].abs())))
            tried = minimize_scalar(
                lambda z, f=f, w=w: f(z) - w * z,
                bounds=(low, high),
                method="bounded",
                options={"xatol": 1e-11},
            )
            values = [tried.fun, *(f(e) - w * e for e in (low, high))]
            best = -min(v for v in values if math.isfinite(v))
            assert math.isclose(float(found[i]), best, rel_tol=1e-7, abs_tol=1e-7)


def slope(term, z):
    """f′(z), from the definition."""
    if isinstance(term, Poisson):
        return 1 - torch.where(term.y > 0, term.y / (z + term.background), 0.0)
    r = z - term.y
    return r.clamp(-term.delta, term.delta) if isinstance(term, Huber) else r


@EACH
def test_the_slope_is_a_difference_quotient(name):
    term, h = TERMS[name], 1e-5
    z = term.y + 1.3
    quotient = (term.value(z + h) - term.value(z - h)) / (2 * h)
    assert relative(slope(term, z), quotient) < 1e-5


@EACH
def test_fenchel_young(name):
    """f(z) + f*(w) ≥ wz, with equality where w is the slope of f at z."""
    term = TERMS[name]
    for shift in (-0.3, 0.0, 0.7, 9.0):
        z = (term.y + shift).clamp(min=0.0) if name == "poisson" else term.y + shift
        usable = term.value(z).isfinite()
        w = slope(term, z)
        both = term.value(z) + term.conjugate(w)
        assert relative(both[usable], (w * z)[usable], 1 + float((w * z).abs().max())) < 1e-10
        for other in (-0.35, 0.1, 0.35):
            w = torch.full_like(z, other)
            assert bool((term.value(z) + term.conjugate(w) >= w * z - 1e-9)[usable].all())


@EACH
def test_the_prox_obeys_its_own_equation(name):
    """f′(z) + r(z − c) = 0 wherever z is inside the domain."""
    term = TERMS[name]
    for r in (0.01, 1.0, 50.0):
        c = term.y + randn(6, seed=3)
        z = term.prox(c, r)
        force = slope(term, z) + r * (z - c)
        if name == "poisson":
            inside = z + term.background > 1e-12
            force = force.where(inside, 0)
        assert float(force.abs().max()) < 1e-8 * (1 + r)


def test_complex_data_have_the_real_inner_product():
    y, z, w = (randn(5, dtype=C128, seed=s) for s in range(3))
    term = Gaussian(y)
    pairing = (w.conj() * z).real
    assert bool((term.value(z) + term.conjugate(w) >= pairing - 1e-12).all())
    assert relative(term.value(z) + term.conjugate(z - y), ((z - y).conj() * z).real) < 1e-12
    c = term.prox(z, 0.5)
    assert relative(c - y + 0.5 * (c - z), torch.zeros_like(c), 1.0) < 1e-14


@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("r", [1e-6, 1e-2, 1.0])
def test_counts_far_below_their_background_do_not_cancel(dtype, r):
    """Zero counts and counts of one where c is far negative: positive means, never NaN."""
    y = torch.tensor([0.0, 1.0, 100.0], dtype=dtype)
    term = Poisson(y, torch.zeros_like(y))
    z = term.prox(torch.full_like(y, -1e6), r)
    assert bool(z.isfinite().all())
    assert bool((z >= 0).all())
    exact = y.double() / r / (1e6 + 1 / r)
    assert bool(((z.double() - exact).abs() <= 1e-3 * exact).all())


def test_counts_of_nothing():
    term = Poisson(torch.zeros(3, dtype=F64), torch.zeros(3, dtype=F64))
    z = torch.tensor([0.0, 2.0, -1e-9], dtype=F64)
    assert term.value(z).tolist() == [0.0, 2.0, math.inf]
    assert term.conjugate(torch.tensor([1.0, -5.0, 1.1], dtype=F64)).tolist() == [0, 0, math.inf]
    assert float(Poisson(torch.ones(1), torch.zeros(1)).value(torch.zeros(1))) == math.inf
