"""Inputs in Zarr: an array, or a group that is an ome-zarr, whose level 0 is read.

Source: OME-Zarr 0.4 and 0.5, "multiscales" and "omero" metadata.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...pictures.formats.pitch import unit_name
from ..errors import VolumeError, need
from .frame import Frame, check_axes
from .source import Source, content_identity, file_identity, make_source

_METADATA = ("zarr.json", ".zarray", ".zattrs", ".zgroup", ".zmetadata")
_CHANGES = {"etag", "mtime", "lastmodified", "last_modified", "updated", "created", "generation",
            "md5hash", "content_md5", "crc32c", "checksum"}  # fmt: skip


def is_zarr_array(value: Any) -> bool:
    """Whether a value is an array of Zarr's, without loading the package."""
    return type(value).__module__.startswith("zarr.") and hasattr(value, "chunks")


def zarr_source(path: Path, axes: str | None, voxel: Sequence[float] | None) -> Source:
    """A folder that is a Zarr array or an ome-zarr."""
    zarr = need("zarr")
    try:
        found = zarr.open(path, mode="r")
    except Exception as exc:  # the errors of several packages, for whatever the folder holds
        raise VolumeError(
            f"{path} is no Zarr ({type(exc).__name__}); name the folder that holds zarr.json or "
            ".zarray."
        ) from exc
    frame, component = None, ""
    if hasattr(found, "members"):  # a group
        frame, component = _level_zero(path, found.attrs.asdict())
        try:
            found = found[component]
        except KeyError as exc:
            raise VolumeError(
                f"{path} lists a level {component!r} that it does not have; get a fresh copy of it."
            ) from exc
    opened = functools.partial(_open, path, component)
    return _source(str(path), found, opened, frame, axes, voxel)


def zarr_array_source(array: Any, axes: str | None, voxel: Sequence[float] | None) -> Source:
    """An array of Zarr's that is open."""
    return _source("the array of Zarr", array, functools.partial(_same, array), None, axes, voxel)


def _open(path: Path, component: str) -> Any:
    found = need("zarr").open(path, mode="r")
    return found[component] if component else found


def _same(array: Any) -> Any:
    return array


def _source(
    name: str,
    array: Any,
    opened: Any,
    frame: Frame | None,
    axes: str | None,
    voxel: Sequence[float] | None,
) -> Source:
    frame = check_axes(name, array.shape, frame or _named_axes(array), axes, voxel)
    stored = _stored(name, array)
    layout = array.shape, str(array.dtype), array.chunks, array.shards, str(array.fill_value)
    text = repr((layout, stored.identity))
    return make_source(
        name, array, frame, opened, hashlib.blake2b(text.encode(), digest_size=16).hexdigest(),
        chunk_bytes=int(np.prod(array.chunks)) * array.dtype.itemsize,
        remarks=(*_missing(name, array, stored.files), *_unnoticed(name, stored)),
        path=_folder(array),
    )  # fmt: skip


class _Stored(NamedTuple):
    """What is known of the samples that a store holds.

    Attributes
    ----------
    identity : differs where they do, as far as the store tells
    files : how many there are, without metadata; None where that is not known
    noticed : whether a change of the samples changes the identity
    """

    identity: Any
    files: int | None
    noticed: bool = True


def _stored(name: str, array: Any) -> _Stored:
    """Path, size and time of each file, checksums of a store elsewhere, or the content itself."""
    storage = need("zarr.storage")
    folder = _folder(array)
    if folder is not None:
        files = sorted(_files(folder))
        _require_content(name, files)
        return _Stored(files, len(files))
    if isinstance(array.store, storage.MemoryStore):
        return _Stored(content_identity(array, array.chunks[0]), None)
    if isinstance(array.store, storage.ZipStore):
        return _Stored(file_identity(Path(array.store.path)), None)
    return _elsewhere(name, array)


def _require_content(name: str, files: Sequence[tuple[str, Any, Any]]) -> None:
    """Refuse files of nothing, which Zarr reads as chunks that were never stored."""
    empty = [place for place, size, _ in files if size == 0]
    if empty:
        raise VolumeError(
            f"{name} has {len(empty):,} files of no bytes, such as {empty[0]}; it is cut short: "
            "get a fresh copy of it."
        )


