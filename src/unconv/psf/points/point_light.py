"""What points of light make of a psf: the model of a picture, linear in each of its parts.

    y(p) = Σ_j f_j (S_j h)(p − n_j) + b_o(p),    o(p) the point nearest to p

in windows around the points, each pixel once.  Point j has the flux f_j, lies at the sample n_j
and the fraction δ_j beside it (`shifts.py`), and brings a background b_j, constant nearest to it.
Where windows overlap the light of all points adds up, so that neighbours are fitted jointly.  A
window is a few samples wider than the psf, for within the size of h alone nothing would tell a
constant in h from the background.

Given points, y is linear in h; given h, linear in fluxes and backgrounds, and nearly so in δ.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from .shifts import along_axes, shift_matrices

if TYPE_CHECKING:
    from scipy import sparse

_CG_STEPS, _CG_TOL = 400, 1e-10


class Points(NamedTuple):
    """J points of light in D dimensions.

    Attributes
    ----------
    positions : (J, D), in samples
    fluxes, backgrounds : (J,)
    """

    positions: Tensor
    fluxes: Tensor
    backgrounds: Tensor

    def only(self, kept: Tensor) -> Points:
        """Some of them, by index or mask."""
        return Points(*(values[kept] for values in self))


class Windows:
    """The U pixels around points: which they are, whose they are, and what was seen of them.

    Attributes
    ----------
    image, seen, owner : (U,), the pixels, whether they were seen, and the points nearest to them
    where : (U,), their places in the flattened picture, −1 outside of it
    pixels : (J, n), which of the U are in the window of each point
    delta : (J, D), how far the points lie from the middles of their windows, at most ½
    size, margin : samples of the psf along each axis, and those of a window on either side of it
    """

    def __init__(self, image: Tensor, seen: Tensor, size: Sequence[int], positions: Tensor) -> None:
        self.size, self.margin = tuple(size), tuple(max(2, k // 8) for k in size)
        half = [k // 2 + m for k, m in zip(self.size, self.margin, strict=True)]
        middles = positions.round().long()
        self.delta = positions - middles
        offsets = torch.cartesian_prod(*(torch.arange(-r, r + 1) for r in half))
        offsets = offsets.reshape(-1, len(half))
        places = middles[:, None] + offsets[None]  # (J, n, D)
        bounds = torch.tensor(image.shape) - 1
        inside = ((places >= 0) & (places <= bounds)).all(2)
        flat = (places * torch.tensor(image.stride())).sum(2).where(inside, -1)
        self.where, self.pixels = torch.unique(flat, return_inverse=True)
        self.image, self.seen = image.flatten()[self.where], seen.flatten()[self.where]
        self.seen = self.seen & (self.where >= 0)
        self.owner = self._owners(offsets)

    def _owners(self, offsets: Tensor) -> Tensor:
        away = (offsets[None] - self.delta[:, None]).square().sum(2)
        nearest = torch.full_like(self.image, torch.inf)
        nearest.scatter_reduce_(0, self.pixels.flatten(), away.flatten(), "amin")
        mine = away <= nearest[self.pixels]
        points = torch.arange(len(away))[:, None].expand_as(away)
        owner = torch.zeros(len(self.image), dtype=torch.long)
        owner[self.pixels[mine]] = points[mine]
        return owner

    def spread(self, values: Tensor) -> Tensor:
        """The sum of windows (J, n) in the picture, (U,)."""
        picture = torch.zeros_like(self.image)
        return picture.index_add_(0, self.pixels.flatten(), values.flatten())


class Light:
    """The picture that `points` make on `windows`."""

    def __init__(self, windows: Windows, points: Points) -> None:
        self.windows, self.points = windows, points
        pairs = [
            shift_matrices(windows.delta[:, axis], k, m)
            for axis, (k, m) in enumerate(zip(windows.size, windows.margin, strict=True))
        ]
        self.shifts, self._slopes = [S for S, _ in pairs], [D for _, D in pairs]

    @property
    def background(self) -> Tensor:
        """What is below the light of each pixel, (U,)."""
        return self.points.backgrounds[self.windows.owner]

    def model(self, h: Tensor) -> Tensor:
        """The picture (U,) of a psf (n,)."""
        return self.forward(h) + self.background

    def residual(self, h: Tensor) -> Tensor:
        """What the model leaves of the pixels that were seen, 0 in the others."""
        return torch.where(self.windows.seen, self.windows.image - self.model(h), 0.0)

    def forward(self, h: Tensor) -> Tensor:
        """The light of a psf, (U,)."""
        moved = along_axes(self.shifts, h.reshape(1, *self.windows.size)).flatten(1)
        return self.windows.spread(self.points.fluxes[:, None] * moved)

    def backward(self, picture: Tensor) -> Tensor:
        """The transpose of `forward`."""
        return self._gathered(picture, self.shifts, self.points.fluxes)

    def squared(self, picture: Tensor) -> Tensor:
        """The transpose of the squares of `forward`'s coefficients."""
        return self._gathered(
            picture, [S.square() for S in self.shifts], self.points.fluxes.square()
        )

    def _gathered(self, picture: Tensor, matrices: Sequence[Tensor], gains: Tensor) -> Tensor:
        cut = gains[:, None] * picture[self.windows.pixels]
        cut = cut.reshape(len(cut), *(M.shape[1] for M in matrices))
        return along_axes([M.mT for M in matrices], cut).sum(0).flatten()

    def jacobian(self, h: Tensor) -> sparse.csr_matrix:
        """Derivatives of the picture (U,) in D + 2 numbers a point: f_j, all δ_j, b_j."""
        from scipy import sparse  # takes a while to load

        windows, (J, D) = self.windows, self.windows.delta.shape
        h = h.reshape(1, *windows.size)
        columns = [along_axes(self.shifts, h).flatten(1)]
        for axis, slope in enumerate(self._slopes):
            mixed = [slope if a == axis else S for a, S in enumerate(self.shifts)]
            columns.append(self.points.fluxes[:, None] * along_axes(mixed, h).flatten(1))
        values = torch.stack(columns, dim=2)  # (J, n, D + 1)
        rows = windows.pixels[:, :, None].expand_as(values)
        unknowns = torch.arange(J * (D + 2)).reshape(J, 1, D + 2)[:, :, : D + 1].expand_as(values)
        U = len(windows.image)
        data = torch.cat([values.flatten(), torch.ones(U, dtype=h.dtype)])
        i = torch.cat([rows.flatten(), torch.arange(U)])
        j = torch.cat([unknowns.flatten(), windows.owner * (D + 2) + D + 1])
        entries = (data.numpy(), (i.numpy(), j.numpy()))
        return sparse.csr_matrix(entries, shape=(U, J * (D + 2)))


