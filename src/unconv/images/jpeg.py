"""JPEG, by Pillow: grey or RGB, 8 bits, with the tables it had.

The plugin class is called directly: `Image.open` would try other decoders, and has a pixel limit of
its own that only a global setting can move.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np

from .checks import need, require_size
from .metadata import EXIF_PREFIX, shared
from .picture import Array, PictureError


def read(file: BinaryIO, max_pixels: int) -> tuple[Array, dict[str, Any]]:
    """The pixels as stored, (H, W) or (H, W, C), and the metadata."""
    plugin = need("PIL.JpegImagePlugin")
    image = plugin.JpegImageFile(file)  # reads the header only
    width, height = image.size
    require_size(file, width, height, max_pixels)
    if image.mode not in ("L", "RGB"):
        raise PictureError(
            f"{file.name} is a {image.mode} JPEG, and only grey and RGB are read; convert it to RGB"
        )
    pixels = np.asarray(image)
    again = {"qtables": image.quantization, "progressive": "progressive" in image.info}
    if image.mode == "RGB" and (sampling := plugin.get_sampling(image)) >= 0:
        again["subsampling"] = sampling
    if "comment" in image.info:
        again["comment"] = image.info["comment"]
    return pixels, shared(image.info) | {"jpeg": again}


def write(file: BinaryIO, pixels: Array, metadata: Mapping[str, Any]) -> None:
    """Write pixels (H, W) or (H, W, C) as they are, and the metadata."""
    options = dict(metadata.get("jpeg", {"quality": 95, "subsampling": 0}))
    options |= {k: metadata[k] for k in ("icc_profile", "xmp") if k in metadata}
    if "exif" in metadata:
        options["exif"] = EXIF_PREFIX + metadata["exif"]
    if "dpi" in metadata:
        options["dpi"] = tuple(round(value) for value in metadata["dpi"])  # JFIF holds integers
    need("PIL.Image").fromarray(pixels).save(file, "JPEG", **options)
