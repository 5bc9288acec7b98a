"""What a watcher is told of long solves, and that it can end them."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch

from unconv import ConvOperator
from unconv.pictures import Series
from unconv.psf import disk

from ..helpers import assert_says, randn

ITERATIONS = ["krylov", "completion"]


def problem(count=3):
    op = ConvOperator(randn(1, 1, 3, 3), (20, 20))
    return op, randn(count, *op.range_shape, seed=1)


class Told:
    """Remembers what it is told; ends the work at a step."""

    def __init__(self, end: int | None = None) -> None:
        self.said: list[tuple[str, float]] = []
        self.end = end

    def __call__(self, step: str, fraction: float | None) -> None:
        self.said.append((step, fraction))
        if len(self.said) == self.end:
            raise KeyboardInterrupt


def assert_told(told: Told, method: str) -> None:
    steps, fractions = zip(*told.said, strict=True)
    assert len(steps) > 3
    assert steps[0].startswith(f"{method}: step 1, error ")
    assert told.said[-1] == (f"{method}: done", 1.0)
    assert list(fractions) == sorted(fractions)
    assert 0 <= fractions[0] < fractions[-2] <= 1


@pytest.mark.parametrize("method", ITERATIONS)
def test_lstsq_and_tikhonov_tell_their_steps(method):
    op, y = problem()
    told = Told()
    x = op.lstsq(y, 0.3, method=method, progress=told).solution
    assert_told(told, method)
    assert torch.equal(x, op.lstsq(y, 0.3, method=method).solution)
    told = Told()
    inverse = op.tikhonov(0.3, method=method, progress=told)
    assert not told.said
    plain = op.tikhonov(0.3, method=method)
    for solve, quiet, v in ((inverse, plain, y), (inverse.H, plain.H, x)):
        told.said.clear()
        assert torch.equal(solve(v), quiet(v))
        assert_told(told, method)


@pytest.mark.filterwarnings("ignore::unconv.AccuracyWarning")
def test_an_iteration_without_damp():
    op, y = problem()
    told = Told()
    op.pinv(method="krylov", progress=told)(y)
    assert_told(told, "krylov")


@pytest.mark.parametrize("options", [{"damp": 0.3}, {"damp": 0.3, "penalty": "gradient"}])
@pytest.mark.parametrize("method", ITERATIONS)
def test_part_after_part(method, options, monkeypatch):
    monkeypatch.setattr("unconv.inverse.krylov._SLICE_BYTES", {"cpu": 1})
    monkeypatch.setattr("unconv.inverse.completion.system.images_at_once", lambda *_: 2)
    monkeypatch.setattr("unconv.regularize.natural_edges.inverse._SLICE_BYTES", 1)
    op, y = problem()
    told = Told()
    op.lstsq(y, **options, method=method, progress=told)
    assert_told(told, method)


@pytest.mark.parametrize("method", ITERATIONS)
def test_a_watcher_that_raises_ends_the_solve_and_no_more(method):
    op, y = problem()
    weight = op.weight.clone().requires_grad_()
    A = op.with_weight(weight)
    plain = op.tikhonov(0.3, method=method)
    told = Told()
    inverse = A.tikhonov(0.3, method=method, progress=told)
    before = {name: b.clone() for name, b in inverse.state_dict().items()}
    told.end = 2
    given = y.clone()
    with pytest.raises(KeyboardInterrupt):
        inverse(y)
    with pytest.raises(KeyboardInterrupt):
        A.lstsq(y, 0.3, method=method, progress=Told(1))
    assert torch.equal(y, given)
    assert all(torch.equal(b, before[name]) for name, b in inverse.state_dict().items())
    told.end = None
    x = inverse(y)
    assert torch.equal(x, plain(y))
    told.said.clear()
    told.end = 1
    with pytest.raises(KeyboardInterrupt):  # the solve of a gradient
        x.sum().backward()
    assert weight.grad is None
    told.end = None
    inverse(y).sum().backward()
    assert weight.grad.isfinite().all()


def test_direct_methods_tell_nothing():
    op, y = problem()
    told = Told()
    op.lstsq(y, 0.3, method="dense", progress=told)
    assert not told.said


def test_equal_groups():
    op, y = problem()
    A = ConvOperator(op.weight.repeat(3, 1, 1, 1), (20, 20), groups=3)
    told, other = Told(), Told()
    inverse = A.tikhonov(0.3, method="completion", progress=told)
    inverse(y.reshape(1, 3, *y.shape[2:]))
    assert_told(told, "completion")
    told.end = 1
    inverse.watched_by(other)(y.reshape(1, 3, *y.shape[2:]))
    assert_told(other, "completion")


def test_copies_tell_nobody():
    op, y = problem()
    inverse = op.tikhonov(0.3, method="completion", progress=lambda *_: 1 / 0)
    for other in (copy.deepcopy(inverse), pickle.loads(pickle.dumps(inverse))):
        assert other.progress is None
        assert other(y).isfinite().all()
    assert inverse.progress is not None


def test_a_series_tells_whoever_watches_the_picture():
    op = ConvOperator(disk(2.0).double()[None, None], (40, 40))
    y, series = randn(1, *op.range_shape), Series()
    limits = {"memory_limit": 2**33, "tol": 1e-6, "expected_solves": 1}
    answers = []
    for _ in range(2):
        told = Told()
        answers.append(series.lstsq(op, y, 0.1, progress=told, **limits)[0])
        assert_told(told, "completion")
    assert series.made == 1
    assert torch.equal(*answers)


@pytest.mark.parametrize("door", ["pinv", "tikhonov", "lstsq"])
def test_what_is_no_function(door):
    op, y = problem()
    given = {"pinv": (), "tikhonov": (0.3,), "lstsq": (y,)}[door]
    with pytest.raises(TypeError) as error:
        getattr(op, door)(*given, progress=3)
    assert_says(error, "progress must be a function, got int", "pass the function itself")
