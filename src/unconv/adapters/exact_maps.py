"""A, Aᴴ, A⁺ and the exact steps of samplers and splittings, under deepinv's names.

    A_dagger(y) = A⁺ y,      A_dagger_A(x) = A⁺A x
    prox_l2(z, y, γ) = argmin_x γ/2·‖Ax − y‖² + ½‖x − z‖² = z + (AᴴA + 1/γ)⁻¹Aᴴ(y − Az)
    A_A_adjoint_inverse(u, r) = (AAᴴ + r)⁻¹u

The prox is a Tikhonov solve with damp = γ^(−½) for what z leaves of y.  What γ and r do not change
is kept (`unconv.regularize.damp_path`): an algorithm with a schedule of them pays for it once.

Source: Parikh & Boyd, "Proximal algorithms", 2014, §6.1.1, for the prox; Wang et al., "Zero-shot
image restoration using denoising diffusion null-space model", ICLR 2023 (DDNM), for A⁺A; Song et
al., "Pseudoinverse-guided diffusion models for inverse problems", ICLR 2023 (ΠGDM), for the last.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..inverse import InverseOperator, factorize, request_of
from ..inverse.cache import FactorCache
from ..inverse.plan import check_method
from ..numerics.checks import (
    check_number,
    check_real_tensor,
    check_values,
)
from ..operators.convolution import Convolution
from ..operators.linear_operator import DEFAULT_MEMORY_LIMIT, EXPECTED_SOLVES
from ..regularize.data_precision import data_precision, undamped_precision
from ..regularize.prox import Prox, damp_of
from .checks import check_convolution


class ExactMaps(nn.Module):
    """A, Aᴴ, A⁺ and the prox of the data term under deepinv's names, without deepinv.

    Parameters
    ----------
    op : ConvOperator
    rtol, atol
        Cut-off of A⁺, as in `ConvOperator.pinv`.
    method, memory_limit, expected_solves, tol, maxiter, check_finite
        Of A⁺ and of the prox, as there.

    All methods are differentiable in their tensors, and in the operator's weight.

    Examples
    --------
    >>> import torch, unconv
    >>> A = unconv.ConvOperator(torch.randn(1, 1, 3, 3).double(), (8, 8), padding=1)
    >>> maps = ExactMaps(A)
    >>> z, y = torch.randn(2, 1, 8, 8).double(), torch.randn(2, 1, 8, 8).double()
    >>> x = maps.prox_l2(z, y, 2.0)
    >>> bool(torch.allclose(2 * A.H(A(x) - y) + x - z, 0 * x, atol=1e-10))
    True
    """

    def __init__(
        self,
        op: Convolution,
        *,
        rtol: float | None = None,
        atol: float = 0.0,
        method: str = "auto",
        memory_limit: float = DEFAULT_MEMORY_LIMIT,
        expected_solves: int = EXPECTED_SOLVES,
        tol: float | None = None,
        maxiter: int | None = None,
        check_finite: bool = True,
    ) -> None:
        super().__init__()
        self.op = check_convolution(op, "deepinv")
        check_method(method)
        self._request = request_of(
            0.0,
            rtol,
            atol,
            memory_limit,
            expected_solves,
            tol,
            maxiter,
            method=method,
            check_finite=check_finite,
        )
        self._factors, self._prox_of = FactorCache(), Prox()

    def A(self, x: Tensor) -> Tensor:
        """A x, (N, *domain_shape) -> (N, *range_shape)."""
        return self.op(x)

    def A_adjoint(self, y: Tensor) -> Tensor:
        """Aᴴ y, (N, *range_shape) -> (N, *domain_shape)."""
        return self.op.H(y)

    def A_dagger(self, y: Tensor) -> Tensor:
        """A⁺ y, (N, *range_shape) -> (N, *domain_shape)."""
        return self._pinv()(y)

    def A_dagger_A(self, x: Tensor) -> Tensor:
        """A⁺A x, the part of x that data tell: DDNM takes x − A⁺A x + A⁺y.

        (N, *domain_shape) -> (N, *domain_shape)
        """
        return self._pinv()(self.op(x))

    def _pinv(self) -> InverseOperator:
        def factor() -> InverseOperator:
            return factorize(self.op, self._request)

        inverse = self._factors.get("pinv", [self.op.weight], factor)
        return inverse.bound_to(self.op.weight)

    def A_A_adjoint_inverse(self, u: Tensor, r: float | Tensor) -> Tensor:
        """(AAᴴ + rI)⁻¹ u, the step of ΠGDM; what r does not change is kept.

        Parameters
        ----------
        u : (N, *range_shape)
        r
            A number of at least 0 or a tensor of one; of N numbers where each sample has its own.

        Returns
        -------
        (N, *range_shape); zero where nothing was observed

        Raises
        ------
        ValueError
            For r = 0 where AAᴴ is singular.
        """
        self.op._check(u, self.op.range_shape)
        return self._sample_by_sample(self._data_precision, "r", r, u)

    def _data_precision(self, u: Tensor, r: float | Tensor) -> Tensor:
        value = check_number("r", r.item() if isinstance(r, Tensor) else r)
        if value == 0:
            return undamped_precision(self.op, self._pinv(), self.op._masked(u))
        r = torch.as_tensor(r, dtype=torch.float64, device=self.op.device).reshape(())
        return data_precision(self.op, self._prox_of.path, u, r, self._request)

    def prox_l2(self, z: Tensor | float | None, y: Tensor, gamma: float | Tensor) -> Tensor:
        """argmin γ/2·‖Ax − y‖² + ½‖x − z‖².

        Parameters
        ----------
        z : (N, *domain_shape), or a number for a constant image, None for zero
        y : (N, *range_shape)
        gamma
            A positive number or a tensor of one; of N numbers where each sample has its own.

        Returns
        -------
        (N, *domain_shape)
        """
        self.op._check(y, self.op.range_shape)
        if z is None or isinstance(z, int | float):
            z = 0.0 if z is None else check_number("z", z, least=-math.inf)
            z = y.new_full((len(y), *self.op.domain_shape), z)
        self.op._check(z, self.op.domain_shape)
        return self._sample_by_sample(self._prox, "gamma", gamma, z, y)

    def _sample_by_sample(
        self,
        step: Callable[..., Tensor],
        name: str,
        parameter: float | Tensor,
        *data: Tensor,
    ) -> Tensor:
        """step(*data, parameter), or where each sample has its own, once for equal ones."""
        if not isinstance(parameter, Tensor):
            return step(*data, parameter)
        check_values(name, check_real_tensor(name, parameter))
        if parameter.numel() == 1:
            return step(*data, parameter)
        each = parameter.flatten()
        if len(each) != len(data[0]):
            raise ValueError(
                f"{name} has {len(each)} values for {len(data[0])} samples; give one, or one "
                "per sample."
            )
        if not each.requires_grad and bool((each == each[0]).all()):
            return step(*data, each[0])
        samples = zip(*(t.split(1) for t in data), each, strict=True)
        return torch.cat([step(*sample) for sample in samples])

    def _prox(self, z: Tensor, y: Tensor, gamma: float | Tensor) -> Tensor:
        """For a γ of one element, differentiable in it."""
        check_number(
            "gamma",
            gamma.item() if isinstance(gamma, Tensor) else gamma,
            positive=True,
            why="; the limits of the prox are z and z + A_dagger(y - A(z))",
        )
        rho = 1 / torch.as_tensor(gamma, dtype=torch.float64, device=self.op.device)
        return self._prox_of(self.op, z, y, damp_of(rho, self.op.device), self._request)
