"""Operators in the clothes of other packages: SciPy and PyLops, deepinv, DDRM.

Nothing is computed anew here: each adapter translates shapes and names, and keeps what the library
factored.  Other packages are imported when an adapter is called; so `SciPyOperator`, a class
which inherits from one of SciPy's, is made when it is first asked for.
"""

from typing import TYPE_CHECKING, Any

from ..operators.scipy_operator import scipy_operator_class
from .deepinv_denoiser import from_deepinv_denoiser
from .deepinv_physics import as_deepinv, pigdm_fidelity
from .exact_maps import ExactMaps
from .h_functions import HFunctions, as_h_functions
from .scipy_operator import as_scipy

if TYPE_CHECKING:
    from ..operators.scipy_operator import SciPyOperator

__all__ = [
    "ExactMaps",
    "HFunctions",
    "SciPyOperator",
    "as_deepinv",
    "as_h_functions",
    "as_scipy",
    "from_deepinv_denoiser",
    "pigdm_fidelity",
]


def __getattr__(name: str) -> Any:
    if name == "SciPyOperator":
        return scipy_operator_class()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
