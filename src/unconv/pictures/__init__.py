"""Pictures: blurred and restored, read from files and written to them."""

from .restoration import Restored, blur, blur_operator, deblur, faded_out, frame

__all__ = ["Restored", "blur", "blur_operator", "deblur", "faded_out", "frame"]
