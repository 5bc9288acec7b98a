"""A psf for each node of a grid over the picture: optics are not the same everywhere.

A picture is divided into equal cells, and a node stands in the middle of each.  Between nodes
weights are linear along each axis, constant beyond the outermost, multiplied over the axes, and
sum to 1 everywhere.  The psf of a node is the joint fit of all points, each with its weight there;
it is the local mean of the psfs around it, and the sum of psfs with these weights is the psf in
between.

That is the model of operators with a psf for each place; see Denis, Thiébaut, Soulez, Becker and
Mourya, "Fast approximations of shift-variant blur", IJCV 115 (2015) 253, eq. 18.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor

from ...numerics.checks import check_count, is_sequence, shown
from ...varying.weights import line_weights
from .arguments import checked_picture, checked_saturation
from .fit import Fit, fit
from .measure import MeasuredPsf, measure, report

_LEAST_POINTS = 1.0  # points' weights together: with less a node has no psf of its own
_ODD_NODE = 0.5  # of a point's light that one psf may miss where psfs differ
_MISSED_AT_NODE = 0.2  # of the light around a node: there the psf varies between nodes
_FEW_AT_NODE = 3.0  # with less the psf hangs on one point or two


class PsfGrid(NamedTuple):
    """Psfs over the nodes of a grid, and the evidence.

    Attributes
    ----------
    psfs : (*grid, *size) float64, none negative, each with sum 1
    nodes : where they are, a 1-D tensor of samples for each axis
    counts : (*grid), the weights of the points together that each psf was measured from
    fwhm : (*grid, D), full widths at half maximum along each axis, in samples
    whole : what one psf for all points would be, with the points that were used or refused
    doubts : sentences, by the index of the node as in '(0, 2)', and 'whole'
    """

    psfs: Tensor
    nodes: tuple[Tensor, ...]
    counts: Tensor
    fwhm: Tensor
    whole: MeasuredPsf
    doubts: dict[str, str]


def grid_from_points(
    image: Tensor,
    positions: Tensor | None = None,
    *,
    grid: int | Sequence[int] = 3,
    size: int | Sequence[int],
    saturation: float | str = "auto",
    maxiter: int = 30,
) -> PsfGrid:
    """Measure how the psf varies over a picture of beads or stars.

    First one psf is fitted to all points, as `from_points` does.  Then each node has its own fit,
    in which a point weighs as much as the node has to say where it is: linear interpolation
    between nodes.  A node with less than one point's weight around it gets the psf of all.

    Parameters
    ----------
    image : (H, W) or (D, H, W), real; NaN and infinities were not seen
    positions : (J, D), where points are, in samples; None: they are found
    grid : nodes along each axis
    size : samples of the psfs along each axis, odd
    saturation, maxiter : as in `from_points`

    Returns
    -------
    PsfGrid
        Its `psfs` and `nodes` are what operators with a psf for each place are made of.

    Raises
    ------
    ValueError, TypeError
        As `from_points`, and if grid is no count of nodes.

    Examples
    --------
    >>> import torch
    >>> from unconv import psf
    >>> picture = torch.full((60, 90), 10.0).double()
    >>> for row in (12, 30, 48):
    ...     for column in (12, 28, 44, 60, 76):
    ...         sigma = 1 + column / 90
    ...         blur = psf.gaussian(sigma, truncate=7 / sigma)
    ...         picture[row - 7 : row + 8, column - 7 : column + 8] += 9000 * blur
    >>> counts = torch.poisson(picture, torch.Generator().manual_seed(0))
    >>> found = grid_from_points(counts, grid=(1, 3), size=13)
    >>> found.psfs.shape, [n.tolist() for n in found.nodes]
    (torch.Size([1, 3, 13, 13]), [[29.5], [14.5, 44.5, 74.5]])
    >>> bool((found.fwhm[0, :, 0].diff() > 0.4).all())
    True
    """
    picture, sizes = checked_picture(image, size)
    shape = _checked_grid(grid, picture.ndim)
    level = checked_saturation(saturation)
    check_count("maxiter", maxiter)
    whole, refused, seen = measure(picture, sizes, positions, level, maxiter, _ODD_NODE)
    filled = picture.where(seen, 0.0)
    nodes = tuple(
        (torch.arange(g, dtype=torch.float64) + 0.5) * n / g - 0.5
        for g, n in zip(shape, picture.shape, strict=True)
    )
    places = whole.points.positions.mT.contiguous()
    hats = [line_weights(x, at, "linear") for x, at in zip(nodes, places, strict=True)]
    fits, counts = [], []
    for index in product(*(range(g) for g in shape)):
        share = torch.stack([hat[i] for hat, i in zip(hats, index, strict=True)]).prod(0)
        counts.append(float(share.sum()))
        fits.append(_at_node(filled, seen, sizes, whole, share, maxiter))
    return _told(image, shape, nodes, fits, counts, report(whole, refused, image))


def _at_node(
    image: Tensor, seen: Tensor, size: Sequence[int], whole: Fit, share: Tensor, maxiter: int
) -> Fit | None:
    """The fit with the points' share at a node; None where too few are near."""
    if float(share.sum()) < _LEAST_POINTS:
        return None
    near = share > 0
    start = whole.points.only(near), whole.h
    return fit(image, seen, size, start, share=share[near], maxiter=maxiter)


def _told(
    image: Tensor,
    grid: Sequence[int],
    nodes: tuple[Tensor, ...],
    fits: Sequence[Fit | None],
    counts: Sequence[float],
    whole: MeasuredPsf,
) -> PsfGrid:
    """The psfs in their places, and what is doubtful about each."""
    psfs, widths, doubts = [], [], {}
    indices = product(*(range(g) for g in grid))
    for index, found, count in zip(indices, fits, counts, strict=True):
        here = whole if found is None else report(found, (), image)
        psfs.append(here.psf)
        widths.append(torch.tensor(here.fwhm, dtype=torch.float64))
        told = [why for name, why in here.doubts.items() if name in ("size", "noise")]
        if here.residual > _MISSED_AT_NODE:
            told.append(
                f"the points around it differ by {100 * here.residual:.0f} % from its psf; take a "
                "finer grid"
            )
        if found is None:
            told = [f"the points around it weigh {count:.1f}, less than one: it has the psf of all"]
        elif count < _FEW_AT_NODE:
            told.insert(0, f"the points around it weigh {count:.1f} together; picture more")
        if told:
            doubts[str(index)] = "; ".join(told)
    if "points" in whole.doubts:
        doubts["whole"] = whole.doubts["points"]
    device = image.device
    return PsfGrid(
        torch.stack(psfs).reshape(*grid, *whole.psf.shape),
        tuple(x.to(device) for x in nodes),
        torch.tensor(counts, dtype=torch.float64, device=device).reshape(*grid),
        torch.stack(widths).reshape(*grid, -1).to(device),
        whole,
        doubts,
    )


def _checked_grid(grid: int | Sequence[int], nd: int) -> tuple[int, ...]:
    shape = (grid,) * nd if isinstance(grid, int) else grid
    if not is_sequence(shape):
        raise TypeError(f"grid={shown(grid)} must be a count of nodes, or one for each axis.")
    if len(shape) != nd:
        raise ValueError(f"grid={shown(grid)} must have {nd} numbers, one for each axis.")
    return tuple(check_count("grid", g, most=64) for g in shape)
