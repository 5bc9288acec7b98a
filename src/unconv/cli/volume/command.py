"""`unconv volume`: restore stacks and mosaics larger than memory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from ...pictures.formats import PictureError
from ...pictures.formats.atomic import replacing
from ...pictures.formats.files import check_replaceable
from ...volumes.asked import Wanted
from ...volumes.engine.process import Processed
from ...volumes.prepare import Means, Prepared, prepare
from ...volumes.sources import open_source
from ..common import (
    UNCERTIFIED,
    JsonOption,
    Terminated,
    friendly,
    parse_memory,
    report,
    tell,
    word_of,
)
from ..psf_option import BackgroundOption, CenterOption
from .bar import volume_bar
from .page import drawn_page, page_of_run
from .psf import VolumePsfOption, volume_psf
from .told import doubts_of_run, facts_of_plan, facts_of_run


@friendly
def volume(
    volume: Annotated[
        Path, typer.Argument(help="Zarr, OME-Zarr, OME-TIFF, TIFF, NPY or FITS, of any size.")
    ],
    psf: VolumePsfOption,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="An OME-Zarr, which is there when it is whole."),
    ] = None,
    psf_background: BackgroundOption = "off",
    psf_center: CenterOption = False,
    axes: Annotated[
        str | None,
        typer.Option(
            help="A letter for each axis of the file: t, c, z, y, x.",
            show_default="what the file says",
        ),
    ] = None,
    voxel: Annotated[
        str | None,
        typer.Option(
            help="Distances of samples along z, y and x, such as 0.3,0.1,0.1.",
            show_default="what the file says",
        ),
    ] = None,
    psf_voxel: Annotated[
        str | None,
        typer.Option(
            help="Likewise of the psf, in the same unit; where they differ it is sampled anew.",
            show_default="what its file says",
        ),
    ] = None,
    channel: Annotated[
        str | None,
        typer.Option(
            help="The only one to be restored: counted from 0, or its name.", show_default="all"
        ),
    ] = None,
    time: Annotated[
        int | None,
        typer.Option(
            help="The only time point to be restored, counted from 0.", show_default="all"
        ),
    ] = None,
    prior: Annotated[
        str,
        typer.Option(
            help="quadratic (squared differences: linear, its error proven), richardson-lucy (of "
            "counts), tv (total variation), sparse (gradients) or hessian (second differences); "
            "auto for the first of these that fits the noise, tv with --nonnegative."
        ),
    ] = "auto",
    strength: Annotated[
        float | None,
        typer.Option(
            help="λ of the prior; with richardson-lucy that of total variation beside it.",
            show_default="that of the least expected error; with richardson-lucy none",
        ),
    ] = None,
    nonnegative: Annotated[
        bool,
        typer.Option(
            "--nonnegative",
            help="No sample below zero (counts have none anyway).",
        ),
    ] = False,
    noise_model: Annotated[
        str, typer.Option(help="gaussian, or poisson where the values are counts of photons.")
    ] = "gaussian",
    noise_std: Annotated[
        float | None,
        typer.Option(
            help="Standard deviation of the noise, in the unit of the file.",
            show_default="read from a sample",
        ),
    ] = None,
    background: Annotated[
        float | None,
        typer.Option(
            help="What the file has without light, in its unit.", show_default="read from a sample"
        ),
    ] = None,
    gain: Annotated[
        float | None,
        typer.Option(
            help="Of a camera, for --noise-model poisson: units of the file for each photon.",
            show_default="read from a sample, where it is clearly not 1",
        ),
    ] = None,
    tol: Annotated[
        float,
        typer.Option(help="Proven error that is good enough, of the standard deviation of x."),
    ] = 1e-3,
    memory: Annotated[
        str,
        typer.Option(
            help="That all workers of this machine take together, or each one of a scheduler: "
            "8GB, 500MB."
        ),
    ] = "8GB",
    workers: Annotated[int, typer.Option(min=1, help="Processes of one thread each.")] = 1,
    scheduler: Annotated[
        str | None,
        typer.Option(help="Of a cluster by Dask, tcp://host:8786, in the place of --workers."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say tiles, memory, disk and estimates, and end.")
    ] = False,
    page: Annotated[
        Path | None,
        typer.Option("--report", help="Write an HTML page, before and after, with the evidence."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Restore a volume of any size: x = argmin ‖psf ∗ x − y‖² + λ(Σ_a w_a‖D_a x‖² + ε‖x − c‖²).

    Tile by tile, corrected pass by pass until the error of the whole is proven to be within --tol.
    What lies around the volume is unknown on all sides. Interrupted, the same command goes on.

    Example: unconv volume stack.ome.tif -o sharp.zarr --psf psf.tif --workers 4
    """
    means = Means(parse_memory(memory, "--memory"), workers, scheduler)
    target = _target(output, page, dry_run=dry_run)
    pitches = [_pitch(name, text) for name, text in (("voxel", voxel), ("psf-voxel", psf_voxel))]
    source = open_source(volume, axes, pitches[0])
    kernel, found, doubts = volume_psf(psf, source.frame.space, psf_background, center=psf_center)
    wanted = Wanted(
        prior=prior,
        strength=strength,
        nonnegative=nonnegative,
        noise_model=noise_model,
        noise_std=noise_std,
        background=background,
        gain=gain,
        tol=tol,
    )
    prepared = prepare(
        source,
        kernel,
        wanted,
        psf_voxel=pitches[1] or found,
        channel=int(channel) if channel is not None and channel.isdecimal() else channel,
        time=time,
    )
    facts = {"input": str(volume), "psf": psf}
    if target is None:
        plan = prepared.plan(means)
        report("plan", facts | facts_of_plan(prepared, plan, as_json=as_json), as_json)
        tell([*doubts, *plan.doubts], plan.remarks)
        return
    done = _run(prepared, target, means)
    facts |= {"output": str(done.out)} | facts_of_run(prepared, done, as_json=as_json)
    if page is not None:
        with replacing(page) as file:
            file.write(drawn_page(page_of_run(prepared, done, facts)))
        facts["report"] = str(page)
    report("restored", facts, as_json)
    found_doubts, proven = doubts_of_run(prepared, done)
    tell([*doubts, *found_doubts], done.remarks)
    if not proven:
        raise typer.Exit(UNCERTIFIED)


