"""`unconv psf make`: a psf by theory in a file; one command a psf."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from torch import Tensor

from ... import psf as library
from ...pictures.formats import PictureError
from ...pictures.formats.kernels import check_kernel_writable, write_kernel
from ..common import (
    EXIT_CODES,
    JsonOption,
    friendly,
    report,
)

app = typer.Typer(
    name="make",
    help="Make a psf by theory: gaussian, moffat, airy or microscope.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    rich_markup_mode=None,
)

_Output = Annotated[
    Path, typer.Option("--output", "-o", help="NPY, FITS, TIFF, CSV or TXT, float64, sum 1.")
]
_Energy = Annotated[
    float, typer.Option(help="Of the light, in the circle that the array holds; the rest is cut.")
]
_Pixelated = Annotated[
    bool, typer.Option(help="Integrals over pixels, or values at their middles.")
]
_Wavelength = Annotated[float, typer.Option(help="Of the light, nm.")]


@app.command(epilog=EXIT_CODES)
@friendly
def gaussian(
    output: _Output,
    sigma: Annotated[float, typer.Option(help="Standard deviation, pixels.")],
    pixelated: _Pixelated = True,
    as_json: JsonOption = False,
) -> None:
    """h ∝ exp(−r²/2σ²).

    Example: unconv psf make gaussian --sigma 1.5 -o g.npy
    """
    check_kernel_writable(output)
    _write(output, library.gaussian(sigma, pixelated=pixelated), as_json)


@app.command(epilog=EXIT_CODES)
@friendly
def moffat(
    output: _Output,
    fwhm: Annotated[float, typer.Option(help="Full width at half maximum, pixels.")],
    beta: Annotated[float, typer.Option(help="Of the wings, > 1; 2.5 to 4.8 are usual.")],
    energy: _Energy = 0.99,
    pixelated: _Pixelated = True,
    as_json: JsonOption = False,
) -> None:
    """A star through the air, h ∝ (1 + r²/α²)^−β.

    Example: unconv psf make moffat --fwhm 3 --beta 2.5 -o m.npy
    """
    check_kernel_writable(output)
    _write(output, library.moffat(fwhm, beta, energy=energy, pixelated=pixelated), as_json)


@app.command(epilog=EXIT_CODES)
@friendly
def airy(
    output: _Output,
    wavelength_nm: _Wavelength,
    f_number: Annotated[float | None, typer.Option(help="Of a lens, with --pixel-um.")] = None,
    numerical_aperture: Annotated[
        float | None, typer.Option(help="Of an objective, with --pixel-um in the specimen.")
    ] = None,
    pixel_um: Annotated[float | None, typer.Option(help="Pitch of the pixels, µm.")] = None,
    aperture_m: Annotated[
        float | None, typer.Option(help="Diameter of a telescope, m, with --pixel-arcsec.")
    ] = None,
    pixel_arcsec: Annotated[float | None, typer.Option(help="Pitch on the sky, arcsec.")] = None,
    energy: _Energy = 0.99,
    pixelated: _Pixelated = True,
    as_json: JsonOption = False,
) -> None:
    """Diffraction of a round aperture, h ∝ (2 J₁(v)/v)², v = πr/λN.

    Example: unconv psf make airy --wavelength-nm 550 --f-number 8 --pixel-um 2.2 -o a.fits
    """
    check_kernel_writable(output)
    values = library.airy(
        wavelength_nm=wavelength_nm,
        f_number=f_number,
        numerical_aperture=numerical_aperture,
        pixel_um=pixel_um,
        aperture_m=aperture_m,
        pixel_arcsec=pixel_arcsec,
        energy=energy,
        pixelated=pixelated,
    )
    _write(output, values, as_json)


@app.command(epilog=EXIT_CODES)
@friendly
def microscope(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="NPY or TIFF, (z, y, x), float64.")
    ],
    na: Annotated[float, typer.Option(help="Numerical aperture of the objective.")],
    wavelength_nm: _Wavelength,
    voxel_um: Annotated[
        tuple[float, float, float], typer.Option(help="Pitch along z, y and x, µm.")
    ],
    size: Annotated[tuple[int, int, int], typer.Option(help="Planes, rows and columns, odd.")],
    immersion_index: Annotated[float, typer.Option(help="Oil 1.515, water 1.33.")] = 1.515,
    specimen_index: Annotated[
        float | None, typer.Option(help="Of the specimen.", show_default="the same")
    ] = None,
    depth_um: Annotated[float, typer.Option(help="Of the point in the specimen, µm.")] = 0.0,
    model: Annotated[str, typer.Option(help="vectorial or scalar.")] = "vectorial",
    as_json: JsonOption = False,
) -> None:
    """A widefield microscope through its focus, h = |E|² of Richards and Wolf.

    A TIFF tells the pitch of its voxels, in µm; an NPY file does not.

    Example: unconv psf make microscope --na 1.1 --wavelength-nm 520 --voxel-um 0.2 0.08 0.08
    --size 33 65 65 --immersion-index 1.33 -o m.tif
    """
    check_kernel_writable(output, axes=3)
    try:
        values = library.microscope(
            na=na,
            wavelength_nm=wavelength_nm,
            voxel_um=voxel_um,
            size=size,
            immersion_index=immersion_index,
            specimen_index=specimen_index,
            depth_um=depth_um,
            model=model,
        )
    except ImportError as error:
        raise PictureError(str(error)) from error
    _write(output, values, as_json, voxel_um)


def _write(
    output: Path, values: Tensor, as_json: bool, voxel_um: tuple[float, ...] | None = None
) -> None:
    write_kernel(output, values.numpy(), voxel_um)
    facts: dict[str, Any] = {
        "output": str(output),
        "size": list(values.shape),
        "sum": float(values.sum()),
        "peak": float(values.max()),
    }
    report("made", facts, as_json)
