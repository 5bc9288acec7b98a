"""Whether a picture was blurred in linear light or in the values that its file stores.

A blur of light is none of its sRGB values: the curve bends every edge, and what a psf cannot
transmit is there all the same.  So the residual of the Wiener filter, held against what the fitted
spectra expect (parameter_choice/model_check.py), is white in the light that was blurred, and not
in the other, where blur and noise allow to tell.

The likelihoods of the two, with the Jacobian of the curve, tell another thing: in which values the
*noise* is the same in the dark and in the light.  They take a lens's picture for one blurred as
stored where noise came later, and lose where the noise is strong (docs/pictures.md).

Not for: residuals that are not white for another reason.
"""

from __future__ import annotations

from ..parameter_choice.residual_whiteness import Whiteness

_CLEARLY = 1.2  # times what is usual
_HALF = 0.5


def linear_is_evident(stored: Whiteness, linear: Whiteness) -> bool:
    """Whether only linear light explains the picture.

    Parameters
    ----------
    stored, linear : of the residuals of a picture restored as it is stored and in linear light

    Examples
    --------
    >>> import torch
    >>> red, white = Whiteness(0.2, 0.06, torch.ones(1)), Whiteness(0.03, 0.06, torch.ones(1))
    >>> linear_is_evident(red, white), linear_is_evident(white, red)
    (True, False)
    """
    clear = stored.distance > _CLEARLY * stored.limit
    return clear and linear.is_white and linear.distance < _HALF * stored.distance
