"""PNG, by Pillow, and by imagecodecs where Pillow would cut 16 bits to 8.

Both fill what is missing, or forgive what is wrong, without a word.  So the file is checked first:
its chunks by Pillow's reader of chunks, and the pixel stream by inflating it once.

The plugin class is called directly, as for JPEG.
"""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import numpy as np

from .checks import need, read_bytes, require_size
from .metadata import shared
from .picture import Array, PictureError

_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}  # of a colour
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of a pixel, by its type of colour
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
          (0, 1, 1, 2))  # fmt: skip  # first column and row, steps
_CRITICAL = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
_ORDER = re.compile(rb"IHDR (\? )*(PLTE )?(\? )*(tRNS )?(\? )*(IDAT )+(\? )*IEND")  # ? is another
# Colour and text chunks that stay true when the pixels change.  iCCP, pHYs and eXIf are not here:
# they have a form that every format shares, and travel in that form.
_KEPT = (b"gAMA", b"cHRM", b"sRGB", b"cICP", b"tEXt", b"zTXt", b"iTXt", b"tIME")
_XMP = "XML:com.adobe.xmp"
_START = 8 + 25  # the signature and IHDR

_Chunk = tuple[bytes, bytes]  # name, data


def read(file: BinaryIO, max_pixels: int) -> tuple[Array, dict[str, Any]]:
    """The pixels as stored, (H, W) or (H, W, C), and the metadata."""
    header = struct.unpack(">8s4x4sIIBBBBB4x", file.read(_START))
    _, name, width, height, depth, colour, *methods, interlaced = header
    require_size(file, width, height, max_pixels)
    if name != b"IHDR" or depth not in _DEPTHS.get(colour, ()) or any(methods) or interlaced > 1:
        raise ValueError(f"header {header[1:]}")
    inflated = _inflated_size(width, height, depth * _SAMPLES[colour], bool(interlaced))
    file.seek(0)
    data = read_bytes(file, 2 * inflated + 2**26)  # twice the pixels, and metadata
    chunks = [*_chunks(data)]
    _require_order(chunks, colour)
    _require_inflated(chunks, inflated)
    once = dict(chunks)
    if b"acTL" in once and (frames := struct.unpack(">I", once[b"acTL"][:4])[0]) > 1:
        raise PictureError(f"{file.name} is an animation of {frames} frames; save one as a PNG")
    image = need("PIL.PngImagePlugin").PngImageFile(io.BytesIO(data))
    if depth == 16 and colour != 0:
        # without the rest of the chunks, of which the decoder would print its opinion
        bare = [chunk for chunk in chunks if chunk[0] in (b"IHDR", b"IDAT", b"tRNS", b"IEND")]
        pixels = need("imagecodecs").png_decode(_joined(data[:8], bare))
    else:
        pixels = _decode(image, depth, colour, once.get(b"tRNS"))
    metadata = shared(image.info)
    if b"eXIf" in once:
        metadata["exif"] = once[b"eXIf"]
    kept = tuple(chunk for chunk in chunks if chunk[0] in _KEPT)
    return pixels, metadata | ({"png_chunks": kept} if kept else {})


def _chunks(data: bytes) -> Iterator[_Chunk]:
    """All chunks, with the right checksum each, to the end that must be there."""
    stream = io.BytesIO(data)
    stream.seek(8)
    reader = need("PIL.PngImagePlugin").ChunkStream(stream)
    name = b""
    while name != b"IEND":
        name, _, length = reader.read()
        body = stream.read(length)
        reader.crc(name, body)
        yield name, body


