"""A psf of any form from a pair: what was sharp, and what became of it.

    h = argmin Σ w (x ∗ h − y)² + damp²‖h‖²   over  h ≥ 0, Σ h = 1

one exact solve: normal equations (`patch_equations.py`), then a quadratic program over the simplex
(`simplex.py`).  Only pixels count whose light all comes from inside of the sharp picture.

The standard errors are those of the solution with Σ h = 1 and no bound, C = σ² B G B with

    B = M⁻¹ − M⁻¹1 1ᵀM⁻¹ / 1ᵀM⁻¹1,   M = G + damp²,   σ² = residual / (pixels − unknowns);

bounds make them smaller, a damp adds a bias that they do not count.

Not for: pairs that are not registered to a small part of the psf, or scaled differently.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ...numerics.checks import (
    check_number,
    check_real_tensor,
    check_values,
)
from ..arrays import odd_sizes
from ..simplex import Matrix, cholesky, minimise
from .patch_equations import NormalEquations, normal_equations

_UNSURE_OF_PAIR = 0.1  # relative error of the psf
_RIM_OF_PAIR = 0.05  # of the psf's sum, on the outermost samples
_UNEQUAL, _SURELY = 0.02, 5.0  # of the brightness, and standard errors of it
_SINGULAR = 1e-12  # of the largest diagonal of G


class PairPsf(NamedTuple):
    """A psf from a pair, and the evidence.

    Attributes
    ----------
    psf : (*size) float64, not negative, with sum 1
    std : (*size), its standard error, from the residual as white noise
    error : expected ‖psf − truth‖ / ‖truth‖ from these
    residual : root mean square of blurred − psf ∗ sharp, in the unit of the pictures
    pixels : pixels that were used
    doubts : sentences about what the data contradict, by 'noise', 'size', 'brightness' and
        'content'
    """

    psf: Tensor
    std: Tensor
    error: float
    residual: float
    pixels: int
    doubts: dict[str, str]


def from_pair(
    sharp: Tensor,
    blurred: Tensor,
    size: int | tuple[int, int],
    *,
    damp: float = 0.0,
    weight: Tensor | None = None,
) -> PairPsf:
    """Find the psf that makes one picture of another.

    Parameters
    ----------
    sharp, blurred
        (H, W), real, of one scene in one frame and one unit of linear light.  NaN and infinities
        were not seen; in `sharp` they take the pixels with them that light from there reaches.
    size : rows and columns of the psf, odd; it should hold all of its light
    damp : how much to damp, in the unit of the pictures: damp²‖h‖² is added to the sum of squares
    weight
        (H, W), what each pixel of `blurred` counts, such as 1/variance; not negative.  None: 1.

    Returns
    -------
    PairPsf

    Raises
    ------
    ValueError, TypeError
        If the pictures differ in shape, a size is even or larger than they are, or no pixel is
        left.

    Examples
    --------
    >>> import torch
    >>> from unconv import pictures, psf
    >>> g = torch.Generator().manual_seed(0)
    >>> sharp = torch.rand(1, 64, 64, generator=g).double()
    >>> h = psf.motion(9, 30)
    >>> blurred = pictures.blur(sharp, h, boundary="reflect")
    >>> blurred += 0.01 * torch.randn(1, 64, 64, generator=g).double()
    >>> found = from_pair(sharp[0], blurred[0], 11)
    >>> inner = found.psf[3:-3, 1:-1]  # h has five rows and nine columns
    >>> bool((inner - h).norm() < 0.05 * h.norm()), found.doubts
    (True, {})
    """
    x, y, w, sizes = _checked(sharp, blurred, size, weight)
    check_number("damp", damp)
    scale = float(w.max())
    k, m = sizes
    equations = normal_equations(x, y, w / scale, sizes)
    M = equations.G + damp**2 / scale * torch.eye(k * m, dtype=x.dtype)
    found = minimise(Matrix(M, equations.b), torch.full((k * m,), 1 / (k * m), dtype=x.dtype))
    return _told(equations, M, found.h, sizes, sharp.device)


def _told(
    equations: NormalEquations,
    M: Tensor,
    g: Tensor,
    size: tuple[int, int],
    device: torch.device,
) -> PairPsf:
    """The psf with its standard errors, turned back from g."""
    G, b = equations.G, equations.b
    left = max(0.0, float(g @ (G @ g) - 2 * b @ g) + equations.power)
    factor = cholesky(M)
    inverse = torch.cholesky_inverse(factor)
    ones = inverse.sum(1)
    B = inverse - torch.outer(ones, ones) / ones.sum()
    freedom = max(1, equations.pixels - len(g) + 1)
    variance = left / freedom * (B @ G * B).sum(1).clamp(min=0)
    error = float(variance.sum().sqrt() / g.norm())
    psf, std = (v.flip(0).reshape(size) for v in (g, variance.sqrt()))
    free = inverse @ b  # with any sum
    sum_error = (left / freedom * float(inverse.sum(0) @ G @ inverse.sum(0))) ** 0.5
    doubts = _doubts(psf, error, (float(free.sum()), sum_error))
    singular = float(torch.linalg.eigvalsh(M)[0]) < _SINGULAR * float(M.diagonal().max())
    if singular:
        doubts["content"] = (
            "the sharp picture lacks frequencies that would tell the psf; give a damp, or a "
            "picture with more detail"
        )
    residual = (left / max(1, equations.pixels)) ** 0.5
    return PairPsf(psf.to(device), std.to(device), error, residual, equations.pixels, doubts)


def _doubts(psf: Tensor, error: float, brightness: tuple[float, float]) -> dict[str, str]:
    doubts = {}
    if error > _UNSURE_OF_PAIR:
        doubts["noise"] = (
            f"the noise makes the psf uncertain by {100 * error:.0f} % of its norm; give a damp, a "
            "smaller size or more pictures"
        )
    rim = 1 - float(psf[1:-1, 1:-1].sum())
    if min(psf.shape) > 2 and rim > _RIM_OF_PAIR:
        doubts["size"] = (
            f"the outermost samples hold {100 * rim:.0f} % of the psf, which may be cut; "
            "take a larger size, or register the pictures"
        )
    total, spread = brightness
    if abs(total - 1) > max(_UNEQUAL, _SURELY * spread):
        doubts["brightness"] = (
            f"without its constraint the psf would sum to {total:.3f}: the pictures are not in one "
            "unit of light; scale one of them"
        )
    return doubts


def _checked(
    sharp: Tensor, blurred: Tensor, size: int | tuple[int, int], weight: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, tuple[int, int]]:
    """Sharp (H, W), blurred and weight where psfs fit in, in float64 on the CPU, and the size."""
    tensors = {"sharp": sharp, "blurred": blurred}
    if weight is not None:
        tensors["weight"] = weight
    for name, value in tensors.items():
        check_values(name, check_real_tensor(name, value))
        if value.ndim != 2:
            raise ValueError(f"{name} must have shape (H, W), got {tuple(value.shape)}.")
        if value.shape != sharp.shape:
            raise ValueError(
                f"sharp is {tuple(sharp.shape)} and {name} {tuple(value.shape)}; crop them to one "
                "frame."
            )
    k, m = odd_sizes(size, sharp)
    x, y = (t.detach().to("cpu", torch.float64) for t in (sharp, blurred))
    w = torch.ones_like(y) if weight is None else weight.detach().to(y)
    if not bool((w >= 0).all()) or bool(w.isinf().any()):
        raise ValueError("weight must not be negative, infinite or NaN; 0 leaves a pixel out.")
    inner = slice(k // 2, x.shape[0] - k // 2), slice(m // 2, x.shape[1] - m // 2)
    lost = (~x.isfinite()).double()[None, None]
    reached = torch.nn.functional.max_pool2d(lost, (k, m), stride=1)[0, 0] > 0
    seen = y[inner].isfinite() & ~reached & (w[inner] > 0)
    if not bool(seen.any()):
        raise ValueError(
            f"no pixel is left whose light a psf of {k} × {m} takes from seen pixels alone; take a "
            "smaller size."
        )
    w, y = torch.where(seen, w[inner], 0.0), torch.where(seen, y[inner], 0.0)
    return x.where(x.isfinite(), 0.0), y, w, (k, m)
