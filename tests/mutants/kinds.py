"""One record a format: how it is drawn, damaged, read by unconv and read by somebody else."""

from __future__ import annotations

import shutil
import time
import tracemalloc
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unconv.pictures.formats import PictureError, read_picture
from unconv.pictures.formats.picture import to_pixels
from unconv.pictures.formats.tifffile_log import tifffile_log
from unconv.volumes.errors import VolumeError
from unconv.volumes.sources import open_source

from . import volumes
from .pictures import (
    Array,
    Draw,
    any_damage,
    draw_fits,
    draw_jpeg,
    draw_npy,
    draw_png,
    draw_tiff,
    other_fits,
    other_jpeg,
    other_npy,
    other_png,
    other_tiff,
    png_damage,
)

MOST_MEMORY, MOST_SECONDS = 10_000_000, 2
"""Of one small file: what a damaged header asks for beyond that is not believed."""


@dataclass(frozen=True)
class Kind:
    """A format of files.

    Attributes
    ----------
    suffix : of a file
    write : a whole file, drawn at random, to a path
    damage : a file where it lies
    ours, other : its samples by unconv, and by another reader
    """

    suffix: str
    write: Callable[[Draw, Path], None]
    damage: Callable[[Draw, Path], None]
    ours: Callable[[Path], Array]
    other: Callable[[Path], Array]


def judged(kind: Kind, rng: Draw, folder: Path) -> str | None:
    """Draw a file, damage it and read it: the sentence of the refusal, None where it was read.

    Raises AssertionError where another reader sees other samples, where the sentence is none,
    or where reading takes too much; anything else that reading raises is a failure as well.
    """
    whole, broken = folder / f"whole{kind.suffix}", folder / f"a{kind.suffix}"
    _remove(whole, broken)
    kind.write(rng, whole)
    (shutil.copytree if whole.is_dir() else shutil.copyfile)(whole, broken)
    kind.damage(rng, broken)
    began = time.process_time()
    tracemalloc.start()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow doubts some metadata, astropy some cards
            found = kind.ours(broken)
    except (PictureError, VolumeError) as error:
        said = str(error)
        assert str(broken) in said
        assert "\n" not in said
        return said
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < MOST_MEMORY, f"{peak:,} bytes"
        assert time.process_time() - began < MOST_SECONDS
    with warnings.catch_warnings(), tifffile_log():
        warnings.simplefilter("ignore")
        try:
            expected = kind.other(broken)
        except Exception:  # the other is stricter: then the damage must not have touched a sample
            expected = kind.other(whole)
            if found.shape == expected.shape and broken.is_file() and _as_stored(found, broken):
                return None
    assert found.size == expected.size
    np.testing.assert_array_equal(found.squeeze(), expected.squeeze())
    return None


def _as_stored(found: Array, broken: Path) -> bool:
    """Whether the file holds the rows as they were read, which damage to samples cannot change."""
    content = broken.read_bytes()
    rows = found.reshape(-1, found.shape[-1])
    return all(row.tobytes() in content or row.byteswap().tobytes() in content for row in rows)


def _remove(*paths: Path) -> None:
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)


def _file(
    suffix: str,
    draw: Callable[[Draw], bytes],
    ours: Callable[[Path], Array],
    other: Callable[[Path], Array],
    damage: Callable[[Draw, bytes], bytes] = any_damage,
) -> Kind:
    def write(rng: Draw, path: Path) -> None:
        path.write_bytes(draw(rng))

    def spoil(rng: Draw, path: Path) -> None:
        path.write_bytes(damage(rng, path.read_bytes()))

    return Kind(suffix, write, spoil, ours, other)


def _of_bytes(other: Callable[[bytes], Array]) -> Callable[[Path], Array]:
    return lambda path: other(path.read_bytes())


def _picture(path: Path) -> Array:
    picture = read_picture(path, max_pixels=100_000)
    return to_pixels(picture, picture.dtype)


def _volume(path: Path) -> Array:
    source = open_source(path)
    return source.read(volumes.corner(source.shape))


KINDS = {
    "PNG": _file(".png", draw_png, _picture, _of_bytes(other_png), png_damage),
    "JPEG": _file(".jpg", draw_jpeg, _picture, _of_bytes(other_jpeg)),
    "TIFF": _file(".tif", draw_tiff, _picture, _of_bytes(other_tiff)),
    "NPY": _file(".npy", draw_npy, _picture, _of_bytes(other_npy)),
    "FITS": _file(".fits", draw_fits, _picture, _of_bytes(other_fits)),
    "TIFF volume": _file(".tif", volumes.draw_tiff, _volume, volumes.other_tiff),
    "NPY volume": _file(".npy", volumes.draw_npy, _volume, volumes.other_npy_volume),
    "FITS volume": _file(".fits", volumes.draw_fits, _volume, volumes.other_fits),
    "Zarr volume": Kind(
        ".zarr", volumes.write_zarr, volumes.damage_zarr, _volume, volumes.other_zarr
    ),
}