def _require_order(chunks: list[_Chunk], colour: int) -> None:
    """Refuse a PNG whose chunks that decide on the pixels are missing, doubled or out of place."""
    known = (*_CRITICAL, b"tRNS")
    # an unknown critical chunk keeps its name, which stands nowhere
    names = [name if name in known or name[0] & 32 == 0 else b"?" for name, _ in chunks]
    if not _ORDER.fullmatch(b" ".join(names)):
        told = b" ".join(name for name in names if name != b"?").decode()
        raise ValueError(f"its chunks are {told}, or others stand between them")
    once = dict(chunks)
    palette, transparent = once.get(b"PLTE"), once.get(b"tRNS")
    colours = 0 if palette is None else len(palette) // 3
    if (palette is not None or colour == 3) and not (
        palette and len(palette) == 3 * colours <= 768
    ):
        raise ValueError(f"its palette has {len(palette or b'')} bytes")
    if transparent is not None and not (
        0 < len(transparent) <= colours
        if colour == 3
        else colour in (0, 2) and len(transparent) == 2 * _SAMPLES[colour]
    ):
        raise ValueError(f"its transparency has {len(transparent)} bytes")


def _inflated_size(width: int, height: int, bits: int, interlaced: bool) -> int:
    """Bytes of the inflated stream: for each row of each pass its samples and one filter."""
    size = 0
    for column, row, across, down in _ADAM7 if interlaced else ((0, 0, 1, 1),):
        columns, rows = -(-(width - column) // across), -(-(height - row) // down)
        size += rows * (1 + -(-columns * bits // 8)) if columns > 0 and rows > 0 else 0
    return size


def _slices(chunks: list[_Chunk], step: int = 2**12) -> Iterator[bytes]:
    """The compressed pixels in parts of which zlib makes 4 MB at most, 1032-fold."""
    for name, data in chunks:
        if name == b"IDAT":
            for start in range(0, len(data), step):
                yield data[start : start + step]


def _require_inflated(chunks: list[_Chunk], size: int) -> None:
    """Refuse a pixel stream of more or fewer bytes than the header says, or a wrong checksum."""
    inflater, found = zlib.decompressobj(), 0
    for part in _slices(chunks):
        if inflater.eof:
            raise ValueError("there is more behind the end of its pixels")
        found += len(inflater.decompress(part))
        if found > size:
            break
    if inflater.unused_data:
        raise ValueError("there is more behind the end of its pixels")
    if found != size or not inflater.eof:
        more = " or more" if found > size else ""
        raise ValueError(f"{found:,}{more} bytes of pixels, expected {size:,}")


def _decode(image: Any, depth: int, colour: int, transparent: bytes | None) -> Array:
    """The pixels of an image that Pillow holds exactly: 8 bits at most, or grey of 16."""
    if colour == 3:
        return np.asarray(image.convert("RGB" if transparent is None else "RGBA"))
    pixels = np.asarray(image.convert("L") if image.mode == "1" else image)
    pixels = pixels.astype(np.uint16 if depth == 16 else np.uint8)
    if colour in (0, 2) and transparent is not None:  # one colour is transparent
        scale = 255 // (2**depth - 1) if depth < 8 else 1
        key = (np.frombuffer(transparent, ">u2") & (2**depth - 1)) * scale
        samples = pixels.reshape(*pixels.shape[:2], -1)
        alpha = np.where((samples == key).all(-1, keepdims=True), 0, np.iinfo(pixels.dtype).max)
        pixels = np.concatenate([samples, alpha.astype(pixels.dtype)], axis=-1)
    return pixels


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
    # 16 bits and several channels: imagecodecs writes the pixels, and the other chunks are those
    # that Pillow would write, taken from a picture of one pixel.
    encoded = need("imagecodecs").png_encode(pixels)
    dummy = plugin.getchunks(Image.new("L", (1, 1)), pnginfo=info, **options)
    others = [(name, body) for name, body, _ in dummy if name not in _CRITICAL]
    file.write(_joined(encoded[:_START], others) + encoded[_START:])


def _joined(start: bytes, chunks: list[_Chunk]) -> bytes:
    file = io.BytesIO()
    file.write(start)
    for name, data in chunks:
        need("PIL.PngImagePlugin").putchunk(file, name, data)
    return file.getvalue()
