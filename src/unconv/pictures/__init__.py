"""Pictures: blurred and restored, read from files and written to them."""

from .data_report import DataReport
from .jpeg_rounding import jpeg_rounding
from .light import linear_from_srgb, srgb_from_linear
from .memory import memory_needed
from .missing import Missing, find_missing
from .operators import blur_operator, frame
from .restoration import Restored, blur, deblur, faded_out
from .series import Series
from .wiener_restoration import Scene

__all__ = [
    "DataReport",
    "Missing",
    "Restored",
    "Scene",
    "Series",
    "blur",
    "blur_operator",
    "deblur",
    "faded_out",
    "find_missing",
    "frame",
    "jpeg_rounding",
    "linear_from_srgb",
    "memory_needed",
    "srgb_from_linear",
]
