"""Volumes in TIFF: one grey plane a page, and the pitch of their voxels in micrometres.

Written as OME-TIFF, which holds float64 and names axes, pitches and units; read of it, of ImageJ's
stacks and of any file of grey pages of one size.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from .checks import need
from .picture import Array, PictureError
from .pitch import pitches
from .tiff import MAGIC, require_readable
from .tifffile_log import tifffile_log

_MOST_PLANES, _MOST_SAMPLES = 4097, 2**27  # a psf of 500³ has 1.25e8
_AXES = "ZYX"
_MICROMETRES = {
    "micrometer": 1.0, "picometer": 1e-6, "nanometer": 1e-3, "angstrom": 1e-4, "millimeter": 1e3,
    "centimeter": 1e4, "meter": 1e6,
}  # fmt: skip


def is_stack(path: Path) -> bool:
    """Whether a file is a TIFF of more than one page that counts."""
    with path.open("rb") as file:
        if file.read(4) not in MAGIC:
            return False
        file.seek(0)
        with tifffile_log(), need("tifffile").TiffFile(file) as tif:
            return len(_pages(tif, 2)) > 1


def read(path: Path) -> tuple[Array, tuple[float, ...] | None]:
    """The samples (D, H, W) float64 as stored, and the pitch along z, y and x in µm, if told.

    Raises:
        PictureError: another kind of page, planes of several sizes, too many samples, damage.
    """
    with path.open("rb") as file, tifffile_log(), need("tifffile").TiffFile(file) as tif:
        pages = _pages(tif, _MOST_PLANES + 1)
        _require_planes(file, tif, pages)
        for page in pages:
            require_readable(file, tif, page, _MOST_SAMPLES // len(pages))
        planes = [page.asarray(maxworkers=1) for page in pages]
        return np.stack(planes).astype(np.float64), _voxel(tif)


def _pages(tif: Any, most: int) -> list[Any]:
    """The pages that are no thumbnails or masks, at most so many."""
    pages = itertools.islice(tif.pages, 2 * most)  # those of a damaged file can go round in a ring
    return [page for page in pages if not (page.is_reduced or page.is_mask)][:most]


def _require_planes(file: BinaryIO, tif: Any, pages: Sequence[Any]) -> None:
    first, told = pages[0], (tif.imagej_metadata or {})
    if len(pages) > _MOST_PLANES:
        objection = f"more than {_MOST_PLANES:,} pages"
    elif any(page.shape != first.shape or page.dtype != first.dtype for page in pages):
        objection = "pages of several sizes or kinds"
    elif len(first.shape) != 2 or first.photometric != 1:
        objection = "pages that are not one grey plane each"
    elif told.get("images", len(pages)) != len(pages):
        objection = f"{len(pages)} pages of {told['images']}"
    elif told.get("channels", 1) > 1 or told.get("frames", 1) > 1:
        objection = "channels or frames"
    else:
        return
    raise PictureError(f"{file.name} is a stack with {objection}; save one volume, a plane a page")


def _voxel(tif: Any) -> tuple[float, ...] | None:
    """The pitch along z, y and x in µm; None where one of them is not told as a length."""
    told = pitches(tif)
    if any(told.get(axis, (0, ""))[1] not in _MICROMETRES for axis in "zyx"):
        return None
    return tuple(size * _MICROMETRES[unit] for size, unit in (told[axis] for axis in "zyx"))


def write(file: BinaryIO, values: Array, voxel_um: tuple[float, ...] | None) -> None:
    """Write (D, H, W) as they are, with the pitch along z, y and x."""
    metadata: dict[str, Any] = {"axes": _AXES}
    options: dict[str, Any] = {}
    if voxel_um is not None:
        for axis, pitch in zip(_AXES, voxel_um, strict=True):
            metadata |= {f"PhysicalSize{axis}": pitch, f"PhysicalSize{axis}Unit": "µm"}
        per_cm = tuple(1e4 / pitch for pitch in voxel_um[:0:-1])  # along x and y
        options = {"resolution": per_cm, "resolutionunit": "CENTIMETER"}
    need("tifffile").imwrite(
        file, values, ome=True, metadata=metadata, photometric="minisblack", software=False,
        **options,
    )  # fmt: skip
