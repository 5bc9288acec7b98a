"""μ is below the smallest eigenvalue of any scene, and not far below."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.volumes.dense import normal_matrix, psf
from tests.volumes.test_local_inverse import problems
from unconv.volumes.quadratic import bound
from unconv.volumes.quadratic.problem import Problem


def smallest(problem):
    return float(torch.linalg.eigvalsh(normal_matrix(problem))[0])


@settings(max_examples=20)
@given(problem=problems(4))
def test_no_bound_is_above_the_truth(problem):
    truth = smallest(problem)
    found = bound.lower_bound(problem)
    assert problem.smallest <= found.mu <= truth * (1 + 1e-9)
    assert bound._by_lanczos(problem) <= truth * (1 + 1e-9)
    assert truth <= problem.largest


@pytest.mark.parametrize(
    ("kind", "strength"),
    [
        ("Gaussian", 3e-2),
        ("disk", 2.5e-3),
        ("measured", 3e-2),
        pytest.param("Gaussian", 2.5e-3, marks=pytest.mark.slow),
        pytest.param("disk", 3e-2, marks=pytest.mark.slow),
        pytest.param("measured", 2.5e-3, marks=pytest.mark.slow),
    ],
)
def test_the_two_bounds_agree(kind, strength):
    """Cholesky factors find 0.8 of what they bound, Lanczos steps 0.75 and more."""
    problem = Problem(psf(kind, (5, 5)), (40, 40), strength, (1.0, 0.4))
    dense, steps = bound.lower_bound(problem), bound._by_lanczos(problem)
    assert "Cholesky" in dense.source
    assert 0.6 < steps / dense.mu < 1.4
    assert dense.mu < smallest(Problem(problem.psf, (24, 24), strength, (1.0, 0.4)))


@pytest.mark.parametrize("kind", ["Gaussian", pytest.param("measured", marks=pytest.mark.slow)])
def test_tiles_know_what_a_scene_is_worth(kind):
    """To half: 0.6 to 0.9 of it for tiles of 2k − 2 samples, of which 0.75 are proven."""
    problem = Problem(psf(kind, (3, 3, 3)), (5, 6, 7), 0.01, (0.3, 1.0, 1.0))
    found = bound._by_lanczos(problem)
    assert 0.4 * smallest(problem) < found <= smallest(problem)


@settings(max_examples=10)
@given(problem=problems(4), kinds=st.data())
def test_a_norm_is_no_less_than_the_largest_eigenvalue(problem, kinds):
    reach = [max(2, k) for k in problem.psf.shape]
    shape = tuple((n, (False, kinds.draw(st.booleans()))) for n in problem.scene)
    B = bound._TileMatrix(problem, reach, shape, positive=False)
    eye = torch.eye(math.prod(problem.scene), dtype=torch.float64)
    dense = torch.stack([B(e) for e in eye])
    top = bound._norm(bound._TileMatrix(problem, reach, shape, positive=True))
    assert top >= float(torch.linalg.eigvalsh(dense)[-1]) * (1 - 1e-12)


def test_wide_psfs_fall_back_on_the_ridge(monkeypatch):
    monkeypatch.setattr(bound, "_MOST_UNKNOWNS", 10)
    problem = Problem(psf("disk", (7, 7, 7)), (40, 40, 40), 0.01, (1.0, 1.0, 1.0))
    assert bound.lower_bound(problem) == (problem.smallest, "strength times ridge")
