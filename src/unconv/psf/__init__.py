"""Point-spread functions: what a blur does to one point of light."""

from .checks import Examined, centred, examine, without_background
from .free_form import PairPsf, from_pair
from .models import disk, gaussian, measured, motion
from .points import MeasuredPsf, PsfGrid, from_points, grid_from_points

__all__ = [
    "Examined",
    "MeasuredPsf",
    "PairPsf",
    "PsfGrid",
    "centred",
    "disk",
    "examine",
    "from_pair",
    "from_points",
    "gaussian",
    "grid_from_points",
    "measured",
    "motion",
    "without_background",
]
