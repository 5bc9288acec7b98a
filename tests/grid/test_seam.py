"""The seam is all in which padding differs from a grid that only holds the domain."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings

from unconv import ConvOperator
from unconv.convolve import grouped
from unconv.grid.modes import MODES
from unconv.grid.seam import axis_seam, find_seam, seam_counts, taps_of_line
from unconv.grid.torus import Torus, multiply

from ..helpers import data, randn, relative
from ..strategies import Case, cases

NOT_ZEROS = tuple(mode for mode in MODES if mode != "zeros")
continued = cases(modes=NOT_ZEROS, transposed=False, per_sample=False)


def smallest_grid(op: ConvOperator) -> Torus:
    axes = op.geometry.axes
    coarse = tuple(max(-(-a.n // a.stride), a.m) for a in axes)
    return Torus(coarse, tuple(a.stride for a in axes), not op.dtype.is_complex)


@given(continued)
@settings(max_examples=60)
def test_the_grid_and_its_seam_are_the_operator(case: Case):
    """A = P (C + Uᴴ T F)."""
    op = case.operator()
    g, torus = op.geometry, smallest_grid(op)
    weight = grouped(op.taps, g)
    x = data(op.domain_shape, op)
    grid = x.new_zeros(*x.shape[:2], *torus.fine)
    grid[(..., *(slice(n) for n in x.shape[2:]))] = x
    blocks = torus.spectrum(weight, g)
    y = torus.inverse_transform(multiply(blocks, torus.transform(torus.to_phases(grid))))
    y = y[(..., *(slice(a.m) for a in g.axes))]

    seam = find_seam(g.axes, torus.fine)
    held = (x[(..., *source.T)] * factor for source, factor in seam.held)
    padded = sum(held, x.new_zeros(()))
    F = (padded - grid[(..., *(seam.pads % torch.tensor(torus.fine)).T)]).unflatten(
        1, (g.groups, -1)
    )
    read = (seam.taps >= 0).to(weight.dtype)
    T = weight[0].flatten(3)[..., seam.taps.clamp(min=0)] * read  # (g, r, c, e, p)
    y[(..., *seam.edges.T)] += torch.einsum("grcep,ngcp->ngre", T, F).flatten(1, 2)
    scale = float(op(x).norm()) or float(op.weight.norm() * x.norm())
    assert relative(y, op(x), scale) < 1e-13


@given(continued)
@settings(max_examples=60)
def test_counts_are_those_of_the_seam(case: Case):
    op = case.operator()
    axes, fine = op.geometry.axes, smallest_grid(op).fine
    seam, counts = find_seam(axes, fine), seam_counts(axes, fine)
    assert counts == (len(seam.edges), len(seam.pads), int((seam.taps >= 0).sum()))
    for axis, places in ((seam.edge_axis, seam.edges), (seam.pad_axis, seam.pads)):
        assert axis.shape == places.shape[:1]
    for i, a in zip(seam.edges.tolist(), seam.edge_axis.tolist(), strict=True):
        assert axis_seam(axes[a], fine[a]).on_edge[i[a]]


@pytest.mark.parametrize("mode", NOT_ZEROS)
def test_a_same_convolution_has_half_a_kernel_of_edges_and_pads_a_side(mode):
    op = ConvOperator(randn(1, 1, 5, 3), (9, 8), padding=(2, 1), padding_mode=mode)
    axes = op.geometry.axes
    expected = [(0, 0, 0), (0, 0, 0)] if mode == "circular" else [(4, 4, 6), (2, 2, 2)]
    assert [seam_counts(axes[a : a + 1], (n,)) for a, n in enumerate((9, 8))] == expected


def test_a_wide_image_is_counted_without_its_samples():
    op = ConvOperator(randn(1, 1, 3), (2**16,), padding=1, padding_mode="reflect")
    assert seam_counts(op.geometry.axes, (2**16,)) == (2, 2, 2)


@given(cases(dims=(1,), modes=NOT_ZEROS, transposed=False, per_sample=False))
@settings(max_examples=40)
def test_taps_of_a_line_read_what_the_operator_reads(case: Case):
    op = case.operator()
    read = taps_of_line(op.geometry.axes[0])
    x = data(op.domain_shape, op)
    c = op.geometry.c_in // op.geometry.groups
    lines = sum(x[..., sample] * factor for sample, factor in read)
    lines = lines.unflatten(1, (op.geometry.groups, c))  # (N, g, c, m, k)
    y = torch.einsum("grck,ngcmk->ngrm", grouped(op.taps, op.geometry)[0], lines).flatten(1, 2)
    scale = float(op(x).norm()) or float(op.weight.norm() * x.norm())
    assert relative(y, op(x), scale) < 1e-13


def test_corners_of_two_axes_are_pads():
    op = ConvOperator(randn(1, 1, 3, 3), (5, 6), padding=1, padding_mode="reflect")
    counts = seam_counts(op.geometry.axes, smallest_grid(op).fine)
    assert counts.pads == 7 * 8 - 5 * 6
    assert counts.edges == 5 * 6 - 3 * 4
