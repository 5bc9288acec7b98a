"""What long restorations tell of themselves: in words, and how much of them is done."""

from __future__ import annotations

import pytest
import torch

from unconv import ConvOperator, richardson_lucy
from unconv.restoration import restoration_path, restore

from ..helpers import randn

A = ConvOperator(torch.ones(1, 1, 3, 3).double() / 9, (20, 20))
Y = (A(randn(3, 1, 20, 20).cumsum(-1)) + 0.05 * randn(3, 1, 18, 18, seed=1)).abs()


class Heard(list):
    """The calls of progress(step, fraction)."""

    def __call__(self, step: str, fraction: float | None) -> None:
        self.append((step, fraction))


def assert_it_goes_from_start_to_end(heard: Heard, last: float) -> None:
    fractions = [fraction for _, fraction in heard]
    assert fractions == sorted(fractions)
    assert 0 <= fractions[0] <= fractions[-1] <= 1
    assert fractions[-1] >= last


@pytest.mark.parametrize("prior", ["tv", "hessian", "dct", lambda x, sigma: x / (1 + sigma)])
@pytest.mark.parametrize("images", [1, 3])
def test_restore(prior, images):
    heard, looks = Heard(), []
    options = {} if callable(prior) or prior == "dct" else {"strength": 0.02}
    found = restore(
        A, Y[:images], prior=prior, progress=heard, callback=lambda *a: looks.append(a), **options
    )
    assert_it_goes_from_start_to_end(heard, 0.99)
    assert len(heard) == len(looks)
    name = "denoiser" if callable(prior) else prior
    assert all(step.startswith(name) for step, _ in heard)
    assert (f"{images} of {images}" in heard[-1][0]) == (images > 1)
    plain = restore(A, Y[:images], prior=prior, **options)
    assert torch.equal(found.solution, plain.solution)


def test_restoration_path():
    heard = Heard()
    restoration_path(A, Y[:2], [1e-3, 1e-1, 1e-2], progress=heard)
    assert_it_goes_from_start_to_end(heard, 0.99)
    assert "6 of 6" in heard[-1][0]


@pytest.mark.parametrize("stop", ["discrepancy", None])
def test_richardson_lucy(stop):
    heard, steps = Heard(), []
    counts = (100 * Y[:2]).round()
    richardson_lucy(
        A, counts, maxiter=20, stop=stop, progress=heard, callback=lambda k, x: steps.append(k)
    )
    assert_it_goes_from_start_to_end(heard, 0.0 if stop else 1.0)
    assert [step for step, _ in heard] == [
        f"Richardson–Lucy: step {k} of at most 20" for k in steps
    ]


@pytest.mark.parametrize("call", [restore, richardson_lucy])
def test_it_may_end_the_work_and_must_be_a_function(call):
    def stop(step, fraction):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        call(A, (1000 * Y).round(), progress=stop)
    with pytest.raises(TypeError, match="progress must be a function"):
        call(A, Y, progress=3)
