"""Spectra of noise and signal for a Wiener filter, read from the data.

White noise, and a signal whose power falls as c·|ω|^(−p), both as the rule 'risk' of `choose_damp`
finds them: the noise where A transmits least, the law by a line through the logarithms of
rings of frequency.

The data must be periodic as A is: fade photographs out first (`unconv.pictures.faded_out`), or the
jump where their opposite edges meet drowns both.

Source: the power law of pictures is Field, J. Opt. Soc. Am. A 4 (1987) 2379.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..grid.geometry import per_axis
from ..inverse.diagonal import fourier
from ..numerics.checks import check_kind
from ..numerics.compiled import outside_graphs
from ..operators.convolution import Convolution
from .minimum_risk import check_data, obstacle, risk_of


@outside_graphs
def estimate_spectra(
    op: Convolution,
    y: Tensor,
    noise_std: float | None = None,
    *,
    sizes: Sequence[int] | None = None,
) -> tuple[float, Tensor]:
    """(noise_psd, signal_psd) for `op.wiener`.

    Parameters
    ----------
    op : circular, with one channel per group and stride 1
    y : (N, *range_shape), pictures that share both spectra, periodic or faded out
    noise_std : standard deviation of the noise in the unit of y, if it is known
    sizes
        Of the grid for which the spectrum is wanted, by default that of x: a scene that is larger
        than its picture has other frequencies.

    Returns
    -------
    noise_psd : variance of a sample
    signal_psd : (*n), in the order of torch.fft.fftn; at ω = 0 that of the lowest other frequency

    Raises
    ------
    NotImplementedError
        If the operator is not circular, mixes channels or has a stride.
    ValueError, TypeError
        If y or noise_std is no picture or no noise level for it.

    Examples
    --------
    >>> import torch, unconv
    >>> from unconv import psf
    >>> K = psf.gaussian(1.5)[None, None]
    >>> A = unconv.ConvOperator(K, (64, 64), padding="same", padding_mode="circular")
    >>> x = torch.zeros(1, 1, 64, 64).double()
    >>> x[..., 20:40, 10:50] = 1
    >>> y = A(x) + 0.01 * torch.randn(1, 1, 64, 64, dtype=torch.float64)
    >>> noise, signal = estimate_spectra(A, y)
    >>> bool(5e-5 < noise < 2e-4), signal.shape
    (True, torch.Size([64, 64]))
    """
    why = obstacle(check_kind("op", op, Convolution, "build one from the weight"))
    if why is None and any(a.stride > 1 for a in op.geometry.axes):
        why = "a stride mixes frequencies"
    if why is not None:
        raise NotImplementedError(
            f"spectra can be read for circular operators with one channel per group ({why}); give "
            "noise_psd and signal_psd."
        )
    if sizes is not None:
        sizes = per_axis("sizes", sizes, op.geometry.nd, 1)
    check_data(op, y, noise_std)
    found = risk_of(op, y, noise_std)
    if max(found.noise_std, found.unit / found.top) > 1e150:
        raise ValueError(
            f"y is of the order of {found.unit:.1g}, whose power leaves double precision; give it "
            "in a larger unit."
        )
    torus = fourier.torus_of(op)
    law = found.signal.view(-1, op.geometry.groups)[:, 0] * (found.unit / found.top) ** 2
    own = radius(torus.coarse, law.device)[..., : torus.spectrum_shape[-1]].flatten()
    low, high = (own + (own == 0)).argmin(), own.argmax()  # two points of the line
    slope = (law[high] / law[low]).log() / (own[high] / own[low]).log()
    wanted = radius(op.domain_shape[1:] if sizes is None else sizes, law.device)
    # Of the mean the law says nothing: it gets the power of the lowest other frequency.
    wanted = wanted.clamp(min=float(wanted[wanted > 0].min()) if (wanted > 0).any() else 1.0)
    return found.noise_std**2, law[high] * (wanted / own[high]) ** slope


def radius(sizes: Sequence[int], device: torch.device) -> Tensor:
    """|ω| in cycles per sample, (*sizes) in the order of torch.fft.fftn."""
    axes = [torch.fft.fftfreq(n, dtype=torch.float64, device=device) for n in sizes]
    return torch.stack(torch.meshgrid(*axes, indexing="ij")).square().sum(0).sqrt()
