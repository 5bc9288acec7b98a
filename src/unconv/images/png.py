"""PNG, by Pillow, and by pypng where Pillow would cut 16 bits to 8.

The plugin class is called directly, as for JPEG.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np

from .checks import need, require_size
from .metadata import shared
from .picture import Array, PictureError

# Colour and text chunks that stay true when the pixels change.  iCCP, pHYs and eXIf are not here:
# they have a form that every format shares, and travel in that form.
_KEPT = {b"gAMA", b"cHRM", b"sRGB", b"cICP", b"tEXt", b"zTXt", b"iTXt", b"tIME"}
_XMP = "XML:com.adobe.xmp"


def read(file: BinaryIO, max_pixels: int) -> tuple[Array, dict[str, Any]]:
    """The pixels as stored, (H, W) or (H, W, C), and the metadata."""
    width, height, depth, colour = struct.unpack(">IIBB", file.read(26)[16:])  # IHDR comes first
    require_size(file, width, height, max_pixels)
    png = need("png")
    file.seek(0)
    kept, once = [], {}
    for name, data in png.Reader(file=file).chunks():  # checks every CRC, and that IEND is there
        if name in _KEPT:
            kept.append((bytes(name), bytes(data)))
        elif name in (b"acTL", b"tRNS", b"eXIf"):
            once[bytes(name)] = bytes(data)
    if b"acTL" in once and (frames := struct.unpack(">I", once[b"acTL"][:4])[0]) > 1:
        raise PictureError(f"{file.name} is an animation of {frames} frames; save one as a PNG")
    file.seek(0)
    image = need("PIL.PngImagePlugin").PngImageFile(file)
    require_size(file, image.width, image.height, max_pixels)  # there may be a second IHDR
    if depth == 16 and colour != 0:
        pixels = _read_16_bit(png, file)
    elif colour == 3:
        pixels = np.asarray(image.convert("RGBA" if b"tRNS" in once else "RGB"))
    else:
        pixels = np.asarray(image.convert("L") if image.mode == "1" else image)
        pixels = pixels.astype(np.uint16 if depth == 16 else np.uint8)
    if colour in (0, 2) and b"tRNS" in once:  # one colour is transparent
        scale = 255 // (2**depth - 1) if depth < 8 else 1
        key = np.frombuffer(once[b"tRNS"], ">u2") * scale
        samples = pixels.reshape(height, width, -1)
        alpha = np.where((samples == key).all(-1, keepdims=True), 0, np.iinfo(pixels.dtype).max)
        pixels = np.concatenate([samples, alpha.astype(pixels.dtype)], axis=-1)
    metadata = shared(image.info)
    if b"eXIf" in once:
        metadata["exif"] = once[b"eXIf"]
    return pixels, metadata | ({"png_chunks": tuple(kept)} if kept else {})


def _read_16_bit(png: Any, file: BinaryIO) -> Array:
    _require_inflated(png, file)
    file.seek(0)
    width, height, rows, info = png.Reader(file=file).read()
    pixels = np.empty((height, width * info["planes"]), np.uint16)
    count = 0
    for count, row in enumerate(rows, start=1):
        pixels[count - 1] = row
    if count < height:
        raise ValueError(f"{count} rows of {height}")
    return pixels.reshape(height, width, -1)


def _require_inflated(png: Any, file: BinaryIO) -> None:
    """The pixel stream holds no more than the header says; pypng would inflate it unasked."""
    file.seek(0)
    reader = png.Reader(file=file)
    reader.preamble()
    # a filter byte for each row; interlaced, the seven passes have fewer than 2 H + 7 rows in all
    left = reader.height * (reader.row_bytes + 2) + 7
    inflater, step = zlib.decompressobj(), 2**12  # zlib inflates at most 1032-fold: 4 MB a step
    for name, data in reader.chunks():
        for start in range(0, len(data) if name == b"IDAT" else 0, step):
            left -= len(inflater.decompress(data[start : start + step]))
            if left < 0:
                raise ValueError("more pixels than the header says")


def write(file: BinaryIO, pixels: Array, metadata: Mapping[str, Any]) -> None:
    """Write pixels (H, W) or (H, W, C) as they are, and the metadata."""
    Image, plugin = need("PIL.Image"), need("PIL.PngImagePlugin")
    info = plugin.PngInfo()
    chunks = metadata.get("png_chunks", ())
    for name, data in chunks:
        info.add(name, data)
    if "xmp" in metadata and not any(data.startswith(_XMP.encode()) for _, data in chunks):
        info.add_itxt(_XMP, metadata["xmp"].decode("utf-8", "replace"))
    options = {k: metadata[k] for k in ("exif", "icc_profile", "dpi") if k in metadata}
    if pixels.dtype == np.uint8 or pixels.ndim == 2:
        Image.fromarray(pixels).save(file, "PNG", pnginfo=info, **options)
        return
    # 16 bits and several channels: pypng writes the pixels, and the other chunks are those that
    # Pillow would write, taken from a picture of one pixel.
    png = need("png")
    height, width, channels = pixels.shape
    writer = png.Writer(width, height, greyscale=channels == 2, alpha=channels != 3, bitdepth=16)
    rows = pixels.astype(">u2").reshape(height, -1)
    encoded = io.BytesIO()
    writer.write_packed(encoded, (row.tobytes() for row in rows))
    encoded.seek(0)
    header, *data = png.Reader(file=encoded).chunks()
    dummy = plugin.getchunks(Image.new("L", (1, 1)), pnginfo=info, **options)
    others = [(name, body) for name, body, _ in dummy if name not in (b"IHDR", b"IDAT", b"IEND")]
    png.write_chunks(file, [header, *others, *data])
