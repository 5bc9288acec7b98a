"""Every test can fail: it asserts something, itself or through a helper that does."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
OTHERS = {"raises", "warns", "gradcheck", "gradgradcheck"}
"""Calls of pytest and torch that assert."""

Function = ast.FunctionDef | ast.AsyncFunctionDef
Place = tuple[Path, str]


def modules() -> dict[Path, ast.Module]:
    return {path: ast.parse(path.read_text()) for path in sorted(TESTS.rglob("*.py"))}


def functions(tree: ast.AST) -> Iterator[Function]:
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def names_called(node: ast.AST) -> set[str]:
    """Names of all functions, methods and context managers that a piece of code calls."""
    calls = (call.func for call in ast.walk(node) if isinstance(call, ast.Call))
    return {f.attr if isinstance(f, ast.Attribute) else getattr(f, "id", "") for f in calls}


def asserts_by_itself(node: ast.AST) -> bool:
    called = names_called(node)
    return (
        any(isinstance(n, ast.Assert) for n in ast.walk(node))
        or bool(called & OTHERS)
        or any(name.startswith("assert_") for name in called)
    )


def imported(path: Path, tree: ast.Module) -> dict[str, Place]:
    """Names that a test module takes from another one, and where they are defined."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            folder = path.parents[node.level - 1]
            module = folder.joinpath(*(node.module or "__init__").split(".")).with_suffix(".py")
            found |= {alias.asname or alias.name: (module, alias.name) for alias in node.names}
    return found


def asserting(trees: dict[Path, ast.Module]) -> set[Place]:
    """Functions that assert, or call one that does, to any depth."""
    calls, found = {}, set()
    for path, tree in trees.items():
        own = {f.name: (path, f.name) for f in functions(tree)}
        places = imported(path, tree) | own
        for f in functions(tree):
            calls[path, f.name] = {places[name] for name in names_called(f) & places.keys()}
            if asserts_by_itself(f):
                found.add((path, f.name))
    while more := {place for place in calls.keys() - found if calls[place] & found}:
        found |= more
    return found


def silent(trees: dict[Path, ast.Module]) -> list[str]:
    """Tests that assert nothing."""
    good = asserting(trees)
    return [
        f"{path.name}:{f.lineno} {f.name}"
        for path, tree in trees.items()
        for f in functions(tree)
        if f.name.startswith("test_") and (path, f.name) not in good
    ]


def test_no_test_asserts_nothing():
    assert silent(modules()) == []


@pytest.mark.parametrize(
    ("code", "says_something"),
    [
        ("def test_a(): f()", False),
        ("def test_a(): assert f()", True),
        ("def test_a():\n with pytest.raises(ValueError): f()", True),
        ("def test_a(): helper()\ndef helper(): deeper()\ndef deeper(): assert_close(1, 1)", True),
        ("def test_a(): helper()\ndef helper(): deeper()\ndef deeper(): f()", False),
    ],
)
def test_the_check_itself(code, says_something):
    assert (silent({TESTS / "test_some.py": ast.parse(code)}) == []) == says_something
