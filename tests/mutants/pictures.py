"""Pictures drawn at random, damage to them, and another reader of each format."""

from __future__ import annotations

import ast
import io
import zlib

import imagecodecs
import numpy as np
import png
import tifffile
from astropy.io import fits
from PIL import Image

from tests.pictures.formats.samples import make_pixels, png_chunk

Array = np.ndarray
Draw = np.random.Generator


def any_damage(rng: Draw, whole: bytes) -> bytes:
    """Cut, flip bytes, change the header, blank, drop, repeat or append a part."""
    broken = bytearray(whole)
    start, stop = sorted(rng.integers(0, len(whole), 2).tolist())
    match rng.integers(8):
        case 0:
            del broken[stop:]
        case 1 | 2:
            for i in rng.integers(0, len(whole), rng.integers(1, 4)):
                broken[i] ^= int(rng.integers(1, 256))
        case 3 | 4:
            for i in rng.integers(0, min(len(whole), 300), rng.integers(1, 4)):
                broken[i] = int(rng.choice([0, 1, 2, 3, 7, 8, 16, 127, 128, 255]))
        case 5:
            broken[start : min(stop, start + 200)] = bytes(min(stop - start, 200))
        case 6:
            del broken[start : min(stop, start + 300)]
        case _:
            broken[start:start] = broken[start:stop] if rng.random() < 0.5 else rng.bytes(50)
    return bytes(broken)


def png_damage(rng: Draw, whole: bytes) -> bytes:  # noqa: C901
    """The same, or one chunk changed under a right checksum."""
    if rng.random() < 0.3:
        return any_damage(rng, whole)
    chunks = [[bytes(name), bytes(data)] for name, data in png.Reader(bytes=whole).chunks()]
    at = next(i for i, (name, _) in enumerate(chunks) if name == b"IDAT")
    i, j = rng.integers(0, len(chunks), 2)
    raw = bytearray(zlib.decompress(chunks[at][1]))
    match rng.integers(10):
        case 0:
            header = bytearray(chunks[0][1])
            header[rng.integers(13)] = rng.choice([0, 1, 2, 3, 4, 6, 8, 16, 200])
            chunks[0][1] = bytes(header)
        case 1:
            chunks[at][1] = zlib.compress(raw[: rng.integers(len(raw))])
        case 2:
            chunks[at][1] = zlib.compress(raw + rng.bytes(rng.integers(1, 50)))
        case 3:
            raw[rng.integers(len(raw))] ^= int(rng.integers(1, 256))
            chunks[at][1] = zlib.compress(raw)
        case 4:  # its own checksum
            chunks[at][1] = chunks[at][1][:-1] + bytes([chunks[at][1][-1] ^ 1])
        case 5:
            chunks.insert(j, list(chunks[i]))
        case 6:
            del chunks[i]
        case 7:
            chunks[i], chunks[j] = chunks[j], chunks[i]
        case 8:
            middle = [[b"tEXt", b"a\0b"]] if rng.random() < 0.5 else []
            data, cut = chunks[at][1], int(rng.integers(len(chunks[at][1])))
            chunks[at : at + 1] = [[b"IDAT", data[:cut]], *middle, [b"IDAT", data[cut:]]]
        case _:
            name = rng.choice([b"PLTE", b"tRNS"])
            chunks.insert(max(1, j), [bytes(name), rng.bytes(rng.choice([0, 1, 2, 3, 6, 31, 768]))])
    return whole[:8] + b"".join(png_chunk(*chunk) for chunk in chunks)


def draw_png(rng: Draw) -> bytes:
    colour = int(rng.choice([0, 2, 3, 4, 6]))
    depths = {0: [1, 2, 4, 8, 16], 2: [8, 16], 3: [1, 2, 4, 8], 4: [8, 16], 6: [8, 16]}
    depth = int(rng.choice(depths[colour]))
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    h, w = rng.integers(1, 24, 2).tolist()
    options: dict = {"greyscale": colour in (0, 4), "alpha": colour in (4, 6)}
    if colour == 3:
        options = {"palette": [tuple(c) for c in rng.integers(0, 256, (2**depth, 3)).tolist()]}
    elif colour in (0, 2) and rng.random() < 0.3:
        key = rng.integers(0, 2**depth, samples).tolist()
        options["transparent"] = key[0] if colour == 0 else tuple(key)
    # of an interlaced picture in 16 bits of colour libpng prints an opinion
    interlace = bool(rng.random() < 0.3) and (depth < 16 or colour == 0)
    file = io.BytesIO()
    writer = png.Writer(w, h, bitdepth=depth, interlace=interlace, **options)
    writer.write_array(file, rng.integers(0, 2**depth, h * w * samples).tolist())
    whole = file.getvalue()
    return whole[:33] + png_chunk(b"tEXt", b"Title\0a cup") + whole[33:]


