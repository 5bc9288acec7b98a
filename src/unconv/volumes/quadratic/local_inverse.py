"""N⁻¹ on a box with natural edges on some sides, by one periodic grid and the rows it has too many.

A tile with its halo is a box of the scene.  Put it on a periodic grid of P samples an axis, P a
little larger than the box.  Along an axis on which the box ends inside the scene the grid stays
periodic: what is beyond is nobody's, and the halo keeps it away from the core.  Along an axis on
which it ends at the border of the scene the grid is *cut open* there: the rows of A and of D that
would read across the cut are taken away.  With V these rows, N_t the periodic operator,

    T = N_t − VᵀV,     T⁻¹ = N_t⁻¹ + N_t⁻¹Vᵀ S⁻¹ V N_t⁻¹,     S = I − V N_t⁻¹ Vᵀ,

which is exact: T is the N of a scene of P samples with natural edges at the cut.  For a box that is
the whole scene it is N itself.

S is solved by conjugate gradients.  The rows across the cut of one axis are k − 1 outputs and one
difference for each place along the other axes, along which S is circulant: at each of their
frequencies a block of k × k,

    (1/P) Σ_ω v_i(ω) conj(v_j(ω)) / N̂(ω),     v_j = e^{iωj} K̂,  j = P − k + 1 … P − 1,
                                              and √(λw)·(1 − e^{−iω}),

of which the outputs' part is Toeplitz in the lags of one inverse transform.  The blocks of the cut
axes, inverted, are the preconditioner (rows in a corner, which two cuts share, are corrected by
both).  With a single cut axis they are S⁻¹.

V and Vᵀ need no FFT of the grid: of the k planes that they look at, the transform along the axis is
a product with k waves for each frequency along the others, and those of the others are FFTs of k
planes.  On a grid of 112³ with k = 9 such a product takes a sixteenth of a pair of FFTs.

Cost: one pair of FFTs of the grid, and with k = 9 half a pair more for one cut, about one pair more
a step for three.  All is computed in the working precision; the blocks in double precision.
Source: Woodbury's identity; Toselli & Widlund, "Domain Decomposition Methods", Springer 2005, §2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .grid_factor import Cut, GridFactor
from .problem import frequencies


class LocalInverse:
    """T⁻¹ for one choice of cut axes, with the memory that a solve needs.

    Parameters
    ----------
    factor : of the grid
    axes : which are cut open

    Not for two threads at a time, which would share the memory.

    Examples
    --------
    >>> from unconv.volumes.quadratic.grid_factor import grid_factor
    >>> from unconv.volumes.quadratic.problem import Problem
    >>> problem = Problem(torch.ones(3, 3, dtype=torch.float64) / 9, (8, 6), 0.01, (1.0, 1.0))
    >>> solve = LocalInverse(grid_factor(problem, problem.scene, (0, 1), torch.float64), (0, 1))
    >>> x = solve(torch.ones(10, 8, dtype=torch.float64), (0, 0), tol=1e-10)
    >>> x.shape
    torch.Size([10, 8])
    """

    def __init__(self, factor: GridFactor, axes: Sequence[int]) -> None:
        self.factor, self.sizes = factor, factor.sizes
        self.cuts = [factor.cuts[a] for a in axes]
        kind = factor.inverse.dtype
        self._half = torch.empty(*self.sizes[:-1], self.sizes[-1] // 2 + 1, dtype=kind.to_complex())
        self._rows = torch.zeros(self.sizes if self.cuts else (0,), dtype=kind)  # 0 off the cuts
        self._counts = [
            n for c in self.cuts for n in (self._slab(c).numel(), self._plane(c).numel())
        ]
        self._along = [_Line(cut, self.sizes, kind.to_complex()) for cut in self.cuts]
        self.applied = 0  # how often N_t⁻¹ was, by all solves

    def __call__(
        self, g: Tensor, first: Sequence[int], *, tol: float = 1e-2, most: int = 100
    ) -> Tensor:
        """T⁻¹g on the box, for g that is zero elsewhere on the grid.

        Parameters
        ----------
        g : (*m), the box
        first : where it begins on the grid, along each axis
        tol : of the residual of S in the norm of its preconditioner, relative to the right side
        most : steps
        """
        image = self._placed(g, first)
        R = self._inverted(torch.fft.rfftn(image))  # N_t⁻¹g
        if self.cuts:
            u = self._solved(self._across(R), tol, most)
            R = R.add_(self._inverted(self._image_of(u)))
        x = torch.fft.irfftn(R, s=self.sizes, out=image)
        return x[tuple(slice(i, i + n) for i, n in zip(first, g.shape, strict=True))]

    def _inverted(self, spectrum: Tensor) -> Tensor:
        """N_t⁻¹, in place."""
        self.applied += 1
        return spectrum.mul_(self.factor.inverse)

    def _placed(self, g: Tensor, first: Sequence[int]) -> Tensor:
        image = torch.zeros(self.sizes, dtype=self.factor.inverse.dtype)
        image[tuple(slice(i, i + n) for i, n in zip(first, g.shape, strict=True))] = g
        return image

    def _solved(self, b: Tensor, tol: float, most: int) -> Tensor:
        """S⁻¹b."""
        z = self._preconditioned(b)
        if len(self.cuts) == 1:
            return z
        u, r, p = torch.zeros_like(b), b, z.clone()
        rz = start = float(r @ z)
        for _ in range(most):
            if not rz > tol**2 * start:  # NaN ends it too
                break
            q = p - self._across(self._inverted(self._image_of(p)))
            alpha = rz / float(p @ q)
            u.add_(p, alpha=alpha)
            r.sub_(q, alpha=alpha)
            z = self._preconditioned(r)
            rz, before = float(r @ z), rz
            p.mul_(rz / before).add_(z)
        return u

    # --- rows across the cuts: vectors of outputs and differences, cut after cut
    def _slab(self, cut: Cut) -> Tensor:
        """The outputs across a cut, a part of the image of all rows."""
        P = self.sizes[cut.axis]
        return self._rows.narrow(cut.axis, P - cut.outputs, cut.outputs)

    def _plane(self, cut: Cut) -> Tensor:
        return self._rows.select(cut.axis, 0)

    def _split(self, u: Tensor) -> list[tuple[Tensor, Tensor]]:
        """For each cut its outputs and its differences."""
        parts = iter(u.split(self._counts))
        return [
            (next(parts).view(self._slab(c).shape), next(parts).view(self._plane(c).shape))
            for c in self.cuts
        ]

    def _gather(self, u: Tensor) -> None:
        """Put the outputs among the entries of u on the image; a row has one that is not zero."""
        for cut in self.cuts:
            self._slab(cut).zero_()
        for cut, (slab, _) in zip(self.cuts, self._split(u), strict=True):
            self._slab(cut).add_(slab)

    def _keep_own_(self, number: int, slab: Tensor) -> Tensor:
        """Make the outputs of a cut 0 that are a cut's before it too, which has them."""
        for other in self.cuts[:number]:
            P = self.sizes[other.axis]
            slab.narrow(other.axis, P - other.outputs, other.outputs).zero_()
        return slab

    def _image_of(self, u: Tensor) -> Tensor:
        """The spectrum of Vᵀu, in the room for spectra."""
        found = self._half.zero_()
        planes = []
        for (slab, plane), line in zip(self._split(u), self._along, strict=True):
            rows = torch.cat([slab.movedim(line.axis, 0), plane[None]])
            others = [*range(1, rows.ndim)]
            Y = torch.fft.fftn(rows, dim=others) if line.last else torch.fft.rfftn(rows, dim=others)
            line.spread_(found, line.waves, Y[:-1])
            planes.append(Y[-1:])
        found.mul_(self.factor.transfer.conj())
        for line, Y in zip(self._along, planes, strict=True):
            line.spread_(found, line.step, Y)
        return found

    def _across(self, spectrum: Tensor) -> Tensor:
        """V of the image with a spectrum, which may be the room for spectra and is then lost."""
        planes = [line.sums(spectrum, line.step) for line in self._along]
        torch.mul(spectrum, self.factor.transfer, out=self._half)
        u = self.factor.inverse.new_empty(sum(self._counts))
        for number, (slab, plane) in enumerate(self._split(u)):
            line = self._along[number]
            Y = torch.cat([line.sums(self._half, line.waves), planes[number]])
            others = [*range(1, Y.ndim)]
            if line.last:
                rows = torch.fft.ifftn(Y, dim=others).real
            else:
                rows = torch.fft.irfftn(Y, s=plane.shape, dim=others)
            slab.copy_(rows[:-1].movedim(0, line.axis))
            plane.copy_(rows[-1])
            self._keep_own_(number, slab)
        return u

    def _preconditioned(self, r: Tensor) -> Tensor:
        """The inverted blocks of all cuts, added up."""
        self._gather(r)
        parts = [
            self._by_blocks(cut, self._slab(cut), plane)
            for cut, (_, plane) in zip(self.cuts, self._split(r), strict=True)
        ]
        for cut in self.cuts:
            self._slab(cut).zero_()
        z = torch.empty_like(r)
        for cut, part, (_, plane) in zip(self.cuts, parts, self._split(z), strict=True):
            self._slab(cut).add_(part[:-1].movedim(0, cut.axis))
            plane.copy_(part[-1])
        for number, (cut, (slab, _)) in enumerate(zip(self.cuts, self._split(z), strict=True)):
            slab.copy_(self._slab(cut))
            self._keep_own_(number, slab)
        return z

    def _by_blocks(self, cut: Cut, slab: Tensor, plane: Tensor) -> Tensor:
        """(k, *others): one cut's outputs and differences, by its inverted blocks."""
        rows = torch.cat([slab.movedim(cut.axis, 0), plane[None]])
        axes = [*range(1, rows.ndim)]
        Y = torch.fft.rfftn(rows, dim=axes)
        columns = zip(cut.blocks.unbind(1), Y.flatten(1), strict=True)  # a third of the time of bmm
        Z = torch.zeros_like(Y).flatten(1)
        for column, y in columns:
            Z.addcmul_(column, y)
        return torch.fft.irfftn(Z.view(Y.shape), s=plane.shape, dim=axes)


