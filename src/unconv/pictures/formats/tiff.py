"""TIFF, by tifffile: one page of uint8, uint16 or float, grey or RGB, with alpha or more channels.

A channel beyond the colours is alpha where the file says so (ExtraSamples 1 or 2).  Otherwise (0,
"unspecified") it is a plane of the picture like the others: what a microscope writes.
"""

from __future__ import annotations

import io
import itertools
import math
import os
import struct
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np

from . import jpeg
from .checks import StackError, need, require_size
from .metadata import EXIF_PREFIX
from .picture import DTYPES, Array, PictureError
from .tifffile_log import tifffile_log

_ORIENTATION = 274
_REQUIRED = (256, 257, 259, 262)  # ImageWidth, ImageLength, Compression, Photometric
# ImageDescription, Make, Model, Software, DateTime, Artist, Copyright
_TEXT_TAGS = (270, 271, 272, 305, 306, 315, 33432)
# none, LZW, JPEG, deflate, PackBits, deflate, LZMA, zstd: JPEG's size is checked first, and the
# decoders of the others are told how many bytes to expect
_COMPRESSIONS = (1, 5, 7, 8, 32773, 32946, 34925, 50000)

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""How a file begins; + is BigTIFF."""


def read(file: BinaryIO, max_pixels: int) -> tuple[Array, dict[str, Any]]:
    """The pixels as stored, (H, W) or (H, W, C), and the metadata."""
    with tifffile_log(), need("tifffile").TiffFile(file) as tif:
        page = _only_page(file, tif)
        require_readable(file, tif, page, max_pixels)
        pixels = page.asarray(maxworkers=1)
        metadata = _metadata(tif, page)
    if page.axes == "SYX":  # one plane after the other
        pixels = np.moveaxis(pixels, 0, -1)
    if page.photometric == 0:  # white is zero
        grey = (..., 0) if page.extrasamples else ...
        pixels[grey] = np.iinfo(pixels.dtype).max - pixels[grey]
    return pixels, metadata


def require_readable(file: BinaryIO, tif: Any, page: Any, max_pixels: int) -> None:
    """Refuse a page that is too large, damaged or of another kind, before it is decoded."""
    require_size(file, page.imagewidth, page.imagelength, max_pixels)
    if page.is_tiled:
        require_size(file, page.tilewidth, page.tilelength * page.tiledepth, max_pixels)
    _require_tags(file, tif, page)
    if objection := _objection(page):
        raise PictureError(
            f"{file.name}: {objection}, and only uint8, uint16 and float TIFF in grey or RGB, "
            "with alpha or further channels, is read; convert it"
        )
    _require_strips(file, page, max_pixels)
    if page.compression != 1:
        need("imagecodecs")  # tifffile's substitutes do not bound what they inflate
    if page.compression == 7:
        _require_jpegs(file, page, max_pixels)


def _only_page(file: BinaryIO, tif: Any) -> Any:
    many = 1000  # look no further: the pages of a damaged file can go round in a ring
    pages = [*itertools.islice(tif.pages, many)]
    pages = [page for page in pages if not (page.is_reduced or page.is_mask)] or pages[:1]
    if not pages:
        raise PictureError(f"{file.name} is a TIFF without a page; get a fresh copy")
    images = (tif.imagej_metadata or {}).get("images", 1)  # ImageJ counts them only in its text
    count = max(len(pages), pages[0].imagedepth, images)
    if count > 1:
        raise StackError(file.name, f"{'at least ' if count == many else ''}{count} pages")
    return pages[0]


def _require_tags(file: BinaryIO, tif: Any, page: Any) -> None:
    """Refuse tags that cannot be read, or contradict each other.

    tifffile skips a tag that it cannot read, and takes a default in its place.
    """
    file.seek(page.offset)
    (count,) = struct.unpack(tif.tiff.tagnoformat, file.read(tif.tiff.tagnosize))
    if count != len(page.tags):
        damage = f"only {len(page.tags)} of its {count} tags can be read"
    elif missing := [tag for tag in _REQUIRED if tag not in page.tags]:
        damage = f"it lacks the tag {missing[0]}"
    elif not tells_lengths(page):
        damage = "it does not tell how long its tiles or strips are"
    elif page.compression == 1 and page.predictor != 1:
        damage = "it has a predictor and no compression"
    elif page.planarconfig not in (1, 2) or not {*page.extrasamples} <= {0, 1, 2}:
        damage = "its planes or its extra channels are of an unknown kind"
    else:
        return
    raise PictureError(
        f"{file.name} is damaged: {damage}; get a fresh copy or save it again from another program"
    )


def tells_lengths(page: Any) -> bool:
    """Whether the lengths of tiles or strips are told: where they are not, tifffile guesses them.

    Right is the guess for strips that are not compressed, as some old files have them.
    """
    tag = 325 if page.is_tiled else 279  # TileByteCounts, StripByteCounts
    return tag in page.tags or (page.compression == 1 and not page.is_tiled)


def _objection(page: Any) -> str | None:
    colours = page.samplesperpixel - len(page.extrasamples)
    ycbcr = page.photometric == 6 and page.compression == 7  # the codec turns it into RGB
    if page.photometric not in (0, 1, 2) and not ycbcr:
        return f"its colours are {getattr(page.photometric, 'name', page.photometric)}"
    if page.compression not in _COMPRESSIONS:
        return f"its compression is {getattr(page.compression, 'name', page.compression)}"
    if page.dtype is None or page.dtype.name not in DTYPES:
        return f"its pixels are {page.dtype}"
    if page.bitspersample != 8 * page.dtype.itemsize:
        return f"its pixels have {page.bitspersample} bits"
    if page.photometric == 0 and page.dtype.kind == "f":
        return "its float pixels count from white"
    alpha = len(page.extrasamples) == 1 and page.extrasamples[0] > 0
    data = not any(page.extrasamples)
    if colours != (1 if page.photometric in (0, 1) else 3) or not (alpha or data):
        return f"it has {page.samplesperpixel} channels, {len(page.extrasamples)} of them extra"
    return None


def _require_strips(file: BinaryIO, page: Any, max_pixels: int) -> None:
    """Refuse strips or tiles that are missing or cut short: tifffile reads them as zeros."""
    size = os.fstat(file.fileno()).st_size
    strips = [*zip(page.dataoffsets, page.databytecounts, strict=True)]
    if any(offset + count > size for offset, count in strips):
        raise PictureError(f"{file.name} is cut short at {size} bytes; get a fresh copy")
    stored = sum(offset > 0 and count > 0 for offset, count in strips)
    if stored < (expected := math.prod(page.chunked)):
        raise PictureError(
            f"{file.name} has only {stored} of its {expected} strips or tiles; get a fresh copy"
        )
    # Strips may share their bytes, and tiles may be far larger than the picture.
    samples = page.tilewidth * page.tilelength if page.is_tiled else 0
    most = expected * (samples or page.imagewidth * min(page.rowsperstrip, page.imagelength))
    taken = sum(count for _, count in strips)
    if most > 4 * page.samplesperpixel * max_pixels:
        raise PictureError(
            f"{file.name} has {most:,} samples in its strips or tiles for "
            f"{page.imagewidth} x {page.imagelength} pixels; save it with smaller ones"
        )
    if page.compression == 1 and taken < page.nbytes:
        raise PictureError(
            f"{file.name} has {taken:,} bytes of pixels, expected {page.nbytes:,}; get a fresh copy"
        )
    if taken > 2 * page.samplesperpixel * page.dtype.itemsize * most + 2**12 * expected:
        raise PictureError(
            f"{file.name} has {taken:,} bytes in its strips or tiles, more than its pixels can "
            "take; save it again from another program"
        )


def _require_jpegs(file: BinaryIO, page: Any, max_pixels: int) -> None:
    """Refuse strips or tiles that are no whole JPEG file, each with a size of its own."""
    plugin = need("PIL.JpegImagePlugin")
    for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
        file.seek(offset)
        data = file.read(count)
        if page.jpegtables:  # that all have in common: put behind the start of this one
            data = data[:2] + page.jpegtables[2:-2] + data[2:]
        image = plugin.JpegImageFile(io.BytesIO(data))  # reads the header only
        require_size(file, image.width, image.height, max_pixels)
        jpeg.decode(data, image)


def _metadata(tif: Any, page: Any) -> dict[str, Any]:
    """What travels with the pixels; common tags become an EXIF block, itself a TIFF directory."""
    exif = need("PIL.Image").Exif()
    for tag in (*_TEXT_TAGS, _ORIENTATION):
        # tifffile and ImageJ keep the array's shape in the description, which is theirs to write
        if tag in page.tags and not (tag == 270 and (tif.is_shaped or tif.is_imagej)):
            value = page.tags[tag].value
            exif[tag] = value.encode() if isinstance(value, str) else value
    metadata: dict[str, Any] = {"tiff": {"compressed": page.compression != 1}}
    if page.extrasamples:
        metadata["tiff"]["extrasamples"] = [int(kind) for kind in page.extrasamples]
        metadata["has_alpha"] = any(page.extrasamples)  # 0 is a channel like the others
        metadata["tiff"]["colours"] = page.samplesperpixel - len(page.extrasamples)
    if page.planarconfig == 2 and page.samplesperpixel > 1:
        metadata["tiff"]["planar"] = True
    if len(exif):
        metadata["exif"] = exif.tobytes().removeprefix(EXIF_PREFIX)
    for key, tag in (("icc_profile", 34675), ("xmp", 700)):
        if tag in page.tags:
            metadata[key] = bytes(page.tags[tag].value)
    if 282 in page.tags and page.tags.valueof(296, default=2) in (2, 3):  # inch, centimetre
        metadata["dpi"] = tuple(page.get_resolution("inch"))
    return metadata


def write(file: BinaryIO, pixels: Array, metadata: Mapping[str, Any]) -> None:
    """Write pixels (H, W) or (H, W, C) as they are, and the metadata."""
    exif = need("PIL.Image").Exif()
    exif.load(metadata.get("exif", b""))
    tags: list[tuple[int, str, int, Any, bool]] = []
    for tag in _TEXT_TAGS:
        if tag in exif:  # Pillow reads text as Latin-1, and so the bytes come back as they were
            tags.append((tag, "s", 0, str(exif[tag]).encode("latin-1", "replace"), True))
    if _ORIENTATION in exif:
        tags.append((_ORIENTATION, "H", 1, exif[_ORIENTATION], True))
    if "xmp" in metadata:
        tags.append((700, "B", len(metadata["xmp"]), metadata["xmp"], True))
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    as_read = metadata.get("tiff", {})
    alpha = metadata.get("has_alpha", channels in (2, 4))
    colours = as_read.get("colours", 3 if channels - alpha == 3 else 1)
    options: dict[str, Any] = {}
    if channels > colours:  # 0: a channel like the others, 2: alpha, not premultiplied
        kinds = [2] if alpha else [0] * (channels - colours)
        options["extrasamples"] = as_read.get("extrasamples", kinds)
    planar = channels > 1 and as_read.get("planar", False)
    if as_read.get("compressed"):
        options |= {"compression": "zlib", "predictor": pixels.dtype.kind == "u"}
    if "dpi" in metadata:
        options |= {"resolution": metadata["dpi"], "resolutionunit": "INCH"}
    need("tifffile").imwrite(
        file,
        np.ascontiguousarray(np.moveaxis(pixels, -1, 0)) if planar else pixels,
        bigtiff=pixels.nbytes > 2**32 - 2**25,
        byteorder="<",
        photometric="rgb" if colours == 3 else "minisblack",
        planarconfig=("separate" if planar else "contig") if channels > 1 else None,
        iccprofile=metadata.get("icc_profile"),
        extratags=tags,
        metadata=None,  # no description of tifffile's own
        software=False,
        **options,
    )
