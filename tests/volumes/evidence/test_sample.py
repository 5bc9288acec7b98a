import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unconv.volumes.evidence.sample import _places, draw_sample, of_blocks


@given(
    shape=st.lists(st.integers(1, 900), min_size=2, max_size=3),
    least=st.integers(1, 60),
    seed=st.integers(0, 99),
)
def test_places_lie_in_the_volume_and_do_not_overlap(shape, least, seed):
    sides = [min(n, least) for n in shape]
    places = _places(shape, sides, seed)
    assert 1 <= len(places) <= 48
    assert places == _places(shape, sides, seed)
    assert len({tuple(r.stop - r.start for r in place) for place in places}) == 1
    for place in places:
        assert all(r.start >= 0 and r.stop <= n for r, n in zip(place, shape, strict=True))
        assert all(r.stop - r.start >= t for r, t in zip(place, sides, strict=True))
    for i, a in enumerate(places):
        for b in places[:i]:
            assert any(r.stop <= q.start or q.stop <= r.start for r, q in zip(a, b, strict=True))


def of(volume, side=16):
    return draw_sample(lambda region: volume[region], volume.shape, (side,) * volume.ndim, 0)


def noisy(shape=(32, 64, 64), level=200.0):
    return level + 5 * np.random.default_rng(0).normal(size=shape)


def test_empty_saturated_and_unseen_tiles_are_left_out():
    volume = noisy()
    volume[:, :, :16] = 0
    volume[:, :16, 48:] = np.inf
    volume[:, 48:, 48:] = np.minimum(volume[:, 48:, 48:] + 300, 500)
    found = of(volume)
    assert found.drawn == 32
    assert found.left_out == {"empty": 8, "saturated": 2, "unseen": 2}
    assert found.doubt is None
    assert len(found.tiles) == 20
    assert abs(found.tiles.std() - 5) < 0.2


def test_counts_of_next_to_nothing_are_not_empty():
    counts = np.random.default_rng(0).poisson(0.2, (32, 64, 64)).astype(np.uint8)
    found = of(counts)
    assert not found.left_out
    assert found.step == 1


def test_a_few_lost_voxels_are_filled():
    volume = noisy()
    volume[3, 5, 7] = np.nan
    found = of(volume)
    assert not found.left_out
    assert np.isfinite(found.tiles).all()


def test_nothing_fit_is_doubted_and_nothing_seen_refused():
    assert "all 32 tiles that were looked at are unfit" in of(np.zeros((32, 64, 64))).doubt
    with pytest.raises(ValueError, match="none of the 32 tiles that were looked at"):
        of(np.full((32, 64, 64), np.nan))


def test_blocks():
    tile = np.arange(20.0 * 9).reshape(20, 9)
    expected = [[tile[:8, :8].mean()], [tile[8:16, :8].mean()]]
    assert np.allclose(of_blocks(tile, np.mean), expected)
