"""Windows whose squares add up to one, and boxes from which answers are added up."""

import pickle

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unconv.volumes.quadratic.overlap import Overlap
from unconv.volumes.tiling.tiles import Tiling

AXES = st.lists(
    st.tuples(st.integers(1, 30), st.integers(1, 12), st.integers(0, 9)), min_size=1, max_size=3
)


def overlap_of(axes):
    scene, core, halo = zip(*axes, strict=True)
    return Overlap(Tiling(scene, [min(n, c) for n, c in zip(scene, core, strict=True)], halo))


@settings(max_examples=40)
@given(axes=AXES)
def test_squares_of_windows_are_a_partition_of_unity(axes):
    overlap = overlap_of(axes)
    total = np.zeros(overlap.tiling.scene)
    for tile in overlap.tiling.tiles:
        window = overlap.window(tile).double().numpy()
        assert (window >= 0).all()
        total[tile.outer] += window**2
    assert np.abs(total - 1).max() < 1e-6


@settings(max_examples=25)
@given(axes=AXES, draw=st.data())
def test_what_overlaps_is_added_up(axes, draw):
    overlap = overlap_of(axes)
    stored = np.full(overlap.boxes.scene, np.nan, np.float32)
    expected = np.zeros(overlap.tiling.scene)
    for tile, box in zip(overlap.tiling.tiles, overlap.boxes.tiles, strict=True):
        answer = torch.randn([r.stop - r.start for r in tile.outer])
        stored[box.core] = overlap.boxed(answer)
        expected[tile.outer] += answer.numpy()
    bounds = [
        sorted(draw.draw(st.lists(st.integers(0, n), min_size=2, max_size=2, unique=True)))
        for n in overlap.tiling.scene
    ]
    region = tuple(slice(*b) for b in bounds)
    found = overlap.gathered("e", region, lambda _, at: stored[at])
    assert np.abs(found.numpy() - expected[region]).max() < 1e-4


def test_boxes_are_shards():
    overlap = Overlap(Tiling((500, 70), (150, 64), (25, 4)))
    assert overlap.box == (201, 70)  # 3 chunks of 67
    again = pickle.loads(pickle.dumps(overlap))
    assert again.boxes.scene == overlap.boxes.scene
    assert len(pickle.dumps(overlap)) < 300
