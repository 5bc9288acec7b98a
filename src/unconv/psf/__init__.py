"""Point-spread functions: what a blur does to one point of light."""

from .checks import Examined, centred, examine, without_background
from .models import disk, gaussian, measured, motion

__all__ = [
    "Examined",
    "centred",
    "disk",
    "examine",
    "gaussian",
    "measured",
    "motion",
    "without_background",
]
