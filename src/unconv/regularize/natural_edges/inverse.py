"""[A; damp·L]⁺ for operators that pad nothing, by completion on a periodic grid.

For penalties whose rows translate where they do not vanish: differences between neighbours of a
domain without edges of its own (`penalty="gradient"`), or any L that pads nothing.  The outputs of
A behind the frame, those that were not observed and the differences across the seam are completed
(missing_rows.py), at some pairs of FFTs an image and a row of the stack.

Not for: strides, transposed operators, padding that A invents, one kernel per sample; penalties
that mean something else at the edge, such as the Laplacian of a replicated domain.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...grid.fft import fast_size
from ...inverse.completion.rounds import Completed
from ...inverse.completion.system import shortfall
from ...inverse.facts import CannotServeError, Effort, warn_of_accuracy
from ...inverse.request import Request
from ...numerics.norms import in_unit, ratio, unit_of
from ...numerics.progress import Watch, parts_of, watch_of
from ...operators.convolution import Convolution
from ...operators.linear_operator import gigabytes
from ..penalty import in_groups
from ..stack_inverse import StackInverse
from .grid_stack import GridStack, grid_stack, wraps
from .missing_rows import PenalizedCompletion
from .tile_bound import MOST_UNKNOWNS, spread, tile_bound, trimmed

_LONGEST = 1_000  # `maxiter` overrides it
_OPTIMAL = 1e-13  # of a gradient, where no bound of the error is proven: round-off
_AT_REST, _AT_WORK = 12, 14  # real images of each row that are kept, and that a solve holds
_COPIES = 8  # of a tile's matrix, while its bound is proven
_SLICE_BYTES = 32 * 2**20  # of the images of the grid that are solved for at once


class StackCompletion(StackInverse):
    """[A; damp·L]⁺, its projection and preconditioner made ready.

    Raises
    ------
    CannotServeError
        If rows of A or L do not translate, A and L share a null vector, or memory_limit is short.
    """

    method = "completion"

    def __init__(self, op: Convolution, L: Convolution, request: Request) -> None:
        A, B = op.in_double(), L.in_double()
        sizes = [float(o.weight.detach().abs().amax()) for o in (A, B)]
        unit = float(
            unit_of(torch.tensor(max(sizes[0], request.damp * sizes[1]), dtype=torch.float64))
        )
        need = memory(A, B)
        if need > request.memory_limit:
            raise CannotServeError(f"it takes some {gigabytes(need)}, more than memory_limit")
        with torch.no_grad():
            A = A.with_weight(A.weight.detach() / unit)
            B = B.with_weight(B.weight.detach())
            damp = request.damp / unit
            found = grid_stack(A, B, damp)
            if found is None:
                raise CannotServeError("some rows of it do not translate")
            proven = _proven(A, B, damp, found)
            completion = PenalizedCompletion(found, A.domain_shape[1:], proven)
        norm = torch.tensor([completion.largest * unit], dtype=torch.float64, device=op.device)
        super().__init__(op, L, request, norm, math.sqrt(proven) * unit)
        self.completion, self.unit = completion, unit
        self._places = found.places(self.layout.shapes)
        self.maxiter = request.maxiter or _LONGEST
        self.aim = request.tol if proven else _OPTIMAL

    def _solve(self, y: Tensor) -> Tensor:
        return self._in_slices(y, adjoint=False)[0]

    def _solve_recorded(self, y: Tensor) -> tuple[Tensor, Effort]:
        return self._in_slices(y, adjoint=False)

    def _solve_adjoint(self, x: Tensor) -> Tensor:
        return self._in_slices(x, adjoint=True)[0]

    def advice(self, effort: Effort) -> str | None:
        """What is to be said of the image that is known least, if one falls short."""
        return shortfall(effort, self.maxiter, self.aim)

    def _in_slices(self, v: Tensor, *, adjoint: bool) -> tuple[Tensor, Effort]:
        image = v.element_size() * _AT_WORK * math.prod(self.completion.precision.shape)
        v, size = in_unit(v)
        watch = watch_of(self.progress, self.method, len(v))
        found = [
            self._adjoint(part, watch) if adjoint else self._estimate(part, watch)
            for part in parts_of(v.split(max(1, _SLICE_BYTES // image)), watch)
        ]
        size = size.reshape(-1, *[1] * (found[0][0].ndim - 1))
        x = torch.cat([part for part, _ in found]) * (size / self.unit)
        steps = torch.cat([ended.steps for _, ended in found])
        evidence = torch.cat([ratio(ended.error, ended.size) for _, ended in found])
        met = torch.cat([ended.meets(self.aim) for _, ended in found])
        effort = Effort(iterations=steps, evidence=evidence, met=met)
        advice = self.advice(effort)
        if advice:
            warn_of_accuracy(advice)
        return x, effort

    def _estimate(self, y: Tensor, watch: Watch | None) -> tuple[Tensor, Completed]:
        """(x, what was found) for rows y of the stack, laid flat."""
        grid = y.new_zeros(len(y), *self.completion.precision.shape)
        for part, place in zip(self.layout.split(y), self._places, strict=True):
            grid[place] = part
        grid *= self.completion.inside
        return self.completion.estimate(grid, self.aim, self.maxiter, watch)

    def _adjoint(self, x: Tensor, watch: Watch | None) -> tuple[Tensor, Completed]:
        """(rows of the stack laid flat, what was found) for an image of the domain."""
        grid = x.new_zeros(*x.shape[:2], *self.completion.precision.torus.coarse)
        grid[self.completion.domain] = x
        found = self.completion.adjoint(grid, self.aim, self.maxiter, watch)
        rows = found.w * self.completion.inside
        return self.layout.join(*(rows[place] for place in self._places)), found


def memory(A: Convolution, L: Convolution) -> int:
    """Bytes at the peak of the set-up and of a solve of one image, as measured."""
    axes, real = A.geometry.axes, 1 if not (A.dtype.is_complex or L.dtype.is_complex) else 2
    pixels = math.prod(fast_size(a.n) for a in axes)
    images = real * (_AT_REST + _AT_WORK) * (A.range_shape[0] + L.range_shape[0])
    tile = A.geometry.c_in // A.geometry.groups
    tile *= math.prod(min(a.n, 2 * max(a.extent, 2) - 2) for a in axes)
    proof = real * _COPIES * tile**2 if tile <= MOST_UNKNOWNS else 0
    return 8 * max(images * pixels, proof)  # one after the other


def _proven(A: Convolution, L: Convolution, damp: float, stack: GridStack) -> float:
    """A proven lower bound of λ_min(AᴴA + damp²LᴴL), or 0."""
    if A.seen is not None or wraps(A) or wraps(L):
        return 0.0
    own, other = (
        [spread(taps, [a.dilation for a in o.geometry.axes]) for taps in in_groups(o, stack.groups)]
        for o in (A, L)
    )
    groups: list[list[Tensor]] = []
    for taps, rows in zip(own, other, strict=True):
        mine = [trimmed(taps.cpu()), *(trimmed(damp * row[None].cpu()) for row in rows)]
        if not any(_are_equal(mine, known) for known in groups):  # as of colours with one psf
            groups.append(mine)
    return min(tile_bound(rows, A.domain_shape[1:]) for rows in groups)


def _are_equal(some: list[Tensor], others: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(some, others, strict=True))
