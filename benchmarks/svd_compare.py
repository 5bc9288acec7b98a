"""`python -m benchmarks.svd_compare`: the matrices of SVD-inv, all its SVDs, the exact gradient.

The loss is the sum of U (S + 0.1) Vᵀ = A + 0.1·Q, with Q the orthogonal polar factor of A = QH.
That gives a reference that has no SVD in it: with the gradient G of a loss in Q,

    A̅ = Q Z + (I − QQᵀ) G H⁻¹,      H Z + Z H = QᵀG − GᵀQ.

Source: https://github.com/yhao-z/SVD-inv for matrices and loss; Higham, "Functions of Matrices"
(SIAM 2008), chapter 8, for the polar decomposition.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from unconv.linalg import spectral_apply, svd

from .svd_rivals import RIVALS

SHIFT = 0.1
MATRICES = {
    "matrix_normal": ((5, 8, 6, 7, 2), (8, 5, 7, 4, 3), (6, 7, 5, 3, 8), (7, 4, 3, 5, 9)),
    "matrix_dup[0]": ((2, 4), (-4, 2)),
    "matrix_dup[1]": ((2, 4), (-4, 2.0001)),
}

Function = Callable[[Tensor], Tensor]


def by_factors(factorize: Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]) -> Function:
    """A -> U (S + 0.1) Vᵀ from the U, S, Vh of torch and of `svd`."""

    def shifted(A: Tensor) -> Tensor:
        U, S, Vh = factorize(A)
        return (U * (S + SHIFT)[..., None, :]) @ Vh

    return shifted


def by_rival(factorize: Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]) -> Function:
    """A -> U (S + 0.1) Vᵀ from the U, diag(S), V of a rival."""

    def shifted(A: Tensor) -> Tensor:
        U, S, V = factorize(A)
        return (U * (S.diagonal(dim1=-2, dim2=-1) + SHIFT)[..., None, :]) @ V.mH

    return shifted


METHODS: dict[str, Function] = {
    "torch.linalg.svd": by_factors(lambda A: tuple(torch.linalg.svd(A, full_matrices=False))),
    **{name: by_rival(rival) for name, rival in RIVALS.items()},
    "unconv svd": by_factors(svd),
    "unconv spectral_apply": lambda A: spectral_apply(A, lambda s: s + SHIFT, torch.ones_like),
}


def gradient(function: Function, A: Tensor) -> Tensor:
    """Gradient of the sum of `function` at A."""
    A = A.clone().requires_grad_()
    function(A).sum().backward()
    assert A.grad is not None
    return A.grad


def exact_gradient(A: Tensor) -> Tensor:
    """Gradient of the sum of A + 0.1·Q at one matrix of full rank, in float64, by the polar factor.

    (m, n) -> (m, n)
    """
    A = A.double()
    if A.shape[0] < A.shape[1]:
        return exact_gradient(A.mT).mT
    L, W = torch.linalg.eigh(A.mT @ A)
    H = (W * L.sqrt()) @ W.mT
    Q, G, eye = torch.linalg.solve(H, A, left=False), torch.ones_like(A), torch.eye(len(H)).double()
    sylvester = torch.kron(H, eye) + torch.kron(eye, H)
    skew = Q.mT @ G - G.mT @ Q
    Z = torch.linalg.solve(sylvester, skew.flatten()).view_as(skew)
    return 1 + SHIFT * (Q @ Z + torch.linalg.solve(H, G - Q @ (Q.mT @ G), left=False))


def report(dtype: torch.dtype = torch.float32) -> str:
    """Gradients and largest errors of all methods on all matrices."""
    lines = []
    for name, rows in MATRICES.items():
        A = torch.tensor(rows, dtype=torch.float64)
        exact = exact_gradient(A)
        lines += [f"\n{name}, {str(dtype).removeprefix('torch.')}", *_shown("exact", exact)]
        for method, function in METHODS.items():
            found = gradient(function, A.to(dtype)).double()
            error = float((found - exact).abs().amax())
            title = (
                f"{method}: largest error {'NaN' if math.isnan(error) else format(error, '.1e')}"
            )
            lines += _shown(title, found)
    return "\n".join(lines)


def _shown(title: str, values: Tensor) -> list[str]:
    return [f"  {title}", *("    " + "  ".join(f"{v:13.10f}" for v in r) for r in values.tolist())]


if __name__ == "__main__":
    print(report())