class WeightedLight:
    """½ ‖y − model‖² with `weight` (U,): the psf given the points, the points given a psf.

    Attributes
    ----------
    b, diagonal : (n,), Aᵀ W (y − background) and the diagonal of G = Aᵀ W A, for the A that maps h
        to the picture
    """

    def __init__(self, light: Light, weight: Tensor) -> None:
        windows = light.windows
        self.light, self.weight = light, torch.where(windows.seen, weight, 0.0)
        rest = torch.where(windows.seen, windows.image - light.background, 0.0)
        self.b = light.backward(self.weight * rest)
        self.diagonal = light.squared(self.weight)
        self.diagonal = self.diagonal.clamp(min=1e-12 * float(self.diagonal.max()))

    def apply(self, h: Tensor) -> Tensor:
        """G h."""
        return self.light.backward(self.weight * self.light.forward(h))

    def on_face(self, free: Tensor, h: Tensor) -> Tensor:
        """Conjugate gradients in the free samples, with the diagonal of G, at the sum 1.

        Directions have the sum 0: the preconditioned residual D⁻¹(r − λ1) with its own multiplier.
        """
        inverse = torch.where(free, 1 / self.diagonal, 0.0)

        def prepared(r: Tensor) -> Tensor:
            return inverse * (r - (inverse @ r) / inverse.sum())

        h = torch.where(free, h, 0.0)
        h = h + inverse * ((1 - h.sum()) / inverse.sum())
        r = self.b - self.apply(h)
        z = prepared(r)
        p, rz = z, float(r @ z)
        least = _CG_TOL**2 * float(self.b @ (inverse * self.b))
        for _ in range(_CG_STEPS):
            if rz <= least:
                break
            Gp = self.apply(p)
            curvature = float(p @ Gp)
            if curvature <= 0:  # fluxes so small that G is round-off
                break
            step = rz / curvature
            h, r = h + step * p, r - step * Gp
            z = prepared(r)
            rz, before = float(r @ z), rz
            p = z + (rz / before) * p
        return h

    def moved_points(self, h: Tensor) -> tuple[Points, Tensor]:
        """The points after one step of Gauss and Newton in all at once; the moves (J, D)."""
        from scipy import sparse  # takes a while to load
        from scipy.sparse.linalg import spsolve

        points, (J, D) = self.light.points, self.light.windows.delta.shape
        A = self.light.jacobian(h)
        weighted = sparse.diags(self.weight.numpy()) @ A
        normal = (A.T @ weighted).tocsc()
        ridge = sparse.diags(1e-12 * normal.diagonal() + 1e-300, format="csc")
        found = spsolve(normal + ridge, weighted.T @ self.light.residual(h).numpy())
        step = torch.from_numpy(found).reshape(J, D + 2)
        moves = step[:, 1 : D + 1].clamp(-0.5, 0.5)
        return Points(
            points.positions + moves, points.fluxes + step[:, 0], points.backgrounds + step[:, -1]
        ), moves
