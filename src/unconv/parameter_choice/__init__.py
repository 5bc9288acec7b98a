"""How much to damp, and what a residual tells: rules, estimates of noise and spectra, paths."""

from .damp_choice import DampChoice, choose_damp
from .noise import estimate_noise_std
from .path import tikhonov_path
from .residual_whiteness import Whiteness, whiteness
from .spectra import estimate_spectra

__all__ = [
    "DampChoice",
    "Whiteness",
    "choose_damp",
    "estimate_noise_std",
    "estimate_spectra",
    "tikhonov_path",
    "whiteness",
]
