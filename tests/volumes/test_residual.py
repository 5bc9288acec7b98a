"""N and the gradient tile by tile against dense matrices."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.volumes.dense import normal_matrix, outputs_matrix, scene_of
from tests.volumes.test_local_inverse import problems, relative
from unconv.volumes.quadratic.residual import Gradient, TileNormal
from unconv.volumes.tiling.stages import Constant, MemoryRunner
from unconv.volumes.tiling.tiles import Tiling


@settings(max_examples=20)
@given(problem=problems(), core=st.integers(1, 7), holes=st.booleans())
def test_the_gradient_of_tiles_is_that_of_the_scene(problem, core, holes):
    y = torch.randn(problem.data_shape, generator=torch.Generator().manual_seed(1))
    if holes:
        y[torch.rand(y.shape, generator=torch.Generator().manual_seed(2)) < 0.2] = np.nan
    x = scene_of(problem.scene).float()
    runner = MemoryRunner(y.numpy())
    runner.arrays["x"] = x.numpy()
    tiling = Tiling(problem.scene, [core] * x.ndim, [0] * x.ndim)
    normal = Constant(TileNormal(problem, tiling.core, torch.float64))
    work = Gradient(normal, 0.7, "x", "g")
    numbers = runner.run("g", work, tiling, {"g": np.float32})

    seen = torch.isfinite(y)
    A = outputs_matrix(problem)[seen.flatten()]
    away = x.double().flatten()
    b = A.mT @ (y[seen].double() - 0.7 * problem.psf.sum())
    expected = b - normal_matrix(problem, seen) @ away
    found = torch.from_numpy(runner.arrays["g"]).flatten().double()
    assert float((found - expected).abs().max()) <= 1e-6 * float(b.abs().max() + away.abs().max())
    total = sum(n["gg"] for n in numbers)
    assert abs(total - float(expected @ expected)) <= 1e-9 * (1 + float(expected @ expected))


@settings(max_examples=15)
@given(problem=problems())
def test_a_block_of_all_is_N(problem):
    normal = TileNormal(problem, problem.scene, torch.float64)
    x = scene_of(problem.scene)
    expected = (normal_matrix(problem) @ x.flatten()).view(problem.scene)
    assert relative(normal(x, None), expected) < 1e-12


@settings(max_examples=20)
@given(problem=problems(), core=st.integers(1, 5), holes=st.booleans())
def test_cores_are_those_of_N_inside_and_at_the_border(problem, core, holes):
    tiling = Tiling(problem.scene, [core] * len(problem.scene), [0] * len(problem.scene))
    normal = TileNormal(problem, tiling.core, torch.float64)
    x = scene_of(problem.scene)
    generator = torch.Generator().manual_seed(2)
    seen = torch.rand(problem.data_shape, generator=generator) < (0.8 if holes else 1.1)
    expected = (normal_matrix(problem, seen) @ x.flatten()).view(problem.scene)
    for tile in tiling.tiles:
        block = normal.block(tile)
        mine = seen[normal.rows(block)].double() if holes else None
        found = normal.on_core(tile, x[block], mine)
        assert float((found - expected[tile.core]).abs().max()) < 1e-12
