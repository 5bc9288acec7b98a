"""Choosing how much to damp, penalties and filters, and what a residual tells."""

from .choose_damp import DampChoice, choose_damp
from .filters import landweber, showalter
from .minimum_risk import minimum_risk_damp
from .noise import estimate_noise_std
from .path import tikhonov_path
from .penalty import penalty_operator
from .spectra import estimate_spectra
from .whiteness import Whiteness, whiteness

__all__ = [
    "DampChoice",
    "Whiteness",
    "choose_damp",
    "estimate_noise_std",
    "estimate_spectra",
    "landweber",
    "minimum_risk_damp",
    "penalty_operator",
    "showalter",
    "tikhonov_path",
    "whiteness",
]
