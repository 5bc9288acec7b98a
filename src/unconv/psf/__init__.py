"""Point-spread functions: what a blur does to one point of light."""

from .models import disk, gaussian, measured, motion

__all__ = ["disk", "gaussian", "measured", "motion"]
