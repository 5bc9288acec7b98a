"""Wiener: the linear estimate of least expected error, for signal and noise of known spectra.

For y = Ax + noise, x of zero mean with the power spectrum S (between channels S·R, R their
covariance) and noise of the power spectrum N,

    x̂ = S Aᴴ (A S Aᴴ + N)⁻¹ y = S^½ (BᴴB + 1)⁻¹ Bᴴ N^-½ y,      B = N^-½ A S^½,

the second form being a damped inverse, in which nothing is squared and S may vanish.

*fourier*: circular operators of stride 1.  One small damped inverse a frequency (blocks.py).
*boundary*: operators that pad nothing, as a photograph's, under white noise (by_ghosts.py).

*krylov*: any other operator under white noise.  x is stationary on its own periodic grid, S^½ two
transforms, and LSMR solves min ‖A S^½ u − y‖² + noise²‖u‖² with a proof that u is known to tol.

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

from ...convolve import grouped
from ...grid.torus import Torus
from ...inverse import InverseOperator, Request
from ...inverse.derivative import Derivative, NotDifferentiable
from ...inverse.diagonal import fourier
from ...inverse.diagonal.blocks import BlockInverse, invert_blocks
from ...inverse.diagonal.fourier import torus_of, waves_of
from ...inverse.diagonal.waves import WaveInverse
from ...inverse.facts import Effort, SpectrumSummary
from ...numerics.checks import (
    check_all_finite,
    check_choice,
    check_number,
    check_tensor,
    check_values,
)
from ...numerics.linear_map import Adjoint, LinearMap
from ...numerics.lsmr import largest_singular_value
from ...numerics.norms import in_unit
from ...numerics.plain_values import Values, with_values
from ...numerics.precision import double_dtype, real_working_dtype
from ...operators.convolution import Convolution
from ...operators.linear_operator import MemoryLimitError, gigabytes
from ..by_lsmr import by_lsmr
from ..penalty import in_groups
from . import by_ghosts as wiener_ghosts
from .gradient import WienerDerivative, shaped

_LEAST = 1e-28  # of the largest noise power: a noiseless frequency is inverted
_DIFFERENTIABLE = 1e-12  # of the largest noise power: q = N⁻¹(y − Ax) loses the digits of the ratio
_MOST_STEPS = 20_000

Spectrum = float | Tensor


def wiener_inverse(
    op: Convolution,
    noise_psd: Spectrum,
    signal_psd: Spectrum,
    covariance: Tensor | None,
    request: Request,
) -> InverseOperator:
    """The estimator as an operator y ↦ x̂ that is factored once."""
    if op.batch_size is not None:
        raise NotImplementedError(
            "Wiener filters of one kernel a sample are not supported; solve sample by sample with "
            "op.of_sample(i)."
        )
    check_wiener_method(request.method)
    check_values("weight", op.weight)
    params = [op.weight, _tensor("noise_psd", noise_psd, op), _tensor("signal_psd", signal_psd, op)]
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
    if _vanishes(params[1]):
        derivative = NotDifferentiable(
            "a Wiener filter is not differentiable where noise_psd vanishes beside its maximum; "
            "add a floor to it, or detach everything but the data."
        )
    inverse.depends_on(*params, derivative=derivative)
    return inverse


def check_wiener_method(method: str) -> None:
    """One of the ways of this module."""
    check_choice("method", method, ("auto", "fourier", "krylov"), " for a Wiener filter")


def _factored(
    op: Convolution,
    noise_psd: Tensor,
    signal_psd: Tensor,
    covariance: Tensor | None,
    request: Request,
    *,
    in_double: bool,
) -> InverseOperator:
    signal, method = _signal(op, signal_psd, covariance), request.method
    why = fourier.obstacle(op, request)
    if why is None and any(a.stride > 1 for a in op.geometry.axes):
        why = "a stride mixes frequencies"
    if why is None and method != "krylov":
        noise = _noise(op, noise_psd)
        return _by_frequency(op, noise, signal, request, in_double)
    if method == "fourier":
        raise ValueError(f"method='fourier' cannot serve this operator ({why}); use 'auto'.")
    if noise_psd.numel() > 1:
        raise NotImplementedError(
            f"coloured noise needs a circular operator of stride 1 ({why}); give noise_psd as a "
            "number."
        )
    variance = float(_noise(op, noise_psd).flatten()[0])
    if method != "krylov" and wiener_ghosts.obstacle(op, signal, request) is None:
        direct = wiener_ghosts.by_ghosts(op, variance, signal, request)
        if direct is not None:
            return direct
    return WienerIteration(op, math.sqrt(variance), signal, request)


# --- spectra
def _noise(op: Convolution, psd: Tensor) -> Tensor:
    """(c_out or 1, *m or 1), real, positive."""
    N = _checked("noise_psd", psd, op.range_shape, op)
    return N.clamp(min=_LEAST * float(N.max()))


def _signal(op: Convolution, psd: Tensor, covariance: Tensor | None) -> Tensor:
    """S^½: (c or 1, *n or 1) where channels are apart, else (c, c, *n or 1), (S·R)^½."""
    c, nd = op.domain_shape[0], len(op.domain_shape) - 1
    root = _checked("signal_psd", psd, op.domain_shape, op).sqrt()
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


def _tensor(name: str, psd: Spectrum, op: Convolution) -> Tensor:
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


def _vanishes(noise: Tensor) -> bool:
    def compare(values: Values) -> bool:
        N = values.tensors[0]
        return bool(N.min() < _DIFFERENTIABLE * N.max())

    return with_values(compare, noise)


def _checked(name: str, psd: Tensor, shape: tuple[int, ...], op: Convolution) -> Tensor:
    """A power spectrum as (channels or 1, *sizes or 1)."""
    if tuple(psd.shape) not in ((), shape[1:], shape):
        raise ValueError(
            f"{name} must be a number or have shape {shape[1:]} or {shape}, in the order of "
            f"torch.fft.fftn, got {tuple(psd.shape)}."
        )
    values, nd = shaped(psd, shape), len(shape) - 1
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


def _stored(values: Tensor, torus: Torus) -> Tensor:
    """(..., *full or 1) -> (F, ...): the half that a real torus stores."""
    nd = len(torus.coarse)
    values = values.expand(*values.shape[:-nd], *torus.coarse)
    return values[..., : torus.spectrum_shape[-1]].flatten(-nd).movedim(-1, 0)


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
        C = _blocks(op, torus, merged=coupled)  # (F, 1, g, r, c)
        if op.transposed:  # A = Cᵀ = (conj C)ᴴ
            C = C.mH
        F, g = len(C), C.shape[2]
        root_N = _stored(noise.sqrt(), torus).expand(F, op.range_shape[0]).reshape(F, 1, g, -1)
        root_S = _stored(signal, torus)
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


def _blocks(op: Convolution, torus: Torus, *, merged: bool) -> Tensor:
    """(F, 1, g, r, c) of the convolution; one group if channels of several are correlated."""
    wide = op.in_double()
    if not merged or op.geometry.groups == 1:
        taps = wide.taps.conj().resolve_conj() if op.transposed else wide.taps
        return torus.spectrum(grouped(taps, op.geometry), op.geometry)
    taps = in_groups(wide, 1)
    taps = taps.conj().resolve_conj() if op.transposed else taps
    return torus.spectrum(taps[None], op.geometry)


class WienerInverse(WaveInverse):
    """One block of S^½ (BᴴB + 1)⁻¹Bᴴ N^-½ a frequency; `summary` is that of B."""

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


# --- any other operator
class Coloured:
    """A S^½ for an iteration: u is white where x has the spectrum S."""

    per_sample = False

    def __init__(self, A: Convolution, root: Tensor) -> None:
        self.A, self.root = A, root
        self.domain_shape, self.range_shape = A.domain_shape, A.range_shape

    def matvec(self, u: Tensor, out: Tensor | None = None) -> Tensor:
        """A S^½ u."""
        return self.A._matvec(self.colour(u))

    def rmatvec(self, y: Tensor, out: Tensor | None = None) -> Tensor:
        """S^½ Aᴴ y."""
        return self.colour(self.A._rmatvec(y))

    def colour(self, u: Tensor) -> Tensor:
        """S^½ u, by transforms of the domain."""
        dims = tuple(range(2, u.ndim))
        U = torch.fft.fftn(u, dim=dims)
        coupled = self.root.ndim == u.ndim
        V = torch.einsum("oc...,nc...->no...", self.root, U) if coupled else self.root * U
        X = torch.fft.ifftn(V, dim=dims)
        return X if u.is_complex() else X.real


class WienerIteration(InverseOperator):
    """The estimator by LSMR, anew for every y; noise is white; `summary` is that of A S^½."""

    method = "krylov"
    keeps_double = True
    iterates = True
    root: Tensor

    def __init__(
        self,
        op: Convolution,
        noise_std: float,
        signal: Tensor,
        request: Request,
    ) -> None:
        A = op.in_double()
        root = signal.to(torch.complex128)
        with torch.no_grad():
            norm = largest_singular_value(Coloured(A, root), 1, A.weight)
        summary = SpectrumSummary(
            norm=norm,
            floor=torch.full_like(norm, noise_std),
            rank=None,
            gap=torch.full_like(norm, math.inf),
            rank_how="not needed: noise > 0",
        )
        super().__init__(op, request, summary)
        self.A, self.noise_std = A, noise_std
        self.tol, self.maxiter = request.tol, request.maxiter or _MOST_STEPS
        self.register_buffer("root", root)

    @property
    def device(self) -> torch.device:
        """Device of the operator."""
        return self.root.device

    def _solve(self, y: Tensor) -> Tensor:
        return self._solve_recorded(y)[0]

    def _solve_recorded(self, y: Tensor) -> tuple[Tensor, Effort]:
        B = Coloured(self.A, self.root)
        u, effort = self._iterated(B, y)
        return B.colour(u), effort

    def _solve_adjoint(self, x: Tensor) -> Tensor:
        """B(BᴴB + s²)⁻¹S^½ x: the damped inverse of Bᴴ."""
        B = Coloured(self.A, self.root)
        return self._iterated(Adjoint(B), B.colour(x))[0]

    def _iterated(self, B: LinearMap, right: Tensor) -> tuple[Tensor, Effort]:
        return by_lsmr(B, right, self.summary.norm, self.noise_std, self.tol, self.maxiter)
