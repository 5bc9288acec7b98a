"""Volumes larger than memory: restored tile by tile, with an error proven for the whole."""

from .deconvolve import deconvolve
from .process import Processed

__all__ = ["Processed", "deconvolve"]
