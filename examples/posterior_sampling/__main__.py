"""`python -m examples.posterior_sampling`."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table
from torch import Tensor

from unconv import psf
from unconv.adapters import ExactMaps
from unconv.pictures.formats import check_writable

from .cases import Case, make_case, score
from .denoiser import WEIGHTS, load_denoiser, save, train
from .pictures import TEST, training_pictures
from .sampling import Problem, ddnm, levels, pigdm

TOL = 1e-3  # of the solves, relative to what a step changes
STEPS = 2500
SAMPLERS: dict[str, Callable[..., Tensor]] = {"DDNM": ddnm, "ΠGDM": pigdm}

app = typer.Typer(help=__doc__, add_completion=False)


@app.command("train")
def train_denoiser(
    output: Annotated[Path, typer.Option("--output", "-o", help="The weights, NPZ.")] = WEIGHTS,
    steps: Annotated[int, typer.Option(min=1, help="Of Adam.")] = STEPS,
    seed: Annotated[int, typer.Option(help="Of weights, patches and noise.")] = 0,
) -> None:
    """Train the denoiser on photographs that installed packages ship."""
    check_writable(output)
    console = Console(highlight=False)
    began = time.process_time()
    recent: list[float] = []

    def progress(step: int, loss: float) -> None:
        recent.append(loss)
        if step % 50 == 0:
            console.print(f"step {step:5}  loss {sum(recent[-50:]) / 50:.3f}")

    save(train(training_pictures(), steps, seed, progress), output)
    console.print(f"{output}, {time.process_time() - began:.0f} s of processor time")


@app.command("test")
def compare(
    output: Annotated[Path, typer.Option("--output", "-o", help="The PNG to draw.")] = Path(
        "posterior-sampling.png"
    ),
    weights: Annotated[Path, typer.Option(help="Of the denoiser, NPZ.")] = WEIGHTS,
    steps: Annotated[int, typer.Option(min=2, help="Noise levels.")] = 20,
    size: Annotated[int, typer.Option(min=64, help="Side of the scene.")] = 240,
    samples: Annotated[int, typer.Option(min=1, help="Whose mean is the answer.")] = 4,
    seed: Annotated[int, typer.Option(help="Of the noise.")] = 0,
) -> None:
    """Restore held-out photographs with A as it is, and as people use it: periodic."""
    check_writable(output)
    denoiser = load_denoiser(weights)
    columns = "picture", "problem", "sampler", "A", "frame", "inside", "edges", "misfit", "s"
    table = Table(*columns, title="PSNR in dB", box=None)
    rows = []
    for name in TEST[:2]:
        for problem, case in cases(name, size, seed).items():
            found: dict[str, Tensor] = {}
            for sampler, run in SAMPLERS.items():
                for kind, op in (("surroundings unknown", case.op), ("periodic", case.circular)):
                    began = time.process_time()
                    maps = ExactMaps(op, tol=TOL)
                    y = case.y.expand(samples, -1, -1, -1)
                    drawn = run(denoiser, Problem(maps, y, case.noise_std), levels(steps), seed)
                    x = drawn.mean(0, keepdim=True)
                    seconds = time.process_time() - began
                    numbers = [f"{n:.2f}" for n in score(case, x)]
                    table.add_row(name, problem, sampler, kind, *numbers, f"{seconds:.0f}")
                    found[f"{sampler}, {kind}"] = case.in_frame(x)
            rows.append((case, found))
    Console(highlight=False, width=110).print(table)
    draw(output, rows)
    typer.echo(str(output))


def cases(name: str, size: int, seed: int) -> dict[str, Case]:
    """The problems of one picture: a motion, and a blur of which every second sample is kept."""
    return {
        "motion": make_case(name, psf.motion(15, 30), size, 0.02, seed=seed),
        "half the samples": make_case(name, psf.disk(3), size, 0.01, stride=2, seed=seed),
    }


def draw(path: Path, rows: list[tuple[Case, dict[str, Tensor]]]) -> None:
    """A corner of the frame: the truth, the data, the answers."""
    titles = ["scene", "data", *rows[0][1]]
    figure = Figure(figsize=(2.4 * len(titles), 2.6 * len(rows)), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(rows), len(titles), squeeze=False)
    for row, (case, found) in zip(axes, rows, strict=True):
        stride, side = case.op.geometry.axes[0].stride, case.truth.shape[-1] // 2
        data = case.y.repeat_interleave(stride, 2).repeat_interleave(stride, 3)
        for ax, title, x in zip(row, titles, [case.truth, data, *found.values()], strict=True):
            ax.imshow(x[0, 0, :side, :side].clamp(0, 1).numpy(), cmap="gray", vmin=0, vmax=1)
            ax.set_title(title.replace(", ", "\n"), fontsize=9)
            ax.set_axis_off()
    figure.savefig(path, format="png")


if __name__ == "__main__":
    app()
