"""Layers that undo convolutions, for networks: their factors follow the weight by themselves.

    PinvConv1d, 2d, 3d          A⁺ of a convolution layer
    TikhonovConv1d, 2d, 3d      (AᴴA + damp²)⁻¹Aᴴ, with a damp that can be learnt
    WienerConv1d, 2d, 3d        the least expected error for spectra that can be learnt
    InvertibleConv1d, 2d, 3d    a convolution for flows: y, log |det A|, and the inverse
    utils.spectral_norm         the operator norm of a layer of torch.nn, held at a bound

Each of the first three takes the arguments of the nn.Conv of its dimension, or shares the
parameters of one (`from_conv`).  Everything is differentiable; see unconv/inverse/derivative.py.
"""

from . import utils
from .inverse_conv import InverseConv
from .invertible_conv import InvertibleConv1d, InvertibleConv2d, InvertibleConv3d
from .layers import (
    PinvConv1d,
    PinvConv2d,
    PinvConv3d,
    TikhonovConv1d,
    TikhonovConv2d,
    TikhonovConv3d,
    WienerConv1d,
    WienerConv2d,
    WienerConv3d,
)

__all__ = [
    "InverseConv",
    "InvertibleConv1d",
    "InvertibleConv2d",
    "InvertibleConv3d",
    "PinvConv1d",
    "PinvConv2d",
    "PinvConv3d",
    "TikhonovConv1d",
    "TikhonovConv2d",
    "TikhonovConv3d",
    "WienerConv1d",
    "WienerConv2d",
    "WienerConv3d",
    "utils",
]
