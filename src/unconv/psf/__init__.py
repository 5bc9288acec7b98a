"""Point-spread functions: what a blur does to one point of light."""

from .checks import Doubt, PsfCheck, check, measured, without_background
from .estimation import PsfEstimate, estimate
from .free_form import PairPsf, blind, from_pair
from .grids import center, crop, resample
from .matching import match, match_damp, smallest_match
from .models import disk, gaussian, motion
from .pixels import pixelated
from .points import MeasuredPsf, PsfGrid, from_points, grid_from_points
from .theory import airy, moffat
from .wave_optics import microscope

__all__ = [
    "Doubt",
    "MeasuredPsf",
    "PairPsf",
    "PsfCheck",
    "PsfEstimate",
    "PsfGrid",
    "airy",
    "blind",
    "center",
    "check",
    "crop",
    "disk",
    "estimate",
    "from_pair",
    "from_points",
    "gaussian",
    "grid_from_points",
    "match",
    "match_damp",
    "measured",
    "microscope",
    "moffat",
    "motion",
    "pixelated",
    "resample",
    "smallest_match",
    "without_background",
]
