"""Point-spread functions: what a blur does to one point of light."""

from .checks import Doubt, PsfCheck, check, measured, without_background
from .grids import center, crop, resample
from .matching import match, match_damp, smallest_match
from .models import disk, gaussian, motion
from .pixels import pixelated
from .theory import airy, moffat
from .wave_optics import microscope

__all__ = [
    "Doubt",
    "PsfCheck",
    "airy",
    "center",
    "check",
    "crop",
    "disk",
    "gaussian",
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
