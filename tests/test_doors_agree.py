"""One question has one set of options on every door, or docs/doors.md says where not, and why.

Compared are names and defaults, as `inspect.signature` and the command's own help know them: the
methods of `ConvOperator` with each other, one-call functions and layers with the methods they call,
the command with the function that it runs.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

import unconv
from unconv import ConvOperator, inspection, nn
from unconv.fir import inverse_kernel
from unconv.pictures import restoration
from unconv.restoration import restoration_path

from .doors import all_doors

PAGE = Path(__file__).parents[1] / "docs" / "doors.md"

Options = dict[str, Any]


class Pair(NamedTuple):
    """A door and the one that it is held against, with what of either is no option."""

    door: str
    twin: str
    here: Options
    there: Options


_REQUIRED = inspect.Parameter.empty
_QUESTION = {"self", "op", "y", "weight"}
_CONV = {"stride", "padding", "dilation", "groups", "padding_mode", "input_shape", "observed"}


def options_of(call: Callable[..., Any], *apart: str) -> Options:
    """Names and defaults; *apart: what stands on one side by the nature of the door."""
    found = inspect.signature(call).parameters
    return {n: p.default for n, p in found.items() if n not in _QUESTION | set(apart)}


def command(name: str) -> Options:
    """Options as they are typed, without dashes."""
    typer = pytest.importorskip("typer")
    from unconv.cli.app import app

    params = typer.main.get_command(app).commands[name].params
    found = {}
    for p in params:
        typed = max(p.opts, key=len).lstrip("-").replace("-", "_")
        found[typed] = _REQUIRED if p.required else p.default
    return found


def _methods() -> list[Pair]:
    pinv = options_of(ConvOperator.pinv)
    names = [
        "plan",
        "tikhonov",
        "wiener",
        "tsvd",
        "filtered",
        "lstsq",
        "as_deepinv",
        "as_h_functions",
    ]
    pairs = [Pair(f"A.{n}", "A.pinv", options_of(getattr(ConvOperator, n)), pinv) for n in names]
    prox, tikhonov = options_of(ConvOperator.prox), options_of(ConvOperator.tikhonov)
    return [*pairs, Pair("A.prox", "A.tikhonov", prox, tikhonov)]


def _functions() -> list[Pair]:
    pairs, one_call = [], []
    for name in ("tikhonov", "wiener", "tsvd", "filtered", "lstsq"):
        one_call.append(getattr(unconv, name))
        here = options_of(getattr(unconv, name), *_CONV)
        pairs.append(Pair(name, f"A.{name}", here, options_of(getattr(ConvOperator, name))))
    for nd in (1, 2, 3):
        adjoint, pinv = (getattr(unconv, f"conv{nd}d_{n}") for n in ("adjoint", "pinv"))
        here = options_of(pinv, *_CONV)
        pairs.append(Pair("conv*d_pinv", "A.pinv", here, options_of(ConvOperator.pinv)))
        one_call += [adjoint, pinv]
    for function in one_call:
        here = {n: p for n, p in options_of(function).items() if n in _CONV}
        pairs.append(Pair("one-call functions", "ConvOperator", here, options_of(ConvOperator)))
    assert options_of(unconv.conv2d_adjoint).keys() == _CONV
    restored = options_of(unconv.restore, "A")
    beside = {"richardson_lucy": unconv.richardson_lucy, "restoration_path": restoration_path}
    pairs += [Pair(n, "restore", options_of(f, "A"), restored) for n, f in beside.items()]
    return pairs


def _layers() -> list[Pair]:
    pairs = []
    operator, base = options_of(ConvOperator), options_of(nn.InverseConv, "settings")
    pairs.append(Pair("nn", "ConvOperator", base, operator))
    for kind in ("Pinv", "Tikhonov", "Wiener"):
        there = options_of(getattr(ConvOperator, kind.lower()))
        for nd in (1, 2, 3):
            here = options_of(getattr(nn, f"{kind}Conv{nd}d"), *base)
            pairs.append(Pair(f"nn.{kind}Conv*d", f"A.{kind.lower()}", here, there))
    return pairs


def _commands() -> list[Pair]:
    inspected = options_of(restoration.blur_operator) | options_of(inspection.inspect_operator)
    deblur = options_of(restoration.deblur)
    return [
        Pair("deblur", "A.lstsq", deblur, options_of(ConvOperator.lstsq)),
        Pair("unconv deblur", "deblur", command("deblur"), deblur),
        Pair("unconv blur", "blur", command("blur"), options_of(restoration.blur)),
        Pair("unconv inspect", "inspect_operator", command("inspect"), inspected),
        Pair(
            "unconv inverse-kernel",
            "inverse_kernel",
            command("inverse-kernel"),
            options_of(inverse_kernel),
        ),
    ]


Difference = tuple[str, str, str, str]
"""Door, twin, option, and how they differ."""


def differences(pair: Pair) -> set[Difference]:
    here, there = pair.here, pair.there
    found = set()
    for name in here.keys() | there.keys():
        if name not in there:
            how = "only here"
        elif name not in here:
            how = "only there"
        elif here[name] == there[name]:
            continue
        else:
            how = f"{_shown(here[name])}, there {_shown(there[name])}"
        found.add((pair.door, pair.twin, name, how))
    return found


def _shown(default: Any) -> str:
    return "required" if default is _REQUIRED else f"`{default!r}`"


def table() -> dict[Difference, str]:
    """The differences that the manual owns to, each with its reason."""
    text = PAGE.read_text(encoding="utf-8").split("## Where they differ")[1]
    found: dict[Difference, str] = {}
    for line in text.splitlines():
        cells = [c.strip() for c in line.strip().strip("|").split("|")]
        if len(cells) != 5 or cells[0] in ("here", "") or set(cells[0]) <= {"-"}:
            continue
        door, twin, options, how, why = cells
        for option in options.split(","):
            key = door.strip("`"), twin.strip("`"), option.strip().strip("`"), how
            assert key not in found, f"{key} stands twice"
            found[key] = why
    return found


def every_difference() -> set[Difference]:
    pairs = [*_methods(), *_functions(), *_layers(), *_commands()]
    return set().union(*map(differences, pairs))


# --- the manual


def test_where_doors_differ_the_manual_says_why():
    told, found = table(), every_difference()
    assert not found - told.keys(), "doors differ, and docs/doors.md does not say why"
    assert not told.keys() - found, "docs/doors.md tells of differences that are none"
    assert all(why for why in told.values())


def _cells(heading: str) -> list[list[str]]:
    """The rows of the table under a heading of the manual, without its head."""
    text = PAGE.read_text(encoding="utf-8").split(f"## {heading}")[1].split("\n## ")[0]
    rows = [line for line in text.splitlines() if line.startswith("|")][2:]
    return [[c.strip() for c in row.strip("|").split("|")] for row in rows]


def test_every_door_of_the_manual_is_there():
    for _, method, call, layer, typed in _cells("Four ways"):
        for name, where in ((method, ConvOperator), (call, unconv), (layer, nn)):
            for nd in "123":
                plain = name.strip("`").removeprefix("A.").replace("*", nd)
                assert name == "–" or hasattr(where, plain), name
        assert typed == "–" or command(typed.strip("`"))


def test_every_shared_option_has_an_entry_among_the_names():
    names = {
        n.strip().strip("`") for row in _cells("One name for one thing") for n in row[0].split(",")
    }
    shared = options_of(ConvOperator.pinv).keys() | {"damp", "input_shape", "padding_mode"}
    assert shared <= names


# --- one name for one thing, wherever it stands

_OTHER_NAMES = {
    "max_iter", "niter", "iterations", "n_iter", "eps", "tolerance", "mode", "pad", "lam", "alpha",
    "regularization", "rcond", "cutoff", "sigma_noise", "noise", "max_memory", "memory", "kernel",
    "shape_in", "in_shape", "image_shape", "minimum_risk", "solves", "validate",
}  # fmt: skip
_PICTURES = {"blur", "deblur", "blur_operator", "conv_matrix", "memory_needed"}


@pytest.mark.parametrize("door", all_doors(), ids=lambda d: d.name)
def test_no_door_has_a_name_of_its_own(door):
    assert not _OTHER_NAMES & set(door.arguments)
    assert ("boundary" in door.arguments) == (door.name in _PICTURES)


@pytest.mark.parametrize(
    "call",
    [unconv.conv1d_adjoint, unconv.conv2d_pinv, unconv.tikhonov, unconv.lstsq, unconv.filtered],
    ids=lambda f: f.__name__,
)
def test_an_option_that_a_function_lacks_is_refused(call):
    with pytest.raises(TypeError, match=rf"^{call.__name__} has no option 'max_iter'; it takes y,"):
        call(torch.ones(1, 1, 4), torch.ones(1, 1, 1), max_iter=3)
