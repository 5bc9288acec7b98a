"""The psf of a picture from the picture alone."""

from .data import Likelihood
from .from_picture import NAMES, estimate
from .result import NONE, PsfEstimate

__all__ = ["NAMES", "NONE", "Likelihood", "PsfEstimate", "estimate"]
