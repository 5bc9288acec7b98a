"""What a volume says of its noise, its background and its spectrum, read from a sample of tiles."""

from .estimates import LEAST_SHOT, NOISE_MODELS, Estimates, estimate

__all__ = ["LEAST_SHOT", "NOISE_MODELS", "Estimates", "estimate"]
