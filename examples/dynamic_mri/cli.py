"""The commands: parse, call, report."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from .figure import draw
from .kspace import ACCELERATIONS
from .network import CELLS
from .series import KINDS, Data, available
from .table import (
    METHODS,
    Result,
    markdown,
    of_model,
    restore_all,
    run_table,
    try_method,
    write_csv,
)
from .training import Model, Run, Settings

SHIPPED = Path(__file__).with_name("weights.pt")
"""Of the network, trained with both kinds of series at all accelerations."""
_EVERY = 50  # steps between two checkpoints

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


NoiseOption = Annotated[
    float, typer.Option(help="Standard deviation of the samples, of magnitudes up to 1.")
]
AccelerationsOption = Annotated[
    str, typer.Option(help="Lines by lines sampled, separated by commas; one network learns all.")
]
_ALL = ",".join(map(str, ACCELERATIONS))


@app.command()
def train(
    output: OutputOption = Path("dynamic-mri"),
    accelerations: AccelerationsOption = _ALL,
    low_rank: Annotated[bool, typer.Option(help="Without it, the control.")] = True,
    seed: SeedOption = 0,
    steps: StepsOption = Settings.steps,
    cells: CellsOption = CELLS,
    noise: NoiseOption = Settings.noise,
    frames: FramesOption = Data.frames,
    shrink: ShrinkOption = Data.shrink,
    data: DataOption = None,
    resume: Annotated[
        Path | None, typer.Option(help="A checkpoint to go on from; it has all other options.")
    ] = None,
) -> None:
    """Train one network; write checkpoint.pt on the way, then weights.pt, scores and pictures.

    Example: python -m examples.dynamic_mri train --accelerations 12 --steps 1000 -o out
    """
    with _friendly():
        if resume is None:
            series = _data(data, frames, shrink)
            numbers = _numbers(accelerations)
            run = Run(Settings(numbers, seed, steps, cells, low_rank, noise, series))
        else:
            run = Run.load(resume)
        output.mkdir(parents=True, exist_ok=True)
        with _progress() as bar:
            task = bar.add_task("training", total=run.settings.steps - len(run.losses))

            def tell(loss: float) -> None:
                bar.update(task, advance=1, description=f"training, loss {loss:.3f}")
                if len(run.losses) % _EVERY == 0:
                    run.save(output / "checkpoint.pt")

            run.train(progress=tell)
        run.export(output / "weights.pt")
        _test(run, output)


@app.command("test")
def restore(
    weights: Annotated[
        Path,
        typer.Argument(
            help="What train wrote, checkpoint.pt or weights.pt.",
            show_default="the weights in the example's folder",
        ),
    ] = SHIPPED,
    output: OutputOption = Path("dynamic-mri"),
) -> None:
    """Restore the held-out series by a trained network; write metrics.csv and the pictures.

    Example: python -m examples.dynamic_mri test -o out
    """
    with _friendly():
        model = Model.load(weights)
        output.mkdir(parents=True, exist_ok=True)
        _test(model, output)


@app.command()
def table(
    output: OutputOption = Path("dynamic-mri-table"),
    accelerations: AccelerationsOption = _ALL,
    seed: SeedOption = 0,
    steps: StepsOption = Settings.steps,
    cells: CellsOption = CELLS,
    noise: NoiseOption = Settings.noise,
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
        settings = Settings(_numbers(accelerations), seed, steps, cells, noise=noise, data=series)
        jobs = [(method, settings) for method in reversed(METHODS)]
        output.mkdir(parents=True, exist_ok=True)
        results: list[Result] = []
        with _progress() as bar:
            task = bar.add_task("runs", total=len(jobs))
            for new in run_table(jobs, processes):
                results += new
                bar.advance(task)
                bar.console.print(_sentence(new))
        results.sort(key=lambda r: (r.row.acceleration, [*METHODS].index(r.row.method)))
        _report(output, series, results)


def _test(model: Model, output: Path) -> None:
    """Restore by the model and by what needs no training."""
    settings = model.settings
    if "mni" in settings.data.kinds and "mni" not in available():
        print("without the MNI152 series: pip install nilearn adds them.", file=sys.stderr)
        settings = replace(settings, data=replace(settings.data, kinds=("phantom",)))
    name = "unrolled SVT" if settings.low_rank else "unrolled, no SVT"
    untrained = ("zero filling", "iterative SVT")
    results = [result for method in untrained for result in try_method(method, settings)]
    results += restore_all("best linear", lambda y, mask, _: model.start(y, mask), settings)
    results += restore_all(name, of_model(model), settings)
    _report(output, settings.data, results)


def _report(output: Path, series: Data, results: Sequence[Result]) -> None:
    rows = [result.row for result in results]
    write_csv(output / "metrics.csv", rows)
    text = markdown(rows)
    (output / "table.md").write_text(text, encoding="utf-8")
    print(text)
    for a in dict.fromkeys(row.acceleration for row in rows):
        of_one = [r for r in results if r.row.acceleration == a]
        draw(output / f"picture-{a:g}x.png", series, of_one)


def _data(kinds: str | None, frames: int, shrink: int) -> Data:
    if kinds is not None:
        return Data(tuple(kind.strip() for kind in kinds.split(",")), frames, shrink)
    if available() != tuple(KINDS):
        print("without the MNI152 series: pip install nilearn adds them.", file=sys.stderr)
    return Data(available(), frames, shrink)


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(dict.fromkeys(float(part) for part in text.split(",")))
    except ValueError:
        raise ValueError(
            f"expected accelerations such as 4,8, got {text!r}; separate numbers by commas."
        ) from None


def _sentence(results: Sequence[Result]) -> str:
    first, psnr = results[0].row, math.fsum(r.row.psnr for r in results) / len(results)
    return f"{first.method}: {psnr:.2f} dB"


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
