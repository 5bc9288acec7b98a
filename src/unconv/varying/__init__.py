"""Blurs whose psf varies over the field: A, Aᴴ and (AᴴA + damp²)⁻¹Aᴴ with a proof.

`ProductConvolution` and `ConvolutionProduct` are the two expansions; `unconv.restore` and
`unconv.richardson_lucy` take both.
"""

from .inverse import VaryingInverse
from .operators import ConvolutionProduct, ProductConvolution

__all__ = ["ConvolutionProduct", "ProductConvolution", "VaryingInverse"]
