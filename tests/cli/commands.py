"""Commands that are run, and the pictures they are run on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("typer")

from typer.testing import CliRunner, Result

from unconv.cli.app import app
from unconv.pictures.formats import (
    Picture,
    write_picture,
)


def run(*args: object) -> Result:
    """`unconv` with these arguments, in this process."""
    return CliRunner().invoke(app, [str(a) for a in args])


def succeed(*args: object) -> dict:
    """Run with --json: nothing but one object is said."""
    result = run(*args, "--json")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    assert result.stdout.count("\n") == 1
    return json.loads(result.stdout)


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}


def fail(folder: Path, code: int, *args: object, says: tuple[str, ...]) -> None:
    """Run with and without --json: the code, the sentence, and an untouched folder."""
    before = contents(folder)
    for as_json in (False, True):
        result = run(*args, *(["--json"] if as_json else []))
        assert isinstance(result.exception, SystemExit), repr(result.exception)
        assert result.exit_code == code, result.output
        assert "Traceback" not in result.output
        sentence = result.stderr.removeprefix("error: ").removesuffix("\n")
        assert result.stderr == f"error: {sentence}\n"
        assert "\n" not in sentence
        for part in says:
            assert part in sentence, f"{part!r} is not in {sentence!r}"
        if as_json:
            assert json.loads(result.stdout) == {"error": sentence, "exit_code": code}
        else:
            assert result.stdout == ""
        assert contents(folder) == before


def pixels(*shape: int, seed: int = 0) -> np.ndarray:
    """Squares of light on grey, (C, H, W) in [0, 1]."""
    rng = np.random.default_rng(seed)
    x = np.full(shape, 0.3)
    for _ in range(12):
        top, left = (int(rng.integers(n)) for n in shape[1:])
        colour = rng.random((shape[0], 1, 1))
        x[:, top : top + shape[1] // 3, left : left + shape[2] // 4] = colour
    return x


def save(path: Path, *shape: int, dtype: str = "uint8", alpha: bool = False, **metadata) -> Path:
    """A picture of that shape in that file."""
    plane = np.arange(shape[1] * shape[2]).reshape(shape[1:]).astype(dtype) if alpha else None
    write_picture(path, Picture(pixels(*shape), plane, np.dtype(dtype), metadata))
    return path
