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

Cost, in pairs of FFTs of the grid: one without a cut, two with one cut, two and as many as there
are steps otherwise.  All is computed in the working precision; the blocks in double precision.
Source: Woodbury's identity; Toselli & Widlund, "Domain Decomposition Methods", Springer 2005, §2.
"""

from __future__ import annotations

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
        self._steps = [self._difference(cut) for cut in self.cuts]
        self.pairs = 0.0  # of FFTs of the grid, of all solves

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
        R = torch.fft.rfftn(image).mul_(self.factor.inverse)  # N_t⁻¹g
        self.pairs += 0.5
        if self.cuts:
            u = self._solved(self._across(R), tol, most)
            R = R.add_(self._image_of(u).mul_(self.factor.inverse))
        self.pairs += 0.5
        x = torch.fft.irfftn(R, s=self.sizes, out=image)
        return x[tuple(slice(i, i + n) for i, n in zip(first, g.shape, strict=True))]

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
            q = p - self._across(self._image_of(p).mul_(self.factor.inverse))
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

    def _scatter(self, image: Tensor, u: Tensor) -> None:
        """Set the entries of u that are outputs from an image; a row of two cuts is the first's."""
        for number, (cut, (slab, _)) in enumerate(zip(self.cuts, self._split(u), strict=True)):
            P = self.sizes[cut.axis]
            slab.copy_(image.narrow(cut.axis, P - cut.outputs, cut.outputs))
            for other in self.cuts[:number]:
                n = self.sizes[other.axis]
                slab.narrow(other.axis, n - other.outputs, other.outputs).zero_()

    def _image_of(self, u: Tensor) -> Tensor:
        """The spectrum of Vᵀu."""
        self._gather(u)
        found = torch.fft.rfftn(self._rows, out=self._half)
        found.mul_(self.factor.transfer.conj())
        self.pairs += 0.5
        last = len(self.sizes) - 1
        for cut, step, (_, plane) in zip(self.cuts, self._steps, self._split(u), strict=True):
            whole = torch.fft.fftn if cut.axis == last else torch.fft.rfftn
            spectrum = whole(plane).unsqueeze(cut.axis)
            found.addcmul_(spectrum, step.conj())
        return found

    def _across(self, spectrum: Tensor) -> Tensor:
        """V of the image with a spectrum, which may be the room for spectra and is then lost."""
        u = self.factor.inverse.new_empty(sum(self._counts))
        last = len(self.sizes) - 1
        for cut, step, (_, plane) in zip(self.cuts, self._steps, self._split(u), strict=True):
            weights = step.flatten() / self.sizes[cut.axis]
            if cut.axis == last:  # half of the frequencies stand for all
                twice = torch.full_like(weights, 2)
                twice[0] = 1
                twice[-1] = 1 + self.sizes[last] % 2
                line = torch.tensordot(spectrum, weights * twice, dims=([last], [0]))
                plane.copy_(torch.fft.ifftn(line).real)
            else:
                line = torch.tensordot(spectrum, weights, dims=([cut.axis], [0]))
                plane.copy_(torch.fft.irfftn(line, s=plane.shape))
        torch.mul(spectrum, self.factor.transfer, out=self._half)
        self._scatter(torch.fft.irfftn(self._half, s=self.sizes), u)
        self.pairs += 0.5
        return u

    def _difference(self, cut: Cut) -> Tensor:
        """√(λw)(1 − e^{−iω}), along its axis."""
        angle = frequencies(self.sizes[cut.axis], half=cut.axis == len(self.sizes) - 1)
        found = cut.gain * (1 - torch.polar(torch.ones_like(angle), -angle))
        shape = [-1 if a == cut.axis else 1 for a in range(len(self.sizes))]
        return found.to(self._half.dtype).view(shape)

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
        self._scatter(self._rows, z)
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
