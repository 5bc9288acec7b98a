"""Power spectra as they are given, checked and brought onto the frequencies of a grid."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...convolve import grouped
from ...grid.torus import Torus
from ...numerics.checks import check_number, check_tensor, check_values
from ...numerics.plain_values import Values, with_values
from ...numerics.precision import double_dtype
from ...operators.convolution import Convolution
from ..penalty import in_groups
from .gradient import shaped

_LEAST_NOISE = 1e-28  # of the largest noise power: a noiseless frequency is inverted
_DIFFERENTIABLE = 1e-12  # of the largest noise power: q = N⁻¹(y − Ax) loses the digits of the ratio

Spectrum = float | Tensor


def noise_psd_of(op: Convolution, psd: Tensor) -> Tensor:
    """(c_out or 1, *m or 1), real, positive; *m a larger grid where A pads nothing."""
    N = _checked("noise_psd", psd, op.range_shape, op, _unpadded(op))
    return N.clamp(min=_LEAST_NOISE * float(N.max()))


def signal_root(op: Convolution, psd: Tensor, covariance: Tensor | None) -> Tensor:
    """S^½ on the domain or a larger grid N, or (S·R)^½ between correlated channels.

    (c or 1, *N or 1) where channels are apart, else (c, c, *N or 1)
    """
    c, nd = op.domain_shape[0], len(op.domain_shape) - 1
    root = _checked("signal_psd", psd, op.domain_shape, op, _unpadded(op)).sqrt()
    if covariance is None:
        return root
    if root.shape[0] != 1:
        raise ValueError(
            "channel_covariance multiplies one signal_psd for all channels; give it the shape "
            f"{op.domain_shape[1:]}, without channels."
        )
    R = covariance
    if R.is_complex() and not op.dtype.is_complex:
        raise ValueError(
            "a complex channel_covariance needs a complex operator; give its real part."
        )
    R = R.to(double_dtype(R.dtype))
    if R.shape != (c, c) or not torch.allclose(R, R.mH, rtol=1e-6, atol=0):
        raise ValueError(
            f"channel_covariance must be a Hermitian {c} × {c} matrix, got shape {tuple(R.shape)}."
        )
    values, vectors = torch.linalg.eigh(R)
    if not values[0] >= -1e-9 * values[-1].abs() or not values[-1] > 0:
        raise ValueError(
            "channel_covariance must be positive semidefinite and not zero, its eigenvalues are "
            f"{values.tolist()}."
        )
    half = (vectors * values.clamp(min=0).sqrt()) @ vectors.mH
    return half.reshape(c, c, *[1] * nd) * root[0]


def _unpadded(op: Convolution) -> list[int]:
    """Axes along which a spectrum may be that of a larger grid."""
    axes = [] if op.transposed else op.geometry.axes
    return [i for i, axis in enumerate(axes) if not (axis.before or axis.after)]


def as_spectrum(name: str, psd: Spectrum, op: Convolution) -> Tensor:
    """A power spectrum of the right kind as a real tensor."""
    if isinstance(psd, Tensor):
        check_values(name, check_tensor(name, psd))
        if psd.is_complex():
            raise TypeError(
                f"{name} must be real, a power spectrum; take .abs().square() / n of an FFT."
            )
    else:
        check_number(name, psd)
    return torch.as_tensor(psd, dtype=torch.float64, device=op.device)


def vanishes(noise: Tensor) -> bool:
    """Whether some noise is next to nothing beside the largest."""

    def compare(values: Values) -> bool:
        N = values.tensors[0]
        return bool(N.min() < _DIFFERENTIABLE * N.max())

    return with_values(compare, noise)


def _checked(
    name: str, psd: Tensor, shape: tuple[int, ...], op: Convolution, free: Sequence[int]
) -> Tensor:
    """A power spectrum as (channels or 1, *sizes or 1).

    free : axes along which it may be that of a larger grid
    """
    sizes, nd = tuple(psd.shape[psd.ndim - len(shape) + 1 :]), len(shape) - 1
    fits = psd.ndim in (nd, nd + 1) and psd.shape[:-nd] in ((), shape[:1])
    for a, (given, size) in enumerate(zip(sizes, shape[1:], strict=False)):
        fits = fits and (given == size or (a in free and given > size))
    if psd.ndim and not fits:
        larger = ", or that of a larger grid of which the domain is a part," if free else ","
        raise ValueError(
            f"{name} must be a number or have shape {shape[1:]} or {shape}{larger} in the order of "
            f"torch.fft.fftn, got {tuple(psd.shape)}."
        )
    values = shaped(psd, shape)
    if not bool(values.isfinite().all()) or bool((values < 0).any()):
        raise ValueError(f"{name} must be finite and >= 0 at every frequency; check its estimate.")
    if not op.dtype.is_complex and bool(
        ((values - _mirrored(values, nd)).abs() > 1e-6 * values).any()
    ):
        raise ValueError(
            f"{name} must be even, S(ω) = S(−ω), for a real operator; average it with its mirror "
            "image."
        )
    if not bool((values > 0).any()):
        remedy = "use pinv()" if name == "noise_psd" else "x is zero then; check its estimate"
        raise ValueError(f"{name} is zero everywhere; {remedy}.")
    return values


def _mirrored(values: Tensor, nd: int) -> Tensor:
    """Values at −ω."""
    dims = tuple(range(-nd, 0))
    return values.flip(dims).roll([1] * nd, dims)


def stored(values: Tensor, torus: Torus) -> Tensor:
    """(..., *full or 1) -> (F, ...): the half that a real torus stores."""
    nd = len(torus.coarse)
    values = values.expand(*values.shape[:-nd], *torus.coarse)
    return values[..., : torus.spectrum_shape[-1]].flatten(-nd).movedim(-1, 0)


def blocks_of(op: Convolution, torus: Torus, *, merged: bool) -> Tensor:
    """(F, 1, g, r, c) of the convolution; one group if channels of several are correlated."""
    wide = op.in_double()
    if not merged or op.geometry.groups == 1:
        taps = wide.taps.conj().resolve_conj() if op.transposed else wide.taps
        return torus.spectrum(grouped(taps, op.geometry), op.geometry)
    taps = in_groups(wide, 1)
    taps = taps.conj().resolve_conj() if op.transposed else taps
    return torus.spectrum(taps[None], op.geometry)
