"""`unconv psf match`: the kernel that makes pictures of one psf look as if of another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from torch import Tensor

from ...fir import MatchingKernel
from ...pictures.formats.kernels import check_kernel_writable, write_kernel
from ...psf import match as match_psfs
from ...psf import smallest_match
from ...psf.matching import DAMP
from ..common import (
    DEFAULT_MEMORY,
    JsonOption,
    MemoryOption,
    collected_doubts,
    friendly,
    parse_memory,
    report,
    tell,
)
from ..progress_bar import progress
from ..psf_option import DESCRIPTIONS, BackgroundOption, CenterOption, exists, prepared_psf

_PSF = f"{DESCRIPTIONS}, or a file; scaled to sum 1."


@friendly
def match(
    a: Annotated[str, typer.Argument(help=f"The psf of the pictures: {_PSF}")],
    b: Annotated[str, typer.Argument(help=f"The psf that they shall have: {_PSF}")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="NPY, FITS, TIFF, CSV or TXT for g, float64."),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            help="Rows and columns of g, odd, such as 31x31.", show_default="the larger psf"
        ),
    ] = None,
    error: Annotated[
        float | None,
        typer.Option(help="Search the smallest g with ‖a ∗ g − b‖ of at most this part of ‖b‖."),
    ] = None,
    damp: Annotated[
        float, typer.Option(help="Deviation of the noise by that of the scene: 0 trusts all.")
    ] = DAMP,
    voxel_a: Annotated[
        float | None, typer.Option(help="Pitch of the samples of a, in the unit of --voxel-b.")
    ] = None,
    voxel_b: Annotated[float | None, typer.Option(help="Pitch of the samples of b.")] = None,
    psf_background: BackgroundOption = "off",
    psf_center: CenterOption = False,
    memory_limit: MemoryOption = DEFAULT_MEMORY,
    as_json: JsonOption = False,
) -> None:
    """Find g = argmin ‖a ∗ g − b‖² + damp²‖g‖², which makes pictures of psf a as if of psf b.

    Example: unconv psf match a.fits b.fits -o k.fits --damp 0.01
    """
    most_bytes = parse_memory(memory_limit)
    if output is not None:
        check_kernel_writable(output)
    if size is not None and error is not None:
        raise ValueError("--size and --error both say how large g is; give one of them.")
    kernels, doubts = _psfs((a, b), psf_background, psf_center)
    options: dict[str, Any] = {
        "damp": damp,
        "voxel_a": voxel_a,
        "voxel_b": voxel_b,
        "memory_limit": most_bytes,
    }
    with progress() as step, collected_doubts() as others:
        step("matching")
        found: MatchingKernel
        if error is not None:
            found = smallest_match(kernels[0], kernels[1], error, **options)
        else:
            taps = None if size is None else _sizes(size)
            found = match_psfs(kernels[0], kernels[1], taps, **options)
    if output is not None:
        write_kernel(output, found.kernel.numpy())
    facts = {"a": a, "b": b, **found.as_dict()}
    last = {} if output is None else {"output": str(output)}
    report("matched", (facts if as_json else facts | rows(found)) | last, as_json)
    # of a psf in a file, what is wrong is told once, with the option that helps
    said = tuple(f"psf {name}: " for name, told in zip("ab", doubts, strict=True) if told)
    tell([*doubts[0], *doubts[1], *(doubt for doubt in others if not doubt.startswith(said))])


def rows(found: MatchingKernel) -> dict[str, Any]:
    """The facts as short texts for people."""
    return {
        "size": " x ".join(map(str, found.size)),
        "residual": f"{float(found.residual):.4g}, ‖a ∗ g − b‖",
        "error": f"{100 * float(found.error):.3g} % of ‖b‖",
        "noise_gain": f"{float(found.noise_gain):.4g}, ‖g‖",
        "sum": f"{float(found.sum):.6g}",
    }


def _psfs(
    texts: Sequence[str], background: str, center: bool
) -> tuple[list[Tensor], list[list[str]]]:
    """Both psfs and their doubts; the options for files are for those that are one."""
    files = [exists(text) for text in texts]
    if not any(files):  # then they are for none, which is said
        files = [True] * len(texts)
    found = [
        prepared_psf(text, background, center=center) if is_file else prepared_psf(text)
        for text, is_file in zip(texts, files, strict=True)
    ]
    return [psf for psf, _ in found], [doubts for _, doubts in found]


def _sizes(text: str) -> tuple[int, ...]:
    parts = text.lower().replace("×", "x").split("x")
    if len(parts) != 2 or not all(part.strip().isdecimal() for part in parts):
        raise ValueError(f"--size {text!r} must be two whole numbers, such as 31x31.")
    return tuple(int(part) for part in parts)
