"""Point-spread functions: what a blur does to one point of light."""

from .checks import Doubt, PsfCheck, check, measured, without_background
from .grids import center, crop, resample
from .models import disk, gaussian, motion

__all__ = [
    "Doubt",
    "PsfCheck",
    "center",
    "check",
    "crop",
    "disk",
    "gaussian",
    "measured",
    "motion",
    "resample",
    "without_background",
]
