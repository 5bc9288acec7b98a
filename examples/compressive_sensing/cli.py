"""The commands: parse, call, report."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from .baselines import BASELINES
from .figure import draw
from .network import CELLS, VARIANTS, in_tiles
from .pictures import SHRINK, Named, load_all, load_pictures
from .records import Row, rows_of, write_csv
from .sampling import RATIOS
from .scores import Restore, held_out, mean_scores
from .table import Job, baseline, markdown, run_table, trained
from .training import Epoch, Run, Settings, Step

TRAIN_EPOCHS, TABLE_EPOCHS = 20, 4

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Restore colour pictures from a few of their elements, y = M ⊙ x, by an unrolled "
    "low-rank network.",
)

PicturesOption = Annotated[
    Path | None,
    typer.Option(
        help="A folder of pictures; by name, the last fifth is held out.",
        show_default="photographs that scikit-image and matplotlib install",
    ),
]
ShrinkOption = Annotated[int, typer.Option(help="Average pictures over blocks of this side.")]
OutputOption = Annotated[Path, typer.Option("--output", "-o", help="The folder to write into.")]
EpochsOption = Annotated[int, typer.Option(min=1, help="How many, those of a checkpoint included.")]
RatioOption = Annotated[
    float | None,
    typer.Option(
        help=f"Share of the elements that are sampled; in the paper {', '.join(map(str, RATIOS))}.",
        show_default=str(Settings.ratio),
    ),
]
VariantOption = Annotated[
    str | None,
    typer.Option(
        help=f"Derivative of the thresholding: {', '.join(VARIANTS)}.",
        show_default=Settings.variant,
    ),
]
SeedOption = Annotated[
    int | None, typer.Option(help="Of weights, patches and masks.", show_default="0")
]
StepsOption = Annotated[
    int | None, typer.Option(help="Steps of an epoch.", show_default=str(Settings.steps))
]
BatchOption = Annotated[
    int | None, typer.Option(help="Patches of a step.", show_default=str(Settings.batch))
]
PatchOption = Annotated[
    int | None, typer.Option(help="Side of a patch.", show_default=str(Settings.patch))
]
CellsOption = Annotated[
    int | None, typer.Option(help="Cells of the network.", show_default=str(CELLS))
]
BlackOption = Annotated[
    float | None,
    typer.Option(help="Share of the patches made black.", show_default=str(Settings.black)),
]


@app.command()
def train(
    output: OutputOption = Path("compressive-sensing"),
    ratio: RatioOption = None,
    variant: VariantOption = None,
    seed: SeedOption = None,
    epochs: EpochsOption = TRAIN_EPOCHS,
    steps: StepsOption = None,
    batch: BatchOption = None,
    patch: PatchOption = None,
    cells: CellsOption = None,
    black: BlackOption = None,
    resume: Annotated[
        Path | None, typer.Option(help="A checkpoint to go on from; it has all other options.")
    ] = None,
    pictures: PicturesOption = None,
    shrink: ShrinkOption = SHRINK,
    threads: Annotated[int | None, typer.Option(min=1, show_default="those of torch")] = None,
) -> None:
    """Train one network; write checkpoint.pt after every epoch, then metrics.csv and picture.png.

    Example: python -m examples.compressive_sensing train --ratio 0.3 --epochs 20 -o out
    """
    network = _given(ratio=ratio, variant=variant, cells=cells)
    data = _given(seed=seed, steps=steps, batch=batch, patch=patch, black=black)
    with _friendly():
        if threads is not None:
            torch.set_num_threads(threads)
        run = _run(resume, network | data)
        split = load_pictures(pictures, shrink)
        output.mkdir(parents=True, exist_ok=True)
        with _progress() as bar:
            steps_left = max(0, epochs - len(run.epochs)) * run.settings.steps
            task = bar.add_task("training", total=steps_left)

            def tell(news: Epoch | Step) -> None:
                if isinstance(news, Step):
                    bar.advance(task)
                    return
                run.save(output / "checkpoint.pt")
                bar.console.print(_sentence(news))

            run.train(split.train, epochs, tell)
        _test(run, split.test, output)


@app.command("test")
def restore(
    checkpoint: Annotated[Path, typer.Argument(help="The checkpoint.pt that train wrote.")],
    output: OutputOption = Path("compressive-sensing"),
    pictures: Annotated[
        Path | None,
        typer.Option(
            help="A folder, of which all pictures are restored.",
            show_default="the held-out photographs of scikit-image",
        ),
    ] = None,
    shrink: ShrinkOption = SHRINK,
) -> None:
    """Restore pictures by a trained network; write metrics.csv and picture.png.

    Example: python -m examples.compressive_sensing test out/checkpoint.pt -o out
    """
    with _friendly():
        run = Run.load(checkpoint)
        restored = load_all(pictures, shrink)
        output.mkdir(parents=True, exist_ok=True)
        _test(run, restored, output)


@app.command()
def table(
    output: OutputOption = Path("compressive-sensing-table"),
    ratios: Annotated[str, typer.Option(help="Separated by commas.")] = ",".join(map(str, RATIOS)),
    variants: Annotated[str, typer.Option(help="Separated by commas.")] = ",".join(VARIANTS),
    seeds: Annotated[int, typer.Option(min=1, help="At --seeds-at; elsewhere one.")] = 3,
    seeds_at: Annotated[str, typer.Option(help="Ratios, separated by commas.")] = "0.1",
    epochs: EpochsOption = TABLE_EPOCHS,
    steps: StepsOption = None,
    batch: BatchOption = None,
    patch: PatchOption = None,
    cells: CellsOption = None,
    black: BlackOption = None,
    pictures: PicturesOption = None,
    shrink: ShrinkOption = SHRINK,
    processes: Annotated[int, typer.Option(min=1, help="Of one thread each; 1 is this one.")] = 2,
) -> None:
    """Train every ratio with every variant; write metrics.csv, table.md and the checkpoints.

    Interrupted, or with more --epochs, the same command goes on from the checkpoints.

    Example: python -m examples.compressive_sensing table --ratios 0.1,0.3 --variants unconv,plain
    """
    given = _given(steps=steps, batch=batch, patch=patch, cells=cells, black=black)
    with _friendly():
        several = _numbers(seeds_at)
        settings = [
            Settings(ratio=ratio, variant=variant.strip(), seed=seed, **given)
            for ratio in _numbers(ratios)
            for variant in variants.split(",")
            for seed in range(seeds if ratio in several else 1)
        ]
        load_pictures(pictures, shrink)  # complain before any process starts
        output.mkdir(parents=True, exist_ok=True)
        jobs: list[Job] = [
            functools.partial(baseline, name, ratio, pictures, shrink)
            for ratio in dict.fromkeys(s.ratio for s in settings)
            for name in BASELINES
        ]
        for s in settings:
            checkpoint = output / f"ratio{s.ratio:g}-{s.variant}-seed{s.seed}.pt"
            jobs.append(functools.partial(trained, s, epochs, checkpoint, pictures, shrink))
        rows = _collected(jobs, processes, output / "metrics.csv")
        text = markdown(rows)
        (output / "table.md").write_text(text, encoding="utf-8")
        print(text)


def _collected(jobs: Sequence[Job], processes: int, path: Path) -> list[Row]:
    """The rows of all jobs in their order; the file has those that are done."""
    done: dict[int, list[Row]] = {}
    rows: list[Row] = []
    with _progress() as bar:
        task = bar.add_task("runs", total=len(jobs))
        for number, new in run_table(jobs, processes):
            done[number] = new
            rows = [row for key in sorted(done) for row in done[key]]
            write_csv(path, rows)
            bar.advance(task)
            bar.console.print(_summary(new[-1]))
    return rows


def _test(run: Run, pictures: Named, output: Path) -> None:
    """Restore by every method, write both files, print the means."""
    settings = run.settings
    network = functools.partial(in_tiles, run.network, tile=settings.patch)
    methods: dict[str, Restore] = {**BASELINES, f"network, {settings.variant}": network}
    tested = {name: held_out(m, pictures, settings.ratio) for name, m in methods.items()}
    means = {name: mean_scores(of_pictures) for name, of_pictures in tested.items()}
    table = Table(title=f"ratio {settings.ratio:g}, {len(pictures)} pictures", box=None)
    for head in ("method", "PSNR", "SSIM"):
        table.add_column(head)
    for name, mean in means.items():
        table.add_row(name, f"{mean.psnr:.2f}", f"{mean.ssim:.3f}")
    Console(highlight=False).print(table)
    write_csv(output / "metrics.csv", rows_of(run, list(means.values())[-1]))
    title = f"{settings.ratio:.0%} of the elements, {len(run.epochs)} epochs"
    shown = {name: t for name, t in tested.items() if name != "zero filling"}  # = the samples
    draw(output / "picture.png", title, shown)


def _given(**options: Any) -> dict[str, Any]:
    """Those that the command line has."""
    return {name: value for name, value in options.items() if value is not None}


def _run(checkpoint: Path | None, given: Mapping[str, Any]) -> Run:
    """A new run, or that of a checkpoint, which must not contradict what is given."""
    if checkpoint is None:
        return Run(Settings(**given))
    run = Run.load(checkpoint)
    for name, value in given.items():
        had = getattr(run.settings, name)
        if value != had:
            raise ValueError(
                f"the checkpoint has {name}={had}, got --{name} {value}; leave the option out, or "
                "train anew without --resume."
            )
    return run


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"expected ratios such as 0.1,0.3, got {text!r}.") from None


def _sentence(epoch: Epoch) -> str:
    left_out = f", {epoch.bad} steps not finite" if epoch.bad else ""
    return (
        f"epoch {epoch.number}: loss {epoch.loss:.5f}, {1000 * epoch.seconds:.0f} ms a step"
        f"{left_out}"
    )


def _summary(row: Row) -> str:
    seed = "" if row.seed is None else f", seed {row.seed}"
    return f"ratio {row.ratio:g}, {row.variant}{seed}: {row.psnr:.2f} dB, SSIM {row.ssim:.3f}"


def _progress() -> Progress:
    """A bar on a terminal; what is printed beside it goes to stderr everywhere."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    console = Console(stderr=True, highlight=False)
    return Progress(
        *columns,
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not sys.stderr.isatty(),
    )


@contextmanager
def _friendly() -> Iterator[None]:
    """One sentence instead of a traceback, for everything that input can cause."""
    try:
        yield
    except (ValueError, TypeError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(2) from None
