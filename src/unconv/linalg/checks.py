"""What `unconv.linalg` accepts, in one place."""

from __future__ import annotations

import torch
from torch import Tensor

from ..numerics.checks import (
    check_all_finite,
    check_number,
    check_tensor,
    check_values,
)

_DTYPES = (torch.float32, torch.float64, torch.complex64, torch.complex128)


def check_matrices(A: object) -> Tensor:
    """`A` as (..., m, n) with m, n ≥ 1 of a dtype that LAPACK has, or one sentence about it."""
    matrices = check_tensor("A", A)
    if matrices.dtype not in _DTYPES:
        raise TypeError(
            f"A must be single or double precision, got {matrices.dtype}; convert it with "
            ".float() or .double()."
        )
    if matrices.ndim < 2:
        raise ValueError(
            f"A must be a matrix or a batch of matrices (..., m, n), got shape "
            f"{tuple(matrices.shape)}; give a vector as a column with A[:, None]."
        )
    if 0 in matrices.shape[-2:]:
        raise ValueError(
            f"A must have rows and columns, got shape {tuple(matrices.shape)}; leave empty "
            "matrices out."
        )
    check_values("A", matrices)
    return matrices


def check_cut(rtol: float, atol: float) -> tuple[float, float]:
    """Below which singular values count as zero."""
    rtol = check_number("rtol", rtol, below=1, why=": a cut-off at s₁ leaves nothing of A")
    return rtol, check_number("atol", atol, why="; 0 cuts nothing but zeros")


def not_negative(name: str, values: Tensor) -> Tensor:
    """`values`, none of which may be negative or NaN; under vmap, where nobody can look, such a one
    becomes NaN and shows itself in the result.
    """
    good = values >= 0
    try:
        accepted = bool(good.all())
    except RuntimeError:
        return torch.where(good, values, torch.nan)
    if not accepted:
        raise ValueError(
            f"{name} must not be negative or NaN, got {float(values[~good][0]):g}; 0 keeps every "
            "singular value."
        )
    return values


def check_entries(A: Tensor) -> None:
    """Refuse NaN and Inf; for `forward`, which no transform hides behind a batched tensor."""
    check_all_finite("A", A, "mend the step before, as a singular value of NaN has no meaning")
