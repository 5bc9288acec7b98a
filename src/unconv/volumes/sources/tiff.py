"""Inputs in TIFF: stacks, hyperstacks of ImageJ, OME-TIFF, read by pages or tiles.

Source: the OME data model 2016-06 (Channel).
"""

from __future__ import annotations

import functools
import math
import os
import struct
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...pictures.formats.pitch import ome_pixels, pitches
from ...pictures.formats.tiff import tells_lengths
from ...pictures.formats.tifffile_log import tifffile_log
from ..errors import VolumeError, need
from .frame import Frame, check_axes
from .source import Source, file_identity, make_source

_LETTERS = {"T": "t", "C": "c", "S": "c", "Z": "z", "Y": "y", "X": "x", "I": "z", "Q": "z"}
"""What tifffile calls axes; sequences of unknown meaning are taken for planes of a stack."""


_LARGE_TILE = 2**24
"""Samples of a tile that may be larger than its page by far: 4096²."""


def tiff_source(path: Path, axes: str | None, voxel: Sequence[float] | None) -> Source:
    """A TIFF whose pages are one stack."""
    with tifffile_log() as said, need("tifffile").TiffFile(path) as file:
        _require_end(path, file)  # first: to look for series among pages in a ring takes for ever
    with tifffile_log() as more, _opened(path) as file:
        series = _only_series(path, file)
        _require_whole(path, series)
        found = _frame(file, series)
        page = series.keyframe
        chunk = int(np.prod(page.chunks)) * series.dtype.itemsize
    if page.compression != 1:
        need("imagecodecs")
    frame = check_axes(str(path), series.shape, found, axes, voxel)
    opened = functools.partial(_TiffArray, path)
    return make_source(
        str(path), series, frame, opened, file_identity(path), chunk_bytes=chunk,
        remarks=_doubts(path, [*said, *more]), path=path,
    )  # fmt: skip


class _TiffArray:
    """Level 0 of the stack, as an array of Zarr's on the open file."""

    def __init__(self, path: Path) -> None:
        with tifffile_log():
            file = _opened(path)
            weakref.finalize(self, file.close)
            store = file.aszarr(series=0, level=0)
            self._array = need("zarr").open(store, mode="r")

    def __getitem__(self, region: Any) -> Any:
        return self._array[region]


def _opened(path: Path) -> Any:
    """The file, with pages that were written one by one as one stack."""
    tifffile = need("tifffile")
    file = tifffile.TiffFile(path)
    if len(file.series) > 1 and file.series[0].kind == "shaped":
        file.close()
        file = tifffile.TiffFile(path, is_shaped=False)
    return file


def _only_series(path: Path, file: Any) -> Any:
    if len(file.series) != 1:
        shapes = sorted({tuple(s.shape) for s in file.series})
        raise VolumeError(
            f"{path} holds {len(file.series)} images of shapes {shapes[:4]}, expected one stack; "
            "save the one that is meant to its own file."
        )
    return file.series[0]


def _require_whole(path: Path, series: Any) -> None:
    """Refuse pages that are missing or end behind the file: they would read as zeros."""
    page = series.keyframe
    if series.dtype.kind == "f" and page.bitspersample != 8 * series.dtype.itemsize:
        raise VolumeError(
            f"{path} tells samples of {page.bitspersample} bits for {series.dtype}; it is damaged: "
            "get a fresh copy of it."
        )
    size = path.stat().st_size
    if series.dataoffset is not None:  # one block: few of its pages, or only the first, are told
        pages = [page]
        short = series.dataoffset + series.nbytes > size
    else:
        pages = [page for page in series.pages if page is not None]
        short = len(pages) < len(series.pages)
    if page.is_tiled and math.prod(page.chunks) > max(_LARGE_TILE, 16 * math.prod(page.shape)):
        raise VolumeError(
            f"{path} tells tiles of {page.chunks} for pages of {page.shape}; it is damaged: get a "
            "fresh copy of it."
        )
    if short or not tells_lengths(page) or any(_lacks_parts(each, page) for each in pages):
        raise VolumeError(
            f"{path} has {size:,} bytes and lacks some of its {len(series.pages)} pages; it is cut "
            "short: get a fresh copy of it."
        )


def _lacks_parts(page: Any, like: Any) -> bool:
    """Whether strips or tiles of a page are not told, or lie behind the end of its file.

    like : the first page, which tells more than the others
    """
    offsets, counts, size = page.dataoffsets, page.databytecounts, page.parent.filehandle.size
    if not len(offsets) == len(counts) == math.prod(like.chunked):
        return True
    bits = math.prod(like.shape) * like.bitspersample
    if like.compression == 1 and all(counts) and 8 * sum(counts) < bits:
        return True
    return any(
        offset + count > size or bool(count) != bool(offset)  # neither: stored nowhere, zeros
        for offset, count in zip(offsets, counts, strict=True)
    )


def _require_end(path: Path, file: Any) -> None:
    """Refuse a last page that names another one, which tifffile does not find and passes over.

    Source: TIFF 6.0 (1992), section 2, "Image File Directory": the last four bytes of one are the
    place of the next, 0 after the last; in BigTIFF eight.
    """
    form, handle = file.tiff, file.filehandle
    handle.seek(file.pages[-1].offset)
    (tags,) = struct.unpack(form.tagnoformat, handle.read(form.tagnosize))
    handle.seek(tags * form.tagsize, os.SEEK_CUR)
    (following,) = struct.unpack(form.offsetformat, handle.read(form.offsetsize))
    if following:
        raise VolumeError(
            f"{path} names a page after its last one that is not there; it is cut short: get a "
            "fresh copy of it."
        )


def _doubts(path: Path, said: Sequence[str]) -> tuple[str, ...]:
    if not said:
        return ()
    more = f" (and {len({*said}) - 1} more)" if len({*said}) > 1 else ""
    return (f"{path} was read, and tifffile doubts it: {said[0]}{more}.",)


def _frame(file: Any, series: Any) -> Frame:
    """Letters of axes in the file's order, with what ImageJ or OME say of distances."""
    axes = "".join(_LETTERS.get(a, a.lower()) for a in series.axes)
    pixels, told = ome_pixels(file), pitches(file)
    names = () if pixels is None else tuple(
        e.attrib.get("Name", "") for e in pixels if e.tag.endswith("}Channel")
    )  # fmt: skip
    return Frame(
        axes,
        voxel={axis: size for axis, (size, _) in told.items()},
        units={axis: unit for axis, (_, unit) in told.items()},
        channels=names if any(names) else (),
    )
