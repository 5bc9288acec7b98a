"""Operators in the clothes of other packages: SciPy and PyLops, deepinv, DDRM.

Nothing is computed anew here: each adapter translates shapes and names, and keeps what the library
factored.  Packages that the library does not depend on are imported when an adapter is called.
"""

from ..operators.scipy_operator import SciPyOperator
from .deepinv_physics import ExactMaps, as_deepinv
from .h_functions import HFunctions, as_h_functions
from .scipy_operator import as_scipy

__all__ = [
    "ExactMaps",
    "HFunctions",
    "SciPyOperator",
    "as_deepinv",
    "as_h_functions",
    "as_scipy",
]
