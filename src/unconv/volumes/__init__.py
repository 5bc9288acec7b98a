"""Volumes larger than memory: restored tile by tile, with an error proven for the whole."""

from .deconvolve import deconvolve
from .engine.process import Processed

__all__ = ["Processed", "deconvolve"]
