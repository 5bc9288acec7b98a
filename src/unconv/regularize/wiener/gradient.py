"""How a Wiener filter depends on its kernel and on the spectra of signal and noise.

With x = W y, W = S Aᴴ M, M = (A S Aᴴ + N)⁻¹, the white residual q = M y = N⁻¹(y − Ax) and, for a
cotangent g of x, p = Wᴴ g and e = g − Aᴴ p,

    dx = W(dy − dA x − A z − dN q) + z,      z = dS Aᴴ q + S dAᴴ q
    ∂y = p,   ∂weight = −W(x, p) + W(S e, q),   ⟨∂S, dS⟩ = ⟨e, dS Aᴴ q⟩,   ⟨∂N, dN⟩ = −⟨p, dN q⟩

where W(x, g) of two arguments is the gradient of Re⟨g, Ax⟩ in the weight: one solve.  For Wᴴ the
two sides change places.  N must not vanish beside A S Aᴴ: q loses the digits of that ratio.

Source: the product rule on the estimator of estimator.py; as in inverse/derivative.py, nothing is
unrolled.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ...inverse.derivative import ConvModel, Cotangents, Solve
from ...numerics.linear_map import Parametric
from ...operators.convolution import Convolution


def shaped(psd: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A power spectrum () or (*n) or (channels, *n) as (channels or 1, *n or 1)."""
    if psd.ndim == 0:
        return psd.reshape(1, *[1] * (len(shape) - 1))
    return psd[None] if psd.ndim == len(shape) - 1 else psd


class WienerDerivative:
    """Derivatives of a Wiener filter x = W y and of its adjoint.

    Its parameters, in this order: the weight, the power spectra of noise and signal, and, where
    there is one, the covariance of the channels.
    """

    def __init__(self, op: Convolution) -> None:
        self.model = ConvModel(op)
        self.domain_shape, self.range_shape = op.domain_shape, op.range_shape

    def of(self, op: Convolution) -> WienerDerivative:
        """The derivative of a Wiener filter of another operator of equal geometry."""
        return WienerDerivative(op)

    def vjp(self, at: Solve, g: Tensor, w: Tensor) -> Cotangents:
        """Gradients of Re⟨g, x⟩, x = W y, in every parameter; None where none is wanted.

        at : the solve, of W or of Wᴴ; g : cotangent of its result; w : Wᴴg, or W g for Wᴴ.

        −W(x, p) + W(S e, q) in the weight, ⟨e, dS Aᴴ q⟩ in the signal and −⟨p, dN q⟩ in the noise,
        by the letters of the module.  Re⟨g, Wᴴv⟩ = Re⟨W g, v⟩ gives the adjoint the same ones.
        """
        y, g, x, p = (g, at.v, w, at.x) if at.adjoint else (at.v, g, at.x, w)
        A = self.model.at(at.params, at.x)
        q, e = self._white(at, y - A.matvec(x)), g - A.rmatvec(p)
        noise = -_in_spectrum(p, q, at.params[1], self.range_shape)
        signal = self._of_signal(at, e, A.rmatvec(q)) if any(at.wanted[2:]) else [None, None]
        weight = None
        if at.wanted[0]:
            (first,), (second,) = A.gradients(x, p), A.gradients(self._coloured(at, e), q)
            weight = second - first
        return [weight, noise, *signal[: len(at.params) - 2]]

    def jvp(self, at: Solve, v: Tensor | None, params: Sequence[Tensor | None]) -> Tensor:
        """The change dx = W(dv − dA x − A z − dN q) + z, z = dS Aᴴ q + S dAᴴ q, of a solve x = W v.

        v : change of what was solved for, or None; params : a change of each parameter, or None
        """
        right = torch.zeros_like(at.v) if v is None else v
        if all(p is None for p in params):
            return at.inverse(right)
        A, dA = self.model.at(at.params, at.x), self.model.tangent(at.params, params, at.x)
        if at.adjoint:
            return self._jvp_of_adjoint(at, right, params, A, dA)
        q = self._white(at, at.v - A.matvec(at.x))
        z = self._changed(at, params, A.rmatvec(q)) + self._coloured(at, dA.rmatvec(q))
        right = right - dA.matvec(at.x) - A.matvec(z) - self._noise_change(params, q)
        return at.inverse(right) + z

    def _jvp_of_adjoint(
        self,
        at: Solve,
        right: Tensor,
        params: Sequence[Tensor | None],
        A: Parametric,
        dA: Parametric,
    ) -> Tensor:
        """du = Wᴴ(dv − dAᴴu) + M(dA S e + A dS e − dN u),  e = v − Aᴴu."""
        u, e = at.x, at.v - A.rmatvec(at.x)
        z = dA.matvec(self._coloured(at, e)) + A.matvec(self._changed(at, params, e))
        z = z - self._noise_change(params, u)
        white = self._white(at, z - A.matvec(at.inverse_adjoint(z)))
        return at.inverse(right - dA.rmatvec(u)) + white

    # --- S, N and their changes
    def _coloured(self, at: Solve, v: Tensor) -> Tensor:
        """S v, S the covariance of the signal."""
        covariance = at.params[3] if len(at.params) > 3 else None
        return _filtered(v, shaped(at.params[2], self.domain_shape), covariance)

    def _changed(self, at: Solve, tangents: Sequence[Tensor | None], v: Tensor) -> Tensor:
        """dS v, dS the change of the signal's covariance for changes of its parameters."""
        psd, covariance = at.params[2], at.params[3] if len(at.params) > 3 else None
        out = torch.zeros_like(v)
        if tangents[2] is not None:
            out = out + _filtered(v, shaped(tangents[2], self.domain_shape), covariance)
        if covariance is not None and tangents[3] is not None:
            out = out + _filtered(v, shaped(psd, self.domain_shape), tangents[3])
        return out

    def _white(self, at: Solve, r: Tensor) -> Tensor:
        """N⁻¹ r, N the covariance of the noise."""
        return _filtered(r, 1 / shaped(at.params[1], self.range_shape), None)

    def _noise_change(self, tangents: Sequence[Tensor | None], q: Tensor) -> Tensor:
        """dN q, dN the change of the noise's covariance for a change of its power spectrum."""
        if tangents[1] is None:
            return torch.zeros_like(q)
        return _filtered(q, shaped(tangents[1], self.range_shape), None)

    def _of_signal(self, at: Solve, e: Tensor, f: Tensor) -> Cotangents:
        """Gradients of Re⟨e, S f⟩ in the spectrum of the signal and in the covariance."""
        psd = at.params[2]
        if len(at.params) == 3:
            return [_in_spectrum(e, f, psd, self.domain_shape)]
        covariance = at.params[3]
        mixed = torch.einsum("oc,nc...->no...", covariance.to(f.dtype), f)
        dims = tuple(range(2, e.ndim))
        full = shaped(psd, self.domain_shape)
        E, F = (torch.fft.fftn(t, s=_grid(full, t), dim=dims) for t in (e, f))
        F = F * full / math.prod(F.shape[2:])
        of_covariance = torch.einsum("no...,nc...->oc", E, F.conj())
        return [_in_spectrum(e, mixed, psd, self.domain_shape), of_covariance]


