"""A = P·C·E on one periodic grid, against the matrix of A, and projections on images E x."""

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from scipy.optimize import lsq_linear

from unconv import ConvOperator
from unconv.restoration.grid_problem import GridProblem

from ..helpers import C128, F64, randn, relative
from ..strategies import Case, cases, circulant_cases, is_small


def problem_of(case: Case) -> tuple[ConvOperator, GridProblem]:
    op = case.operator().of_sample(0)
    padded = any(
        a.mode != "zeros" and (a.before or a.after) and not a.on_torus for a in op.geometry.axes
    )
    sums = padded and case.options["padding_mode"] == "antireflective"
    refused = padded and (op.transposed or sums)
    if refused:
        remedy = "padding_mode='reflect'" if sums else "padding_mode='zeros' or 'circular'"
        with pytest.raises(NotImplementedError, match=remedy):
            GridProblem(op, F64)
    assume(not refused and is_small(op))
    return op, GridProblem(op, F64)


def images(op: ConvOperator, seed: int = 0):
    return randn(1, *op.domain_shape, dtype=op.dtype, seed=seed)


def matrix_of_extension(problem: GridProblem) -> torch.Tensor:
    """E of one channel, (grid, n)."""
    shape = problem.domain_shape[1:]
    n = math.prod(shape)
    units = torch.eye(n, dtype=F64).reshape(1, n, *shape)
    return problem.extended(units)[0].flatten(1).T


def check_products(op: ConvOperator, problem: GridProblem) -> None:
    x = images(op)
    A = op.to_dense()
    expected = (A @ x.flatten()).reshape(1, *op.range_shape)
    scale = float(op.weight.norm() * torch.linalg.norm(x))
    v = problem.extended(x)
    z = problem.blurred(problem.torus.transform(v))
    assert relative(problem.outputs(z), expected, scale) < 1e-13
    assert torch.equal(problem.domain(v), x)
    # Cᴴ is the adjoint of C, and put that of outputs
    w = randn(*z.shape, dtype=op.dtype, seed=1)
    back = problem.torus.inverse_transform(problem.adjoint_spectrum(w))
    left, right = torch.vdot(w.flatten(), z.flatten()), torch.vdot(back.flatten(), v.flatten())
    assert abs(complex(left - right)) < 1e-12 * float(w.norm()) * (float(z.norm()) + scale)
    y = randn(1, *op.range_shape, dtype=op.dtype, seed=2)
    assert torch.equal(problem.outputs(problem.put(y)), y)
    left = torch.vdot(problem.put(y).flatten(), w.flatten())
    right = torch.vdot(y.flatten(), problem.outputs(w).flatten())
    assert abs(complex(left - right)) < 1e-12 * float(w.norm()) * float(y.norm())
    E = matrix_of_extension(problem) if problem.copies else torch.eye(1, dtype=F64)
    norm = float(torch.linalg.matrix_norm(E, 2))
    assert problem.gain * norm >= float(torch.linalg.matrix_norm(A, 2)) * (1 - 1e-12)


def check_free_samples_reach_no_output(op: ConvOperator, problem: GridProblem) -> None:
    v = problem.extended(images(op))
    if op.dtype.is_complex and not problem.copies:  # complex images have no bounds
        return
    moved = problem.nearest(randn(*v.shape, dtype=op.dtype, seed=5), -math.inf, math.inf)
    same = problem.domain(moved)
    ends = [
        problem.outputs(problem.blurred(problem.torus.transform(u)))
        for u in (moved, problem.extended(same))
    ]
    assert relative(ends[0], ends[1], float(ends[1].norm()) + float(moved.norm())) < 1e-12


def check_projection(op: ConvOperator, problem: GridProblem) -> None:
    if op.dtype.is_complex and not problem.copies:
        return
    v = randn(1, op.domain_shape[0], *problem.torus.coarse, dtype=op.dtype, seed=3)
    lower, upper = (-math.inf, math.inf) if op.dtype.is_complex else (-0.3, 0.6)
    found = problem.nearest(v.clone(), lower, upper)
    E = matrix_of_extension(problem)
    source = problem._source.flatten()
    fixed = source != -2  # those of which the problem says nothing keep what they are
    E = E[fixed]
    gathered = problem.gathered(v).flatten(2)[0]
    for c, channel in enumerate(v[0].flatten(1)):
        parts = []
        for part in (channel.real, channel.imag) if v.is_complex() else (channel,):
            solved = lsq_linear(E.numpy(), part[fixed].numpy(), (lower, upper), tol=1e-14)
            parts.append(E @ torch.from_numpy(solved.x))
        expected = torch.complex(*parts) if v.is_complex() else parts[0]
        assert relative(found[0, c].flatten()[fixed], expected, float(v.norm())) < 1e-7
        assert torch.equal(found[0, c].flatten()[~fixed], channel[~fixed])
        assert relative(gathered[c], E.T.to(v.dtype) @ channel[fixed], float(v.norm())) < 1e-13
    ridged = problem.nearest(v.clone(), -math.inf, math.inf, 0.7)
    for c, channel in enumerate(v[0].flatten(1)):
        if not op.dtype.is_complex:
            normal = E.T @ E + 0.7 * torch.eye(E.shape[1], dtype=F64)
            expected = E @ torch.linalg.solve(normal, E.T @ channel[fixed])
            error = relative(ridged[0, c].flatten()[fixed], expected, float(v.norm()))
            assert error < 1e-13


@settings(max_examples=60)
@given(cases(per_sample=False))
def test_the_grid_is_the_operator(case):
    op, problem = problem_of(case)
    check_products(op, problem)
    check_free_samples_reach_no_output(op, problem)


@settings(max_examples=40)
@given(circulant_cases())
def test_the_grid_of_periodic_images_is_the_operator(case):
    check_products(*problem_of(case))


@settings(max_examples=25)
@given(cases(per_sample=False))
def test_the_nearest_image_is_a_projection(case):
    check_projection(*problem_of(case))


@pytest.mark.slow
@settings(max_examples=1500)
@given(cases())
def test_many_grids(case):
    op, problem = problem_of(case)
    check_products(op, problem)
    check_free_samples_reach_no_output(op, problem)
    check_projection(op, problem)


@pytest.mark.parametrize("dtype", [F64, C128])
def test_outputs_that_nobody_saw_are_marked(dtype):
    mask = torch.rand(5, 6, generator=torch.Generator().manual_seed(0)) < 0.6
    op = ConvOperator(randn(2, 3, 3, 3, dtype=dtype), (7, 8)).observed(mask)
    problem = GridProblem(op, F64)
    expected = mask.expand(1, 2, 5, 6)
    assert torch.equal(problem.outputs(problem.seen), expected)
    assert int(problem.seen.sum()) == int(expected.sum())


def test_the_working_precision_is_kept():
    op = ConvOperator(randn(1, 1, 3, 3), (8, 8), padding=1)
    problem = GridProblem(op, torch.float32)
    v = problem.extended(randn(1, 1, 8, 8).float())
    z = problem.blurred(problem.torus.transform(v))
    assert (v.dtype, z.dtype, problem.dtype) == (torch.float32,) * 3
    assert np.isclose(problem.gain, GridProblem(op, F64).gain)
