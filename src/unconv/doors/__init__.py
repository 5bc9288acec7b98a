"""`ConvOperator`: a convolution with everything that the layers below do for it as methods."""

from .conv_operator import ConvOperator

__all__ = ["ConvOperator"]
