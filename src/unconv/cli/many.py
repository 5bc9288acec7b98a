"""Many pictures of `unconv deblur`: one line each, and on after a bad one."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from ..pictures.formats import PictureError, check_writable
from ..pictures.series import Series
from .common import CODES, INTERRUPTED, Terminated, finite, shown, tell, word_of
from .picture_options import check_names
from .progress_bar import Steps, progress_of_many
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
    """Restore each picture into the folder; the exit code is that of the first that failed.

    A signal ends all, and how far they have come is said.
    """
    targets = targets_of(pictures, folder)
    entries: list[dict[str, Any]] = []
    codes: list[int] = []
    ended: BaseException | None = None
    if not as_json:
        tell(doubts)
    try:
        with progress_of_many(len(pictures)) as bar:
            series = Series()
            for picture, target in zip(pictures, targets, strict=True):
                inputs = {"picture": pictures, **wanted.other_inputs}
                with bar.one(picture.name) as step:
                    entry, code = _one(picture, target, inputs, wanted, series, step)
                entries.append(entry)
                codes.append(code)
                if not as_json:
                    _say(entry)
                if code == INTERRUPTED:
                    raise KeyboardInterrupt
    except (KeyboardInterrupt, Terminated) as signal:
        ended = signal
    _conclude(entries, codes, len(pictures), ended, as_json)


def _conclude(
    entries: Sequence[Mapping[str, Any]],
    codes: Sequence[int],
    count: int,
    ended: BaseException | None,
    as_json: bool,
) -> None:
    """The last line, or all that machines read, and the exit code."""
    failed = sum("error" in entry for entry in entries)
    facts: dict[str, Any] = {"pictures": entries, "failed": failed}
    code = next((code for code in codes if code), 0)
    if ended is not None:
        code = CODES[type(ended)]
        kept = codes.count(INTERRUPTED)
        said = f"{len(entries) - failed - kept} of {count} pictures done"
        said += f", {failed} failed" if failed else ""
        said += f", {kept} kept as far as it had got" if kept else ""
        sentence = f"{word_of(ended)}: {said}, {count - len(entries)} left"
        facts |= {"error": sentence, "exit_code": code}
        print(f"error: {sentence}.", file=sys.stderr)
    if as_json:
        print(json.dumps(finite(facts), allow_nan=False))
    if code:
        raise typer.Exit(code)


def _one(
    picture: Path,
    target: Path,
    inputs: Mapping[str, Sequence[Path]],
    wanted: Wanted,
    series: Series,
    step: Steps,
) -> tuple[dict[str, Any], int]:
    """What is to be said of one picture, and its exit code."""
    try:
        check_names({"-o": target}, inputs, force=wanted.force)
        target.parent.mkdir(exist_ok=True)
        check_writable(target)
        outcome: Outcome = restore_file(picture, target, None, wanted, step, series)
    except (KeyboardInterrupt, Terminated):
        raise
    except tuple(CODES) as error:
        code = next(code for kind, code in CODES.items() if isinstance(error, kind))
        return {"input": str(picture), "error": str(error).rstrip("."), "exit_code": code}, code
    entry = outcome.facts
    if outcome.doubts:
        entry["doubts"] = outcome.doubts
    return entry, outcome.exit_code


def _evidence(entry: Mapping[str, Any]) -> str:
    """How exactly it was solved, in few words."""
    if "error_bound" in entry:
        return f"equations solved to {shown(max(entry['error_bound']))}"
    if "gap" in entry:
        return f"{entry['prior']}, gap {shown(max(entry['gap']))}"
    if "iterations" in entry:
        return f"{entry['prior']}, {max(entry['iterations'])} steps"
    return f"{entry['prior']}, not to its end"


def _say(entry: dict[str, Any]) -> None:
    """One line."""
    if "error" in entry:
        print(f"{entry['input']}: error: {entry['error']}", file=sys.stderr)
        return
    size = " x ".join(str(n) for n in entry["size"])
    how = entry["data"] if "data" in entry else f"damp {shown(entry['damp'])}"
    parts = [f"{size}, {how}, {_evidence(entry)}"]
    if "missing" in entry:
        parts.append(f"missing: {shown(entry['missing'])}")
    parts += entry.get("notes", []) + entry.get("doubts", [])
    print(f"{entry['input']} -> {entry['output']}: {'; '.join(parts)}")
