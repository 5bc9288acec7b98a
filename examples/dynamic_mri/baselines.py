"""What needs no learning: the samples alone, and iterated thresholding.

Source: Cai, Candès & Shen, "A singular value thresholding algorithm for matrix completion", SIAM J.
Optim. 20 (2010); Beck & Teboulle, "A fast iterative shrinkage-thresholding algorithm for linear
inverse problems", SIAM J. Imaging Sci. 2 (2009), for the step.
"""

from __future__ import annotations

from torch import Tensor

from unconv.linalg import svt

from .kspace import backproject, check_measurements, residual
from .network import casorati, largest_value

ITERATIONS = 100
FACTORS = (0.03, 0.02, 0.01, 0.005, 0.003, 0.002, 0.001)
"""Thresholds that the oracle tries, in units of σ₁ of the zero-filled series."""


def zero_filling(y: Tensor, mask: Tensor) -> Tensor:
    """Fᴴ M y."""
    check_measurements(y, mask)
    return backproject(y, mask)


def iterative_svt(y: Tensor, mask: Tensor, factor: float, iterations: int = ITERATIONS) -> Tensor:
    """Proximal gradient for min ½‖M F x − y‖² + τ‖X‖_*, X the Casorati matrix of x:

        x ← U max(S − τ, 0) Vᴴ of x − Fᴴ(M F x − y).

    y (N, T, H, W) and mask (N, T, H, 1) -> (N, T, H, W)
    """
    check_measurements(y, mask)
    x = backproject(y, mask)
    tau = factor * largest_value(casorati(x))
    for _ in range(iterations):
        x = svt(casorati(x - residual(x, y, mask)), tau).mT.reshape(y.shape)
    return x


def oracle_svt(y: Tensor, mask: Tensor, reference: Tensor) -> Tensor:
    """`iterative_svt` of one series with the one of `FACTORS` that comes nearest to the reference.

    Each is tried as it is, and made to agree with all samples, which is better where there is
    little noise.  No one has this choice: it is the most that the method could do.
    """
    tried = [iterative_svt(y, mask, factor) for factor in FACTORS]
    tried += [x - residual(x, y, mask) for x in tried]
    return min(tried, key=lambda x: float((x.abs() - reference.abs()).square().sum()))
