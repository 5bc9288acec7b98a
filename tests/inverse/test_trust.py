"""What is said of a factor when it is handed out: once, at the line that asked, and not in vain."""

from __future__ import annotations

import warnings

import pytest
import torch

import unconv
from unconv import AccuracyWarning, ConvOperator
from unconv.inverse import plan as plan_module

from ..helpers import F64, randn


def circular(eps: float) -> ConvOperator:
    """[1, 1 + ε] on an even circle: σ_min = ε exactly, and nothing is cut."""
    weight = torch.tensor([[[1.0, 1.0 + eps]]], dtype=F64)
    return ConvOperator(weight, (8,), padding=((0, 1),), padding_mode="circular")


def heard(ask) -> list[warnings.WarningMessage]:
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        ask()
    return found


ASKED = {
    "pinv": lambda op: op.pinv(),
    "lstsq": lambda op: op.lstsq(randn(1, 1, 8)),
    "conv1d_pinv": lambda op: unconv.conv1d_pinv(
        randn(1, 1, 8), op.weight, padding=((0, 1),), padding_mode="circular"
    ),
    "tsvd": lambda op: op.tsvd(0.0),
}


@pytest.mark.parametrize("name", ASKED)
def test_doubt_is_said_once_where_it_was_asked_for(name):
    said = heard(lambda: ASKED[name](circular(1e-14)))
    assert [w.category for w in said] == [AccuracyWarning]
    assert said[0].filename == __file__
    assert ("in doubt" in str(said[0].message)) == (name != "lstsq")  # which judges the answer
    assert "damp" in str(said[0].message)


@pytest.mark.parametrize("eps", [1e-3, 1e-9, 1e-11])
@pytest.mark.parametrize("name", ASKED)
def test_ill_conditioned_is_not_in_doubt(name, eps):
    assert not heard(lambda: ASKED[name](circular(eps)))


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_damping_of_a_singular_operator_is_not_in_doubt(dtype):
    op = ConvOperator(torch.tensor([[[1.0, 2, 1]]], dtype=dtype), (8,), padding=1,
                      padding_mode="circular")  # fmt: skip
    for damp in (1e-1, 1e-3, 1e-4):
        assert not heard(lambda damp=damp: op.tikhonov(damp)(randn(1, 1, 8, dtype=dtype)))


def test_a_factor_that_breaks_its_promise_is_not_handed_out(monkeypatch):
    """The next rung answers instead."""
    op = ConvOperator(randn(1, 1, 3, 3), (6, 6), padding=1, padding_mode="circular")
    assert op.pinv().method == "fourier"
    fourier = next(rung for rung in plan_module.LADDER if rung.name == "fourier")
    factor = fourier.factor

    def wrong(*args):
        inverse = factor(*args)
        inverse.blocks.mul_(1 + 1e-6)
        return inverse

    rungs = [r if r is not fourier else plan_module.replace(r, factor=wrong)
             for r in plan_module.LADDER]  # fmt: skip
    monkeypatch.setattr(plan_module, "LADDER", tuple(rungs))
    assert op.pinv().method == "dense"
    with pytest.raises(ValueError, match="times what it promises"):
        op.pinv(method="fourier")
