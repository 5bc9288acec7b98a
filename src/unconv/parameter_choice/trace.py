"""tr(I − A A_λ⁺) of an operator that nothing diagonalises.

*Exactly*, from the augmented system on the periodic grid (inverse/boundary/forms.py), both corners
α = damp, constrained on the ghosts: the few samples where A and the periodic grid differ.  Its ρ is
(y − Ax)/α = (I − A A_λ⁺)y/α, so the trace is α times that of the ρρ-block of its inverse.  With 𝓑
the system without its constraints W u = 0, Π the projector on ρ,

    tr(I − A A_λ⁺) = α ( Σ_ω tr 𝓑(ω)⁻¹_ρρ  −  tr( S⁻¹ · W 𝓑⁻¹ Π 𝓑⁻¹ Wᴴ ) ),    S = W 𝓑⁻¹ Wᴴ + D:

outputs that do not exist are constrained to ρ = 0 and add nothing.  The second table is filled from
a Green's function as S is, that of the blocks 𝓑⁻¹Π𝓑⁻¹.  It is α times the derivative in α of
log det 𝓑 + log det S.  Cost: one LU of the ghosts and a solve with as many right-hand sides, for
every damp.

*Estimated*, for any inverse: E zᴴ(z − A A_λ⁺z) over independent signs z (Hutchinson), whose
standard error is at most about √(2 tr/probes), two thousandths of the trace for 512² and 4 probes.

A transposed operator has the singular values of the convolution, and m − n more zeros.

Source: Golub & von Matt, "Generalized cross-validation for large-scale problems", J. Comput. Graph.
Statist. 6 (1997), for the estimate; Hutchinson, Commun. Statist. Simul. 18 (1989) 1059.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..convolve import grouped
from ..grid.torus import Torus
from ..inverse.boundary.bordered import Bordered, Corners
from ..inverse.boundary.ghosts import Ghosts, find_ghosts
from ..inverse.boundary.sizes import grid_of
from ..operators.convolution import Convolution

EXACT_LIMIT = 1024
"""Most ghosts for which the trace is exact, a fraction of a second a damp.  Beyond, the picture is
so large that an estimate is good to a percent."""


def ghost_count(op: Convolution) -> int:
    """Order of the dense system of `exact_trace`: the number of its ghosts.

    Examples
    --------
    >>> import torch, unconv
    >>> ghost_count(unconv.ConvOperator(torch.randn(1, 1, 3, 3), (8, 8), padding=1))
    34
    """
    return sum(strip.size for strip in _ghosts(op, _grid(op)).augmented(1.0)[0])


def exact_trace(op: Convolution, damp: float) -> float:
    """tr(I − A A_λ⁺), summed over the kernels of an operator with one per sample.

    Parameters
    ----------
    op : of any kind, double precision, its weights of order one
    damp : positive

    Examples
    --------
    >>> import torch, unconv
    >>> A = unconv.ConvOperator(torch.randn(1, 1, 3, 3).double(), (6, 6), padding=1)
    >>> s = torch.linalg.svdvals(A.to_dense())
    >>> bool(torch.isclose((1 / (1 + s**2)).sum(), torch.tensor(exact_trace(A, 1.0)).double()))
    True
    """
    if op.batch_size is not None:
        return sum(exact_trace(op.of_sample(i), damp) for i in range(op.batch_size))
    torus, g = _grid(op), op.geometry
    rows = g.c_out // g.groups
    taps = op.taps.detach()
    taps = taps.conj().resolve_conj() if op.transposed else taps
    C, corners = torus.spectrum(grouped(taps, g), g), Corners(damp, damp)
    trace = Bordered.augmented(torus, C, _ghosts(op, torus), corners).trace_of_inverse(rows)
    outputs, pixels = math.prod(g.range_shape), math.prod(g.domain_shape)
    left = damp * trace
    return left + pixels - outputs if op.transposed else left


def signs(op: Convolution, count: int, seed: int) -> Tensor:
    """Random ±1 (count, *range_shape); where each sample has a kernel, (count, B, *range_shape)."""
    generator = torch.Generator().manual_seed(seed)
    shape = (count, *([op.batch_size] if op.batch_size else []), *op.range_shape)
    flips = torch.randint(2, shape, generator=generator)
    return (2 * flips - 1).to(op.weight)


def _grid(op: Convolution) -> Torus:
    return grid_of(op.geometry, not op.dtype.is_complex)


def _ghosts(op: Convolution, torus: Torus) -> Ghosts:
    return find_ghosts(op.geometry, torus, all_pixels=False, outputs_first=True, device=op.device)
