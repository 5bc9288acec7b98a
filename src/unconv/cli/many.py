"""Many pictures of `unconv deblur`: one line each, and on after a bad one."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..pictures.formats import PictureError, check_writable
from ..pictures.series import Series
from .common import CODES, UNCERTIFIED, finite, shown, tell
from .picture_options import check_names
from .restoring import Outcome, Wanted, restore_file


def is_folder(output: Path) -> bool:
    """Whether pictures go into `output` under their own names."""
    return output.is_dir() and not output.suffix


def targets_of(pictures: Sequence[Path], folder: Path) -> list[Path]:
    """Where each picture goes; a folder that is not there is made when the first is written."""
    if folder.exists() and not folder.is_dir():
        raise PictureError(f"{folder} is a file; many pictures need a directory, such as -o out/")
    if not folder.exists() and not folder.resolve().parent.is_dir():
        raise PictureError(f"the directory {folder.resolve().parent} does not exist; create it")
    twice = [name for name, count in Counter(p.name for p in pictures).items() if count > 1]
    if twice:
        raise ValueError(
            f"{twice[0]} is the name of several pictures, and {folder} can hold one; restore one "
            "directory at a time."
        )
    return [folder / picture.name for picture in pictures]


def restore_many(
    pictures: Sequence[Path], folder: Path, wanted: Wanted, as_json: bool, doubts: Sequence[str]
) -> None:
    """Restore each picture into the folder; the exit code is that of the first that failed."""
    targets = targets_of(pictures, folder)
    entries: list[dict[str, Any]] = []
    code = 0
    if not as_json:
        tell(doubts)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    terminal = sys.stderr.isatty()
    bar = Progress(
        *columns,
        console=Console(stderr=True),
        transient=True,
        disable=not terminal,
        redirect_stdout=sys.stdout.isatty(),
    )
    with bar:
        task = bar.add_task("starting", total=len(pictures))
        series = Series()
        for picture, target in zip(pictures, targets, strict=True):
            step = _Step(bar, task, picture.name)
            inputs = {"picture": pictures, **wanted.other_inputs}
            entry, own = _one(picture, target, inputs, wanted, series, step)
            code = code or own
            entries.append(entry)
            if not as_json:
                _say(entry)
            bar.advance(task)
    if as_json:
        failed = sum("error" in entry for entry in entries)
        print(json.dumps(finite({"pictures": entries, "failed": failed}), allow_nan=False))
    if code:
        raise typer.Exit(code)


class _Step:
    """Tells the bar what is done to which picture."""

    def __init__(self, bar: Progress, task: Any, name: str) -> None:
        self.bar, self.task, self.name = bar, task, name

    def __call__(self, step: str) -> None:
        self.bar.update(self.task, description=f"{self.name}: {step}")


def _one(
    picture: Path,
    target: Path,
    inputs: Mapping[str, Sequence[Path]],
    wanted: Wanted,
    series: Series,
    step: _Step,
) -> tuple[dict[str, Any], int]:
    """What is to be said of one picture, and its exit code."""
    try:
        check_names({"-o": target}, inputs, force=wanted.force)
        target.parent.mkdir(exist_ok=True)
        check_writable(target)
        outcome: Outcome = restore_file(picture, target, None, wanted, step, series)
    except KeyboardInterrupt:
        raise
    except tuple(CODES) as error:
        code = next(code for kind, code in CODES.items() if isinstance(error, kind))
        return {"input": str(picture), "error": str(error).rstrip("."), "exit_code": code}, code
    entry = outcome.facts
    if outcome.doubts:
        entry["doubts"] = outcome.doubts
    return entry, 0 if outcome.proven else UNCERTIFIED


def _say(entry: dict[str, Any]) -> None:
    """One line."""
    if "error" in entry:
        print(f"{entry['input']}: error: {entry['error']}", file=sys.stderr)
        return
    size = " x ".join(str(n) for n in entry["size"])
    bound = shown(max(entry["error_bound"]))
    how = entry["data"] if "data" in entry else f"damp {shown(entry['damp'])}"
    parts = [f"{size}, {how}, error bound {bound}"]
    if "missing" in entry:
        parts.append(f"missing: {shown(entry['missing'])}")
    parts += entry.get("notes", []) + entry.get("doubts", [])
    print(f"{entry['input']} -> {entry['output']}: {'; '.join(parts)}")
