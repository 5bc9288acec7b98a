"""How the residual depends on the size of g, and the smallest size that is exact.

A left inverse of size s has c_out·Πs unknowns for c_in·Π(s + k − 1) equations (a right inverse the
same with the channels exchanged).  Generically they have a solution from some s on if c_out ≥ c_in
+ dimensions, as F(z) then has full rank for all z ≠ 0: for nd + 1 kernels of one channel from
s = nd·(k − 1), where the unknowns less the syzygies f_a ∗ f_b − f_b ∗ f_a = 0 match the equations.
A point of the unit torus where F loses rank rules every size out.

Source: Harikumar & Bresler, "FIR perfect signal reconstruction from multiple convolutions", IEEE
Trans. CAS II 45 (1998).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from torch import Tensor

from ..numerics.checks import check_count, check_number, shown
from ..numerics.compiled import outside_graphs
from .best_inverse import inverse_kernel
from .problem import Size, chosen_side, kernel_and_size
from .records import InverseKernel


@outside_graphs
def residuals_by_size(
    weight: Tensor, sizes: Iterable[Size], **options: Any
) -> list[tuple[tuple[int, ...], float]]:
    """(size, ‖f ∗ g − δ‖) for each of some sizes.

    Parameters
    ----------
    weight : f, (*k), or (c_out, c_in, *k), floating point or complex
    sizes
        Each the taps of g, one number per axis (1 to 3 axes), or one for all axes.
    options : further ones of `inverse_kernel`, such as `delay`, `damp` and `side`

    Returns
    -------
    A list of (size, residual), in the order of `sizes`

    Raises
    ------
    MemoryLimitError
        If no direct method fits `memory_limit`.
    ValueError, TypeError
        A kernel of zeros, an empty size, a delay outside f ∗ g, …

    Examples
    --------
    A zero on the unit circle: the residual falls like size^(−1/2).

    >>> import torch
    >>> from unconv.fir import residuals_by_size
    >>> pair = torch.tensor([1.0, 1.0], dtype=torch.float64)
    >>> [(size, round(r, 9)) for size, r in residuals_by_size(pair, [(15,), (63,)])]
    [((15,), 0.25), ((63,), 0.125)]
    """
    if not isinstance(sizes, Iterable) or isinstance(sizes, str | bytes | Tensor):
        raise TypeError(
            f"sizes={shown(sizes)} must be several sizes, such as [(3, 3), (5, 5)]; give one as "
            "[size]."
        )
    found = (inverse_kernel(weight, size, **options) for size in sizes)
    return [(g.size, float(g.residual.detach())) for g in found]


@outside_graphs
def smallest_inverse(
    weight: Tensor,
    *,
    tol: float = 1e-10,
    max_size: int | None = None,
    delay: str | Sequence[int] = "best",
    side: str = "auto",
    **options: Any,
) -> InverseKernel:
    """The smallest g whose residual ‖f ∗ g − δ‖ is at most `tol`.

    Sizes (s, …, s) grow from s = 1; then one axis after the other shrinks while `tol` holds.

    Parameters
    ----------
    weight : (c_out, c_in, *k)
    tol
        What counts as exact.  A residual that falls exponentially passes any tol at some size,
        even where no inverse of finite size is exact.
    max_size
        Where to stop; by default nd·c·(k − 1) + 1 for the longest axis k and c = min(c_in, c_out),
        which generic kernels do not need.
    delay
        Position of δ in f ∗ g: one number per axis, 'center' or 'best'.
    side
        'left' for g ∗ f = δ between channels, 'right' for f ∗ g = δ, 'auto' for whichever can be.
    options : further ones of `inverse_kernel`, such as `damp` and `memory_limit`

    Raises
    ------
    ValueError
        If no size up to `max_size` reaches `tol`: with the last residual, and the zeros of F on the
        unit torus where these make it impossible.

    Examples
    --------
    >>> import torch
    >>> from unconv.fir import smallest_inverse
    >>> f = torch.randn(3, 1, 3, 3, dtype=torch.float64)
    >>> found = smallest_inverse(f)
    >>> found.size, bool(found.residual < 1e-10)
    ((2, 4), True)
    """
    check_number("tol", tol, positive=True, why="; round-off alone leaves about 1e-14")
    if max_size is not None:
        check_count("max_size", max_size)
    kernel, start = kernel_and_size(weight, 1)
    side = chosen_side(side, *kernel.shape[:2])
    longest = max(kernel.shape[2:]) - 1
    generic = len(start) * min(kernel.shape[:2]) * longest + 1
    largest = generic if max_size is None else max_size

    def at(size: tuple[int, ...]) -> InverseKernel:
        return inverse_kernel(weight, size, delay=delay, side=side, **options)

    found = at(start)
    while found.residual > tol:
        if found.size[0] >= largest:
            raise ValueError(
                f"no size up to {largest} reaches tol={tol:g}: the residual is "
                f"{found.residual.item():.3g} at {found.size}; use a larger max_size or tol, or "
                f"more channels ({found.advice[0].rstrip('.')})."
            )
        found = at(tuple(s + 1 for s in found.size))
    return _shrunk(found, at, tol)


def _shrunk(
    found: InverseKernel, at: Callable[[tuple[int, ...]], InverseKernel], tol: float
) -> InverseKernel:
    """Shrink one axis after the other, while the residual stays under tol."""
    for axis in range(len(found.size)):
        while found.size[axis] > 1:
            less = at(tuple(s - (a == axis) for a, s in enumerate(found.size)))
            if less.residual > tol:
                break
            found = less
    return found
