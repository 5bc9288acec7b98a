"""`unconv blur`: make a test picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from torch import Tensor

from ..numerics.checks import check_number
from ..pictures import restoration as library
from ..pictures.formats import (
    Picture,
    check_suitable,
    check_writable,
    read_picture,
    write_picture,
)
from ..pictures.formats.checks import require_finite
from ..pictures.light import srgb_from_linear
from .common import (
    BoundaryOption,
    JsonOption,
    MaxPixelsOption,
    OutputOption,
    friendly,
    report,
    tell,
)
from .picture_options import (
    ForceOption,
    LightOption,
    check_light,
    check_names,
    in_light,
    level_of,
    question_noise,
)
from .progress_bar import progress
from .psf_option import BackgroundOption, CenterOption, PsfOption, prepared_psf


@friendly
def blur(
    picture: Annotated[Path, typer.Argument(help="PNG, JPEG, TIFF, NPY or FITS.")],
    output: OutputOption,
    psf: PsfOption,
    psf_background: BackgroundOption = "off",
    psf_center: CenterOption = False,
    noise_std: Annotated[
        float, typer.Option(help="Standard deviation of white Gaussian noise, white = 1.")
    ] = 0.0,
    boundary: BoundaryOption = "symmetric",
    light: LightOption = "auto",
    clip: Annotated[
        str | None,
        typer.Option(help="A level at which the sensor is full, such as 0.9 of white."),
    ] = None,
    dead: Annotated[
        float,
        typer.Option(
            help="The part of the pixels that see nothing: NaN in a float file, else 0, and --mask "
            "says where."
        ),
    ] = 0.0,
    mask: Annotated[
        Path | None, typer.Option(help="Write where the dead pixels are, for `unconv deblur`.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the noise and of the dead pixels.")] = 0,
    max_pixels: MaxPixelsOption = 100_000_000,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Blur a picture and add noise: y = psf ∗ x + noise.

    Example: unconv blur sharp.png -o blurred.png --psf disk:4 --noise-std 0.01
    """
    check_writable(output)
    if mask is not None:
        check_writable(mask)
    inputs = {"picture": [picture], "psf": [Path(psf)]}
    check_names({"-o": output, "--mask": mask}, inputs, force=force)
    check_number("dead", dead, below=1)
    wanted = "linear" if check_light(light) == "linear" else "as-is"
    kernel, doubts = prepared_psf(psf, psf_background, center=psf_center)
    with progress() as step:
        step(f"reading {picture.name}")
        source = read_picture(picture, max_pixels=max_pixels)
        check_suitable(output, source)
        require_finite(
            np.moveaxis(source.planes, 0, -1),
            str(picture),
            "crop it to where it is known, for what is blurred has to be known everywhere",
        )
        question_noise(noise_std, source, force=force)
        _require_room_for(dead, mask, source, output)
        if boundary == "valid" and source.alpha is not None:
            raise ValueError(
                "boundary valid makes a smaller picture, which cannot keep its alpha channel; "
                "remove the alpha channel or use another boundary."
            )
        step("blurring")
        planes = _blurred(source, wanted, kernel, boundary, noise_std, seed)
        level = _level(clip, source)
        planes = planes if level is None else planes.clamp(max=level)
        unseen = _dead(dead, planes, seed)
        planes = planes.masked_fill(unseen, torch.nan if source.dtype.kind == "f" else 0.0)
        step(f"writing {output.name}")
        write_picture(output, source.replace(planes.numpy()))
        if mask is not None:
            bad = unseen[None].double().numpy()
            write_picture(mask, Picture(bad, dtype=np.dtype(np.uint8)))
    facts = {
        "input": str(picture),
        "output": str(output),
        "size": list(planes.shape[::-1]),
        "psf": list(kernel.shape),
        "boundary": boundary,
        "light": wanted,
        "noise_std": noise_std,
    }
    clipped = {} if level is None else {"clipped": int((planes == level).any(0).sum())}
    lost = {"dead": int(unseen.sum())} if dead else {}
    report("blurred", facts | clipped | lost | ({"mask": str(mask)} if mask else {}), as_json)
    tell(doubts)


def _level(clip: str | None, source: Picture) -> float | None:
    level = None if clip is None else level_of(clip, source)
    if isinstance(level, str):
        raise ValueError(f"--clip {clip!r} must be a level, such as 0.9 of white.")
    return level


def _blurred(
    source: Picture, light: str, kernel: Tensor, boundary: str, noise_std: float, seed: int
) -> Tensor:
    """As the file stores it; colours count as much as they are opaque."""
    planes = in_light(source, light)
    opacity = _opacity(source)
    if opacity is None:
        blurred = library.blur(planes, kernel, boundary=boundary, noise_std=noise_std, seed=seed)
    else:
        weighted = library.blur(planes * opacity, kernel, boundary=boundary)
        weight = library.blur(opacity, kernel, boundary=boundary)
        blurred = torch.where(weight > 1e-6, weighted / weight.clamp(min=1e-6), planes)
        point = torch.ones(1, 1, dtype=planes.dtype)
        blurred = library.blur(blurred, point, noise_std=noise_std, seed=seed)
    return srgb_from_linear(blurred) if light == "linear" else blurred


def _opacity(source: Picture) -> Tensor | None:
    """(1, H, W) in [0, 1], None where all is opaque or the colours are weighted already."""
    alpha = source.alpha
    if alpha is None or source.metadata.get("tiff", {}).get("extrasamples") == [1]:
        return None
    full = np.iinfo(alpha.dtype).max if alpha.dtype.kind == "u" else 1.0
    opacity = torch.from_numpy(alpha.astype(np.float64) / full).clamp(0, 1)[None]
    return None if bool((opacity == 1).all()) or not bool(opacity.any()) else opacity


def _dead(share: float, planes: Tensor, seed: int) -> Tensor:
    """(H, W) bool, True for that part of the pixels, at least one if there is any share."""
    H, W = planes.shape[1:]
    count = round(share * H * W) or int(share > 0)
    generator = torch.Generator().manual_seed(seed + 1)  # not those of the noise
    unseen = torch.zeros(H * W, dtype=torch.bool)
    unseen[torch.randperm(H * W, generator=generator)[:count]] = True
    return unseen.reshape(H, W)


def _require_room_for(dead: float, mask: Path | None, source: Picture, output: Path) -> None:
    """Refuse dead pixels of which nothing would tell afterwards."""
    stored = source.dtype.kind == "u" or output.suffix.lower() in (".png", ".jpg", ".jpeg")
    if dead and stored and source.dtype.kind == "f":
        raise ValueError(
            f"--dead writes NaN for a float picture, and {output.name} cannot hold it; write .tif, "
            ".npy or .fits."
        )
    if dead and stored and mask is None:
        raise ValueError(
            "--dead needs --mask FILE where pixels are integers, or nobody could tell which are "
            "dead."
        )
