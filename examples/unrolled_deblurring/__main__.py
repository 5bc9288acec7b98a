"""`python -m examples.unrolled_deblurring`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.table import Table

from unconv import psf
from unconv.pictures.formats import check_writable

from .figure import draw
from .network import UnrolledDeblurring
from .pictures import TEST, TRAIN, load
from .training import restore, train

STEPS, QUICK_STEPS = 300, 30


def main(
    output: Annotated[Path, typer.Option("--output", "-o", help="The PNG to draw.")] = Path(
        "unrolled-deblurring.png"
    ),
    seed: Annotated[int, typer.Option(help="Of weights, patches and noise.")] = 0,
    steps: Annotated[int, typer.Option(min=2, help="Of training.")] = STEPS,
    quick: Annotated[
        bool, typer.Option("--quick", help=f"{QUICK_STEPS} steps and one picture.")
    ] = False,
) -> None:
    """Train the network, restore held-out photographs, compare with Tikhonov and draw them."""
    check_writable(output)
    console = Console(highlight=False)
    torch.manual_seed(seed)
    network = UnrolledDeblurring(psf.motion(11, 30))

    def progress(step: int, loss: float) -> None:
        if step % 25 == 0:
            damps = ", ".join(f"{solve.damp.item():.3f}" for solve in network.solves)
            console.print(f"step {step:4}  loss {loss:.2e}  damps {damps}")

    began, cpu_began = time.perf_counter(), time.process_time()
    losses = train(
        network, [load(name) for name in TRAIN], QUICK_STEPS if quick else steps, seed, progress
    )
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu_began
    console.print(f"trained in {seconds:.0f} s, {cpu_seconds:.0f} s of processor time")
    held_out = TEST[:1] if quick else TEST
    restored = {name: restore(network, load(name), seed) for name in held_out}
    table = Table("picture", *next(iter(restored.values())).psnr, title="PSNR in dB", box=None)
    for name, one in restored.items():
        table.add_row(name, *(f"{score:.2f}" for score in one.psnr.values()))
    console.print(table)
    draw(output, restored, losses)
    console.print(str(output))


if __name__ == "__main__":
    typer.run(main)
