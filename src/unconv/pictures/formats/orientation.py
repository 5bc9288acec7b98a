"""Pictures stored sideways are turned upright when they are read, and are written so.

A camera stores the rows of its sensor and says by a number in the EXIF block which way is up.  The
angle of a motion, and the mask of bad pixels, are those of the picture that one sees: so the pixels
are turned, and all that speaks of their order is brought in line: the number itself (in the block
and in XMP), width and height, resolution, and the quantisation tables of a JPEG.  The block is
changed in place, for makers' notes hold offsets that do not survive a rewriting.  The thumbnail,
which shows the old pixels, is unlinked.

Source: CIPA DC-008 (Exif 2.32), tags 274, 40962 and 40963.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from .picture import Array

_ORIENTATION, _DIRECTORY, _WIDTH, _HEIGHT = 274, 34665, 40962, 40963
_XMP = re.compile(rb'(tiff:Orientation(?:="|>))[1-8]')

_TURNS: Mapping[int, Callable[[Array], Array]] = {  # stored (H, W, …) -> as it is seen
    2: np.fliplr,
    3: lambda p: np.rot90(p, 2),
    4: np.flipud,
    5: lambda p: p.swapaxes(0, 1),
    6: lambda p: np.rot90(p, -1),
    7: lambda p: np.rot90(p.swapaxes(0, 1), 2),
    8: np.rot90,
}


def upright(pixels: Array, metadata: Mapping[str, Any]) -> tuple[Array, dict[str, Any]]:
    """Pixels (H, W) or (H, W, C) as they are seen, and metadata that say so."""
    found = dict(metadata)
    orientation = 1
    if "exif" in found:
        found["exif"], orientation = _settled(found["exif"])
    if "xmp" in found:
        found["xmp"] = _XMP.sub(rb"\g<1>1", found["xmp"])
    if "png_chunks" in found:
        found["png_chunks"] = tuple(
            (name, _XMP.sub(rb"\g<1>1", data) if name == b"iTXt" else data)
            for name, data in found["png_chunks"]
        )
    if orientation not in _TURNS:
        return pixels, found
    if orientation >= 5:  # rows become columns
        if "dpi" in found:
            found["dpi"] = found["dpi"][::-1]
        if "qtables" in found.get("jpeg", {}):
            tables = found["jpeg"]["qtables"]
            found["jpeg"] = found["jpeg"] | {"qtables": {k: _turned(t) for k, t in tables.items()}}
    return np.ascontiguousarray(_TURNS[orientation](pixels)), found


def _turned(table: list[int]) -> list[int]:
    """The table of an 8 × 8 block whose rows become columns."""
    turned: list[int] = np.reshape(table, (8, 8)).T.flatten().tolist()
    return turned


def _settled(exif: bytes) -> tuple[bytes, int]:
    """The block with orientation 1 and without a thumbnail, and the orientation that it had.

    A block that cannot be read is left as it is.
    """
    changed, order = bytearray(exif), "<" if exif[:2] == b"II" else ">"
    orientation = 1
    try:
        (first,) = struct.unpack_from(f"{order}I", exif, 4)
        entries = dict(_entries(exif, order, first))
        if _ORIENTATION in entries:
            (orientation,) = struct.unpack_from(f"{order}H", exif, entries[_ORIENTATION] + 8)
            struct.pack_into(f"{order}H", changed, entries[_ORIENTATION] + 8, 1)
        if orientation in range(5, 9) and _DIRECTORY in entries:
            (second,) = struct.unpack_from(f"{order}I", exif, entries[_DIRECTORY] + 8)
            inner = dict(_entries(exif, order, second))
            if _WIDTH in inner and _HEIGHT in inner:
                width, height = (slice(inner[t] + 2, inner[t] + 12) for t in (_WIDTH, _HEIGHT))
                changed[width], changed[height] = exif[height], exif[width]
        (count,) = struct.unpack_from(f"{order}H", exif, first)
        end = first + 2 + 12 * count
        changed[end : end + 4] = bytes(len(changed[end : end + 4]))  # no directory of a thumbnail
    except struct.error:
        return exif, 1
    return bytes(changed), orientation


def _entries(exif: bytes, order: str, start: int) -> Iterator[tuple[int, int]]:
    """(tag, position of its 12 bytes) of a directory."""
    (count,) = struct.unpack_from(f"{order}H", exif, start)
    for position in range(start + 2, start + 2 + 12 * count, 12):
        (tag,) = struct.unpack_from(f"{order}H", exif, position)
        yield tag, position
