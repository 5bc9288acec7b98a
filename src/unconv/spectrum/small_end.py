"""Subspaces of the smallest singular values: what inverts A near them, how they are refined.

`NearInverse` applies the factor of the *boundary* rung (inverse/boundary/system.py).  Where A is
healthy it is A⁻¹ or A⁺; where it is not, (AᴴA + μ²)⁻¹ and A⁺ but for what μ damps.  With μ all σ
far below it look alike: Lanczos finds their subspace, but none of its vectors before all of them
are found.

`refined` takes a pair of orthonormal bases U, V of such subspaces to

    V ← orth( V − A⁺(A V − U UᴴA V) ),      U ← orth( U − A⁺ᴴ(AᴴU − V VᴴAᴴU) ),

which takes off what A, or Aᴴ, makes of a vector outside the other subspace.  It shrinks that by
μ²/(σ² + μ²) a pass, σ the next singular value, until only the rounding of A·v is left, eps·σ_max:
no small σ is then known better.  Nothing is divided by σ, so that U is found where σ = 0 too.

Source: Stewart & Sun, "Matrix Perturbation Theory", 1990, §V.4 (residuals and singular subspaces).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..inverse.boundary.deflation import Triples, orthonormal, project_off
from ..inverse.boundary.forms import AugmentedForm, SquareForm
from ..inverse.boundary.problem import Problem
from ..inverse.boundary.small_triples import ritz

_MOST_REFINEMENTS = 12  # each at least halves what is left, or is the last
_DUST = 1e-14  # of σ_max: an image A·v whose direction is round-off


class NearInverse:
    """A form of the *boundary* rung, refined with A itself: one pass may leave 1e-4.

    Parameters
    ----------
    form : factored for p.A
    level : μ in the unit of A, 0 where all singular values are told apart
    """

    def __init__(self, form: SquareForm | AugmentedForm, p: Problem, level: float) -> None:
        self.form, self.A, self.tall, self.level = form, p.A, p.is_tall, level

    def of_gram(self, v: Tensor) -> Tensor:
        """(AᴴA + μ²)⁻¹ v or (AAᴴ + μ²)⁻¹ v on the shorter side, up to a factor."""
        if isinstance(self.form, SquareForm):
            return self.pinv(self.pinv_adjoint(v)) if self.tall else self.pinv_adjoint(self.pinv(v))
        found = self._by_augmented(self.form, v, on_data=not self.tall, data_wanted=not self.tall)
        return -found if self.tall else found

    def pinv(self, y: Tensor) -> Tensor:
        """A⁺ y but for what μ damps."""
        if isinstance(self.form, SquareForm):
            return self.form.pinv(y, careful=False).value
        return self._by_augmented(self.form, y, on_data=True, data_wanted=False)

    def pinv_adjoint(self, x: Tensor) -> Tensor:
        """(A⁺)ᴴ x but for what μ damps."""
        if isinstance(self.form, SquareForm):
            return self.form.pinv_adjoint(x, careful=False).value
        return self._by_augmented(self.form, x, on_data=False, data_wanted=True)

    def _by_augmented(
        self, form: AugmentedForm, v: Tensor, *, on_data: bool, data_wanted: bool
    ) -> Tensor:
        """ρ or x of [α A; Aᴴ −β] for v in the upper or the lower row."""
        shape = self.A.domain_shape if on_data else self.A.range_shape
        other = v.new_zeros(len(v), *shape)
        a, b = (v, other) if on_data else (other, v)
        rho, x, _ = form.refined(a, b, wanted=0 if data_wanted else 1)
        return rho if data_wanted else x


def both_sides(p: Problem, short: Tensor) -> tuple[Tensor, Tensor]:
    """(U, V) orthonormal, one of them `short`, the other one spanned by its images.

    Images that are round-off are replaced by vectors orthogonal to the other ones.
    """
    images = p.A._matvec(short) if p.is_tall else p.A._rmatvec(short)
    P, S, Qh = torch.linalg.svd(images.flatten(1).mT, full_matrices=False)  # P diag(S) Qh
    short = (Qh.conj() @ short.flatten(1)).reshape(short.shape)
    seen = P[:, _DUST * p.norm < S]  # σ descends
    generator = torch.Generator().manual_seed(0)
    size = (len(P), P.shape[1] - seen.shape[1])
    rest = torch.randn(size, dtype=P.dtype, generator=generator).to(P.device)
    for _ in range(2):
        rest = torch.linalg.qr(rest - seen @ (seen.mH @ rest))[0]
    long = torch.cat([seen, rest], 1).mT.reshape(images.shape)
    return (long, short) if p.is_tall else (short, long)


def triples_of(p: Problem, short: Tensor) -> Triples:
    """Singular triples of A on a subspace of the shorter side, orthonormal on both; σ ascending."""
    return ritz(p.A, *both_sides(p, short), p.norm)


def refined(p: Problem, short: Tensor, inverse: NearInverse) -> Triples:
    """Singular triples of A on the subspace near `short` that A maps into one as small."""
    A, (U, V) = p.A, both_sides(p, short)
    best, smallest = (U, V), math.inf
    for _ in range(_MOST_REFINEMENTS):
        of_u, of_v = project_off(A._rmatvec(U), V), project_off(A._matvec(V), U)
        size = float(torch.hypot(of_u.norm(), of_v.norm()))
        if size < smallest:
            best = U, V
        if not size <= smallest / 2:
            break
        smallest = size
        U = orthonormal(U - inverse.pinv_adjoint(of_u))
        V = orthonormal(V - inverse.pinv(of_v))
    return ritz(A, *best, p.norm)
