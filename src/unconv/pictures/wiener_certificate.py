"""How exactly the equations of a Wiener filter were solved.

With S and N the spectra of scene and noise, x is what makes

    e = x − S Aᴴ N⁻¹ (y − A x)

vanish, and an error δx of x obeys (1 + S Aᴴ N⁻¹ A) δx = e, so that ‖S^-½ δx‖ ≤ ‖S^-½ e‖.  That is
the bound of circular pictures, evaluated anew; where data are missing it is that of completion
(inverse/completion).  Both are relative to ‖S^-½ x‖: the norm in which the prior measures detail,
fine detail more than coarse.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from ..grid.torus import Torus
from ..inverse import Certificate
from ..inverse.facts import Effort
from ..numerics.norms import ratio
from ..parameter_choice.whittle import transfer


class Solved(Protocol):
    """How planes were restored."""

    @property
    def method(self) -> str:
        """The way in which the filter was made."""

    @property
    def effort(self) -> Effort:
        """What the solve took."""

    @property
    def error(self) -> Tensor:
        """(c,) at most the relative error of x, in the norm of its spectrum."""


def error_of_circular(
    x: Tensor, residual: Tensor, psf: Tensor, noise: Tensor, signal: Tensor
) -> Tensor:
    """‖S^-½ e‖/‖S^-½ x‖ of each plane, (C,).

    x, residual : (C, 1, H, W); noise, signal : N (H, W) or () and S (H, W)
    """
    sizes = x.shape[-2:]
    F = transfer(psf, sizes)
    half = F.shape[-1]
    S = signal[..., :half]
    N = noise[..., :half] if noise.ndim else noise
    X, R = (torch.fft.rfft2(t) for t in (x, residual))
    e = X - S * F.conj() / N * R
    counts = Torus(tuple(sizes), (1, 1), True).multiplicity(x.device).reshape(F.shape)
    size, error = ((t.abs().square() / S * counts).sum((1, 2, 3)).sqrt() for t in (X, e))
    return ratio(error, size)


def certificate_of(found: Sequence[Solved], residual: Tensor, tol: float) -> Certificate:
    """The certificate of planes, one entry a plane.

    residual : (C,) ‖y − Ax‖/‖y‖
    """
    error = torch.cat([c.error for c in found])
    steps = torch.cat(
        [
            torch.zeros_like(c.error, dtype=torch.long)
            if c.effort.iterations is None
            else c.effort.iterations
            for c in found
        ]
    )
    converged = error <= tol
    worst = float(error.max())
    known = f"the equations are solved to {worst:.1e} in the norm of the spectrum"
    advice = f"{known}, within tol={tol:g}"
    if not bool(converged.all()):
        advice = f"{known}, above tol={tol:g}; use more damping with prior 'damp', or raise tol"
    return Certificate(
        method=found[0].method,
        rank=None,
        rank_how="not asked: noise decides",
        gap=torch.full_like(error, math.inf),
        damp=math.nan,
        residual=residual,
        optimality=error,
        error_bound=error,
        tolerance=torch.full_like(error, tol),
        tolerance_how=f"tol={tol:g}, which was asked for",
        iterations=steps,
        refinements=torch.zeros_like(steps),
        dropped=torch.zeros_like(steps),
        converged=converged,
        advice=advice,
    )
