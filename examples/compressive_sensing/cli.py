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

from .baselines import BASELINES, BEST_LINEAR, with_covariance
from .bound import MATRICES, gains
from .figure import draw
from .network import CELLS, VARIANTS
from .pictures import SHRINK, Named, Pictures, has_all_pictures, load_all, load_pictures
from .records import Row, baseline_row, model_row, rows_of, write_csv
from .sampling import RATIOS
from .scores import Restore, Scores, held_out, mean_scores
from .stock import Stock
from .table import Job, baseline, markdown, run_table, stock_for, trained
from .training import Epoch, Model, Run, Settings, Step

TABLE_EPOCHS = 4
_TRIED = 64  # patches of `bound`
SHIPPED = tuple(sorted(Path(__file__).parent.glob("weights-*.pt")))
"""Of networks that were trained at all ratios of the paper, named after their variants."""

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
        show_default="those that scikit-image, matplotlib and scikit-learn install",
    ),
]
ShrinkOption = Annotated[int, typer.Option(help="Average pictures over blocks of this side.")]
OutputOption = Annotated[Path, typer.Option("--output", "-o", help="The folder to write into.")]
RatiosOption = Annotated[
    str | None,
    typer.Option(
        help="Shares of the elements that are sampled, separated by commas; one network learns "
        "them all.",
        show_default=",".join(map(str, RATIOS)),
    ),
]
EpochsOption = Annotated[
    int | None,
    typer.Option(help="Of the whole training.", show_default=str(Settings.epochs)),
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
StockOption = Annotated[
    int | None,
    typer.Option(help="Patches drawn for the whole training.", show_default=str(Settings.stock)),
]
BlackOption = Annotated[
    float | None,
    typer.Option(help="Share of the patches made black.", show_default=str(Settings.black)),
]


@app.command()
def train(
    output: OutputOption = Path("compressive-sensing"),
    ratios: RatiosOption = None,
    variant: VariantOption = None,
    seed: SeedOption = None,
    epochs: EpochsOption = None,
    steps: StepsOption = None,
    batch: BatchOption = None,
    patch: PatchOption = None,
    cells: CellsOption = None,
    black: BlackOption = None,
    stock: StockOption = None,
    resume: Annotated[
        Path | None, typer.Option(help="A checkpoint to go on from; it has all other options.")
    ] = None,
    pictures: PicturesOption = None,
    shrink: ShrinkOption = SHRINK,
    threads: Annotated[int | None, typer.Option(min=1, show_default="those of torch")] = None,
) -> None:
    """Train one network; write checkpoint.pt after every epoch, then weights.pt and the scores.

    Example: python -m examples.compressive_sensing train --ratios 0.3 --epochs 20 -o out
    """
    network = _given(variant=variant, cells=cells, seed=seed, epochs=epochs)
    data = _given(steps=steps, batch=batch, patch=patch, black=black, stock=stock)
    with _friendly():
        if threads is not None:
            torch.set_num_threads(threads)
        run = _run(resume, _given(ratios=_numbers(ratios)) | network | data)
        split = _load(pictures, shrink)
        output.mkdir(parents=True, exist_ok=True)
        with _progress() as bar:
            left = run.settings.epochs - len(run.epochs)
            task = bar.add_task("training", total=left * run.settings.steps)

            def tell(news: Epoch | Step) -> None:
                if isinstance(news, Step):
                    bar.advance(task)
                    return
                run.save(output / "checkpoint.pt")
                bar.console.print(_sentence(news))

            run.train(stock_for(run.settings, pictures, shrink), progress=tell)
        run.export(output / "weights.pt")
        ratio_scores = _test([run], split.test, run.settings.ratios, output)[0]
        write_csv(output / "metrics.csv", rows_of(run, ratio_scores))


@app.command("test")
def restore(
    weights: Annotated[
        list[Path] | None,
        typer.Argument(
            help="What train wrote, checkpoint.pt or weights.pt; several are compared.",
            show_default="the weights in the example's folder",
        ),
    ] = None,
    output: OutputOption = Path("compressive-sensing"),
    ratios: RatiosOption = None,
    pictures: Annotated[
        Path | None,
        typer.Option(
            help="A folder, of which all pictures are restored.",
            show_default="the held-out photographs of scikit-image",
        ),
    ] = None,
    shrink: ShrinkOption = SHRINK,
) -> None:
    """Restore pictures by trained networks; write metrics.csv and picture-0.1.png and so on.

    Example: python -m examples.compressive_sensing test --ratios 0.1,0.3 -o out
    """
    with _friendly():
        models = [Model.load(path) for path in weights or SHIPPED]
        numbers = _numbers(ratios) or models[0].settings.ratios
        restored = load_all(pictures, shrink)
        output.mkdir(parents=True, exist_ok=True)
        _test(models, restored, numbers, output)


@app.command()
def table(
    output: OutputOption = Path("compressive-sensing-table"),
    ratios: RatiosOption = None,
    variants: Annotated[str, typer.Option(help="Separated by commas.")] = ",".join(VARIANTS),
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each variant.")] = 1,
    epochs: Annotated[int, typer.Option(help="Of each training.")] = TABLE_EPOCHS,
    steps: StepsOption = None,
    batch: BatchOption = None,
    patch: PatchOption = None,
    cells: CellsOption = None,
    black: BlackOption = None,
    stock: StockOption = None,
    pictures: PicturesOption = None,
    shrink: ShrinkOption = SHRINK,
    processes: Annotated[int, typer.Option(min=1, help="Of one thread each; 1 is this one.")] = 2,
) -> None:
    """Train every variant at all ratios; write metrics.csv, table.md and the checkpoints.

    Interrupted, the same command goes on from the checkpoints.

    Example: python -m examples.compressive_sensing table --ratios 0.3 --seeds 5 -o out-table
    """
    data = _given(steps=steps, batch=batch, patch=patch, cells=cells, black=black, stock=stock)
    with _friendly():
        given = _given(ratios=_numbers(ratios)) | data
        settings = [
            Settings(variant=variant.strip(), seed=seed, epochs=epochs, **given)
            for variant in variants.split(",")
            for seed in range(seeds)
        ]
        _load(pictures, shrink)  # complain before any process starts
        output.mkdir(parents=True, exist_ok=True)
        jobs: list[Job] = [
            functools.partial(baseline, name, ratio, settings[0].patch, pictures, shrink)
            for ratio in settings[0].ratios
            for name in (*BASELINES, BEST_LINEAR)
        ]
        for s in settings:
            checkpoint = output / f"{s.variant}-seed{s.seed}.pt"
            jobs.append(functools.partial(trained, s, checkpoint, pictures, shrink))
        rows = _collected(jobs, processes, output / "metrics.csv")
        text = markdown(rows)
        (output / "table.md").write_text(text, encoding="utf-8")
        print(text)


@app.command()
def bound(
    ratios: RatiosOption = None,
    pictures: PicturesOption = None,
    shrink: ShrinkOption = SHRINK,
    patch: PatchOption = None,
) -> None:
    """Print how much a step on singular values could gain after the best linear restoration.

    Example: python -m examples.compressive_sensing bound --ratios 0.1,0.3
    """
    side = patch or Settings.patch
    with _friendly():
        split = _load(pictures, shrink)
        table = Table(title="dB that an oracle gains on held-out patches", box=None)
        for head in ("ratio", "matrices", "every value", "a τ for each matrix", "one τ/σ₁"):
            table.add_column(head)
        for ratio in _numbers(ratios) or RATIOS:
            found = Stock.of(split.test, split.typical, (ratio,), count=_TRIED, side=side, black=0)
            for name, matrices in MATRICES.items():
                gained = gains(matrices(found.start), matrices(found.x))
                table.add_row(f"{ratio:g}", name, *(f"{g:.2f}" for g in gained))
        Console(highlight=False, width=100).print(table)


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


def _test(
    models: Sequence[Model], pictures: Named, ratios: Sequence[float], output: Path
) -> list[dict[float, Scores]]:
    """Restore by every method at every ratio, write files, print the means, return the models'."""
    assert models[0].covariance is not None
    methods: dict[str, Restore] = with_covariance(models[0].covariance)
    baselines = len(methods)
    for number, model in enumerate(models):
        name = f"network, {model.settings.variant}"
        methods[f"{name} ({number + 1})" if name in methods else name] = model.restore
    rows: list[Row] = []
    of_models: list[dict[float, Scores]] = [{} for _ in models]
    for ratio in ratios:
        tested = {name: held_out(m, pictures, ratio) for name, m in methods.items()}
        means = {name: mean_scores(of_pictures) for name, of_pictures in tested.items()}
        _print(ratio, len(pictures), means)
        rows += [baseline_row(name, ratio, means[name]) for name in list(means)[:baselines]]
        for number, (model, mean) in enumerate(
            zip(models, list(means.values())[baselines:], strict=True)
        ):
            rows.append(model_row(model, ratio, mean))
            of_models[number][ratio] = mean
        shown = {name: t for name, t in tested.items() if name not in _NOT_SHOWN}
        draw(output / f"picture-{ratio:g}.png", f"{ratio:.0%} of the elements", shown)
    write_csv(output / "metrics.csv", rows)
    return of_models


_NOT_SHOWN = ("zero filling", "soft-impute")  # the one is the samples, the other is behind


def _print(ratio: float, count: int, means: Mapping[str, Scores]) -> None:
    table = Table(title=f"ratio {ratio:g}, {count} pictures", box=None)
    for head in ("method", "PSNR", "SSIM"):
        table.add_column(head)
    for name, mean in means.items():
        table.add_row(name, f"{mean.psnr:.2f}", f"{mean.ssim:.3f}")
    Console(highlight=False).print(table)


def _load(folder: Path | None, shrink: int) -> Pictures:
    if folder is None and not has_all_pictures():
        print(
            "without two of the photographs: pip install scikit-learn adds them.", file=sys.stderr
        )
    return load_pictures(folder, shrink)


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


def _numbers(text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
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
    return f"ratio {row.ratio or 0:g}, {row.variant}{seed}: {row.psnr:.2f} dB, SSIM {row.ssim:.3f}"


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
