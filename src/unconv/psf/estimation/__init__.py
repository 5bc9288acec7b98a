"""The psf of a picture from the picture alone."""

from .from_picture import NAMES, estimate
from .result import NONE, PsfEstimate

__all__ = ["NAMES", "NONE", "PsfEstimate", "estimate"]
