"""The metadata that the formats share, in the form in which it travels: see `Picture`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

EXIF_PREFIX = b"Exif\0\0"  # JPEG alone has it before the block


def shared(info: Mapping[str, Any]) -> dict[str, Any]:
    """The part of Pillow's `info` that every format has."""
    found = {k: info[k] for k in ("exif", "icc_profile", "xmp", "dpi") if info.get(k)}
    if "exif" in found:
        found["exif"] = found["exif"].removeprefix(EXIF_PREFIX)
    return found