class _Line:
    """What a cut's rows of A and D are for frequencies along its axis.

    Attributes
    ----------
    axis, last : which, and whether it is the one of which half of the frequencies are stored
    waves : (k − 1, ω), e^{iωj} for the outputs
    step : (1, ω), √(λw)(1 − e^{−iω}) for the difference
    """

    def __init__(self, cut: Cut, sizes: Sequence[int], dtype: torch.dtype) -> None:
        self.axis, self.last = cut.axis, cut.axis == len(sizes) - 1
        P = sizes[cut.axis]
        angle = frequencies(P, half=self.last)
        turns = torch.arange(P - cut.outputs, P, dtype=angle.dtype)[:, None] * angle
        self.waves = torch.polar(torch.ones_like(turns), turns).to(dtype)
        step = 1 - torch.polar(torch.ones_like(angle), -angle)
        self.step = (cut.gain * step).to(dtype)[None]
        self._weights = torch.full_like(angle, 1 / P)
        if self.last:  # half of the frequencies stand for all
            self._weights[1 : (P + 1) // 2] *= 2
        self._weights = self._weights.to(dtype.to_real())

    def sums(self, spectrum: Tensor, waves: Tensor) -> Tensor:
        """(rows, *others): the inverse transform along the axis, at some rows alone."""
        weighted = waves * self._weights
        if self.last:
            found = weighted @ spectrum.view(-1, spectrum.shape[-1]).mT
        else:
            found = (weighted @ self._lines(spectrum)).movedim(1, 0)
        others = [n for a, n in enumerate(spectrum.shape) if a != self.axis]
        return found.reshape(-1, *others)

    def spread_(self, spectrum: Tensor, waves: Tensor, rows: Tensor) -> None:
        """Add what has some rows, given by their spectrum over the other axes, and no more."""
        if self.last:
            spectrum.view(-1, spectrum.shape[-1]).addmm_(rows.flatten(1).mT, waves.conj())
            return
        lines = self._lines(spectrum)
        few = rows.reshape(-1, lines.shape[0], lines.shape[2]).movedim(1, 0)
        lines.baddbmm_(waves.mH.expand(len(lines), -1, -1), few)

    def _lines(self, spectrum: Tensor) -> Tensor:
        """(before, P, after): a spectrum as lines along the axis."""
        before = math.prod(spectrum.shape[: self.axis])
        return spectrum.view(before, spectrum.shape[self.axis], -1)
