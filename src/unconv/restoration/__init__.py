"""Restorations that are not linear in the data: for counts, by Richardson–Lucy."""

from .richardson_lucy import RichardsonLucyResult, richardson_lucy

__all__ = ["RichardsonLucyResult", "richardson_lucy"]
