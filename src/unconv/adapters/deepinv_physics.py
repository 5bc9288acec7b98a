"""deepinv's `LinearPhysics` with the solves that its iterations approximate.

    A_dagger(y) = A⁺ y
    prox_l2(z, y, γ) = argmin_x γ/2·‖Ax − y‖² + ½‖x − z‖² = z + (AᴴA + 1/γ)⁻¹Aᴴ(y − Az)

The prox is a Tikhonov solve with damp = γ^(−½) for what z leaves of y.  Each γ is factored when it
first comes, and the latest factors are kept: an algorithm with a fixed step pays once.

Source: Tachella et al., "DeepInverse: a Python package for solving imaging inverse problems with
deep learning", 2025, for the interface; Parikh & Boyd, "Proximal algorithms", 2014, §6.1.1.
"""

from __future__ import annotations

import importlib
import math
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from ..inverse import InverseOperator, factorize, request_of
from ..inverse.cache import FactorCache
from ..inverse.plan import check_method
from ..numerics.checks import (
    check_kind,
    check_number,
    check_real_tensor,
    check_values,
)
from ..operators.convolution import Convolution
from ..operators.linear_operator import DEFAULT_MEMORY_LIMIT, EXPECTED_SOLVES
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

        def factor() -> InverseOperator:
            return factorize(self.op, self._request)

        inverse = self._factors.get("pinv", [self.op.weight], factor)
        return inverse.bound_to(self.op.weight)(y)

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
        if isinstance(gamma, Tensor):
            check_values("gamma", check_real_tensor("gamma", gamma))
        if isinstance(gamma, Tensor) and gamma.numel() > 1:
            if gamma.numel() != len(y):
                raise ValueError(
                    f"gamma has {gamma.numel()} values for {len(y)} samples; give one, or one a "
                    "sample."
                )
            samples = zip(z.split(1), y.split(1), gamma.flatten(), strict=True)
            return torch.cat([self._prox(*sample) for sample in samples])
        return self._prox(z, y, gamma)

    def _prox(self, z: Tensor, y: Tensor, gamma: float | Tensor) -> Tensor:
        """For a γ of one element, differentiable in it."""
        if isinstance(gamma, Tensor) and gamma.numel() != 1:
            raise ValueError(f"gamma has shape {tuple(gamma.shape)}; give one, or one per sample.")
        check_number(
            "gamma",
            gamma.item() if isinstance(gamma, Tensor) else gamma,
            positive=True,
            why="; the limits of the prox are z and z + A_dagger(y - A(z))",
        )
        rho = 1 / torch.as_tensor(gamma, dtype=torch.float64, device=self.op.device)
        return self._prox_of(self.op, z, y, damp_of(rho, self.op.device), self._request)


def as_deepinv(
    op: Convolution,
    *,
    noise_model: nn.Module | None = None,
    rtol: float | None = None,
    atol: float = 0.0,
    method: str = "auto",
    memory_limit: float = DEFAULT_MEMORY_LIMIT,
    expected_solves: int = EXPECTED_SOLVES,
    tol: float | None = None,
    maxiter: int | None = None,
    check_finite: bool = True,
) -> Any:
    """`op` as a `deepinv.physics.LinearPhysics` whose A_dagger and prox_l2 are solved for.

    Parameters
    ----------
    op
        With one kernel for all samples.
    noise_model
        deepinv's, for `physics(x)`; none by default.
    rtol, atol, method, memory_limit, expected_solves, tol, maxiter, check_finite
        As in `ConvOperator.pinv`.

    Returns
    -------
    LinearPhysics
        Its A_dagger and prox_l2 are exact to round-off, or to the `tol` of `pinv` where the plan
        says 'krylov'.  They take the options of deepinv's iterations and have no use for them.

    Raises
    ------
    ImportError
        If deepinv cannot be imported.

    Examples
    --------
    >>> import torch, unconv
    >>> A = unconv.ConvOperator(torch.randn(3, 3, 5, 5), (64, 64), padding=2)
    >>> physics = as_deepinv(A)  # doctest: +SKIP
    >>> y = physics(torch.randn(1, 3, 64, 64))  # doctest: +SKIP
    >>> x = physics.prox_l2(physics.A_dagger(y), y, gamma=10.0)  # doctest: +SKIP
    """
    if noise_model is not None:
        check_kind("noise_model", noise_model, nn.Module, "deepinv has several")
    maps = ExactMaps(
        op,
        rtol=rtol,
        atol=atol,
        method=method,
        memory_limit=memory_limit,
        expected_solves=expected_solves,
        tol=tol,
        maxiter=maxiter,
        check_finite=check_finite,
    )
    return _physics_class()(maps, noise_model)


@lru_cache(maxsize=1)
def _physics_class() -> Any:
    """Made at the first call, for its base class is there only where deepinv is installed."""
    try:
        LinearPhysics: Any = importlib.import_module("deepinv.physics").LinearPhysics
    except ImportError as error:
        raise ImportError(
            f"as_deepinv needs the package deepinv, which cannot be imported ({error}); install "
            "it with: pip install deepinv"
        ) from error

    class ConvPhysics(LinearPhysics):
        """A convolution; keywords that deepinv passes on to iterations are ignored."""

        def __init__(self, maps: ExactMaps, noise_model: nn.Module | None) -> None:
            noise = {} if noise_model is None else {"noise_model": noise_model}
            super().__init__(img_size=maps.op.domain_shape, device=maps.op.device, **noise)
            self.maps = maps

        def A(self, x: Tensor, **_: Any) -> Tensor:
            return self.maps.A(x)

        def A_adjoint(self, y: Tensor, **_: Any) -> Tensor:
            return self.maps.A_adjoint(y)

        def A_dagger(self, y: Tensor, *_: Any, **__: Any) -> Tensor:
            return self.maps.A_dagger(y)

        def prox_l2(
            self, z: Tensor | float | None, y: Tensor, gamma: float | Tensor, *_: Any, **__: Any
        ) -> Tensor:
            return self.maps.prox_l2(z, y, gamma)

    return ConvPhysics
