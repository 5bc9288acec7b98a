"""Point-spread functions: what a blur does to one point of light."""

from .checks import Doubt, PsfCheck, check, measured, without_background
from .grids import center, crop, resample
from .matching import match, match_damp, smallest_match
from .models import disk, gaussian, motion

__all__ = [
    "Doubt",
    "PsfCheck",
    "center",
    "check",
    "crop",
    "disk",
    "gaussian",
    "match",
    "match_damp",
    "measured",
    "motion",
    "resample",
    "smallest_match",
    "without_background",
]
