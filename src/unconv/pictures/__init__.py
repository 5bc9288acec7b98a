"""Pictures: blurred and restored, read from files and written to them."""

from .jpeg_rounding import jpeg_rounding
from .operators import blur_operator, frame
from .restoration import Restored, blur, deblur, faded_out
from .wiener_restoration import DataReport

__all__ = [
    "DataReport",
    "Restored",
    "blur",
    "blur_operator",
    "deblur",
    "faded_out",
    "frame",
    "jpeg_rounding",
]
