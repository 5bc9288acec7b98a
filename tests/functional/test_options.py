"""What type checkers are told of the options is what the functions take."""

from __future__ import annotations

import inspect

import pytest
import torch

import unconv
from unconv.functional import options
from unconv.operators.linear_operator import DEFAULT_MEMORY_LIMIT

from ..helpers import randn

TOLD = {
    "conv1d_adjoint": options.BoundaryOptions,
    "conv2d_adjoint": options.BoundaryOptions,
    "conv3d_adjoint": options.BoundaryOptions,
    "conv1d_pinv": options.PinvOptions,
    "conv2d_pinv": options.PinvOptions,
    "conv3d_pinv": options.PinvOptions,
    "tikhonov": options.TikhonovOptions,
    "wiener": options.WienerOptions,
    "tsvd": options.TsvdOptions,
    "filtered": options.FilteredOptions,
    "lstsq": options.LstsqOptions,
}


def test_every_function_is_told():
    assert TOLD.keys() == set(unconv.functional.__all__)


@pytest.mark.parametrize("name", TOLD)
def test_types_and_signatures_have_the_same_options(name):
    parameters = inspect.signature(getattr(unconv, name)).parameters.values()
    by_name = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}
    assert by_name == TOLD[name].__annotations__.keys()


@pytest.mark.parametrize("name", TOLD)
def test_docstrings_name_every_option(name):
    function = getattr(unconv, name)
    text = inspect.getdoc(function)
    assert "{" not in text.split("Examples")[0]
    for option in inspect.signature(function).parameters:
        assert option in text


def test_defaults_are_those_of_the_method():
    parameters = inspect.signature(unconv.conv2d_pinv).parameters
    assert parameters["memory_limit"].default == DEFAULT_MEMORY_LIMIT
    assert parameters["padding_mode"].default == "zeros"


def test_functions_are_at_home_in_pickles_and_names():
    assert unconv.conv2d_pinv.__qualname__ == unconv.conv2d_pinv.__name__ == "conv2d_pinv"
    assert unconv.conv2d_pinv.__module__ == "unconv.functional.convolutions"


def test_the_images_of_y_are_counted(monkeypatch):
    asked = []
    tsvd = unconv.ConvOperator.tsvd
    monkeypatch.setattr(
        unconv.ConvOperator,
        "tsvd",
        lambda op, *a, **k: asked.append(k["expected_solves"]) or tsvd(op, *a, **k),
    )
    weight = randn(1, 1, 3)
    for images in (1, 25):
        unconv.tsvd(randn(images, 1, 8), weight, 1e-6)
    unconv.tsvd(torch.ones(3, 1, 8), weight, 1e-6, expected_solves=2)
    assert asked == [10, 25, 2]
