"""Choosing how much to damp."""

from .minimum_risk import minimum_risk_damp

__all__ = ["minimum_risk_damp"]