def _filtered(v: Tensor, psd: Tensor, covariance: Tensor | None) -> Tensor:
    """𝓕⁻¹ psd 𝓕 v of v (N, c, *n), mixed between channels by the covariance, if there is one."""
    if covariance is not None:
        v = torch.einsum("oc,nc...->no...", covariance.to(v.dtype), v)
    if math.prod(psd.shape[1:]) == 1:  # white: no transform
        return psd * v
    dims = tuple(range(2, v.ndim))
    out = torch.fft.ifftn(psd * torch.fft.fftn(v, s=_grid(psd, v), dim=dims), dim=dims)
    out = out[(slice(None), slice(None), *(slice(n) for n in v.shape[2:]))]
    return out if v.is_complex() else out.real


def _grid(psd: Tensor, v: Tensor) -> tuple[int, ...]:
    """Sizes of the grid that a power spectrum (channels, *N or 1) is given on, v its first part."""
    sizes = tuple(psd.shape[1:])
    return sizes if math.prod(sizes) > 1 else tuple(v.shape[2:])


def _in_spectrum(a: Tensor, b: Tensor, psd: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The gradient of Re⟨a, 𝓕⁻¹ psd 𝓕 b⟩ in psd, of its shape."""
    full = shaped(psd, shape)
    if math.prod(full.shape[1:]) > 1:
        dims = tuple(range(2, a.ndim))
        a, b = (torch.fft.fftn(t, s=_grid(full, t), dim=dims) for t in (a, b))
        a = a / math.prod(a.shape[2:])
    each = (a.conj() * b).real if a.is_complex() else a * b
    return each.sum(0).sum_to_size(full.shape).reshape(psd.shape)
