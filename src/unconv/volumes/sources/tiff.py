"""Inputs in TIFF: stacks, hyperstacks of ImageJ, OME-TIFF, read by pages or tiles.

Source: the OME data model 2016-06 (Pixels, Channel); ImageJ's ``ImageDescription``.
"""

from __future__ import annotations

import functools
import weakref
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import VolumeError, need
from .frame import Frame, check_axes, unit_name
from .source import Source, file_identity, make_source

_LETTERS = {"T": "t", "C": "c", "S": "c", "Z": "z", "Y": "y", "X": "x", "I": "z", "Q": "z"}
"""What tifffile calls axes; sequences of unknown meaning are taken for planes of a stack."""


def tiff_source(path: Path, axes: str | None, voxel: Sequence[float] | None) -> Source:
    """A TIFF whose pages are one stack."""
    tifffile = need("tifffile")
    try:
        with _opened(path) as file:
            series = _only_series(path, file)
            _require_whole(path, series)
            found = _frame(file, series)
            page = series.keyframe
            chunk = int(np.prod(page.chunks)) * series.dtype.itemsize
    except (tifffile.TiffFileError, OSError, ValueError, IndexError) as exc:
        if isinstance(exc, VolumeError):
            raise
        raise VolumeError(f"{path} is no TIFF that can be read ({exc}); get a fresh copy.") from exc
    if page.compression != 1:
        need("imagecodecs")
    frame = check_axes(str(path), series.shape, found, axes, voxel)
    opened = functools.partial(_TiffArray, path)
    return make_source(
        str(path), series, frame, opened, file_identity(path), chunk_bytes=chunk, path=path
    )


class _TiffArray:
    """Level 0 of the stack, as an array of Zarr's on the open file."""

    def __init__(self, path: Path) -> None:
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
    size = path.stat().st_size
    if series.dataoffset is not None:
        short = series.dataoffset + series.nbytes > size
    else:
        pages = [page for page in series.pages if page is not None]
        short = len(pages) < len(series.pages) or any(
            offset + count > page.parent.filehandle.size or (count and not offset)
            for page in pages
            for offset, count in zip(page.dataoffsets, page.databytecounts, strict=False)
        )
    if short:
        raise VolumeError(
            f"{path} has {size:,} bytes and lacks some of its {len(series.pages)} pages; it is cut "
            "short: get a fresh copy of it."
        )


def _frame(file: Any, series: Any) -> Frame | None:
    """Letters of axes in the file's order, with what ImageJ or OME say of distances."""
    axes = "".join(_LETTERS.get(a, a.lower()) for a in series.axes)
    frame = Frame(axes)
    if file.is_ome and file.ome_metadata:
        return _ome(frame, file.ome_metadata)
    if file.imagej_metadata:
        return _imagej(frame, file.imagej_metadata, file.pages[0].tags)
    return frame


def _ome(frame: Frame, text: str) -> Frame:
    root = ET.fromstring(text)
    pixels = next((e for e in root.iter() if e.tag.endswith("}Pixels")), None)
    if pixels is None:
        return frame
    voxel, units = {}, {}
    for axis in "zyx":
        key = f"PhysicalSize{axis.upper()}"
        if key in pixels.attrib:
            voxel[axis] = float(pixels.attrib[key])
            units[axis] = unit_name(pixels.attrib.get(f"{key}Unit", "µm"))
    if "TimeIncrement" in pixels.attrib:
        voxel["t"] = float(pixels.attrib["TimeIncrement"])
        units["t"] = unit_name(pixels.attrib.get("TimeIncrementUnit", "s"))
    names = tuple(e.attrib.get("Name", "") for e in pixels if e.tag.endswith("}Channel"))
    return replace(frame, voxel=voxel, units=units, channels=names if any(names) else ())


def _imagej(frame: Frame, told: dict[str, Any], tags: Any) -> Frame:
    unit = unit_name(str(told.get("unit", "")))
    if unit in ("", "pixel"):
        return frame
    voxel = {}
    for axis, tag in (("y", "YResolution"), ("x", "XResolution")):
        if tag in tags and tags[tag].value[0]:
            voxel[axis] = tags[tag].value[1] / tags[tag].value[0]
    if "spacing" in told:
        voxel["z"] = float(told["spacing"])
    units = dict.fromkeys(voxel, unit)
    if "finterval" in told:
        voxel["t"], units["t"] = float(told["finterval"]), "second"
    return replace(frame, voxel=voxel, units=units)
