"""What the commands share: options, errors, and the two ways to report."""

from __future__ import annotations

import functools
import json
import logging
import math
import re
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..inverse import AccuracyWarning
from ..operators.linear_operator import DEFAULT_MEMORY_LIMIT, MemoryLimitError
from ..pictures.formats import PictureError
from ..volumes.errors import TooLargeError, VolumeError

EXIT_CODES = (
    "Exit codes: 0 done, 2 wrong option or input, 3 a file cannot be read or written, "
    "4 refused for its memory, 5 written but not certified, 130 interrupted, 143 terminated."
)
BAD_INPUT, BAD_FILE, TOO_LARGE, UNCERTIFIED, INTERRUPTED = 2, 3, 4, 5, 130

BoundaryOption = Annotated[
    str,
    typer.Option(
        help="What lies outside the picture: valid (unknown, the picture shows part of a larger "
        "scene), circular, zeros, reflect, replicate, symmetric or antireflective."
    ),
]
OutputOption = Annotated[
    Path, typer.Option("--output", "-o", help="PNG, JPEG, TIFF, NPY or FITS, by its ending.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object, for machines.")]
MaxPixelsOption = Annotated[
    int, typer.Option(min=1, help="Refuse pictures with more pixels than this.")
]
MemoryOption = Annotated[
    str,
    typer.Option(help="Memory that one step may take: a number with its unit, 6GB, 500MB, 6GiB."),
]
DEFAULT_MEMORY = f"{DEFAULT_MEMORY_LIMIT >> 30}GiB"  # the library's, as it would be typed

_BYTES = {
    prefix.lower() + ending: float(base**power)
    for ending, base in (("b", 1000), ("ib", 1024))
    for power, prefix in enumerate(("", "k", "M", "G", "T"))
    if prefix or ending == "b"
}

_READERS = (  # of files
    "PIL",
    "tifffile",
    "astropy",
    "numpy",
    "torch._weights_only",
    "torch.serialization",
)

_Command = TypeVar("_Command", bound=Callable[..., None])


def parse_memory(text: str, option: str = "--memory-limit") -> float:
    """Bytes, from a number with its unit: B, kB, MB, GB, TB in thousands, KiB to TiB in 1024s.

    A number alone is refused: some would mean bytes by it and others gigabytes.
    """
    found = re.fullmatch(r"([0-9]+\.?[0-9]*|\.[0-9]+)\s*([a-z]+)", text.strip().lower())
    if found is None or found[2] not in _BYTES:
        raise ValueError(
            f"{option} {text!r} must be a number with its unit, such as 6GB, 500MB or 6GiB."
        )
    return float(found[1]) * _BYTES[found[2]]


class Terminated(BaseException):
    """SIGTERM: like Ctrl-C, but another code, and nothing is kept of what was begun."""


def friendly(command: _Command) -> _Command:
    """One sentence and an exit code instead of a traceback, for everything that input can cause."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        values = [v for value in kwargs.values() for v in _as_list(value)]
        files = [value for value in values if isinstance(value, Path)]
        before = {path: _version(path) for path in files}
        try:
            with _quiet(), _terminable():
                command(*args, **kwargs)
        except tuple(CODES) as error:
            # Whatever was asked of the disk, and whatever came between: the files tell.
            written = [str(path) for path in before if _version(path) != before[path]]
            message = _sentence(error, written)
            code = next(code for kind, code in CODES.items() if isinstance(error, kind))
            _fail(message, code, bool(kwargs.get("as_json")))

    return run  # type: ignore[return-value]  # functools.wraps keeps the signature for typer


CODES: Mapping[type[BaseException], int] = {  # the first that an error is
    Terminated: 143,
    KeyboardInterrupt: INTERRUPTED,
    PictureError: BAD_FILE,
    OSError: BAD_FILE,
    MemoryLimitError: TOO_LARGE,
    TooLargeError: TOO_LARGE,
    VolumeError: BAD_FILE,
    ValueError: BAD_INPUT,
    TypeError: BAD_INPUT,
    NotImplementedError: BAD_INPUT,
}


def _as_list(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


def _version(path: Path) -> tuple[int, int, int] | None:
    """Differs when another file has taken the place."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns


def _sentence(error: BaseException, written: Sequence[str]) -> str:
    """What went wrong, and what had been written by then."""
    names = " and ".join(written)
    if isinstance(error, KeyboardInterrupt | Terminated) and not error.args:
        what = word_of(error)
        return f"{what} after writing {names}." if written else f"{what}; nothing was written."
    return f"{str(error).rstrip('.')}; {names} had been written before." if written else str(error)


def word_of(signal: BaseException) -> str:
    """What a run was that ended by a signal."""
    return "terminated" if isinstance(signal, Terminated) else "interrupted"


@contextmanager
def _quiet() -> Iterator[None]:
    """No log line or warning of a package that reads files: one sentence says it all."""
    disabled = logging.root.manager.disable
    logging.disable()
    try:
        with warnings.catch_warnings():
            for module in _READERS:
                warnings.filterwarnings("ignore", module=re.escape(module))
            yield
    finally:
        logging.disable(disabled)


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM unwinds like Ctrl-C, so that nothing half-written stays."""

    def stop(*_: object) -> None:
        raise Terminated

    if threading.current_thread() is not threading.main_thread():  # only it may handle signals
        yield
        return
    previous = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _fail(message: str, code: int, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"error": message, "exit_code": code}))
    print(f"error: {message}", file=sys.stderr)
    raise typer.Exit(code)


@contextmanager
def collected_doubts() -> Iterator[list[str]]:
    """The sentences of all `AccuracyWarning`s inside; other warnings are shown as ever."""
    doubts: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", AccuracyWarning)
        yield doubts
    for warning in caught:
        if issubclass(warning.category, AccuracyWarning):
            doubts.append(str(warning.message))
        else:
            warnings.showwarning(
                warning.message, warning.category, warning.filename, warning.lineno
            )


def tell(doubts: Sequence[str], notes: Sequence[str] = ()) -> None:
    """Print each once, to stderr: what is doubtful, and what was taken for granted."""
    for note in notes:
        print(f"note: {note}.", file=sys.stderr)
    for doubt in dict.fromkeys(doubts):
        print(f"warning: {doubt.removesuffix('.')}.", file=sys.stderr)


def report(title: str, facts: Mapping[str, Any], as_json: bool) -> None:
    """Print facts as a table, or as one JSON object."""
    if as_json:
        print(json.dumps(finite(facts), allow_nan=False))
        return
    table = Table(title=title, show_header=False, title_justify="left", box=None)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")  # a path is copied from here: never shorten it
    for name, value in facts.items():
        table.add_row(name.replace("_", " "), Text(shown(value)))  # Text: names are no markup
    width = None if sys.stdout.isatty() else 1000  # in a pipe every fact keeps its line
    Console(highlight=False, soft_wrap=True, width=width).print(table)


def finite(value: Any) -> Any:
    """JSON has no infinity: null instead."""
    if isinstance(value, Mapping):
        return {k: finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def shown(value: Any) -> str:
    """A fact as text."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {shown(v)}" for k, v in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(shown, value))
    return str(value)
