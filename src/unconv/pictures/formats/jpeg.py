"""JPEG: grey or RGB, 8 bits, with the tables it had.

Pillow reads what is not pixels, and writes.  simplejpeg decodes: by the same library as Pillow, but
it refuses data at which that library only warns and fills what is missing with grey.  Two things
that no decoder minds are read from the markers: that no scan is missing, and that there are not
hundreds, each of which costs a pass over the picture.  Its codes have no checksum: bytes changed or
lost in the middle are noticed as a rule, not always.

Pillow's plugin class is called directly: `Image.open` would try other decoders, and has a pixel
limit of its own that only a global setting can move.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, BinaryIO

from .checks import need, read_bytes, require_size
from .metadata import EXIF_PREFIX, shared
from .picture import Array, PictureError

_MOST_SCANS = 50  # encoders write 1 to 20
_MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd7\xff])")  # none that may stand among pixels
_START_OF_SCAN, _END_OF_IMAGE = b"\xda", b"\xd9"


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
    file.seek(0)
    # twice the pixels, and what cameras append: previews, sound, a film
    data = read_bytes(file, 6 * width * height + 2**28)
    pixels = decode(data, image)
    again = {"qtables": image.quantization, "progressive": "progressive" in image.info}
    if image.mode == "RGB" and (sampling := plugin.get_sampling(image)) >= 0:
        again["subsampling"] = sampling
    if "comment" in image.info:
        again["comment"] = image.info["comment"]
    return pixels, shared(image.info) | {"jpeg": again}


def decode(data: bytes, image: Any) -> Array:  # -> (H, W) or (H, W, 3)
    """The pixels of a whole JPEG, `image` being its header as Pillow read it, or ValueError."""
    _require_scans(data, [layer[0] for layer in image.layer], "progressive" in image.info)
    grey = len(image.layer) == 1
    pixels: Array = need("simplejpeg").decode_jpeg(data, "GRAY" if grey else "RGB")
    if pixels.shape[:2] != image.size[::-1]:
        raise ValueError(f"decoded as {pixels.shape[1]} x {pixels.shape[0]}")
    return pixels[..., 0] if grey else pixels


def _require_scans(data: bytes, components: Iterable[int], progressive: bool) -> None:
    """Refuse a JPEG that lacks a bit of any coefficient, or has too many scans."""
    missing = {component: set(range(64)) for component in components}
    scans = _scans(data)
    for scan in scans:
        count = scan[0]
        first, last, bits = scan[2 * count + 1 : 2 * count + 4] if progressive else (0, 63, 0)
        for component in scan[1 : 2 * count + 1 : 2]:
            if bits & 15 == 0:  # bits still to come
                missing.get(component, set()).difference_update(range(first, last + 1))
    if any(missing.values()):
        raise ValueError(f"scans are missing after the first {len(scans)}")


def _scans(data: bytes) -> list[bytes]:
    """The headers of all scans, as far as the end of the image."""
    scans: list[bytes] = []
    position = 2
    while (marker := _MARKER.search(data, position)) is not None:
        if marker[1] == _END_OF_IMAGE:
            return scans
        start = marker.end()
        position = start + int.from_bytes(data[start : start + 2])
        if marker[1] == _START_OF_SCAN:
            scans.append(data[start + 2 : position])
            if len(scans) > _MOST_SCANS:
                raise ValueError(f"more than {_MOST_SCANS} scans")
    raise ValueError("the image has no end")


def write(file: BinaryIO, pixels: Array, metadata: Mapping[str, Any]) -> None:
    """Write pixels (H, W) or (H, W, C) as they are, and the metadata."""
    options = dict(metadata.get("jpeg", {"quality": 95, "subsampling": 0}))
    options |= {k: metadata[k] for k in ("icc_profile", "xmp") if k in metadata}
    if "exif" in metadata:
        options["exif"] = EXIF_PREFIX + metadata["exif"]
    if "dpi" in metadata:
        options["dpi"] = tuple(round(value) for value in metadata["dpi"])  # JFIF holds integers
    need("PIL.Image").fromarray(pixels).save(file, "JPEG", **options)
