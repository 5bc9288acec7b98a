"""What `deblur` and `blur` ask of pictures: light, missing pixels, noise, names of files."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from torch import Tensor

from ..pictures.formats import Picture, PictureError, read_picture
from ..pictures.light import linear_from_srgb

LightOption = Annotated[
    str,
    typer.Option(
        help="The light that was blurred: linear (a lens or a movement did it, and the file is "
        "sRGB), as-is (a program did, on the stored values; or they are linear already), or auto: "
        "as-is, unless deblur finds that only linear light explains the file."
    ),
]
ForceOption = Annotated[
    bool, typer.Option("--force", help="Overwrite the input; believe a large --noise-std.")
]

_LIGHTS = ("auto", "linear", "as-is")
_LOUD = 0.5  # of the range from black to white: nothing is seen through such noise
_BEYOND_WHITE = 1.5  # a float picture that reaches so far is no sRGB


def check_light(light: str) -> str:
    """One of 'auto', 'linear' and 'as-is'."""
    if light not in _LIGHTS:
        raise ValueError(f"--light {light!r} must be one of {', '.join(_LIGHTS)}.")
    return light


def in_light(source: Picture, light: str) -> Tensor:
    """The planes of a picture in the light that was blurred."""
    planes = torch.from_numpy(source.planes)
    if light != "linear":
        return planes
    top = float(planes[planes.isfinite()].max()) if bool(planes.isfinite().any()) else 0.0
    if top > _BEYOND_WHITE:
        raise ValueError(
            f"--light linear takes sRGB, whose white is 1, and the picture reaches {top:.4g}; such "
            "values are linear as a rule, use --light as-is."
        )
    return linear_from_srgb(planes)


def level_of(saturation: str, source: Picture) -> float | str:
    """--saturation for a picture: a number above 1 is one that an integer file stores."""
    if saturation in ("auto", "off"):
        return saturation
    try:
        level = float(saturation)
    except ValueError:
        level = math.nan
    if not math.isfinite(level):
        raise ValueError(
            f"--saturation {saturation!r} must be auto, off or a level, such as 0.98 of white or "
            "4095 as stored."
        )
    return level / white_of(source) if level > 1 else level


def white_of(source: Picture) -> float:
    """What the file stores for a pixel of 1."""
    return float(np.iinfo(source.dtype).max) if source.dtype.kind == "u" else 1.0


def read_mask(path: Path, max_pixels: int) -> Tensor:  # -> (H, W) bool
    """Where the picture in a file is not zero: there pixels are bad."""
    mask = read_picture(path, max_pixels=max_pixels)
    return torch.from_numpy((np.nan_to_num(mask.planes, nan=1.0) != 0).any(0))


def fitting_mask(bad: Tensor | None, source: Picture, path: Path | None) -> Tensor | None:
    """The mask, refused unless it has the size of the picture."""
    if bad is not None and bad.shape != source.planes.shape[1:]:
        (h, w), (H, W) = bad.shape, source.planes.shape[1:]
        raise ValueError(
            f"--mask {path} is {w} x {h}, the picture {W} x {H}; give one of the same size, "
            "non-zero where a pixel is bad."
        )
    return bad


def transparent(source: Picture) -> Tensor | None:
    """Where a picture has no colour at all, unless that is everywhere or nowhere."""
    alpha = source.alpha
    if alpha is None or source.metadata.get("tiff", {}).get("extrasamples") == [1]:
        return None  # colours that are weighted by alpha are black there, and meant
    clear = alpha == 0
    return torch.from_numpy(clear) if clear.any() and not clear.all() else None


def question_noise(noise_std: float | None, source: Picture, *, force: bool) -> None:
    """Refuse noise in another unit than the picture's, unless it is insisted on."""
    if noise_std is None or force or not math.isfinite(noise_std):
        return
    planes = source.planes[np.isfinite(source.planes)]
    span = 1.0 if source.dtype.kind == "u" else float(np.ptp(planes)) if planes.size else math.inf
    if span > 0 and noise_std > _LOUD * span:
        unit = (
            f"white is 1, so that {noise_std:g} of 255 levels are {noise_std / 255:.3g}"
            if source.dtype.kind == "u"
            else f"the picture itself spans {span:.4g}"
        )
        raise ValueError(
            f"--noise-std {noise_std:g} drowns the picture: {unit}; give --force if it is meant."
        )


def check_names(
    outputs: Mapping[str, Path | None], inputs: Mapping[str, Sequence[Path]], *, force: bool
) -> None:
    """Refuse to write over what is read, but the picture if forced, and twice to one file."""
    written: list[Path] = []
    for option, output in outputs.items():
        if output is None:
            continue
        for what, paths in inputs.items():
            if any(_same(output, path) for path in paths) and not (force and what == "picture"):
                remedy = ", or --force to overwrite it" if what == "picture" else ""
                raise ValueError(
                    f"{option} {output} is the {what} itself; name another file{remedy}."
                )
        if any(_same(output, other) for other in written):
            raise ValueError(f"{option} {output} is written twice; name another file.")
        written.append(output)


def _same(a: Path, b: Path) -> bool:
    try:
        return os.path.realpath(a) == os.path.realpath(b) or a.samefile(b)
    except OSError:
        return False


def notes_on(source: Picture) -> list[str]:
    """What was taken for granted when a picture was read."""
    kinds = source.metadata.get("tiff", {}).get("extrasamples", [])
    if kinds and not any(kinds):
        count = len(source.planes)
        return [
            f"of its {count} channels the file calls none alpha: all are restored as the picture"
        ]
    return []


def check_finite(planes: Tensor) -> Tensor:
    """An answer that is a number everywhere."""
    if not bool(planes.isfinite().all()):
        raise PictureError("the answer is not finite; give more --damp")
    return planes
