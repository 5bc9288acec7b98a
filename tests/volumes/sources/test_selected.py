"""One channel, one time point: what is read is what the whole has there."""

import pickle

import numpy as np
import pytest

from unconv.volumes.errors import VolumeError
from unconv.volumes.sources import open_source
from unconv.volumes.sources.selected import selected

WHOLE = np.random.default_rng(0).integers(0, 1000, (3, 2, 5, 6, 7)).astype(np.uint16)
BOX = (slice(1, 4), slice(0, 6), slice(2, 5))


@pytest.mark.parametrize("kind", ["array", "npy", "zarr"])
@pytest.mark.parametrize("stored", ["tczyx", "zcyxt"])
def test_what_is_read_is_that_of_the_whole(tmp_path, kind, stored):
    array = WHOLE.transpose(["tczyx".index(a) for a in stored])
    given = array
    if kind == "npy":
        given = tmp_path / "a.npy"
        np.save(given, array)
    elif kind == "zarr":
        zarr = pytest.importorskip("zarr")
        given = tmp_path / "a.zarr"
        zarr.save_array(given, array)
    source = open_source(given, stored)
    both = selected(source, channel=1, time=2)
    assert (both.shape, both.frame.axes, both.stored) == (
        (5, 6, 7), "zyx", "".join(a for a in stored if a in "zyx"),
    )  # fmt: skip
    for told in (both, pickle.loads(pickle.dumps(both))):
        part = told.read(BOX)
        assert np.array_equal(part, WHOLE[(2, 1, *BOX)])
        part[:] = 0  # which is nobody else's
    assert np.array_equal(both.read(BOX), WHOLE[(2, 1, *BOX)])
    one = selected(source, channel=None, time=0)
    assert one.frame.axes == "czyx"
    assert np.array_equal(one.read((slice(0, 2), *BOX)), WHOLE[(0, slice(0, 2), *BOX)])
    assert len({source.identity, both.identity, one.identity}) == 3
    assert selected(source, channel=None, time=None) is source


def test_channels_by_name(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    pytest.importorskip("zarr")
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(
        path, WHOLE[0], metadata={"axes": "CZYX", "Channel": {"Name": ["DAPI", "GFP"]}}
    )
    found = selected(open_source(path), channel="GFP", time=None)
    assert np.array_equal(found.read(BOX), WHOLE[(0, 1, *BOX)])
    assert found.remarks[-1] == f"channel 1 of {path} alone is restored"
    with pytest.raises(VolumeError, match="give 0 to 1 or one of DAPI, GFP"):
        selected(open_source(path), channel="RFP", time=None)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"channel": 2}, "channel=2 is none of the array; give 0 to 1."),
        ({"channel": -1}, "channel=-1 is none"),
        ({"channel": True}, "channel=True is none"),
        ({"channel": "GFP"}, "channel='GFP' is none"),
        ({"time": 0}, "whose axes are czyx: it has one; leave time out"),
    ],
)
def test_what_there_is_not(options, sentence):
    source = open_source(WHOLE[0], "czyx")
    with pytest.raises(VolumeError, match=sentence):
        selected(source, **({"channel": None, "time": None} | options))
