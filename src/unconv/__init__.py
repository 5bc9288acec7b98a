"""unconv undoes convolutions: adjoints, pseudo-inverses and damped inverses, exactly, on PyTorch.

Start with `ConvOperator`, or with the one-call functions `conv2d_pinv`, `conv2d_adjoint`,
`tikhonov`, `wiener`, `tsvd`, `filtered` and `lstsq`.
"""

from importlib.metadata import version

from . import linalg, nn
from .doors import ConvOperator
from .fir import InverseKernel, inverse_kernel
from .functional.convolutions import (
    conv1d_adjoint,
    conv1d_pinv,
    conv2d_adjoint,
    conv2d_pinv,
    conv3d_adjoint,
    conv3d_pinv,
)
from .functional.regularized import filtered, lstsq, tikhonov, tsvd, wiener
from .inverse import (
    AccuracyWarning,
    Certificate,
    InverseOperator,
    LstsqResult,
    Plan,
)
from .operators.linear_operator import LinearOperator, MemoryLimitError
from .operators.matrix import conv_matrix
from .spectrum import SVD, Bracket

__version__ = version("unconv")

__all__ = [
    "SVD",
    "AccuracyWarning",
    "Bracket",
    "Certificate",
    "ConvOperator",
    "InverseKernel",
    "InverseOperator",
    "LinearOperator",
    "LstsqResult",
    "MemoryLimitError",
    "Plan",
    "conv1d_adjoint",
    "conv1d_pinv",
    "conv2d_adjoint",
    "conv2d_pinv",
    "conv3d_adjoint",
    "conv3d_pinv",
    "conv_matrix",
    "filtered",
    "inverse_kernel",
    "linalg",
    "lstsq",
    "nn",
    "tikhonov",
    "tsvd",
    "wiener",
]
