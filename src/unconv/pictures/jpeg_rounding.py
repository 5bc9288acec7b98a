"""What the quantisation tables of a JPEG file say of its error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ..numerics.checks import is_sequence, shown
from ..parameter_choice.noise_models import JpegRounding

_SAMPLING = {0: (1, 1), 1: (1, 2), 2: (2, 2)}  # Pillow's numbers of 4:4:4, 4:2:2 and 4:2:0


def jpeg_rounding(metadata: Mapping[str, Any], planes: int) -> tuple[JpegRounding, ...] | None:
    """The rounding of a picture that was read from a JPEG, for `deblur`; None for other files.

    Parameters
    ----------
    metadata : of `unconv.pictures.formats.read_picture`
    planes : how many the picture has, 1 (grey) or 3 (luminance and two chrominances)

    Examples
    --------
    >>> rounding = jpeg_rounding({"jpeg": {"qtables": {0: [2] * 64}}}, 1)
    >>> rounding[0].steps.shape, jpeg_rounding({}, 1)
    (torch.Size([8, 8]), None)
    """
    stored = metadata.get("jpeg", {})
    tables: Mapping[int, Sequence[float]] = stored.get("qtables") or {}
    if planes not in (1, 3) or any(len(table) != 64 for table in tables.values()) or not tables:
        return None
    steps = [torch.tensor(tables[i], dtype=torch.float64).reshape(8, 8) for i in sorted(tables)]
    luminance = JpegRounding(steps[0])
    if planes == 1:
        return (luminance,)
    sampling = _SAMPLING.get(stored.get("subsampling", 0), (1, 1))
    chrominance = JpegRounding(steps[min(1, len(steps) - 1)], sampling)
    return luminance, chrominance, chrominance


def check_jpeg(jpeg: Sequence[JpegRounding], planes: int) -> None:
    """Refuse what is not the rounding of every component."""
    if not is_sequence(jpeg) or not all(isinstance(r, JpegRounding) for r in jpeg):
        raise TypeError(
            f"jpeg={shown(jpeg)} must be a sequence of roundings; take it from jpeg_rounding()."
        )
    if len(jpeg) != planes or planes not in (1, 3):
        raise ValueError(
            f"jpeg has the rounding of {len(jpeg)} components and the picture {planes} planes; a "
            "JPEG has 1 or 3 of both."
        )
