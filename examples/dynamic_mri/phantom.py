"""A phantom made of formulas: textured ellipses that move and pulsate inside a textured body.

Every number is drawn from the generator.  The series is periodic, and complex: a smooth phase lies
over it, as that of the coil and of the field does over a scan.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_ORGANS = 7
_WAVES = 3  # cosines of a texture


def moving_phantom(frames: int, height: int, width: int, generator: torch.Generator) -> Tensor:
    """One period of a moving phantom.

    Returns
    -------
    (frames, height, width), complex64, with magnitudes in [0, 1]
    """
    t = 2 * math.pi * torch.arange(frames)[:, None, None] / frames
    Y, X = _coordinates(height, width)
    edge = min(height, width)  # so that an ellipse fades over some two pixels
    still = torch.zeros(2), torch.tensor([0.88, 0.8]), 0.0
    magnitude = 0.4 * _ellipse(t, Y, X, *still, edge, generator)
    for _ in range(_ORGANS):
        centre, radii = _uniform(generator, -0.45, 0.45, 2), _uniform(generator, 0.08, 0.35, 2)
        brightness = _uniform(generator, -0.35, 0.6)
        motion = float(_uniform(generator, 0.0, 0.12))
        organ = _ellipse(t, Y, X, centre, radii, motion, edge, generator)
        magnitude = magnitude + brightness * organ
    return magnitude.clamp(0, 1) * smooth_phase(height, width, generator)


def smooth_phase(height: int, width: int, generator: torch.Generator) -> Tensor:
    """exp(iφ) with a random quadratic φ; (height, width), complex64."""
    Y, X = torch.broadcast_tensors(*_coordinates(height, width))
    terms = torch.stack([torch.ones_like(Y), Y, X, X * Y, X**2, Y**2])
    phase = torch.tensordot(_uniform(generator, -1.5, 1.5, 6), terms, 1)
    return torch.polar(torch.ones_like(phase), phase)


def _ellipse(
    t: Tensor,  # (T, 1, 1)
    Y: Tensor,  # (H, 1)
    X: Tensor,  # (1, W)
    centre: Tensor,
    radii: Tensor,
    motion: float,
    edge: float,
    generator: torch.Generator,
) -> Tensor:  # -> (T, H, W)
    """A textured ellipse on an elliptic path, that pulsates in proportion to its motion."""
    start, pulse, angle = _uniform(generator, 0, 2 * math.pi, 3)
    swell = 1 + 2 * motion * torch.sin(t + pulse)
    dy = Y - centre[0] - motion * torch.sin(t + start)
    dx = X - centre[1] - 0.5 * motion * torch.cos(t + start)
    u = (angle.cos() * dy + angle.sin() * dx) / (radii[0] * swell)
    v = (angle.cos() * dx - angle.sin() * dy) / (radii[1] * swell)
    inside = torch.sigmoid(edge * radii.min() * (1 - torch.hypot(u, v)))
    texture = torch.ones_like(u)
    for _ in range(_WAVES):
        a, b = _uniform(generator, -1, 1, 2) * 25 * radii  # so many radians to the ellipse's edge
        phase = _uniform(generator, 0, 2 * math.pi)
        texture = texture + 0.4 / _WAVES * torch.cos(a * u + b * v + phase)
    return inside * texture


def _coordinates(height: int, width: int) -> tuple[Tensor, Tensor]:
    """(H, 1) and (1, W), each from −1 to 1."""
    return torch.linspace(-1, 1, height)[:, None], torch.linspace(-1, 1, width)[None]


def _uniform(generator: torch.Generator, low: float, high: float, *shape: int) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=generator)
