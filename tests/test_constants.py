"""A private number's name has one value in the whole package, so that it can be searched for."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[1] / "src/unconv"
PRIVATE = re.compile(r"_[A-Z][A-Z0-9_]*")


def test_a_private_name_has_one_value():
    values: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for path in sorted(HOUSE.rglob("*.py")):
        for name, value in constants(path.read_text(encoding="utf-8")):
            values[name][value].append(path.relative_to(HOUSE).as_posix())
    several = {name: dict(found) for name, found in values.items() if len(found) > 1}
    assert not several, f"give each a name of its own, or one home: {several}"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("_A = 5_000", [("_A", "5000")]),
        ("_A: float = 2 * EPS", [("_A", "2 * EPS")]),
        ("_A, _B = 1e-12, eps", [("_A", "1e-12"), ("_B", "eps")]),
        ("A = 1\n_a = 2\n_A()\ndef f():\n    _B = 3", []),
        ("_A = 'red'\n_B = {2: 3}\n_C = [4]", []),
    ],
)
def test_constants_are_found(source, found):
    assert list(constants(source)) == found


def constants(source: str) -> Iterator[tuple[str, str]]:
    """Private names that a module binds to numbers, and the numbers, written in one way."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                yield from _bound(target, node.value)
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            yield from _bound(node.target, node.value)


def _bound(target: ast.expr, value: ast.expr) -> Iterator[tuple[str, str]]:
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        for each, part in zip(target.elts, value.elts, strict=True):
            yield from _bound(each, part)
    elif isinstance(target, ast.Name) and PRIVATE.fullmatch(target.id) and _may_be_number(value):
        yield target.id, ast.unparse(value)


def _may_be_number(value: ast.expr) -> bool:
    if isinstance(value, ast.Constant):
        return isinstance(value.value, int | float | complex)
    return isinstance(value, ast.BinOp | ast.UnaryOp | ast.Attribute | ast.Name | ast.Call)
