"""One-call functions in the manner of `torch.nn.functional`: adjoints and inverses of one y."""

from .convolutions import (
    conv1d_adjoint,
    conv1d_pinv,
    conv2d_adjoint,
    conv2d_pinv,
    conv3d_adjoint,
    conv3d_pinv,
)
from .regularized import filtered, lstsq, tikhonov, tsvd, wiener

__all__ = [
    "conv1d_adjoint",
    "conv1d_pinv",
    "conv2d_adjoint",
    "conv2d_pinv",
    "conv3d_adjoint",
    "conv3d_pinv",
    "filtered",
    "lstsq",
    "tikhonov",
    "tsvd",
    "wiener",
]