def _run(prepared: Prepared, output: Path, means: Means) -> Processed:
    """Restore, with a bar, and say when interrupted that nothing is lost."""
    batches = prepared.batches
    size = prepared.source.dtype.itemsize * math.prod(batches[0].shape)
    with _resumable(output), volume_bar(size, [batch.label for batch in batches]) as bar:
        return prepared.run(output, means, bar, _tell_dashboard)


def _tell_dashboard(address: str) -> None:
    tell([], [f"the workers can be watched at {address}"])


@contextmanager
def _resumable(output: Path) -> Iterator[None]:
    try:
        yield
    except (KeyboardInterrupt, Terminated) as signal:
        work = output.with_name(output.name + ".work")
        raise type(signal)(
            f"{word_of(signal)}; what is finished is kept in {work}, and the same command goes on "
            "from there."
        ) from None


def _target(output: Path | None, page: Path | None, *, dry_run: bool) -> Path | None:
    """Where the answer goes; None for a plan."""
    if page is not None:
        if page.suffix.lower() not in (".html", ".htm"):
            raise PictureError(f"the report is an HTML page, got {page.name!r}; end it in .html.")
        check_replaceable(page)
    if dry_run:
        return None
    if output is None:
        raise ValueError("name the output with -o OUT.zarr, or ask for the plan with --dry-run.")
    if output.suffix.lower() != ".zarr":
        raise ValueError(f"the output is an OME-Zarr, got {output.name!r}; end it in .zarr.")
    return output


def _pitch(name: str, text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(float(v) for v in text.split(","))
    except ValueError:
        raise ValueError(
            f"--{name} {text!r} must be a number for each axis, such as 0.3,0.1,0.1."
        ) from None
