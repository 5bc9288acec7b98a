"""Ghosts are where a convolution and its periodic grid differ, and nowhere else."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings

from unconv.grid.torus import multiply
from unconv.inverse.boundary.ghosts import fill_green
from unconv.testing import dense_twin

from ...helpers import C128, data, randn, relative
from ...strategies import Case, cases
from .ghost_parts import dtype_of, matrix_of_blocks, matrix_of_strip, parts_of

plain = cases(transposed=False, per_sample=False)


def boxed(x: torch.Tensor, grid: tuple[int, ...]) -> torch.Tensor:
    out = x.new_zeros(*x.shape[:2], *grid)
    out[(..., *(slice(n) for n in x.shape[2:]))] = x
    return out


@given(plain)
@settings(max_examples=60)
def test_nothing_wraps_onto_an_output_of_the_smallest_grid(case: Case):
    """P C E = A with E the domain and its ghosts, each a sum over its sources or zero."""
    op, torus, blocks, ghosts = parts_of(case.operator(), all_pixels=True)
    x = data(op.domain_shape, op)
    grid = torus.to_phases(boxed(x, torus.fine))
    grid = grid.unflatten(1, (op.geometry.groups, -1)).contiguous()
    copied = -ghosts.constraints.gather(grid)  # R x: the ghosts themselves are zero yet
    ghosts.pixels.scatter_(grid, copied)
    left = float(ghosts.constraints.gather(grid).abs().sum())
    exact = case.options["padding_mode"] != "antireflective"  # whose ghosts are sums, and rounded
    assert left <= (0.0 if exact else 1e-14 * float(copied.abs().sum()))
    out = torus.inverse_transform(multiply(blocks, torus.transform(grid.flatten(1, 2))))
    y = out[(..., *(slice(a.m) for a in op.geometry.axes))]
    # Where all taps fall into the padding A is zero, and round-off is that of the taps.
    scale = float(op(x).norm()) or float(op.weight.norm() * x.norm())
    assert relative(y, op(x), scale) < 1e-13
    assert relative(y.flatten(1), x.flatten(1) @ dense_twin(op).mT, scale) < 1e-13


@given(plain)
@settings(max_examples=60)
def test_ghosts_and_box_are_the_whole_grid(case: Case):
    op, torus, _, ghosts = parts_of(case.operator(), all_pixels=True)
    fine, coarse = math.prod(torus.fine), math.prod(torus.coarse)
    assert ghosts.pixels.ghosts == fine - math.prod(a.n for a in op.geometry.axes)
    assert ghosts.outputs.ghosts == coarse - math.prod(a.m for a in op.geometry.axes)
    for strip in (ghosts.pixels, ghosts.outputs):
        places = strip.terms[0].flat(torus)
        assert len(places.unique()) == strip.ghosts
    assert ghosts.copies <= (op.geometry.axes[0].mode != "zeros")
    read = parts_of(op).ghosts
    assert read.pixels.ghosts == read.constraints.ghosts <= ghosts.pixels.ghosts


@given(plain)
def test_scatter_is_the_adjoint_of_gather(case: Case):
    op, torus, _, ghosts = parts_of(case.operator())
    components = ghosts.pixels.components.stop
    for strip in (ghosts.outputs, ghosts.pixels, ghosts.constraints):
        u = randn(2, op.geometry.groups, components, *torus.coarse, dtype=dtype_of(torus))
        z = randn(2, op.geometry.groups, strip.size, dtype=dtype_of(torus), seed=1)
        back = torch.zeros_like(u)
        strip.scatter_(back, z)
        difference = torch.vdot(z.flatten(), strip.gather(u).flatten()) - torch.vdot(
            back.flatten(), u.flatten()
        )
        assert abs(difference) <= 1e-13 * float(torch.linalg.norm(u) * (1 + torch.linalg.norm(z)))


@given(plain)
def test_partial_transforms_equal_those_of_the_grid(case: Case):
    op, torus, _, ghosts = parts_of(case.operator())
    groups, components = op.geometry.groups, ghosts.pixels.components.stop
    u = randn(2, groups * components, *torus.coarse, dtype=dtype_of(torus))
    U = torus.transform(u).unflatten(1, (groups, components))
    for strip in (ghosts.outputs, ghosts.pixels, ghosts.constraints):
        found = strip.values_of(U)
        expected = strip.gather(u.unflatten(1, (groups, components)))
        assert relative(found, expected, torch.linalg.norm(u)) < 1e-14
        z = randn(2, groups, strip.size, dtype=dtype_of(torus), seed=1)
        grid = torch.zeros_like(u).unflatten(1, (groups, components))
        strip.scatter_(grid, z)
        F = torch.zeros_like(U)
        strip.add_spectrum_(F, z)
        whole = torus.transform(grid.flatten(1, 2)).unflatten(1, (groups, components))
        assert relative(F, whole, 1 + torch.linalg.norm(whole)) < 1e-13


@pytest.mark.parametrize("slices", [1, 10**6])
@given(case=plain)
@settings(max_examples=25)
def test_greens_functions_are_rows_of_the_inverse(slices, case: Case):
    """rows · K⁻¹ · columnsᴴ, for any pair of strips and any blocks."""
    _, torus, _, ghosts = parts_of(case.operator())
    components = ghosts.pixels.components.stop
    kind = torch.complex128
    blocks = randn(torus.frequencies, components, components, dtype=kind)
    if torus.real:
        torus.symmetrize_(blocks)
    K = matrix_of_blocks(blocks, torus)
    strips = (ghosts.outputs, ghosts.pixels, ghosts.constraints)
    for rows in strips:
        for columns in strips:
            S = torch.empty(columns.size, rows.size, dtype=dtype_of(torus)).mT
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("unconv.inverse.boundary.ghosts._SLICE_ENTRIES", slices)
                fill_green(S, blocks, rows, columns)
            W, J = (matrix_of_strip(s, components) for s in (rows, columns))
            assert relative(S, W @ K @ J.mH, 1 + torch.linalg.norm(K)) < 1e-13


def test_ghosts_of_a_known_picture():
    """Four samples, one ghost on each side: reflect copies samples 1 and 2, none is its own."""
    from unconv import ConvOperator

    op = ConvOperator(randn(1, 1, 3, dtype=C128), (4,), padding=1, padding_mode="reflect")
    ghosts = parts_of(op).ghosts
    assert ghosts.pixels.terms[0].position[:, 0].tolist() == [4, 5]
    assert ghosts.constraints.terms[1].position[:, 0].tolist() == [2, 1]
    assert ghosts.constraints.terms[1].factor.tolist() == [-1, -1]
    assert ghosts.outputs.terms[0].position[:, 0].tolist() == [4, 5]
    zeros = ConvOperator(op.weight, (4,), padding=1)
    assert parts_of(zeros).ghosts.pixels.terms[0].position[:, 0].tolist() == [4]  # shared
    assert len(parts_of(zeros).ghosts.constraints.terms) == 1
