"""Whether a residual is white: the largest distance of its cumulative periodogram from a line.

What a good damp leaves of y − Ax looks like the noise; too much damp leaves signal in it, at low
frequencies, too little takes noise out of it, where A transmits.  With the periodogram of q
frequencies in the order of |ω| and c(j) the share of the first j in its sum,

    D = max_j |c(j) − j/q|,      white noise exceeds 1.36/√q once in twenty.

Source: Hansen, Kilmer & Kjeldsen, "Exploiting residual information in the parameter choice for
discrete ill-posed problems", BIT 46 (2006); the limit is that of Kolmogorov and Smirnov.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ..numerics.checks import check_all_finite, check_tensor
from ..numerics.compiled import outside_graphs
from ..numerics.norms import in_unit

_LIMIT = 1.36  # of D·√q, 5 %


class Whiteness(NamedTuple):
    """How white one residual is.

    Attributes
    ----------
    distance : D, 0 for a flat periodogram, 1 for a single frequency
    limit : what white noise exceeds once in twenty
    cumulative : (q,) c(j), to be drawn against j/q
    """

    distance: float
    limit: float
    cumulative: Tensor

    @property
    def is_white(self) -> bool:
        """Whether the distance is one that white noise may have."""
        return self.distance <= self.limit


@outside_graphs
def whiteness(residual: Tensor) -> Whiteness:
    """Judge y − Ax, all channels together.

    Parameters
    ----------
    residual : (C, *spatial), real; its mean does not count

    Returns
    -------
    Whiteness(distance, limit, cumulative), with the property `is_white`

    Raises
    ------
    ValueError, TypeError
        If it is complex, not finite, or has fewer than 4 samples per channel.

    Examples
    --------
    >>> import torch
    >>> noise = torch.randn(1, 64, 64, generator=torch.Generator().manual_seed(0))
    >>> whiteness(noise).is_white, whiteness(noise.cumsum(-1)).is_white
    (True, False)
    """
    if check_tensor("the residual", residual).is_complex():
        raise TypeError("a residual must be real; judge its real and imaginary parts apart.")
    check_all_finite("the residual", residual, "remove them first")
    if not 2 <= residual.ndim <= 4 or residual.numel() < 4 * max(1, len(residual)):
        raise ValueError(
            "expected a residual (C, *spatial) of at least 4 samples along 1 to 3 axes, got shape "
            f"{tuple(residual.shape)}; add the channel axis with residual[None]."
        )
    sizes = residual.shape[1:]
    dims = tuple(range(1, residual.ndim))
    R = torch.fft.rfftn(in_unit(residual.double(), 0)[0], dim=dims)
    power = R.abs().square().sum(0).flatten()
    axes = [torch.fft.fftfreq(n, device=residual.device, dtype=torch.float64) for n in sizes]
    axes[-1] = axes[-1][: R.shape[-1]].abs()
    radius = torch.stack(torch.meshgrid(*axes, indexing="ij")).square().sum(0).flatten()
    order = radius.argsort(stable=True)[1:]  # without the mean
    cumulative = power[order].cumsum(0)
    q = len(cumulative)
    if not cumulative[-1] > 0:  # nothing left at all
        cumulative = torch.arange(1, q + 1, device=residual.device, dtype=torch.float64) / q
    cumulative = cumulative / cumulative[-1]
    line = torch.arange(1, q + 1, device=cumulative.device, dtype=torch.float64) / q
    return Whiteness(float((cumulative - line).abs().max()), _LIMIT / math.sqrt(q), cumulative)
