"""Pictures: blurred and restored, read from files and written to them."""

from .light import linear_from_srgb, srgb_from_linear
from .memory import memory_needed
from .missing import Missing, filled, find_missing
from .restoration import (
    Restored,
    blur,
    blur_operator,
    deblur,
    faded_out,
    frame,
)
from .series import Series

__all__ = [
    "Missing",
    "Restored",
    "Series",
    "blur",
    "blur_operator",
    "deblur",
    "faded_out",
    "filled",
    "find_missing",
    "frame",
    "linear_from_srgb",
    "memory_needed",
    "srgb_from_linear",
]
