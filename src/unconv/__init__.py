"""unconv undoes convolutions: adjoints, pseudo-inverses and damped inverses, exactly, on PyTorch.

Start with `ConvOperator`, or with the one-call functions `conv2d_pinv`, `conv2d_adjoint`,
`tikhonov`, `wiener`, `tsvd`, `filtered` and `lstsq`.  Submodules (`unconv.psf`, `unconv.nn`, …) are
imported when they are first named; `import unconv` does not pay for those that a program leaves
alone.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

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
    "ConvolutionProduct",
    "InverseKernel",
    "InverseOperator",
    "LinearOperator",
    "LstsqResult",
    "MemoryLimitError",
    "Plan",
    "ProductConvolution",
    "Restoration",
    "RichardsonLucyResult",
    "adapters",
    "conv1d_adjoint",
    "conv1d_pinv",
    "conv2d_adjoint",
    "conv2d_pinv",
    "conv3d_adjoint",
    "conv3d_pinv",
    "conv_matrix",
    "filtered",
    "fir",
    "functional",
    "inspection",
    "inverse_kernel",
    "linalg",
    "lstsq",
    "nn",
    "parameter_choice",
    "pictures",
    "psf",
    "regularize",
    "restoration",
    "restore",
    "richardson_lucy",
    "spectrum",
    "testing",
    "tikhonov",
    "tsvd",
    "varying",
    "volumes",
    "wiener",
]

if TYPE_CHECKING:
    from . import (
        adapters,
        fir,
        functional,
        inspection,
        linalg,
        nn,
        parameter_choice,
        pictures,
        psf,
        regularize,
        restoration,
        spectrum,
        testing,
        varying,
        volumes,
    )
    from .restoration import Restoration, RichardsonLucyResult, restore, richardson_lucy
    from .varying import ConvolutionProduct, ProductConvolution
else:  # out of sight of type checkers, which would then let every misspelt name pass
    _LATE = dict.fromkeys(
        ("Restoration", "RichardsonLucyResult", "restore", "richardson_lucy"), "restoration"
    ) | dict.fromkeys(("ConvolutionProduct", "ProductConvolution"), "varying")

    def __getattr__(name: str) -> Any:
        if name in _LATE:
            return getattr(import_module(f"{__name__}.{_LATE[name]}"), name)
        if name in __all__:  # and not bound above: a submodule
            return import_module(f"{__name__}.{name}")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
