"""Spectra of noise and signal for a Wiener filter, read from the data.

White noise, and a signal whose power falls as c·|ω|^(−p), both as `minimum_risk_damp` finds them:
the noise where A transmits least, the law by a line through the logarithms of rings of frequency.

Source: the power law of pictures is Field, J. Opt. Soc. Am. A 4 (1987) 2379.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..inverse import fourier
from ..operator import ConvOperator
from .minimum_risk import check_data, obstacle, risk_of


def estimate_spectra(
    op: ConvOperator, y: Tensor, noise_std: float | None = None
) -> tuple[float, Tensor]:
    """(noise_psd, signal_psd) for `op.wiener`.

    Parameters
    ----------
    op : circular, with one channel a group and stride 1
    y : (N, *range_shape), pictures that share both spectra
    noise_std : standard deviation of the noise in the unit of y, if it is known

    Returns
    -------
    noise_psd : variance of a sample
    signal_psd : (*n), in the order of torch.fft.fftn; at ω = 0 that of the lowest other frequency

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
    why = obstacle(op)
    if why is None and any(a.stride > 1 for a in op.geometry.axes):
        why = "a stride mixes frequencies"
    if why is not None:
        raise NotImplementedError(
            f"spectra can be read for circular operators with one channel a group ({why}); give "
            "noise_psd and signal_psd."
        )
    check_data(op, y, noise_std)
    found = risk_of(op, y, noise_std)
    torus = fourier.torus_of(op)
    law = found.signal.view(-1, op.geometry.groups)[:, 0].clone()
    law[0] = law.max()  # the mean, of which the law says nothing
    law = law.view(torus.spectrum_shape) * (found.unit / found.top) ** 2
    if torus.real:  # a function of |ω|: the other half is its mirror image
        n = torus.coarse[-1]
        k = torch.arange(n, device=law.device)
        law = law[..., torch.minimum(k, n - k)]
    return found.noise_std**2, law