def _elsewhere(name: str, array: Any) -> _Stored:
    """What a store of fsspec's lists of each of its files."""
    store = array.store
    if not hasattr(store, "fs"):
        return _Stored(None, None, False)
    place = "/".join(part for part in (store.path, array.path) if part)
    try:
        found = need("zarr.core.sync").sync(store.fs._find(place, detail=True))
        files = sorted(
            (str(name), facts.get("size"), _changes(facts))
            for name, facts in found.items()
            if str(name).rpartition("/")[2] not in _METADATA
        )
    except Exception:  # a server that lists nothing, whatever its package raises then
        return _Stored(None, None, False)
    _require_content(name, files)
    return _Stored(files, len(files), all(changes for _, _, changes in files) and bool(files))


def _changes(facts: Mapping[str, Any]) -> list[str]:
    """What changes with the content of a file, by the names that services give it."""
    return sorted(f"{key}={value}" for key, value in facts.items() if key.lower() in _CHANGES)


def _unnoticed(name: str, stored: _Stored) -> tuple[str, ...]:
    if stored.noticed:
        return ()
    return (
        f"the store of {name} tells neither times nor checksums of its chunks: if they change "
        "before an interrupted run goes on, that is not noticed",
    )


def _folder(array: Any) -> Path | None:
    """The folder of an array, where its store is one."""
    root = getattr(array.store, "root", None)
    return None if root is None else Path(root) / array.path


def _files(folder: Path) -> Iterator[tuple[str, int, int]]:
    for place, _, names in os.walk(folder):
        for name in names:
            if name not in _METADATA:
                path = Path(place, name)
                stat = path.stat()
                yield str(path.relative_to(folder)), stat.st_size, stat.st_mtime_ns


def _missing(name: str, array: Any, files: int | None) -> tuple[str, ...]:
    """Chunks that are not stored read as the fill value: legal, and yet perhaps a loss."""
    per_file = array.shards or array.chunks
    pairs = zip(array.shape, per_file, strict=True)
    expected = int(np.prod([-(-n // c) for n, c in pairs]))
    if files is None or files >= expected:
        return ()
    return (
        f"{expected - files:,} of the {expected:,} chunks of {name} are not stored and are taken "
        f"for its fill value {array.fill_value}; if that is not meant, get a fresh copy of it",
    )


def _named_axes(array: Any) -> Frame | None:
    """Names of axes as Zarr 3 has them, or as xarray writes them."""
    names = getattr(array.metadata, "dimension_names", None) or array.attrs.get("_ARRAY_DIMENSIONS")
    if not names or len(names) != array.ndim or not all(isinstance(n, str) for n in names):
        return None
    letters = [{"channel": "c", "time": "t"}.get(n.lower(), n.lower()) for n in names]
    return Frame("".join(letters)) if {*letters} <= {*"tczyx"} else None


def _level_zero(path: Path, attributes: Mapping[str, Any]) -> tuple[Frame | None, str]:
    """The axes of an ome-zarr, and where its level 0 is."""
    ome = attributes.get("ome", attributes)
    try:
        scales = ome["multiscales"][0]
        dataset = scales["datasets"][0]
        return _ome_frame(scales, dataset, ome.get("omero") or {}), str(dataset["path"])
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as exc:
        raise VolumeError(
            f"{path} is a group of Zarr without the multiscales of an ome-zarr; name the array in "
            "it that is meant."
        ) from exc


def _ome_frame(
    scales: Mapping[str, Any], dataset: Mapping[str, Any], omero: Mapping[str, Any]
) -> Frame | None:
    listed = [a if isinstance(a, Mapping) else {"name": a} for a in scales.get("axes", ())]
    if not listed:
        return None
    axes = "".join(str(a["name"]).lower() for a in listed)
    steps = np.ones(len(listed))
    for owner in (dataset, scales):
        for change in owner.get("coordinateTransformations", ()):
            if change.get("type") == "scale":
                steps = steps * np.asarray(change["scale"], dtype=float)
    metric = [(a, s) for a, s in zip(listed, steps, strict=True) if a["name"] != "c"]
    voxel = {str(a["name"]).lower(): float(s) for a, s in metric}
    units = {str(a["name"]).lower(): unit_name(a["unit"]) for a in listed if a.get("unit")}
    channels = tuple(str(c.get("label", "")) for c in omero.get("channels", ()))
    return Frame(axes, voxel, units, channels)
