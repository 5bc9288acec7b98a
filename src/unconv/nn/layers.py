"""The layers: what each factors, and what can be learnt beside the weight."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..doors import ConvOperator
from ..inverse import InverseOperator, positive_damp, request_of
from ..inverse.plan import check_method
from ..numerics.checks import (
    check_flag,
    check_number,
    check_real_tensor,
    check_tensor,
    check_values,
)
from ..operators.linear_operator import DEFAULT_MEMORY_LIMIT
from ..regularize.wiener.estimator import check_wiener_method
from .inverse_conv import InverseConv


class _PinvConv(InverseConv):
    """A⁺ of an nn.Conv{nd}d: the least-squares solution of smallest norm.

    Parameters
    ----------
    {conv}
    rtol, atol
        Singular values σ ≤ max(atol, rtol·σ_max) count as zero, as in `ConvOperator.pinv`.
    method, memory_limit, expected_solves, tol, maxiter, check_finite, progress
        Of the solver, as in `ConvOperator.pinv`.

    Raises
    ------
    ValueError, TypeError
        One sentence: what was expected, what came, the remedy.

    Examples
    --------
    {example}
    """

    solved_by = "pinv"

    def _configure(self, **solver: Any) -> None:
        self.solver = _checked(solver)

    def _factor(self, op: ConvOperator) -> InverseOperator:
        return op.pinv(**self.solver)


class _TikhonovConv(InverseConv):
    """(AᴴA + damp²)⁻¹Aᴴ of an nn.Conv{nd}d, damp > 0.

    Parameters
    ----------
    {conv}
    damp
        Where it starts.
    learn_damp
        Whether its logarithm, `log_damp`, is a parameter; else it is a buffer.
    method, memory_limit, expected_solves, tol, maxiter, check_finite, progress
        Of the solver, as in `ConvOperator.tikhonov`.

    Raises
    ------
    ValueError, TypeError
        One sentence: what was expected, what came, the remedy.

    Examples
    --------
    {example}
    """

    log_damp: Tensor
    solved_by = "tikhonov"
    not_offered = ("penalty",)

    def _configure(self, *, damp: float = 0.1, learn_damp: bool = True, **solver: Any) -> None:
        self.solver = _checked(solver)
        check_flag("learn_damp", learn_damp)
        _store(self, "log_damp", math.log(positive_damp(damp)), learn_damp)

    @property
    def damp(self) -> Tensor:
        """exp(log_damp): positive, whatever an optimiser does."""
        return self.log_damp.exp()

    def _factor(self, op: ConvOperator) -> InverseOperator:
        return op.tikhonov(self.damp, **self.solver)

    def _parameters_of_factor(self) -> dict[str, Tensor]:
        return {"log_damp": self.log_damp}

    def _values_of_factor(self) -> list[Tensor]:
        return [self.damp]


class _WienerConv(InverseConv):
    """The Wiener filter S Aᴴ(A S Aᴴ + N)⁻¹ of an nn.Conv{nd}d, for spectra N and S > 0.

    Parameters
    ----------
    {conv}
    noise_psd, signal_psd
        N and S to start from, as in `ConvOperator.wiener`: numbers, or arrays for one size of x.
    learn_psd
        Whether their logarithms, `log_noise_psd` and `log_signal_psd`, are parameters; else they
        are buffers.
    channel_covariance : (in_channels, in_channels)
        Multiplies S: covariance between the channels of x.  A buffer, not learnt.
    method, memory_limit, tol, maxiter, check_finite, progress
        Of the solver, as in `ConvOperator.wiener`.

    Raises
    ------
    ValueError, TypeError
        One sentence: what was expected, what came, the remedy.

    Examples
    --------
    {example}
    """

    log_noise_psd: Tensor
    log_signal_psd: Tensor
    channel_covariance: Tensor | None
    solved_by = "wiener"

    def _configure(
        self,
        *,
        noise_psd: float | Tensor = 0.01,
        signal_psd: float | Tensor = 1.0,
        learn_psd: bool = True,
        channel_covariance: Tensor | None = None,
        **solver: Any,
    ) -> None:
        self.solver = _checked(solver, check_wiener_method)
        check_flag("learn_psd", learn_psd)
        for name, psd in (("noise_psd", noise_psd), ("signal_psd", signal_psd)):
            _store(self, f"log_{name}", _positive(name, psd).log(), learn_psd)
        self.register_buffer("channel_covariance", self._covariance(channel_covariance))

    def _covariance(self, R: Tensor | None) -> Tensor | None:
        """As precise as the weight; its shape and sign are looked at with the sizes of x."""
        if R is None:
            return None
        check_values("channel_covariance", check_tensor("channel_covariance", R))
        dtype = self.weight.dtype
        if R.is_complex() and not dtype.is_complex:
            raise ValueError(
                "a complex channel_covariance needs a complex operator; give its real part."
            )
        dtype = dtype if R.is_complex() else dtype.to_real()
        return R.detach().to(self.weight.device, dtype, copy=True)

    @property
    def noise_psd(self) -> Tensor:
        """Power of the noise, positive."""
        return self.log_noise_psd.exp()

    @property
    def signal_psd(self) -> Tensor:
        """Power of the signal, positive."""
        return self.log_signal_psd.exp()

    def _factor(self, op: ConvOperator) -> InverseOperator:
        R = self.channel_covariance
        return op.wiener(self.noise_psd, self.signal_psd, channel_covariance=R, **self.solver)

    def _parameters_of_factor(self) -> dict[str, Tensor]:
        spectra = {"log_noise_psd": self.log_noise_psd, "log_signal_psd": self.log_signal_psd}
        R = self.channel_covariance
        return spectra if R is None else spectra | {"channel_covariance": R}

    def _values_of_factor(self) -> list[Tensor]:
        R = self.channel_covariance
        return [self.noise_psd, self.signal_psd, *([] if R is None else [R])]


def _checked(
    solver: dict[str, Any], check: Callable[[str], object] = check_method
) -> dict[str, Any]:
    """Options of the solver; a wrong one is refused now and not at the first call."""
    check(solver.get("method", "auto"))
    limits = {"rtol": None, "atol": 0.0, "memory_limit": DEFAULT_MEMORY_LIMIT}
    request_of(0.0, **(limits | solver))
    return solver


def _positive(name: str, psd: float | Tensor) -> Tensor:
    """A power spectrum that has a logarithm."""
    if isinstance(psd, Tensor):
        check_values(name, check_real_tensor(name, psd))
        if psd.numel() == 0:
            raise ValueError(f"{name} has shape {tuple(psd.shape)}, which is empty.")
    else:
        check_number(name, psd)
    values = torch.as_tensor(psd, dtype=torch.float64)
    if not bool((values > 0).all()) or not bool(values.isfinite().all()):
        raise ValueError(f"{name} must be positive and finite everywhere; add a floor.")
    return values


def _store(layer: nn.Module, name: str, value: float | Tensor, learnt: bool) -> None:
    """A parameter that is learnt, or a buffer that is not."""
    weight = layer.weight
    assert isinstance(weight, Tensor)
    tensor = torch.as_tensor(value, dtype=torch.float64).to(weight.device, weight.dtype.to_real())
    if learnt:
        layer.register_parameter(name, nn.Parameter(tensor))
    else:
        layer.register_buffer(name, tensor)


class PinvConv1d(_PinvConv):
    nd = 1


class PinvConv2d(_PinvConv):
    nd = 2


class PinvConv3d(_PinvConv):
    nd = 3


class TikhonovConv1d(_TikhonovConv):
    nd = 1


class TikhonovConv2d(_TikhonovConv):
    nd = 2


class TikhonovConv3d(_TikhonovConv):
    nd = 3


class WienerConv1d(_WienerConv):
    nd = 1


class WienerConv2d(_WienerConv):
    nd = 2


class WienerConv3d(_WienerConv):
    nd = 3
