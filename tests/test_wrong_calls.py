"""Wrong calls of every public function: an answer, or one sentence of our own about what is wrong.

Drawn at random from doors.py: every argument of every function meets tensors of every kind, values
of every type, NaN, negative and huge numbers, strings for bools.
"""

from __future__ import annotations

import importlib.util
import inspect
import pathlib
import random
import traceback
import warnings

import pytest
import torch

import unconv

from .doors import (
    NEVER,
    TENSORS,
    Door,
    all_doors,
    odd_tensors,
    odd_values,
    seeded,
    strange_tensors,
)

SOURCE = str(pathlib.Path(unconv.__file__).parent)
DOORS = {door.name: door for door in all_doors()}
SELF_MADE = {"gain", "f", "df", "progress", "callback", "prior", "density"}
"""Arguments that are functions of the caller, who may raise what he likes in them."""


def outcome(door: Door, arguments: dict) -> Exception | None:
    """What the call raised, after a look at it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = door.call(**arguments)
            if inspect.isgenerator(found):
                list(found)
    except (ValueError, TypeError, NotImplementedError) as error:
        frames = traceback.extract_tb(error.__traceback__)
        last, sentence = frames[-1], str(error)
        lines = pathlib.Path(last.filename).read_text().splitlines()[last.lineno - 1 :]
        raised = last.filename.startswith(SOURCE) and lines[0].strip().startswith("raise ")
        plain = sentence.endswith((".", "warnings")) and "\n" not in sentence
        assert raised, f"raised by {last.filename}:{last.lineno}: {sentence}"
        assert plain, f"not one sentence: {sentence!r}"
        return error
    return None


def judged(door: Door, name: str, value: object, label: str) -> Exception | None:
    try:
        return outcome(door, {**door.valid, name: value})
    except Exception as error:
        raise AssertionError(f"{door.name}({name}=<{label}>): {error!r}") from error


def pool_of(door: Door, name: str) -> dict[str, object]:
    good = door.valid.get(name)
    good = good if isinstance(good, torch.Tensor) else seeded(2, 1, 3)
    good = good.double() if good.dtype == torch.bool else good  # a mask of numbers is none
    values = odd_values()
    if name in SELF_MADE:  # their own mistakes are theirs
        values = {k: v for k, v in values.items() if not callable(v) or k.startswith("a function")}
        told = name in ("progress", "callback")
        values = {k: v for k, v in values.items() if not (told and callable(v))}
    return values | strange_tensors(good) | odd_tensors(good)


# --- the doors are all there

INTERNAL = {  # for compiled.py, autograd and copies; documented as such
    "value", "value_dtype", "gradients", "evaluate", "solution", "depends_on", "bound_to",
    "with_weight", "with_kernels", "without_bias", "in_double", "extra_repr", "inverse",
    "shares_on_domain", "on_torus", "part",
}  # fmt: skip
MODULES = [
    "unconv", "unconv.functional", "unconv.linalg", "unconv.nn", "unconv.nn.utils",
    "unconv.regularize", "unconv.restoration", "unconv.parameter_choice", "unconv.adapters",
    "unconv.psf", "unconv.fir", "unconv.operators.matrix", "unconv.inspection", "unconv.testing",
    "unconv.pictures", "unconv.pictures.restoration", "unconv.varying",
]  # fmt: skip


@pytest.mark.parametrize("module", MODULES)
def test_every_public_function_is_a_door(module):
    found = importlib.import_module(module)
    names = getattr(found, "__all__", None) or [
        n for n, v in vars(found).items() if getattr(v, "__module__", "") == module
    ]
    functions = [n for n in names if inspect.isfunction(getattr(found, n)) and n[0] != "_"]
    # these take no tensor
    without = {"as_deepinv", "jpeg_rounding", "pigdm_fidelity", "detect_gauge_dependence"}
    if importlib.util.find_spec("psf_generator") is None:
        without.add("microscope")
    assert set(functions) - without <= set(DOORS)


@pytest.mark.parametrize(
    "kind",
    [unconv.ConvOperator, unconv.ProductConvolution, unconv.ConvolutionProduct,
     unconv.adapters.ExactMaps, unconv.adapters.HFunctions,
     unconv.nn.PinvConv1d, unconv.nn.TikhonovConv2d, unconv.nn.WienerConv3d,
     unconv.nn.InvertibleConv2d],
)  # fmt: skip
def test_every_public_method_is_a_door(kind):
    own = {
        name
        for name in dir(kind)
        if name[0] != "_"
        and inspect.isroutine(getattr(kind, name))
        and getattr(kind, name).__module__.startswith("unconv")
    }
    expected = {f"{kind.__name__}.{name}" for name in own - INTERNAL - {"as_deepinv"}}
    assert expected <= set(DOORS)


@pytest.mark.parametrize("name", DOORS)
def test_valid_calls_are_answered(name):
    assert outcome(DOORS[name], DOORS[name].valid) is None


# --- what is wrong for sure


@pytest.mark.parametrize("name", DOORS)
def test_what_no_argument_of_its_name_accepts(name):
    door = DOORS[name]
    for argument in door.arguments:
        wrong = list(NEVER.get(argument, ()))
        if argument in TENSORS and isinstance(door.valid.get(argument), torch.Tensor):
            wrong += strange_tensors(door.valid[argument]).values()
        for value in wrong:
            if value is None and _optional(door, argument):
                continue
            if door.name == "deblur" and (argument, value) == ("damp", "1"):
                continue
            error = judged(door, argument, value, repr(value)[:40])
            assert error is not None, f"{name} accepts {argument}={value!r}"


def _optional(door: Door, argument: str) -> bool:
    parameter = inspect.signature(door.call).parameters.get(argument)
    return parameter is None or parameter.default is None


# --- anything at all


def test_drawn_values():
    draw = random.Random(0)
    for _ in range(1500):
        door = draw.choice(list(DOORS.values()))
        if not door.arguments:
            continue
        name = draw.choice(door.arguments)
        label, value = draw.choice(list(_pools(door, name).items()))
        judged(door, name, value, label)


_CACHED: dict = {}


def _pools(door, name):
    key = door.name, name
    if key not in _CACHED:
        _CACHED[key] = pool_of(door, name)
    return _CACHED[key]


@pytest.mark.slow
@pytest.mark.parametrize("name", DOORS)
def test_every_value_in_every_argument(name):
    for argument in DOORS[name].arguments:
        for label, value in pool_of(DOORS[name], argument).items():
            judged(DOORS[name], argument, value, label)


@pytest.mark.slow
def test_two_wrong_arguments_at_once():
    draw = random.Random(1)
    for _ in range(10_000):
        door = draw.choice([d for d in DOORS.values() if len(d.arguments) > 1])
        arguments = dict(door.valid)
        names = draw.sample(door.arguments, 2)
        labels = []
        for name in names:
            label, arguments[name] = draw.choice(list(_pools(door, name).items()))
            labels.append(label)
        try:
            outcome(door, arguments)
        except Exception as error:
            raise AssertionError(f"{door.name}: {names} = {labels}: {error!r}") from error
