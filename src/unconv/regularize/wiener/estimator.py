"""Wiener: the linear estimate of least expected error, for signal and noise of known spectra.

For y = Ax + noise, x of zero mean with the power spectrum S (between channels S·R, R their
covariance) and noise of the power spectrum N,

    x̂ = S Aᴴ (A S Aᴴ + N)⁻¹ y = S^½ (BᴴB + 1)⁻¹ Bᴴ N^-½ y,      B = N^-½ A S^½,

the second form being a damped inverse, in which nothing is squared and S may vanish.

*fourier*: circular operators of stride 1.  One small damped inverse per frequency (blocks.py).
*completion*: operators that pad nothing, as a photograph's (by_completion.py).
*krylov*: any other operator under white noise (by_iteration.py).

The signal is stationary on a periodic grid: the domain, or a larger one that `signal_psd` has the
shape of, so that opposite edges are no neighbours.

A power spectrum is per sample: white noise of standard deviation s has N(ω) = s², and an image of n
samples the periodogram |FFT(x)|²/n.

Cost: that of the damped inverse.  Not for: signals with a mean; take it off first, as
restoration.py does.

Source: Wiener, "Extrapolation, Interpolation and Smoothing of Stationary Time Series", MIT Press
1949; several channels as in Hunt & Kübler, IEEE Trans. ASSP 32 (1984) 592.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...grid.torus import Torus
from ...inverse import InverseOperator, Request
from ...inverse.derivative import Derivative, NotDifferentiable
from ...inverse.diagonal import fourier
from ...inverse.diagonal.blocks import BlockInverse, invert_blocks
from ...inverse.diagonal.fourier import torus_of, waves_of
from ...inverse.diagonal.waves import WaveInverse
from ...inverse.facts import GIVES_UP
from ...numerics.checks import (
    check_all_finite,
    check_choice,
    check_tensor,
    check_values,
)
from ...numerics.norms import in_unit
from ...numerics.plain_values import Values, with_values
from ...numerics.precision import real_working_dtype
from ...operators.convolution import Convolution
from ...operators.linear_operator import MemoryLimitError, gigabytes
from . import by_completion as wiener_completion
from .by_iteration import WienerIteration
from .gradient import WienerDerivative
from .spectra import Spectrum, as_spectrum, blocks_of, noise_psd_of, signal_root, stored, vanishes


def wiener_inverse(
    op: Convolution,
    noise_psd: Spectrum,
    signal_psd: Spectrum,
    covariance: Tensor | None,
    request: Request,
) -> InverseOperator:
    """The Wiener filter y ↦ x̂ = S Aᴴ (A S Aᴴ + N)⁻¹ y as an operator that is factored once.

    Parameters
    ----------
    noise_psd, signal_psd
        Power spectra of noise and signal: numbers, or real tensors (*m) or (c_out, *m), and (*n) or
        (c_in, *n), in the order of torch.fft.fftn.  Where the operator is not circular both are
        given on one grid, that of the domain or a larger one.
    covariance : (c_in, c_in) between channels, which then share `signal_psd`; None: they are apart
    request : its method is 'auto', 'fourier', 'completion' or 'krylov'

    Raises
    ------
    ValueError, TypeError
        If a spectrum is negative, not finite or of another shape, or the covariance not positive.
    NotImplementedError
        For one kernel per sample, under vmap, or for coloured noise on an operator that pads
        or strides.
    MemoryLimitError
        If the filter does not fit memory_limit.
    """
    if op.batch_size is not None:
        raise NotImplementedError(
            "Wiener filters of one kernel per sample are not supported; solve sample by sample "
            "with op.of_sample(i)."
        )
    check_wiener_method(request.method)
    check_values("weight", op.weight)
    given = (("noise_psd", noise_psd), ("signal_psd", signal_psd))
    params = [op.weight, *(as_spectrum(name, psd, op) for name, psd in given)]
    if covariance is not None:
        check_values("channel_covariance", check_tensor("channel_covariance", covariance))
        params.append(covariance.to(op.device))

    live = any(p.requires_grad for p in params)  # gradients divide y − Ax by the noise

    def build(values: Values) -> InverseOperator:
        if any(values.mapped):
            raise NotImplementedError("vmap over what a Wiener filter is made of is not supported.")
        weight, noise, signal, *rest = values.tensors
        if request.check_finite:
            check_all_finite("weight", weight)
        spectra = noise, signal, rest[0] if rest else None
        plain = op.with_weight(weight)
        return _factored(plain, *spectra, request, in_double=live)

    inverse = with_values(build, *params)
    derivative: Derivative = WienerDerivative(inverse.source[0])
    if vanishes(params[1]):
        derivative = NotDifferentiable(
            "a Wiener filter is not differentiable where noise_psd vanishes beside its maximum; "
            "add a floor to it, or detach everything but the data."
        )
    elif params[1].numel() > 1 and inverse.method == "completion":
        derivative = NotDifferentiable(
            "a Wiener filter of data that miss outputs is not differentiable in its spectra where "
            "the noise is coloured; detach everything but the data."
        )
    inverse.depends_on(*params, derivative=derivative)
    return inverse


def check_wiener_method(method: str) -> None:
    """Refuse a name that is no method of a Wiener filter."""
    check_choice(
        "method", method, ("auto", "fourier", "completion", "krylov"), " for a Wiener filter"
    )


def _factored(
    op: Convolution,
    noise_psd: Tensor,
    signal_psd: Tensor,
    covariance: Tensor | None,
    request: Request,
    *,
    in_double: bool,
) -> InverseOperator:
    signal, method = signal_root(op, signal_psd, covariance), request.method
    why = fourier.obstacle(op, request)
    if why is None and any(a.stride > 1 for a in op.geometry.axes):
        why = "a stride mixes frequencies"
    if signal.shape[-op.geometry.nd :].numel() > 1 and _is_larger(signal, op):
        why = "signal_psd is given on a larger grid"
    if why is None and method in ("auto", "fourier"):
        noise = noise_psd_of(op, noise_psd)
        return _by_frequency(op, noise, signal, request, in_double)
    if method == "fourier":
        raise ValueError(f"method='fourier' cannot serve this operator ({why}); use 'auto'.")
    noise = noise_psd_of(op, noise_psd)
    why, cause = wiener_completion.obstacle(op), None
    if method != "krylov" and why is None:
        try:
            return wiener_completion.by_completion(op, noise, signal, request)
        except (*GIVES_UP, MemoryLimitError) as error:
            why, cause = str(error).rstrip("."), error
    if method == "completion":
        sentence = f"method='completion' cannot serve this operator ({why}); use 'auto'."
        raise ValueError(sentence) from cause
    if noise.numel() > 1:
        raise NotImplementedError(
            f"coloured noise needs a circular operator of stride 1, or completion ({why}); give "
            "noise_psd as a number."
        )
    return WienerIteration(op, math.sqrt(float(noise)), signal, request)


def _is_larger(signal: Tensor, op: Convolution) -> bool:
    nd = op.geometry.nd
    return tuple(signal.shape[-nd:]) != tuple(op.domain_shape[1:])


# --- one frequency after the other
def _by_frequency(
    op: Convolution,
    noise: Tensor,
    signal: Tensor,
    request: Request,
    in_double: bool,
) -> InverseOperator:
    torus, coupled = torus_of(op), signal.ndim > len(op.domain_shape)
    need = 3 * fourier.memory(op, request) * (op.geometry.groups if coupled else 1)
    if need > request.memory_limit:
        raise MemoryLimitError(
            f"the filter takes {gigabytes(need)}, memory_limit is "
            f"{gigabytes(request.memory_limit)}; raise it, or use method='krylov'."
        )
    with torch.no_grad():
        C = blocks_of(op, torus, merged=coupled)  # (F, 1, g, r, c)
        if op.transposed:  # A = Cᵀ = (conj C)ᴴ
            C = C.mH
        F, g = len(C), C.shape[2]
        root_N = stored(noise.sqrt(), torus).expand(F, op.range_shape[0]).reshape(F, 1, g, -1)
        root_S = stored(signal, torus)
        if coupled:
            root_S = root_S.reshape(F, 1, g, *root_S.shape[1:])
        else:
            root_S = torch.diag_embed(root_S.expand(F, op.domain_shape[0]).reshape(F, 1, g, -1))
        root_S = root_S.to(C.dtype)
        B = C @ root_S / root_N[..., None]
        B, unit = in_unit(B, 0)
        found = invert_blocks(
            B,
            unit.reshape(1),
            torus.multiplicity(B.device),
            op,
            Request(damp=1.0),
            torch.complex128,
        )
        W = root_S @ found.inverse / root_N[..., None, :]
        torus.symmetrize_(W)
        working = torch.complex128 if in_double else real_working_dtype(op.dtype).to_complex()
        W = (W.mH.contiguous() if op.transposed else W).to(working)
    return WienerInverse(op, torus, BlockInverse(W, found.summary), request, in_double)


class WienerInverse(WaveInverse):
    """A Wiener filter by one block S^½ (BᴴB + 1)⁻¹Bᴴ N^-½ per frequency, B = N^-½ A S^½.

    Its `summary` is that of B.
    """

    def __init__(
        self,
        op: Convolution,
        torus: Torus,
        found: BlockInverse,
        request: Request,
        keeps_double: bool,
    ) -> None:
        super().__init__(op, waves_of(torus), found, request)
        self.keeps_double = keeps_double

    def extra_repr(self) -> str:
        """Shapes for `print(inverse)`."""
        return f"{self.domain_shape} -> {self.range_shape}"
