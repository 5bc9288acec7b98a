"""What a volume says of its noise, its background and its spectrum, read from a sample of tiles."""

from .estimates import NOISE_MODELS, Estimates, estimate

__all__ = ["NOISE_MODELS", "Estimates", "estimate"]
