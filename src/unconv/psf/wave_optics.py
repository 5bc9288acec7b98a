"""The psf of a microscope objective, by the diffraction integral of Richards and Wolf.

    E(r, z) = ∫₀^α √cos θ · sin θ · J₀(k n r sin θ) · e^{i k n z cos θ} dθ,      sin α = NA/n

and its two companions with J₁ and J₂ for the polarisation; the psf is |E|², the mean over
polarisations for light that has none.  A point at a depth d in a medium of another index n_s adds
the path of Gibson and Lanni, with its paraxial focus at z = 0:

    k d (√(n_s² − n² sin²θ) − (n²/n_s) cos θ)

The package psf-generator computes the field.  Three of its habits are put right here, and a test
holds the result against quadrature in double precision: its n samples span n times the pitch,
ends included, so that they lie n/(n − 1) pitches apart; its ends of z are cut to whole
nanometres; and with a mismatch of indices it measures r and z in waves of the specimen, at angles
of the immersion.

Cost: one pair of planes takes (angles) × (radii) Bessel functions; 65 × 65 × 33 some seconds.

Sources: Richards & Wolf, Proc. R. Soc. A 253 (1959); Gibson & Lanni, J. Opt. Soc. Am. A 8 (1991);
Liu, Stergiopoulou, Chuah, Bezzam, Both, Unser, Sage & Dong, "Revisiting PSF models: unifying
framework and high-performance implementation", Journal of Microscopy (2025).
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..numerics.checks import check_choice, check_count, check_number, is_sequence, shown

_MODELS = {
    "vectorial": "VectorialSphericalPropagator",
    "scalar": "ScalarSphericalPropagator",
}
_NODES_A_CYCLE = 64  # of the phase over the aperture: Simpson's rule is then right to 1e-6
_LEAST_NODES = 257
_UNIT = 1000.0  # lengths are given in picometres, of which no rounding is seen
_MOST_NODES = 2**14  # a path of 256 waves across the aperture
_MOST_VOXELS = 257  # samples along a side, with which a pair of planes takes 0.5 GB


class _Optics(NamedTuple):
    wavelength: float  # nm
    na: float
    immersion: float
    specimen: float
    depth: float  # nm
    model: str


def microscope(
    *,
    na: float,
    wavelength_nm: float,
    voxel_um: Sequence[float],
    size: Sequence[int],
    immersion_index: float = 1.515,
    specimen_index: float | None = None,
    depth_um: float = 0.0,
    model: str = "vectorial",
) -> Tensor:
    """The psf of a widefield microscope through its focus: of one point in fluorescent light.

    Needs the package psf-generator: ``pip install 'unconv[optics]'``.

    Parameters
    ----------
    na : numerical aperture of the objective, < immersion_index
    wavelength_nm : of the light that is seen, nm
    voxel_um
        (z, y, x) pitch of planes and samples in the specimen, µm; y and x alike.  Half of λ/(2 NA)
        laterally and half of λ/(n − √(n² − NA²)) axially are needed.
    size : (planes, rows, columns), odd
    immersion_index : refractive index between objective and cover slip: oil 1.515, water 1.33
    specimen_index : that of the specimen, by default the same
    depth_um
        Of the point below the cover slip, µm; matters where the indices differ.  The paraxial focus
        is the middle plane, the brightest one lies beside it: `psf.center` moves it.
    model : 'vectorial', unpolarised light; or 'scalar', near enough up to NA 0.7

    Returns
    -------
    (planes, rows, columns) float64, ≥ 0, with sum 1
        Values at the middles of voxels, the focus in the middle one, planes in the order in which
        the objective moves away from the specimen.  Every plane of a widefield psf has the same
        light; what passes the sides of the array is cut off.

    Raises
    ------
    ImportError
        If psf-generator is not installed.
    ValueError, TypeError
        If an aperture is not below its index, a size even, a number not positive, …

    Examples
    --------
    >>> from unconv import psf
    >>> water = psf.microscope(na=1.1, wavelength_nm=520, voxel_um=(0.2, 0.08, 0.08),
    ...     size=(9, 25, 25), immersion_index=1.33)          # doctest: +SKIP
    >>> water.shape, psf.check(water).doubts                 # doctest: +SKIP
    (torch.Size([9, 25, 25]), {})

    References
    ----------
    Richards & Wolf, Proc. R. Soc. A 253 (1959); Gibson & Lanni, J. Opt. Soc. Am. A 8 (1991).
    """
    step, pitch = _voxel(voxel_um)
    planes, rows, columns = _size(size)
    check_choice("model", model, tuple(_MODELS))
    check_number("wavelength_nm", wavelength_nm, positive=True)
    check_number("na", na, positive=True)
    check_number("immersion_index", immersion_index, least=1.0)
    specimen = immersion_index if specimen_index is None else specimen_index
    check_number("specimen_index", specimen, least=1.0)
    depth = 1000 * check_number("depth_um", depth_um)
    if specimen == immersion_index:
        depth = 0.0
    aperture = min(na, 0.999 * specimen) if depth else na  # of a depth only what is not reflected
    if na >= immersion_index:
        raise ValueError(
            f"na={na:g} must be below immersion_index={immersion_index:g}, for no ray is steeper; "
            "give the index of the immersion."
        )
    optics = _Optics(wavelength_nm, aperture, immersion_index, specimen, depth, model)
    side = max(rows, columns)
    if _nodes(optics, side * pitch, planes // 2 * step) > _MOST_NODES:
        raise ValueError(
            "the paths to the outermost voxels differ by more than 256 waves across the aperture; "
            "give a smaller size or depth, and look at the units."
        )
    found = torch.empty(planes, rows, columns, dtype=torch.float64)
    middle, cut = planes // 2, [(side - n) // 2 for n in (rows, columns)]
    for k in range(middle + 1):
        pair = _intensity(optics, side, pitch, k * step)
        part = pair[:, cut[0] : cut[0] + rows, cut[1] : cut[1] + columns]
        found[middle - k], found[middle + k] = part[0], part[-1]
    return found / found.sum()


def _intensity(optics: _Optics, side: int, pitch: float, z: float) -> Tensor:
    """|E|² in the planes −z and z, (2, side, side), or in that of z = 0, (1, side, side)."""
    propagator = getattr(_package(), _MODELS[optics.model])
    mismatch = bool(optics.depth)
    # with a mismatch r and z are taken in waves of the specimen
    scale = _UNIT * (optics.immersion / optics.specimen if mismatch else 1.0)
    field = propagator(
        n_pix_pupil=_nodes(optics, side * pitch, z),
        n_pix_psf=side,
        wavelength=optics.wavelength * _UNIT,
        na=optics.na,
        pix_size=pitch * scale * (side - 1) / side,
        defocus_step=round(z * scale),
        n_defocus=2 if z else 1,
        apod_factor=True,
        gibson_lanni=mismatch,
        z_p=optics.depth * _UNIT,
        n_s=optics.specimen,
        n_i=optics.immersion,
        n_i0=optics.immersion,
        t_g=0.0,  # cover slip and immersion are those of the design, and cancel
        t_g0=0.0,
        t_i0=0.0,
    ).compute_focus_field()
    power = field.to(torch.complex128).abs().square().sum(1)
    return power if optics.model == "scalar" else (power + power.mT) / 2


def _nodes(optics: _Optics, width: float, z: float) -> int:
    """Odd, enough for the phase along the aperture."""
    n, s = optics.immersion, optics.na / optics.immersion
    path = n * (width / math.sqrt(2) * s + abs(z) * (1 - math.sqrt(1 - s * s)))
    path += 2 * optics.depth * abs(n - optics.specimen)
    cycles = path / optics.wavelength
    return 2 * math.ceil(max(_LEAST_NODES, _NODES_A_CYCLE * cycles) / 2) + 1


def _package() -> Any:
    try:
        return importlib.import_module("psf_generator")
    except ImportError as error:
        raise ImportError(
            "psf.microscope needs the package psf-generator; pip install 'unconv[optics]'."
        ) from error


def _voxel(voxel_um: Sequence[float]) -> tuple[float, float]:
    """(z, lateral) in nm."""
    if not is_sequence(voxel_um) or len(voxel_um) != 3:
        raise ValueError(f"voxel_um={shown(voxel_um)} must be (z, y, x), such as (0.2, 0.1, 0.1).")
    z, y, x = (1000 * check_number("voxel_um", v, positive=True) for v in voxel_um)
    if y != x:
        raise ValueError(
            f"voxel_um={shown(voxel_um)} has different pitches in y and x; compute one pitch and "
            "sample it anew with psf.resample."
        )
    return z, y


def _size(size: Sequence[int]) -> tuple[int, int, int]:
    if not is_sequence(size) or len(size) != 3:
        raise ValueError(
            f"size={shown(size)} must be (planes, rows, columns), such as (33, 65, 65)."
        )
    planes, rows, columns = (check_count("size", n, most=_MOST_VOXELS) for n in size)
    if not planes % 2 == rows % 2 == columns % 2 == 1:
        raise ValueError(f"size={shown(size)} has no middle voxel; give odd sizes.")
    return planes, rows, columns
