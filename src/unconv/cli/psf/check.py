"""`unconv psf check`: what a psf has that no psf has."""

from __future__ import annotations

from typing import Annotated, Any

import torch
import typer

from ...pictures.formats.kernels import read_kernel_and_voxel
from ...psf import PsfCheck
from ...psf import check as look_at
from ..common import JsonOption, friendly, report, tell

DOUBTFUL = 5


@friendly
def check(
    psf: Annotated[
        str,
        typer.Argument(
            help="A grey picture, NPY, FITS, MAT, CSV or TXT; a volume in NPY, FITS or TIFF."
        ),
    ],
    as_json: JsonOption = False,
) -> None:
    """Look at a psf: its sum Σ h, its centroid Σ t·h / Σ h, its rim, |H(½)|; 5 if it is doubtful.

    Example: unconv psf check star.fits
    """
    read, voxel = read_kernel_and_voxel(psf)
    values = torch.from_numpy(read)
    found = look_at(values)
    facts = {
        "psf": psf,
        "size": list(values.shape),
        **({} if voxel is None else {"voxel_um": list(voxel)}),
        **found._asdict(),
        "doubts": {kind: str(doubt) for kind, doubt in found.doubts.items()},
    }
    report("checked", facts if as_json else facts | rows(found), as_json)
    tell([f"psf {psf}: {doubt}" for doubt in facts["doubts"].values()])
    if found.doubts:
        raise typer.Exit(DOUBTFUL)


def rows(found: PsfCheck) -> dict[str, Any]:
    """The facts as short texts for people."""
    axes = ", ".join(("planes", "rows", "columns")[-len(found.centroid) :])
    return {
        "centroid": f"{_each(found.centroid)} samples ({axes}) from the centre",
        "rim": f"{_each([100 * found.rim])} % of the peak",
        "pedestal": f"{_each([100 * found.pedestal])} % of the sum",
        "negative": f"{_each([100 * found.negative])} % of the sum",
        "width": f"{_each(found.width)} samples",
        "nyquist": f"{_each([100 * v for v in found.nyquist])} % of |H(0)|",
        "doubts": ", ".join(found.doubts) or "none",
    }


def _each(values: tuple[float, ...] | list[float]) -> str:
    return ", ".join(f"{0.0 if abs(v) < 1e-9 else v:.3g}" for v in values)
