"""An input, a psf and what is wanted, brought together: what a run will be, and the run."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from ..numerics.checks import check_count, check_number
from .asked import Asked, Estimated, Wanted
from .engine.budget import Need, fit_tiles
from .engine.pools import make_pool, resident_bytes
from .engine.process import Processed, process, require_place
from .engine.runner import Progress
from .errors import VolumeError
from .evidence import Estimates
from .psfs import psf_for_volume
from .sources.files import open_source
from .sources.selected import selected
from .sources.source import Batch, Source
from .tiling.stages import MemoryRunner, Method
from .tiling.survey import Survey, survey
from .tiling.tiles import Region

MEMORY = 8e9
LOOKED_AT = 1e9
"""Bytes of the input that a plan reads at most, beside its sample: seconds."""


@dataclass(frozen=True)
class Means:
    """What a run may take.

    Attributes
    ----------
    memory : bytes that all workers of this machine take together, or each one of a scheduler
    workers : processes of one thread each; 1 for this process
    scheduler : address of a scheduler of dask.distributed, in the place of `workers`
    """

    memory: float = MEMORY
    workers: int = 1
    scheduler: str | None = None

    def checked(self) -> Means:
        """Means that are in range, or a sentence on what is not."""
        check_number("memory", self.memory, positive=True)
        check_count("workers", self.workers)
        if self.scheduler is not None and self.workers != 1:
            raise ValueError("a scheduler has workers of its own; give it, or workers.")
        return self

    @property
    def each(self) -> float:
        """Bytes that a worker may take."""
        return self.memory if self.scheduler is not None else self.memory / self.workers


@dataclass(frozen=True)
class Plan:
    """What a run will be.

    Attributes
    ----------
    volumes : how many time points and channels
    shape : of each of them
    need : the tiles' cores, memory of a worker and disk
    tiles : of each volume
    halo : of a tile on either side, along each axis
    psf : its shape on the grid of the volume
    prior : by name
    estimates : of the first volume that can be restored
    doubts, remarks : sentences
    """

    volumes: int
    shape: tuple[int, ...]
    need: Need
    tiles: int
    halo: tuple[int, ...]
    psf: tuple[int, ...]
    prior: str
    estimates: Estimates
    doubts: tuple[str, ...]
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class Prepared:
    """A question that is complete.

    Attributes
    ----------
    source : of the volume
    asked : psf and options
    remarks : sentences on input and psf
    """

    source: Source
    asked: Asked
    remarks: tuple[str, ...]

    @property
    def batches(self) -> list[Batch]:
        """Each time point and channel."""
        return [Batch(self.source, at) for at in self.source.frame.batches(self.source.shape)]

    def plan(self, means: Means) -> Plan:
        """What a run will be, from all of a small input and a sample of others; nothing is written.

        Raises
        ------
        VolumeError : what a run would be refused with before it begins
        """
        means = means.checked()
        batches = self.batches
        shape = batches[0].shape
        method, doubts, told = self._looked_at(batches)
        need = fit_tiles(method, shape, self.source, means.each, resident_bytes(), means.workers)
        scene = [n + a + b for n, (a, b) in zip(shape, method.margins, strict=True)]
        return Plan(
            volumes=len(batches),
            shape=shape,
            need=need,
            tiles=math.prod(math.ceil(n / c) for n, c in zip(scene, need.core, strict=True)),
            halo=method.halo,
            psf=tuple(self.asked.psf.shape),
            prior=self.asked.wanted.prior,
            estimates=method.estimates,
            doubts=(*doubts, *method.estimates.doubts),
            remarks=(*self.source.remarks, *told, *self.remarks, *method.remarks),
        )

    def _looked_at(
        self, batches: list[Batch]
    ) -> tuple[Estimated, tuple[str, ...], tuple[str, ...]]:
        """The method of the first volume that has one; doubts and remarks on what was looked at."""
        name, size = self.source.name, self.source.dtype.itemsize * math.prod(self.source.shape)
        if size > LOOKED_AT:
            unseen = (
                f"of the {size / 1e9:.3g} GB of {name} a sample alone was looked at; where samples "
                "are missing or of no use is told when a run has looked at all of them"
            )
            return self.asked.sketch(batches[0]), (), (unseen,)
        method: Estimated | None = None
        refused, told = [], []
        for batch in batches:
            which = f"{batch.label}: " if len(batches) > 1 else ""
            try:
                facts = survey(
                    MemoryRunner(_Parts(batch)), name, self.source.frame.space, batch.shape
                )
                if method is None:
                    sketch = self.asked.sketch(batch)
                    self._require_counts(sketch, facts)
                    method = sketch
            except ValueError as exc:
                refused.append(f"{which}{exc}" if which else str(exc))
            else:
                told += [f"{which}{remark}" for remark in facts.remarks]
        if method is None:
            raise VolumeError(refused[0])
        doubts = tuple(f"a volume will be NaN, {sentence}" for sentence in refused)
        return method, doubts, tuple(told)

    def run(
        self,
        out: Path,
        means: Means,
        progress: Callable[[Progress], object] = lambda _: None,
        dashboard: Callable[[str], object] = lambda _: None,
    ) -> Processed:
        """Restore all volumes; see `deconvolve`.

        dashboard : called with the address of a page that shows the workers, where there is one
        """
        means = means.checked()
        require_place(self.source, out, out.with_name(out.name + ".work"))
        pool = make_pool(means.workers, means.scheduler)
        try:
            if pool.dashboard is not None:
                dashboard(pool.dashboard)
            done = process(
                self.source,
                out,
                self._method,
                pool,
                parameters=self.asked.parameters(),
                memory=means.each,
                progress=progress,
            )
        finally:
            pool.close()
        several = len(done.reports) > 1
        granted = [
            f"{label}: {sentence}" if several else sentence
            for label, report in done.reports.items()
            for sentence in report["taken for granted"]
        ]
        return done._replace(remarks=(*done.remarks, *self.remarks, *granted))

    def _method(self, batch: Batch, facts: Survey) -> Method:
        """The method for one volume, once it is known that its values are such as it takes."""
        method = self.asked.method(batch)
        self._require_counts(method, facts)
        return method

    def _require_counts(self, method: Estimated, facts: Survey) -> None:
        """Refuse negative values where counts are meant."""
        counts = self.asked.camera(method.estimates)[0] is None  # a camera's values may be negative
        if self.asked.wanted.noise_model == "poisson" and counts and facts.least < 0:
            raise VolumeError(
                f"noise_model='poisson' needs counts >= 0, and {self.source.name} holds "
                f"{facts.least:.4g}; do not subtract the background, pass it as background=, or "
                "use noise_model='gaussian'."
            )


class _Parts:
    """The regions of a volume, as of an array."""

    def __init__(self, batch: Batch) -> None:
        self.batch, self.shape = batch, batch.shape

    def __getitem__(self, region: Region) -> NDArray[Any]:
        return self.batch.read(region)


def prepare(
    volume: Any,
    psf: Tensor | NDArray[Any],
    wanted: Wanted,
    *,
    axes: str | None = None,
    voxel: Sequence[float] | None = None,
    psf_voxel: Sequence[float] | None = None,
    channel: int | str | None = None,
    time: int | None = None,
) -> Prepared:
    """Open the input, and put the psf on its grid; the arguments are those of `deconvolve`.

    An input that is open already is taken as it is, without another look at its axes and voxel.
    """
    source = volume if isinstance(volume, Source) else open_source(volume, axes, voxel)
    source = selected(source, channel=channel, time=time)
    chosen = wanted.remarks
    wanted, psf = wanted.checked(), torch.as_tensor(psf)
    if wanted.noise_model == "poisson" and not psf.is_complex() and bool((psf < 0).any()):
        raise ValueError(
            f"the psf has {int((psf < 0).sum())} negative taps, the least {float(psf.min()):.2g}, "
            "and counts have no negative mean; use a psf that is non-negative, such as "
            "psf.clamp(min=0)."
        )
    spacing = spacing_of(source)
    on_grid, remarks = psf_for_volume(
        psf, source.frame.space, spacing=spacing, psf_spacing=psf_voxel
    )
    if wanted.noise_model == "poisson":  # what sampling it anew has left beside its peaks
        on_grid = on_grid.clamp(min=0)
        on_grid = on_grid / on_grid.sum()
    same = (1.0,) * len(source.frame.space)
    volumes = len([*source.frame.batches(source.shape)])
    asked = Asked(wanted, on_grid, spacing or same, volumes)
    return Prepared(source, asked, (*remarks, *chosen))


def spacing_of(source: Source) -> tuple[float, ...] | None:
    """The distances of samples along the axes of space, where all are known."""
    voxel, axes = source.frame.voxel, source.frame.space
    return tuple(voxel[a] for a in axes) if all(a in voxel for a in axes) else None
