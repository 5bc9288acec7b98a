"""What is accepted at the public edge, and the sentences for the rest."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from unconv.numerics.checks import (
    DTYPES,
    check_all_finite,
    check_choice,
    check_count,
    check_flag,
    check_memory_limit,
    check_number,
    check_tensor,
    check_values,
    shown,
)

from ..doors import strange_tensors
from ..helpers import F64, assert_says, randn


def test_check_tensor():
    x = randn(2, 3)
    assert check_tensor("x", x) is x
    with pytest.raises(TypeError, match=r"x must be a torch.Tensor, got list"):
        check_tensor("x", [1.0])


def test_check_all_finite_names_the_first():
    x = randn(2, 3)
    check_all_finite("x", x)
    x[1, 0], x[1, 2] = torch.nan, torch.inf
    with pytest.raises(ValueError, match="x holds 2") as error:
        check_all_finite("x", x)
    assert_says(error, "(1, 0)", "check_finite=False")


def test_large_finite_numbers_are_finite():
    check_all_finite("x", torch.full((4,), 3e38))
    check_all_finite("x", torch.full((4,), 6e4, dtype=torch.float16))
    check_all_finite("x", torch.full((4,), 1e308, dtype=F64))
    opposite = torch.tensor([torch.inf, -torch.inf])
    with pytest.raises(ValueError, match="holds 2"):
        check_all_finite("x", opposite)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_that_is_computed_in(dtype):
    x = torch.ones(2, 3, dtype=dtype)
    assert check_tensor("x", x) is x


REMEDIES = {
    "float8": ".float()",
    "complex32": ".to(torch.complex64)",
    "integers": ".float()",
    "bools": ".float()",
    "coo": ".to_dense()",
    "csr": ".to_dense()",
    "mkldnn": ".to_dense()",
    "nested": "one by one",
    "jagged": "one by one",
    "quantized": ".dequantize()",
    "lazy": "run its module once",
    "masked": ".to_tensor(value)",
}


@pytest.mark.parametrize("kind", REMEDIES)
def test_no_dense_numbers(kind):
    with pytest.raises(TypeError) as error:
        check_tensor("x", strange_tensors(randn(2, 3))[kind])
    assert_says(error, "x must be", REMEDIES[kind])


def test_the_meta_device_has_shapes_alone():
    x = check_tensor("x", randn(2, 3).to("meta"))
    for check in (check_values, check_all_finite):
        with pytest.raises(ValueError, match="x is on the meta device and has no values"):
            check("x", x)


@given(st.floats(), st.floats(0, 10), st.floats(0, 20), st.booleans())
def test_numbers_in_their_interval(value, least, below, positive):
    inside = least <= value < below and math.isfinite(value) and not (positive and value == 0)
    if inside:
        assert check_number("v", value, least=least, below=below, positive=positive) == value
    else:
        with pytest.raises(ValueError, match=r"^v=.*must be a finite number.*\.$"):
            check_number("v", value, least=least, below=below, positive=positive)


@pytest.mark.parametrize("value", [True, "1", None, 1j, torch.tensor(1.0), [1]])
def test_no_numbers(value):
    for check in (check_number, check_count):
        with pytest.raises(TypeError, match="v must be"):
            check("v", value)
    with pytest.raises(TypeError, match="number of bytes"):
        check_memory_limit(value)


def test_huge_numbers_are_no_overflow():
    assert check_memory_limit(10**400) == math.inf
    for check in (check_number, check_count):
        with pytest.raises(ValueError, match="v="):
            check("v", 10**400)


@pytest.mark.parametrize("value", ["no", "True", 0, 1, None, torch.tensor(True)])
def test_flags_are_bools(value):
    assert check_flag("f", True) is True
    with pytest.raises(TypeError, match="f must be True or False, got"):
        check_flag("f", value)


@pytest.mark.parametrize("value", ["c", 1, ["a"], torch.ones(2), {}])
def test_choices(value):
    assert check_choice("c", "a", ("a", "b")) == "a"
    with pytest.raises(ValueError, match=r"^c=.* is not known; use one of 'a', 'b'\.$"):
        check_choice("c", value, ("a", "b"))


@pytest.mark.parametrize(
    "value", [torch.ones(9, 9), nn.Linear(2, 2), nn.UninitializedParameter(), "x" * 99, [1.0] * 99]
)
def test_values_are_shown_on_one_short_line(value):
    assert "\n" not in shown(value)
    assert len(shown(value)) <= 60
