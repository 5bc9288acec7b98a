"""Psfs measured from pictures of points: beads, stars."""

from .grid import PsfGrid, grid_from_points
from .measure import MeasuredPsf, from_points

__all__ = ["MeasuredPsf", "PsfGrid", "from_points", "grid_from_points"]
