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
    """A⁺: the least-squares solution of smallest norm."""

    solved_by = "pinv"

    def _configure(self, **solver: Any) -> None:
        self.solver = _checked(solver)

    def _factor(self, op: ConvOperator) -> InverseOperator:
        return op.pinv(**self.solver)


class _TikhonovConv(InverseConv):
    """(AᴴA + damp²)⁻¹Aᴴ; `log_damp` is a parameter if damp is learnt, else a buffer."""

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
    """S Aᴴ(A S Aᴴ + N)⁻¹; `log_noise_psd` and `log_signal_psd` are parameters if learnt."""

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
    """A⁺ of an nn.Conv1d: the least-squares solution of smallest norm.

    rtol, atol and the options of the solver as in `ConvOperator.pinv`; the rest as in
    `InverseConv`.

    Examples
    --------
    >>> import torch, unconv.nn
    >>> layer = unconv.nn.PinvConv1d(3, 8, 3, padding=1)
    >>> layer(torch.randn(2, 8, 16)).shape
    torch.Size([2, 3, 16])
    """

    nd = 1


class PinvConv2d(_PinvConv):
    """A⁺ of an nn.Conv2d: the least-squares solution of smallest norm.

    rtol, atol and the options of the solver as in `ConvOperator.pinv`; the rest as in
    `InverseConv`.

    Examples
    --------
    >>> import torch, unconv.nn
    >>> layer = unconv.nn.PinvConv2d(3, 8, 3, padding=1)
    >>> layer(torch.randn(2, 8, 8, 8)).shape
    torch.Size([2, 3, 8, 8])
    """

    nd = 2


class PinvConv3d(_PinvConv):
    """A⁺ of an nn.Conv3d: the least-squares solution of smallest norm.

    rtol, atol and the options of the solver as in `ConvOperator.pinv`; the rest as in
    `InverseConv`.

    Examples
    --------
    >>> import torch, unconv.nn
    >>> layer = unconv.nn.PinvConv3d(3, 8, 3, padding=1)
    >>> layer(torch.randn(2, 8, 4, 4, 4)).shape
    torch.Size([2, 3, 4, 4, 4])
    """

    nd = 3


class TikhonovConv1d(_TikhonovConv):
    """(AᴴA + damp²)⁻¹Aᴴ of an nn.Conv1d, damp > 0.

    damp : where it starts; learn_damp : whether `log_damp` is a parameter; the options of the
    solver as in `ConvOperator.tikhonov`; the rest as in `InverseConv`.

    Examples
    --------
    >>> import torch, unconv.nn
    >>> layer = unconv.nn.TikhonovConv1d(3, 8, 3, padding=1, damp=0.1)
    >>> layer(torch.randn(2, 8, 16)).shape
    torch.Size([2, 3, 16])
    """

    nd = 1


class TikhonovConv2d(_TikhonovConv):
    """(AᴴA + damp²)⁻¹Aᴴ of an nn.Conv2d, damp > 0.

    damp : where it starts; learn_damp : whether `log_damp` is a parameter; the options of the
    solver as in `ConvOperator.tikhonov`; the rest as in `InverseConv`.

    Examples
    --------
    >>> import torch, unconv.nn
    >>> layer = unconv.nn.TikhonovConv2d(3, 8, 3, padding=1, damp=0.1)
    >>> layer(torch.randn(2, 8, 8, 8)).shape
    torch.Size([2, 3, 8, 8])
    """

    nd = 2


class TikhonovConv3d(_TikhonovConv):
    """(AᴴA + damp²)⁻¹Aᴴ of an nn.Conv3d, damp > 0.

    damp : where it starts; learn_damp : whether `log_damp` is a parameter; the options of the
    solver as in `ConvOperator.tikhonov`; the rest as in `InverseConv`.

    Examples
    --------
    >>> import torch, unconv.nn
    >>> layer = unconv.nn.TikhonovConv3d(3, 8, 3, padding=1, damp=0.1)
    >>> layer(torch.randn(2, 8, 4, 4, 4)).shape
    torch.Size([2, 3, 4, 4, 4])
    """

    nd = 3


class WienerConv1d(_WienerConv):
    """The Wiener filter of an nn.Conv1d.

    noise_psd, signal_psd : power spectra to start from, as in `ConvOperator.wiener`; learn_psd :
    whether their logarithms are parameters; channel_covariance : a buffer, not learnt; the options
    of the solver as in `ConvOperator.wiener`; the rest as in `InverseConv`.

    Examples
    --------
    >>> import torch, unconv.nn
    >>> layer = unconv.nn.WienerConv1d(3, 8, 3, padding=1, noise_psd=0.01)
    >>> layer(torch.randn(2, 8, 16)).shape
    torch.Size([2, 3, 16])
    """

    nd = 1


class WienerConv2d(_WienerConv):
    """The Wiener filter of an nn.Conv2d.

    noise_psd, signal_psd : power spectra to start from, as in `ConvOperator.wiener`; learn_psd :
    whether their logarithms are parameters; channel_covariance : a buffer, not learnt; the options
    of the solver as in `ConvOperator.wiener`; the rest as in `InverseConv`.

    Examples
    --------
    >>> import torch, unconv.nn
    >>> layer = unconv.nn.WienerConv2d(3, 8, 3, padding=1, noise_psd=0.01)
    >>> layer(torch.randn(2, 8, 8, 8)).shape
    torch.Size([2, 3, 8, 8])
    """

    nd = 2


class WienerConv3d(_WienerConv):
    """The Wiener filter of an nn.Conv3d.

    noise_psd, signal_psd : power spectra to start from, as in `ConvOperator.wiener`; learn_psd :
    whether their logarithms are parameters; channel_covariance : a buffer, not learnt; the options
    of the solver as in `ConvOperator.wiener`; the rest as in `InverseConv`.

    Examples
    --------
    >>> import torch, unconv.nn
    >>> layer = unconv.nn.WienerConv3d(3, 8, 3, padding=1, noise_psd=0.01)
    >>> layer(torch.randn(2, 8, 4, 4, 4)).shape
    torch.Size([2, 3, 4, 4, 4])
    """

    nd = 3
