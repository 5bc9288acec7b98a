"""Wiener filters of any operator under white noise, by iterations on one right-hand side each.

x is stationary on its own periodic grid, where the square root of its covariance S takes two
transforms.  With x = S^½u and noise of standard deviation s,

    u = argmin ‖A S^½u − y‖² + s²‖u‖²,

damped least squares in A S^½, which LSMR solves until u is proven to be known to tol.

Cost: an application of A and one of Aᴴ, and four transforms, a step.  Not for: circular operators,
which have a block per frequency (estimator.py), nor what pads nothing (by_completion.py).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...inverse import InverseOperator, Request
from ...inverse.facts import Effort, SpectrumSummary
from ...numerics.linear_map import Adjoint, LinearMap
from ...numerics.lsmr import largest_singular_value
from ...operators.convolution import Convolution
from ..by_lsmr import by_lsmr

# The condition of A S^½ is that of the spectrum of pictures: thousands of steps are usual.
# `maxiter` overrides it.
_MOST_WIENER_STEPS = 20_000


class Coloured:
    """The linear map u ↦ A S^½ u with its adjoint: u is white where S^½ u has the spectrum S.

    u lives on the grid that S is given on, of which the domain of A is the first part.
    """

    per_sample = False

    def __init__(self, A: Convolution, root: Tensor) -> None:
        self.A, self.root = A, root
        self.domain_shape, self.range_shape = A.domain_shape, A.range_shape
        grid = root.shape[1 - len(A.domain_shape) :]
        if grid.numel() > 1:
            self.domain_shape = (A.domain_shape[0], *grid)

    def matvec(self, u: Tensor, out: Tensor | None = None) -> Tensor:
        """(N, *domain_shape) -> A S^½ u (N, *range_shape)."""
        return self.A._matvec(self.signal(u))

    def rmatvec(self, y: Tensor, out: Tensor | None = None) -> Tensor:
        """(N, *range_shape) -> S^½ Aᴴ y (N, *domain_shape)."""
        return self.signal_adjoint(self.A._rmatvec(y))

    def signal(self, u: Tensor) -> Tensor:
        """S^½ u on the domain of A."""
        every = (slice(None), slice(None))
        return self.colour(u)[(*every, *(slice(n) for n in self.A.domain_shape[1:]))]

    def signal_adjoint(self, x: Tensor) -> Tensor:
        """S^½ x of what is zero beyond the domain of A."""
        return self.colour(_widened(x, self.domain_shape[1:]))

    def colour(self, u: Tensor) -> Tensor:
        """(N, *domain_shape) -> S^½ u, by transforms of the domain."""
        dims = tuple(range(2, u.ndim))
        U = torch.fft.fftn(u, dim=dims)
        coupled = self.root.ndim == u.ndim
        V = torch.einsum("oc...,nc...->no...", self.root, U) if coupled else self.root * U
        X = torch.fft.ifftn(V, dim=dims)
        return X if u.is_complex() else X.real


def _widened(x: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """Zeros behind x, up to `sizes`."""
    behind = [N - n for n, N in zip(x.shape[2:], sizes, strict=True)]
    return torch.nn.functional.pad(x, [p for b in reversed(behind) for p in (0, b)])


class WienerIteration(InverseOperator):
    """A Wiener filter under white noise by LSMR, which starts anew for every y.

    Its `summary` is that of A S^½.
    """

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
        summary = SpectrumSummary.damped(norm, noise_std, by="noise")
        super().__init__(op, request, summary)
        self.A, self.noise_std = A, noise_std
        self.tol, self.maxiter = request.tol, request.maxiter or _MOST_WIENER_STEPS
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
        return B.signal(u), effort

    def _solve_adjoint(self, x: Tensor) -> Tensor:
        """B(BᴴB + s²)⁻¹S^½ x with B = A S^½: the damped inverse of Bᴴ."""
        B = Coloured(self.A, self.root)
        return self._iterated(Adjoint(B), B.signal_adjoint(x))[0]

    def _iterated(self, B: LinearMap, right: Tensor) -> tuple[Tensor, Effort]:
        norm, progress = self.summary.norm, self.progress
        return by_lsmr(B, right, norm, self.noise_std, self.tol, self.maxiter, progress)