def other_png(whole: bytes) -> Array:
    _, height, rows, info = png.Reader(bytes=_low_bits_transparent(whole)).asDirect()
    pixels = np.array([*rows], np.uint16).reshape(height, -1, info["planes"])
    return pixels * (255 // (2 ** info["bitdepth"] - 1) if info["bitdepth"] < 8 else 1)


def _low_bits_transparent(whole: bytes) -> bytes:
    """The transparent grey without the bits above its depth, which are to be masked (PNG, tRNS)."""
    chunks = [(bytes(name), bytes(data)) for name, data in png.Reader(bytes=whole).chunks()]
    depth, colour = chunks[0][1][8:10]
    if depth < 8 and colour == 0:
        low = 2**depth - 1
        chunks = [(n, bytes([0, d[1] & low]) if n == b"tRNS" else d) for n, d in chunks]
    return whole[:8] + b"".join(png_chunk(*chunk) for chunk in chunks)


def draw_jpeg(rng: Draw) -> bytes:
    shape = (*rng.integers(1, 60, 2), *([3] if rng.random() < 0.5 else []))
    pixels = rng.integers(0, rng.choice([3, 60, 256]), shape, np.uint8)
    options = {"progressive": bool(rng.random() < 0.5), "subsampling": int(rng.integers(3))}
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=int(rng.integers(20, 96)), **options)
    return file.getvalue()


def other_jpeg(whole: bytes) -> Array:
    return np.asarray(Image.open(io.BytesIO(whole), formats=["JPEG"]))


def draw_tiff(rng: Draw) -> bytes:
    dtype = rng.choice(["uint8", "uint16", "float16", "float32", "float64"])
    channels = int(rng.integers(1, 5))
    pixels = make_pixels(dtype, channels, *rng.integers(1, 40, 2).tolist())
    kinds = [None, "zlib", "packbits", "zstd", "lzma", *(["jpeg"] if dtype == "uint8" else [])]
    compression = rng.choice(kinds) if channels % 2 else None
    options: dict = {"compression": compression, "byteorder": str(rng.choice(["<", ">"]))}
    if compression in ("zlib", "zstd") and dtype.startswith("u"):
        options["predictor"] = bool(rng.random() < 0.5)
    if compression == "jpeg":  # libtiff smooths colours of halved size in its own way
        options["subsampling"] = (1, 1)
    if channels % 2 == 0:
        options["extrasamples"] = ["unassalpha"]
    if rng.random() < 0.3:
        options["tile"] = (16, 16)
    elif rng.random() < 0.5:
        options["rowsperstrip"] = 8
    if channels > 1:
        options["planarconfig"] = "contig"
    file = io.BytesIO()
    photometric = "rgb" if channels > 2 else "minisblack"
    tifffile.imwrite(file, pixels, photometric=photometric, metadata=None, **options)
    return file.getvalue()


def other_tiff(whole: bytes) -> Array:
    pixels = np.asarray(imagecodecs.tiff_decode(whole))
    with tifffile.TiffFile(io.BytesIO(whole)) as tif:
        white = tif.pages[0].photometric == 0
    return np.iinfo(pixels.dtype).max - pixels if white else pixels


def draw_npy(rng: Draw) -> bytes:
    shape = (*rng.integers(1, 20, 2), *([int(rng.choice([1, 3, 4]))] if rng.random() < 0.5 else []))
    dtype = rng.choice(["u1", "<u2", ">u2", "<f2", "<f4", ">f8"])
    file = io.BytesIO()
    np.save(file, rng.integers(0, 99, shape).astype(dtype, order=rng.choice(["C", "F"])))
    return file.getvalue()


def other_npy(whole: bytes) -> Array:
    size, start = (2, 10) if whole[6] == 1 else (4, 12)
    stop = start + int.from_bytes(whole[8 : 8 + size], "little")
    header = ast.literal_eval(whole[start:stop].decode("latin-1" if whole[6] < 3 else "utf-8"))
    dtype, shape = np.dtype(header["descr"]), header["shape"]
    values = np.frombuffer(whole, dtype, int(np.prod(shape)), stop)
    return values.reshape(shape, order="F" if header["fortran_order"] else "C")


def draw_fits(rng: Draw) -> bytes:
    shape = (*([3] if rng.random() < 0.3 else []), *rng.integers(2, 20, 2).tolist())
    kind = str(rng.choice(["u1", ">i2", "u2", ">i4", ">f4", ">f8"]))
    file = io.BytesIO()
    fits.PrimaryHDU(rng.integers(0, 99, shape).astype(kind)).writeto(file)
    return file.getvalue()


def other_fits(whole: bytes) -> Array:
    with fits.open(io.BytesIO(whole), memmap=False) as file:
        values = next(hdu.data for hdu in file if hdu.is_image and hdu.data is not None)
    values = values.squeeze()[..., ::-1, :]  # the first row of FITS is the lowest
    return values if values.ndim == 2 else np.moveaxis(values, 0, -1)
