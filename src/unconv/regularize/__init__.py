"""Penalties, filters of singular values and the Wiener estimate: inverses beside A⁺."""

from .filters import landweber, showalter
from .penalty import penalty_operator

__all__ = ["landweber", "penalty_operator", "showalter"]
