"""A `ConvOperator` in the clothes of other packages: doors to `unconv.adapters`, one line each."""

from __future__ import annotations

from typing import Any

from torch import nn

from ..adapters import HFunctions, as_deepinv, as_h_functions
from ..numerics.compiled import outside_graphs
from ..operators.convolution import Convolution
from ..operators.linear_operator import DEFAULT_MEMORY_LIMIT, EXPECTED_SOLVES


class AdapterMethods(Convolution):
    """deepinv's physics and DDRM's singular vectors of an operator."""

    @outside_graphs
    def as_deepinv(
        self,
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
        """A as a `deepinv.physics.LinearPhysics` whose A_dagger and prox_l2 are solved for.

        noise_model is deepinv's, all else as in `pinv`; see `unconv.adapters.as_deepinv`.
        """
        return as_deepinv(
            self,
            noise_model=noise_model,
            rtol=rtol,
            atol=atol,
            method=method,
            memory_limit=memory_limit,
            expected_solves=expected_solves,
            tol=tol,
            maxiter=maxiter,
            check_finite=check_finite,
        )

    @outside_graphs
    def as_h_functions(
        self,
        *,
        rtol: float | None = None,
        atol: float = 0.0,
        memory_limit: float = DEFAULT_MEMORY_LIMIT,
    ) -> HFunctions:
        """The SVD of a circular, symmetric, separable or small A as DDRM's `H_functions`.

        rtol and atol as in `pinv`: singular values at or below max(atol, rtol·σ_max) are zero in
        it.  More is in `unconv.adapters.as_h_functions`.

        Examples
        --------
        >>> import torch, unconv
        >>> K = torch.tensor([[[1.0, 2.0, 1.0]]])
        >>> unconv.ConvOperator(K, (4,), padding=1, padding_mode="circular").as_h_functions().shape
        (4, 4)
        """
        return as_h_functions(self, rtol=rtol, atol=atol, memory_limit=memory_limit)
