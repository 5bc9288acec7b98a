"""`unconv demo`: blur a photograph, restore it, show the difference."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import Tensor

from .. import deblur as library
from ..images import PictureError, check_writable
from ..images.atomic import replacing
from .common import JsonOption, PsfOption, friendly, parse_psf, progress, report
from .figure import comparison

PICTURES = ("astronaut", "camera", "chelsea", "coffee")


@friendly
def demo(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The PNG with the pictures and spectra.")
    ] = Path("demo.png"),
    picture: Annotated[
        str, typer.Option(help=f"A photograph of scikit-image: {', '.join(PICTURES)}.")
    ] = "astronaut",
    psf: PsfOption = "motion:15,30",
    noise_std: Annotated[
        float, typer.Option(help="Standard deviation of the noise, white = 1.")
    ] = 0.005,
    as_json: JsonOption = False,
) -> None:
    """Blur a real photograph, restore it without telling noise or surroundings, measure, draw.

    Example: unconv demo -o demo.png --picture coffee --psf disk:4
    """
    if output.suffix.lower() != ".png":
        raise PictureError(f"the demo's figure is a PNG, got {output.name!r}; end it in .png.")
    check_writable(output)
    kernel = parse_psf(psf)
    with progress() as step:
        step(f"loading {picture}")
        scene = _photograph(picture)
        step("blurring")
        blurred = library.blur(scene, kernel, boundary="valid", noise_std=noise_std)
        sharp = library.frame(scene, kernel)
        step("restoring")
        began = time.perf_counter()
        restored = library.deblur(blurred, kernel)
        seconds = time.perf_counter() - began
        step("measuring and drawing")
        scores = {
            name: _scores(sharp, x)
            for name, x in (("blurred", blurred), ("restored", restored.planes))
        }
        panels = [
            ("original", sharp, None),
            ("blurred", blurred, scores["blurred"]),
            ("restored", restored.planes, scores["restored"]),
        ]
        title = f"{picture}, psf {psf}, noise {noise_std:g}"
        with replacing(output) as file:
            comparison(file, title, panels)
    facts = {
        "picture": picture,
        "psf": psf,
        "noise_std": noise_std,
        "damp": restored.damp,
        "seconds": seconds,
        "blurred": scores["blurred"],
        "restored": scores["restored"],
        "error_bound": restored.certificate.error_bound.tolist(),
        "converged": bool(restored.certificate.converged.all()),
        "figure": str(output),
    }
    report("demo", facts, as_json)


def _photograph(name: str) -> Tensor:  # -> (C, H, W) float64 in [0, 1]
    if name not in PICTURES:
        raise ValueError(f"picture {name!r} is not known; use one of {', '.join(PICTURES)}.")
    from skimage import data

    pixels = torch.from_numpy(getattr(data, name)()).double() / 255
    return pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1).contiguous()


def _scores(reference: Tensor, picture: Tensor) -> dict[str, Any]:
    """PSNR in dB and SSIM of pictures in [0, 1], clipped as a screen would."""
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    truth, shown = reference.numpy(), picture.clamp(0, 1).numpy()
    same = bool((truth == shown).all())
    return {
        "psnr": math.inf if same else float(peak_signal_noise_ratio(truth, shown, data_range=1.0)),
        "ssim": float(structural_similarity(truth, shown, data_range=1.0, channel_axis=0)),
    }
