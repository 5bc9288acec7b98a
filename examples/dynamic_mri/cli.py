"""The commands: parse, call, report."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from .figure import draw
from .kspace import ACCELERATIONS
from .network import CELLS
from .series import KINDS, Data, available
from .table import METHODS, Result, markdown, run_table, try_method, write_csv
from .training import Settings

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Restore moving pictures from undersampled k-space, y = M F x, by an unrolled low-rank "
    "network.",
)

OutputOption = Annotated[Path, typer.Option("--output", "-o", help="The folder to write into.")]
SeedOption = Annotated[int, typer.Option(help="Of weights, training series and masks.")]
StepsOption = Annotated[int, typer.Option(help="Of training, a series each.")]
CellsOption = Annotated[int, typer.Option(help="Cells of the network.")]
FramesOption = Annotated[int, typer.Option(help="Of a series.")]
ShrinkOption = Annotated[int, typer.Option(help="A frame is 216/shrink × 192/shrink pixels.")]
DataOption = Annotated[
    str | None,
    typer.Option(
        help=f"{' or '.join(KINDS)}, or both with a comma.",
        show_default="both, if nilearn is installed",
    ),
]


@app.command()
def train(
    output: OutputOption = Path("dynamic-mri"),
    acceleration: Annotated[float, typer.Option(help="Lines by lines sampled.")] = 8,
    low_rank: Annotated[bool, typer.Option(help="Without it, the control.")] = True,
    seed: SeedOption = 0,
    steps: StepsOption = Settings.steps,
    cells: CellsOption = CELLS,
    frames: FramesOption = Data.frames,
    shrink: ShrinkOption = Data.shrink,
    data: DataOption = None,
) -> None:
    """Train one network, restore the held-out series; write metrics.csv and picture.png.

    Example: python -m examples.dynamic_mri train --acceleration 12 --steps 1000 -o out
    """
    with _friendly():
        series = _data(data, frames, shrink)
        settings = Settings(acceleration, seed, steps, cells, data=series)
        output.mkdir(parents=True, exist_ok=True)
        with _progress() as bar:
            task = bar.add_task("training", total=steps)

            def tell(loss: float) -> None:
                bar.update(task, advance=1, description=f"training, loss {loss:.2e}")

            network = "unrolled SVT" if low_rank else "unrolled, no SVT"
            results = [
                result
                for method in ("zero filling", "iterative SVT", network)
                for result in try_method(method, settings, tell)
            ]
        _report(output, results)
        draw(output / "picture.png", series, results)


@app.command()
def table(
    output: OutputOption = Path("dynamic-mri-table"),
    accelerations: Annotated[str, typer.Option(help="Separated by commas.")] = ",".join(
        map(str, ACCELERATIONS)
    ),
    seed: SeedOption = 0,
    steps: StepsOption = Settings.steps,
    cells: CellsOption = CELLS,
    frames: FramesOption = Data.frames,
    shrink: ShrinkOption = Data.shrink,
    data: DataOption = None,
    processes: Annotated[int, typer.Option(min=1, help="Of one thread each; 1 is this one.")] = 2,
) -> None:
    """All methods at every acceleration; write metrics.csv, table.md and picture-4x.png and so on.

    Example: python -m examples.dynamic_mri table --accelerations 4,8 --steps 1000 -o out
    """
    with _friendly():
        series = _data(data, frames, shrink)
        every = [Settings(a, seed, steps, cells, data=series) for a in _numbers(accelerations)]
        jobs = [(method, settings) for method in reversed(METHODS) for settings in every]
        output.mkdir(parents=True, exist_ok=True)
        results: list[Result] = []
        with _progress() as bar:
            task = bar.add_task("runs", total=len(jobs))
            for new in run_table(jobs, processes):
                results += new
                bar.advance(task)
                bar.console.print(_sentence(new))
        results.sort(key=lambda r: (r.row.acceleration, [*METHODS].index(r.row.method)))
        _report(output, results)
        for settings in every:
            a = settings.acceleration
            draw(
                output / f"picture-{a:g}x.png",
                series,
                [r for r in results if r.row.acceleration == a],
            )


def _report(output: Path, results: Sequence[Result]) -> None:
    rows = [result.row for result in results]
    write_csv(output / "metrics.csv", rows)
    text = markdown(rows)
    (output / "table.md").write_text(text, encoding="utf-8")
    print(text)


def _data(kinds: str | None, frames: int, shrink: int) -> Data:
    if kinds is not None:
        return Data(tuple(kind.strip() for kind in kinds.split(",")), frames, shrink)
    if available() != tuple(KINDS):
        print("without the MNI152 series: pip install nilearn adds them.", file=sys.stderr)
    return Data(available(), frames, shrink)


def _numbers(text: str) -> list[float]:
    try:
        return list(dict.fromkeys(float(part) for part in text.split(",")))
    except ValueError:
        raise ValueError(
            f"expected accelerations such as 4,8, got {text!r}; separate numbers by commas."
        ) from None


def _sentence(results: Sequence[Result]) -> str:
    first, psnr = results[0].row, math.fsum(r.row.psnr for r in results) / len(results)
    return f"{first.acceleration:g}×, {first.method}: {psnr:.2f} dB"


def _progress() -> Progress:
    """A bar on a terminal; what is printed beside it goes to stderr everywhere."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    console = Console(stderr=True, highlight=False)
    return Progress(*columns, TimeElapsedColumn(), console=console, disable=not sys.stderr.isatty())


@contextmanager
def _friendly() -> Iterator[None]:
    """One sentence instead of a traceback, for everything that input can cause."""
    try:
        yield
    except (ValueError, TypeError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(2) from None
