"""deepinv's denoisers and priors as the function denoise(x, sigma) that `unconv.restore` takes.

    a denoiser with sigma              D(x, σ)
    a denoiser with a threshold, ths   D(x, strength·σ)
    a prior g with a prox              argmin_z ½‖z − x‖² + strength·σ·g(z)

Thresholds and steps of a prox have the unit of x, as σ has: in proportion to it, the answer does
not depend on the unit of the picture.

Source: Tachella et al., "DeepInverse: a Python package for solving imaging inverse problems with
deep learning", 2025, for the interface; Parikh & Boyd, "Proximal algorithms", 2014.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..numerics.checks import check_number, shown


def from_deepinv_denoiser(
    denoiser: nn.Module, *, strength: float = 1.0
) -> Callable[[Tensor, float], Tensor]:
    """A denoiser or prior of deepinv as `prior` of `unconv.restore`.

    Parameters
    ----------
    denoiser
        A module of `deepinv.models` that takes sigma (BM3D, DRUNet, …) or a threshold ths
        (TVDenoiser, WaveletDenoiser, …), or one of `deepinv.optim` with a prox (TVPrior,
        WaveletPrior, PnP, …).  What it accepts as an image, its channels above all, is up to it.
    strength
        Threshold, or step of the prox, over sigma; of no effect where it takes sigma itself.

    Returns
    -------
    denoise(x, sigma)
        For x (N, C, *spatial) and a standard deviation in the unit of x; without gradient.  x goes
        to the dtype and device of the denoiser's weights, where it has any, and back.

    Raises
    ------
    TypeError, ValueError
        If it is no such module, or the strength no number above 0.

    Examples
    --------
    >>> import torch, unconv
    >>> class Shrink(torch.nn.Module):  # any module with forward(x, sigma) or prox(x, gamma=…)
    ...     def forward(self, x, sigma):
    ...         return x / (1 + sigma**2)
    >>> denoise = from_deepinv_denoiser(Shrink())
    >>> float(denoise(torch.ones(1, 1, 4, 4), 1.0).mean())
    0.5
    >>> from deepinv.models import BM3D  # doctest: +SKIP
    >>> unconv.restore(A, y, prior=from_deepinv_denoiser(BM3D()))  # doctest: +SKIP
    """
    call = _call_of(denoiser, check_number("strength", strength, positive=True))
    like = next(
        (t for t in (*denoiser.parameters(), *denoiser.buffers()) if t.is_floating_point()), None
    )

    @torch.no_grad()
    def denoise(x: Tensor, sigma: float) -> Tensor:
        found = call(x if like is None else x.to(like), sigma)
        return found.to(x) if isinstance(found, Tensor) else found

    return denoise


def _call_of(denoiser: object, strength: float) -> Callable[[Tensor, float], Any]:
    """Its own call for x and sigma."""
    if not isinstance(denoiser, nn.Module):
        raise TypeError(
            f"denoiser={shown(denoiser)} must be a module of deepinv.models, or a prior of "
            "deepinv.optim; a function denoise(x, sigma) needs no adapter."
        )
    prox = getattr(denoiser, "prox", None)
    if callable(prox):
        # deepinv's own keywords: priors with a threshold multiply it by gamma, PnP wants sigma
        unit = {"ths": 1.0} if "ths" in inspect.signature(prox).parameters else {}
        return lambda x, sigma: prox(x, sigma, gamma=strength * sigma, **unit)
    names = inspect.signature(denoiser.forward).parameters
    if "ths" in names:
        return lambda x, sigma: denoiser(x, ths=strength * sigma)
    if len(names) < 2:
        raise TypeError(
            f"denoiser={shown(denoiser)} takes no noise level; give a module with "
            "forward(x, sigma), forward(x, ths) or prox(x, gamma=...)."
        )
    return lambda x, sigma: denoiser(x, sigma)
