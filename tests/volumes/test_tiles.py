"""Tiles, drawn at random: cores partition the scene, and halos are clipped to it."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from unconv.volumes.tiling.tiles import Tiling, within

axes = st.lists(
    st.tuples(st.integers(1, 12), st.integers(1, 15), st.integers(0, 5)), min_size=1, max_size=3
)


@given(axes)
def test_cores_partition_the_scene(drawn):
    scene, core, halo = zip(*drawn, strict=True)
    count = np.zeros(scene, int)
    for tile in Tiling(scene, core, halo).tiles:
        count[tile.core] += 1
        assert all(c.start % n == 0 for c, n in zip(tile.core, core, strict=True))
    assert (count == 1).all()


@given(axes)
def test_halos_are_whole_or_end_at_the_edge_of_the_scene(drawn):
    scene, core, halo = zip(*drawn, strict=True)
    for index, tile in enumerate(Tiling(scene, core, halo).tiles):
        assert tile.index == index
        for c, o, n, h, (before, after) in zip(
            tile.core, tile.outer, scene, halo, tile.true_sides, strict=True
        ):
            assert o.start == max(c.start - h, 0)
            assert o.stop == min(c.stop + h, n)
            assert (before, after) == (o.start == 0, o.stop == n)
        whole = np.arange(np.prod(scene)).reshape(scene)
        assert (whole[tile.outer][within(tile.core, tile.outer)] == whole[tile.core]).all()
