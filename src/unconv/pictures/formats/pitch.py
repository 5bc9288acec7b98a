"""How far apart the samples of a TIFF are, as OME or ImageJ tells it.

Source: the OME data model 2016-06 (Pixels); ImageJ's ``ImageDescription``.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from typing import Any

_UNITS = {"µm": "micrometer", "μm": "micrometer", "um": "micrometer", "\\u00B5m": "micrometer",
          "micron": "micrometer", "microns": "micrometer", "nm": "nanometer", "mm": "millimeter",
          "cm": "centimeter", "m": "meter", "pm": "picometer", "Å": "angstrom", "A": "angstrom",
          "s": "second", "sec": "second", "ms": "millisecond", "µs": "microsecond",
          "μs": "microsecond", "us": "microsecond", "min": "minute", "h": "hour", "deg": "degree",
          "inch": "inch"}  # fmt: skip
_RESOLUTIONS = {"y": "YResolution", "x": "XResolution"}


def unit_name(unit: str) -> str:
    """A unit as OME writes it out: "µm" is "micrometer".

    Examples
    --------
    >>> unit_name(" um"), unit_name("parsec")
    ('micrometer', 'parsec')
    """
    unit = unit.strip()
    return _UNITS.get(unit, unit)


def ome_pixels(tif: Any) -> ET.Element | None:
    """What OME tells of the first image of an open TIFF; None where it tells nothing legible."""
    try:
        root = ET.fromstring(tif.ome_metadata or "<none/>")
    except ET.ParseError:
        return None
    return next((e for e in root.iter() if e.tag.endswith("}Pixels")), None)


def pitches(tif: Any) -> dict[str, tuple[float, str]]:
    """The distance of samples along t, z, y, x, as far as an open TIFF tells it, and its unit.

    Distances that are no positive number are left out, and those of ImageJ without a unit.
    """
    pixels = ome_pixels(tif)
    told = _of_imagej(tif) if pixels is None else _of_ome(pixels)
    found = {}
    for axis, size, unit in told:
        try:
            distance = float(size)
        except (TypeError, ValueError):  # "unknown", a list
            continue
        if 0 < distance < math.inf:
            found[axis] = distance, unit_name(unit)
    return found


def _of_ome(pixels: ET.Element) -> Iterator[tuple[str, Any, str]]:
    keys = {axis: f"PhysicalSize{axis.upper()}" for axis in "zyx"}
    for axis, key in {**keys, "t": "TimeIncrement"}.items():
        if key in pixels.attrib:
            usual = "s" if axis == "t" else "µm"
            yield axis, pixels.attrib[key], pixels.attrib.get(f"{key}Unit", usual)


def _of_imagej(tif: Any) -> Iterator[tuple[str, Any, str]]:
    told, tags = tif.imagej_metadata or {}, tif.pages[0].tags
    unit = str(told.get("unit", ""))
    if unit.strip() in ("", "pixel"):
        return
    for axis, tag in _RESOLUTIONS.items():
        if tag in tags and tags[tag].value[0]:
            yield axis, tags[tag].value[1] / tags[tag].value[0], unit
    if "spacing" in told:
        yield "z", told["spacing"], unit
    if "finterval" in told:
        yield "t", told["finterval"], "s"
