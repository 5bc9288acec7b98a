"""`inverse_kernel`: the least-squares best FIR inverse."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..inverse import Certificate
from ..inverse.plan import damp_value
from ..numerics.checks import check_flag, check_memory_limit
from ..numerics.compiled import outside_graphs
from ..operators.linear_operator import DEFAULT_MEMORY_LIMIT
from .delays import best_delay, solves_for_best
from .exact import ExactInverse, solve_exactly
from .problem import (
    Problem,
    Size,
    chosen_delay,
    pose,
)
from .records import InverseKernel
from .weighted import solve_weighted


@outside_graphs
def inverse_kernel(
    weight: Tensor,
    size: Size,
    *,
    delay: str | Sequence[int] = "center",
    damp: float | Tensor = 0.0,
    side: str = "auto",
    weighting: Tensor | None = None,
    exact: bool = False,
    memory_limit: float = DEFAULT_MEMORY_LIMIT,
) -> InverseKernel:
    """The kernel g that minimises ‖f ∗ g − δ_delay‖² + damp²‖g‖², solved exactly.

    f is the weight of a cross-correlation as in torch.nn, and so is g: `F.conv2d(y, g.weight)`
    undoes y = `F.conv2d(x, f)`, shifted by the delay.  Where f is meant as a true convolution (a
    psf), so is g.

    Parameters
    ----------
    weight : (*k), or (c_out, c_in, *k), floating point or complex; whole numbers if `exact`
    size
        Taps of g, one number per axis (1 to 3 axes), or one for all axes.
    delay
        Position of δ in f ∗ g, from 0 to k + size − 2 per axis.  'center': the middle, the earlier
        of two.  'best': that of least error; exact up to 2048 delays, a search beyond (delays.py).
    damp
        As in SciPy's `lsqr`; a gradient may be asked of a tensor of one element.
    side
        'left': Σ_o g[i, o] ∗ f[o, j] = δ_ij δ, needs c_out ≥ c_in.  'right': Σ_i f[o, i] ∗ g[i, p]
        = δ_op δ, needs c_out ≤ c_in.  'auto': whichever can be; 'left' for square ones.
    weighting : (*full), real, ≥ 0
        Minimise Σ weighting·|f ∗ g − δ|² instead; positive at the delay, which must be given.
    exact
        Fractions, of a real kernel of one channel without damping or weighting; see `ExactInverse`.
    memory_limit
        Bytes that a factor may take.

    Returns
    -------
    InverseKernel
        g as (c_in, c_out, *size), f ∗ g, the residual, the noise gain, the zeros of f on the unit
        torus and advice; differentiable in `weight` and `damp`, except where `exact`.

    Raises
    ------
    MemoryLimitError
        If no direct method fits `memory_limit`; nothing was allocated.
    ValueError, TypeError
        A kernel of zeros, an empty size, a delay outside f ∗ g, …

    Examples
    --------
    >>> import torch
    >>> from unconv.fir import inverse_kernel
    >>> plus = torch.tensor([[0.0, 1, 0], [1, 1, 1], [0, 1, 0]], dtype=torch.float64)
    >>> found = inverse_kernel(plus, (3, 3))
    >>> bool(torch.isclose(found.residual**2, 1 - found.response[0, 0, 2, 2]))
    True
    >>> found.advice[0]
    'F(ω) is zero at (0.288, -0.292) and elsewhere, cycles per sample: no stable inverse exists.'
    >>> fractions = inverse_kernel(plus, (3, 3), exact=True).exact
    >>> print(fractions.taps[1, 1], fractions.taps[0, 1], fractions.taps[0, 0])
    5/21 13/126 -8/63

    References
    ----------
    Robinson & Treitel, "Geophysical Signal Analysis", 1980, ch. 6-7.
    """
    given = weight
    check_memory_limit(memory_limit)
    if check_flag("exact", exact):
        weight = _in_floating_point(given)
    problem = pose(weight, size, side)
    where = chosen_delay(delay, problem.full)
    if exact:
        _check_exact(problem, damp, weighting)
    if weighting is not None:
        if where is None:
            raise ValueError(
                "delay='best' has no meaning under a weighting, which belongs to positions; give "
                "the delay."
            )
        rows = solve_weighted(problem, where, weighting, damp, memory_limit)
        return _record(problem, weight, rows, where, damp, "dense, weighted", None)
    inverse = None
    if where is None:
        inverse = problem.factor(damp, memory_limit, solves_for_best(problem))
        where = best_delay(problem, inverse)
    if exact:
        fractions = solve_exactly(given.reshape(problem.kernel.shape[2:]), problem.size, where)
        return _record_of_fractions(problem, weight, fractions, where)
    inverse = inverse or problem.factor(damp, memory_limit, problem.channels)
    rows, certificate = problem.solve(inverse, problem.delta(where))
    return _record(problem, weight, rows, where, damp, inverse.method, certificate)


def _record(
    problem: Problem,
    weight: Tensor,
    rows: Tensor,
    delay: tuple[int, ...],
    damp: float | Tensor,
    method: str,
    certificate: Certificate | None,
    exact: ExactInverse | None = None,
) -> InverseKernel:
    """Evidence from g as it is returned, rounded to the dtype of f."""
    g = problem.turned(rows).to(weight.dtype)
    response = problem.respond(g)
    return InverseKernel(
        weight=g,
        response=response,
        residual=torch.linalg.vector_norm(response - problem.delta(delay)),
        noise_gain=torch.linalg.vector_norm(g.to(response.dtype)),
        delay=delay,
        side=problem.side,
        damp=damp_value(damp),
        method=method,
        certificate=certificate,
        exact=exact,
        kernel=problem.kernel,
    )


def _record_of_fractions(
    problem: Problem, weight: Tensor, exact: ExactInverse, delay: tuple[int, ...]
) -> InverseKernel:
    taps = [float(exact.taps[i]) for i in sorted(exact.taps)]
    rows = torch.tensor(taps, dtype=torch.float64, device=weight.device)
    rows = rows.reshape(1, 1, *problem.size)
    return _record(problem, weight, rows, delay, 0.0, "fractions", None, exact)


def _in_floating_point(weight: Tensor) -> Tensor:
    """What evidence is computed from where fractions are asked for, outside autograd."""
    if not isinstance(weight, Tensor):  # refused in the same words as without `exact`
        return weight
    weight = weight.detach()
    return weight if weight.is_floating_point() or weight.is_complex() else weight.double()


def _check_exact(problem: Problem, damp: float | Tensor, weighting: Tensor | None) -> None:
    if problem.kernel.shape[:2] != (1, 1) or problem.kernel.is_complex():
        raise NotImplementedError(
            f"exact=True is for real kernels of one channel, got {tuple(problem.kernel.shape)} of "
            f"{problem.kernel.dtype}; leave it out."
        )
    if damp_value(damp) or weighting is not None:
        raise NotImplementedError(
            "exact=True solves the plain problem; leave damp and weighting out."
        )
