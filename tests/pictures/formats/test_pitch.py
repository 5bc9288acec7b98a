"""Distances of samples that a TIFF tells: drawn at random, and torn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from unconv.pictures.formats.pitch import ome_pixels, pitches, unit_name
from unconv.volumes.sources.tiff import tiff_source

tifffile = pytest.importorskip("tifffile")

UNITS = {"µm": "micrometer", "nm": "nanometer", "mm": "millimeter", "Å": "angstrom"}
PLANES = np.zeros((2, 5, 7), np.uint16)


def _with_text(path: Path, text: str | bytes) -> Path:
    tifffile.imwrite(path, PLANES, description=text, metadata=None, photometric="minisblack")
    return path


def _torn(text: str, rng: np.random.Generator) -> str:
    """A piece taken out, put in twice, or replaced."""
    start, stop = sorted(rng.integers(0, len(text), 2))
    middle = ("", text[start:stop] * 2, "<\x01&\"'>", "NaN", "é" * 3)[rng.integers(5)]
    return text[:start] + middle + text[stop:]


@pytest.mark.parametrize("seed", range(20))
def test_what_is_written_as_ome_is_read(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    told = {}
    for axis in rng.permutation(list("XYZ"))[: rng.integers(4)]:
        told[axis.lower()] = float(10 ** rng.uniform(-4, 4)), str(rng.choice(list(UNITS)))
    metadata: dict[str, object] = {"axes": "ZYX"}
    for axis, (size, unit) in told.items():
        metadata |= {f"PhysicalSize{axis.upper()}": size, f"PhysicalSize{axis.upper()}Unit": unit}
    tifffile.imwrite(tmp_path / "a.ome.tif", PLANES, metadata=metadata)
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as tif:
        assert pitches(tif) == {a: (size, UNITS[unit]) for a, (size, unit) in told.items()}
    frame = tiff_source(tmp_path / "a.ome.tif", None, None).frame
    assert frame.voxel == {axis: size for axis, (size, _) in told.items()}


@pytest.mark.parametrize("seed", range(60))
def test_a_torn_text_tells_less_and_stops_nobody(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    metadata = {"axes": "ZYX", "PhysicalSizeZ": 0.2, "PhysicalSizeX": 0.1}
    tifffile.imwrite(tmp_path / "a.ome.tif", PLANES, metadata=metadata)
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as tif:
        text = tif.ome_metadata
    path = _with_text(tmp_path / "torn.tif", _torn(text, rng).encode("utf-8"))
    with tifffile.TiffFile(path) as tif:
        found = pitches(tif)
    assert all(0 < size < np.inf for size, _ in found.values())


def test_no_distance_is_no_number(tmp_path: Path) -> None:
    told = '<OME xmlns="o"><Image><Pixels PhysicalSizeX="" PhysicalSizeY="-1"/></Image></OME>'
    with tifffile.TiffFile(_with_text(tmp_path / "a.tif", told)) as tif:
        pixels = ome_pixels(tif)
        assert pixels is None or len(pixels.attrib) == 2
        assert pitches(tif) == {}


def test_units_are_named_once() -> None:
    assert {unit_name(f" {unit} ") for unit in ("um", "µm", "μm", "microns")} == {"micrometer"}
