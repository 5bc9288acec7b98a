"""What every inverse owes, whatever it is made of: one table, and every law over all of it."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch

from unconv import InverseOperator
from unconv.inverse.diagonal.filtered import FilterInverse
from unconv.inverse.mapped import AtEachDamp
from unconv.inverse.plan import LADDER
from unconv.regularize.stack_inverse import StackInverse
from unconv.spectrum.projectors import Projector, WholeSpace
from unconv.testing import dot_test

from ..helpers import (
    C128,
    DOUBLES,
    F64,
    assert_says,
    data,
    relative,
)
from .every_inverse import INVERSES, Mapped, inverse, matrix, operator

EPS = {torch.float32: 2e-6, torch.complex64: 2e-6, F64: 1e-14, C128: 1e-14}


every_inverse = pytest.mark.parametrize("name", list(INVERSES))
outside_maps = pytest.mark.parametrize("name", [n for n in INVERSES if "mapped" not in n])


def every_inverse_in_a_dtype(first: int) -> pytest.MarkDecorator:
    """Real and complex in turn, beginning with one of them; each inverse in the other is slow.

    Laws begin in turn as well, so that every inverse is held to laws in both.
    """
    cases = []
    for i, name in enumerate(INVERSES):
        for j, dtype in enumerate(DOUBLES):
            marks = () if j == (i + first) % 2 else pytest.mark.slow
            kind = "complex" if dtype.is_complex else "real"
            cases.append(pytest.param(name, dtype, marks=marks, id=f"{kind}-{name}"))
    return pytest.mark.parametrize(("name", "dtype"), cases)


def tolerance(name: str, dtype: torch.dtype = F64) -> float:
    return max(INVERSES[name].tol, 10 * EPS[dtype])


def scale(name: str, dtype: torch.dtype = F64) -> float:
    """Of answers to data of norm one: of a projector onto nothing it is one all the same."""
    return max(1.0, float(torch.linalg.matrix_norm(matrix(name, dtype), 2).amax()))


def kinds_below(cls: type) -> set[type]:
    """The classes of the library under `cls`, without itself."""
    found = {c for c in cls.__subclasses__() if c.__module__.startswith("unconv.")}
    # which only others derive from; an inverse for each damp of a vmap, each of them in the table
    bases = {FilterInverse, StackInverse, AtEachDamp}
    return found.union(*map(kinds_below, found)) - bases


def kinds_in_the_table() -> set[type]:
    found = set()
    for name in INVERSES:
        X = inverse(name)
        if isinstance(X, Mapped):
            X(data(X.domain_shape, X))
            found |= X.kinds
        found.add(type(X))
    return found


def test_the_table_has_every_inverse():
    """Whoever writes a new one has to add a row."""
    assert kinds_below(InverseOperator) | kinds_below(Projector) <= kinds_in_the_table()
    methods = {getattr(inverse(name), "method", None) for name in INVERSES}
    assert methods >= {rung.name for rung in LADDER}


@every_inverse_in_a_dtype(0)
def test_it_is_its_matrix(name, dtype):
    """And its adjoint and its transpose are those of the matrix."""
    X, expected = inverse(name, dtype), matrix(name, dtype)
    size = torch.linalg.norm(expected).clamp(min=1)
    with INVERSES[name].heard():
        assert relative(X.to_dense(), expected, size) < tolerance(name)
        assert relative(X.H.to_dense(), expected.mH, size) < tolerance(name)
        assert relative(X.T.to_dense(), expected.mT, size) < tolerance(name)


@every_inverse_in_a_dtype(1)
def test_adjoint(name, dtype):
    """⟨Xy, x⟩ = ⟨y, Xᴴx⟩, also for arguments of the other kind."""
    X = inverse(name, dtype)
    assert X.H.H is X
    assert (X.H.domain_shape, X.H.range_shape) == (X.range_shape, X.domain_shape)
    with INVERSES[name].heard():
        assert dot_test(X) < tolerance(name)
        assert dot_test(X.H) < tolerance(name)
        y, x = data(X.domain_shape, X, dtype=C128), data(X.range_shape, X, dtype=C128, seed=2)
        products = (
            torch.vdot(x.flatten(), X(y).flatten()),
            torch.vdot(X.H(x).flatten(), y.flatten()),
        )
    error = abs(products[0] - products[1])
    assert error < tolerance(name) * scale(name, dtype) * x.norm() * y.norm()


@every_inverse_in_a_dtype(0)
def test_linear(name, dtype):
    X = inverse(name, dtype)
    factor = 2 - 3j if dtype.is_complex else -3.0
    with INVERSES[name].heard():
        for member in (X, X.H):
            y, z = (data(member.domain_shape, X, seed=seed) for seed in (1, 2))
            error = member(y + factor * z) - member(y) - factor * member(z)
            assert error.norm() <= 10 * tolerance(name) * scale(name, dtype) * (y + z).norm()


@every_inverse
@pytest.mark.parametrize("own", [F64, torch.complex64], ids=str)
def test_shapes_and_dtypes(name, own):
    """Whatever the precision of A and of y, the answer has the promoted one."""
    X = inverse(name, own)
    for member in (X, X.H):
        for dtype in (torch.float32, F64, torch.complex64, C128):
            y = data(member.domain_shape, X, dtype=dtype)
            with INVERSES[name].heard():
                x = member(y)
            assert x.dtype == torch.promote_types(own, dtype)
            assert x.shape == (len(y), *member.range_shape)
            with INVERSES[name].heard():
                wide = member(y.to(C128 if dtype.is_complex else F64))
            eps = max(tolerance(name), EPS[x.dtype], EPS[own])
            assert (x - wide).norm() <= 10 * eps * scale(name) * y.norm()


@every_inverse
def test_single_precision_is_the_same_inverse(name):
    X, X32 = inverse(name), inverse(name, torch.float32)
    for member, member32 in ((X, X32), (X.H, X32.H)):
        y = data(member.domain_shape, X)
        with INVERSES[name].heard():
            error = member(y) - member32(y)
            assert member32(y.float()).dtype == torch.float32
        assert error.norm() <= 10 * tolerance(name, torch.float32) * scale(name) ** 2 * y.norm()


@every_inverse
def test_images_of_a_batch_do_not_meet(name):
    X = inverse(name)
    with INVERSES[name].heard():
        for member in (X, X.H):
            y = data(member.domain_shape, X, N=3)
            whole, other = member(y), y.clone()
            other[1] = 1e6
            found = member(other)
            for i in {0, len(y) - 1} - {1}:
                assert relative(found[i], whole[i]) < 1e-13
            if X.batch_size is None:
                alone = torch.cat([member(v[None]) for v in y])
                assert relative(alone, whole) < INVERSES[name].apart


@every_inverse
def test_an_empty_batch(name):
    X = inverse(name)
    for member in (X, X.H):
        y = torch.zeros(0, *member.domain_shape, dtype=torch.complex64)
        if X.batch_size is None:
            found = member(y)
            assert found.shape == (0, *member.range_shape)
            assert found.dtype == C128
        else:
            with pytest.raises(ValueError, match="one kernel for each of 2 samples"):
                member(y)


@every_inverse
def test_copies_and_pickles_answer_alike(name):
    X = inverse(name)
    y = data(X.domain_shape, X)
    with INVERSES[name].heard():
        expected = X(y)
        for other in (copy.deepcopy(X), pickle.loads(pickle.dumps(X))):
            assert torch.equal(other(y), expected)
            assert torch.equal(other.H(other(y)), X.H(expected))
            assert getattr(other, "method", "") == getattr(X, "method", "")


@every_inverse
def test_bits_repeat_and_nothing_is_touched(name):
    X, op = inverse(name), operator(name)
    y = data(X.domain_shape, X)
    before = op.weight.clone(), y.clone(), {k: v.clone() for k, v in X.state_dict().items()}
    with INVERSES[name].heard():
        assert torch.equal(X(y), X(y))
        assert torch.equal(INVERSES[name].make(op)(y), X(y))
    assert torch.equal(op.weight, before[0])
    assert torch.equal(y, before[1])
    assert all(torch.equal(v, before[2][k]) for k, v in X.state_dict().items())
    assert not list(X.parameters())
    assert X.state_dict() or isinstance(X, WholeSpace)


@outside_maps
@pytest.mark.parametrize("dtype", [F64, C128, torch.float32], ids=str)
def test_it_follows_a_module(name, dtype):
    """`.to` of a real dtype keeps a complex factor complex."""
    X = inverse(name, dtype)
    y = data(X.domain_shape, X)
    with INVERSES[name].heard():
        expected = X(y)
        for other in (torch.float32, F64):
            moved = copy.deepcopy(X).to(other)
            kind = other.to_complex() if dtype.is_complex else other
            assert moved.dtype == kind
            narrow = y.to(kind)
            assert moved(narrow).dtype == kind
            assert moved.device.type == "cpu"
            error = moved(narrow) - expected
            eps = max(tolerance(name, kind), tolerance(name, dtype))
            assert error.norm() <= 10 * eps * scale(name) ** 2 * y.norm()


@every_inverse
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_data_that_are_not_finite(name, value):
    """Refused; by what checks nothing, kept within their image."""
    X = inverse(name)
    for member in (X, X.H):
        y = data(member.domain_shape, X)
        y[(1, *[0] * (y.ndim - 1))] = value
        if INVERSES[name].checks:
            with pytest.raises(ValueError, match="the data holds 1") as error:
                member(y)
            assert_says(error, str((1, *[0] * (y.ndim - 1))), "check_finite=False")
        else:
            found = member(y)
            assert found[0].isfinite().all()


@every_inverse
def test_data_of_another_kind(name):
    X = inverse(name)
    y = data(X.domain_shape, X)
    with pytest.raises(ValueError, match=r"\(N, .*\), got"):
        X(y[..., None])
    if X.batch_size is None:
        with INVERSES[name].heard():
            assert relative(X(y[:1])[0], X(y[0])) < 1e-9
    else:
        with pytest.raises(ValueError, match="one kernel for each"):
            X(y[0])
    with pytest.raises(TypeError, match="int64"):
        X(y.long())
    with pytest.raises(ValueError, match="meta"):
        X(y.to("meta"))


@pytest.fixture
def every_warning():
    """Some of torch's own come once a process only."""
    torch.set_warn_always(True)
    yield
    torch.set_warn_always(False)


@every_inverse_in_a_dtype(1)
@pytest.mark.usefixtures("every_warning")
def test_derivatives_in_the_data(name, dtype):
    """Once, and twice where that does not take hundreds of iterations."""
    X = inverse(name, dtype)
    exact = INVERSES[name].tol <= 1e-12
    options = {"fast_mode": True, "check_undefined_grad": exact}
    with INVERSES[name].heard():
        for member in (X, X.H):
            y = data(member.domain_shape, X, N=1).requires_grad_()
            assert torch.autograd.gradcheck(member, y, **options)
            if exact and member is X:
                assert torch.autograd.gradgradcheck(member, y, **options)
