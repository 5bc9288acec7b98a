"""Layers that undo convolutions, for networks: their factors follow the weight by themselves.

    PinvConv1d, 2d, 3d          A⁺ of a convolution layer
    TikhonovConv1d, 2d, 3d      (AᴴA + damp²)⁻¹Aᴴ, with a damp that can be learnt
    WienerConv1d, 2d, 3d        the least expected error for spectra that can be learnt

Each takes the arguments of the nn.Conv of its dimension, or shares the parameters of one
(`from_conv`).  Everything is differentiable; see unconv/inverse/derivative.py.
"""

from .inverse_conv import InverseConv
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
    "PinvConv1d",
    "PinvConv2d",
    "PinvConv3d",
    "TikhonovConv1d",
    "TikhonovConv2d",
    "TikhonovConv3d",
    "WienerConv1d",
    "WienerConv2d",
    "WienerConv3d",
]
