"""Inputs of every format: regions as they were written, axes and voxels as the files say."""

import pickle
import random
from pathlib import Path

import numpy as np
import pytest

from unconv.volumes.errors import VolumeError
from unconv.volumes.sources import Batch, open_source

zarr = pytest.importorskip("zarr")
tifffile = pytest.importorskip("tifffile")
fits = pytest.importorskip("astropy.io.fits")
da = pytest.importorskip("dask.array")

DTYPES = ["uint8", "uint16", "float32", "float64"]


def drawn(shape, dtype="float32", seed=0):
    values = np.random.default_rng(seed).random(shape) * 250
    return values.astype(dtype)


def write_npy(path, data):
    np.save(path.with_suffix(".npy"), data)
    return path.with_suffix(".npy")


def write_tiff(path, data):
    tifffile.imwrite(path.with_suffix(".tif"), data, photometric="minisblack")
    return path.with_suffix(".tif")


def write_pages(path, data):
    with tifffile.TiffWriter(path.with_suffix(".tif")) as file:
        for page in data:
            file.write(page, photometric="minisblack")
    return path.with_suffix(".tif")


def write_tiles(path, data):
    tifffile.imwrite(
        path.with_suffix(".tif"), data, photometric="minisblack", tile=(16, 16), bigtiff=True
    )
    return path.with_suffix(".tif")


def write_fits(path, data):
    fits.PrimaryHDU(data).writeto(path.with_suffix(".fits"))
    return path.with_suffix(".fits")


def write_zarr(path, data):
    zarr.create_array(store=str(path), data=data, chunks=(4, 8, 8))
    return path


def write_old_zarr(path, data):
    zarr.create_array(store=str(path), data=data, chunks=(4, 8, 8), zarr_format=2)
    return path


def as_dask(path, data):
    return da.from_array(data, chunks=(4, 9, 5))


def as_zarr(path, data):
    return zarr.open_array(write_zarr(path, data), mode="r")


def as_mapped(path, data):
    return np.load(write_npy(path, data), mmap_mode="r")


def as_part(path, data):
    return np.pad(data, 1)[1:-1, 1:-1, 1:-1]


def in_memory(path, data):
    return zarr.create_array(store=zarr.storage.MemoryStore(), data=data, chunks=(4, 8, 8))


WRITERS = [write_npy, write_tiff, write_pages, write_tiles, write_fits, write_zarr, write_old_zarr,
           as_dask, as_zarr, in_memory, as_mapped, as_part]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("write", WRITERS)
def test_regions_are_those_that_were_written(tmp_path, write, dtype):
    data = drawn((9, 33, 17), dtype)
    source = open_source(write(tmp_path / "in", data))
    assert (source.shape, source.dtype, source.frame.axes) == (data.shape, data.dtype, "zyx")
    draw = random.Random(dtype)
    for copy in (source, pickle.loads(pickle.dumps(source))):
        for _ in range(4):
            ends = [sorted(draw.sample(range(n + 1), 2)) for n in data.shape]
            region = tuple(slice(*e) for e in ends)
            part = Batch(copy, {}).read(region)
            assert part.dtype == data.dtype
            assert part.dtype.isnative
            assert (part == data[region]).all()
    assert not source.remarks


@pytest.mark.parametrize("write", WRITERS)
def test_other_content_has_another_identity(tmp_path, write):
    data = drawn((9, 33, 17))
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first = open_source(write(tmp_path / "a/in", data))
    if write != as_dask:  # whose identity is the name of its graph
        assert first.identity == open_source(first.path or first.opened()).identity
    assert first.identity != open_source(write(tmp_path / "b/in", data + 1)).identity


# --- stores elsewhere


def as_remote(path, data):
    store = zarr.storage.FsspecStore.from_url(f"memory://{path}")
    return zarr.create_array(store=store, data=data, chunks=(4, 8, 8), overwrite=True)


def as_zip(path, data):
    with zarr.storage.ZipStore(path.with_suffix(".zip"), mode="w") as store:
        zarr.create_array(store=store, data=data, chunks=(4, 8, 8))
    return zarr.open_array(zarr.storage.ZipStore(path.with_suffix(".zip")), mode="r")


@pytest.mark.parametrize("write", [as_remote, as_zip])
def test_a_store_elsewhere_tells_when_its_content_changes(tmp_path, write):
    data = drawn((9, 33, 17))
    array = write(tmp_path / "in", data)
    first = open_source(array)
    assert first.remarks == ()
    assert (first.read(tuple(slice(0, n) for n in data.shape)) == data).all()
    assert open_source(array).identity == first.identity
    (tmp_path / "in.zip").unlink(missing_ok=True)
    assert open_source(write(tmp_path / "in", data + 1)).identity != first.identity


@pytest.mark.parametrize("listing", ["none", "sizes", "part"])
def test_a_store_that_tells_nothing_is_named(tmp_path, monkeypatch, listing):
    data = drawn((9, 33, 17))
    array = as_remote(tmp_path / "in", data)
    find = array.store.fs._find

    async def quiet(*args, **options):
        if listing == "none":
            raise NotImplementedError
        found = await find(*args, **options)
        kept = [*found][listing == "part" :]
        return {name: {"size": found[name]["size"]} for name in kept}

    monkeypatch.setattr(array.store.fs, "_find", quiet)
    remarks = open_source(array).remarks
    assert remarks[-1].endswith("before an interrupted run goes on, that is not noticed")
    assert len(remarks) == 1 + (listing == "part")


# --- what the files say of their axes


def test_axes_in_any_order(tmp_path):
    data = drawn((2, 5, 3, 8, 9))
    source = open_source(data, axes="tzcyx", voxel=[2.0, 0.5, 0.25])
    assert source.frame.axes == "tczyx"
    assert source.shape == (2, 3, 5, 8, 9)
    assert source.frame.voxel == {"z": 2.0, "y": 0.5, "x": 0.25}
    batches = [Batch(source, at) for at in source.frame.batches(source.shape)]
    assert [b.label for b in batches][:2] == ["t0-c0", "t0-c1"]
    region = (slice(1, 4), slice(0, 8), slice(2, 5))
    assert (batches[4].read(region) == data[1, 1:4, 1, :, 2:5]).all()


def test_ome_tiff(tmp_path):
    data = drawn((2, 3, 8, 9), "uint16")
    tifffile.imwrite(
        tmp_path / "in.ome.tif", data, metadata={
            "axes": "CZYX", "PhysicalSizeX": 0.1, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 0.2,
            "PhysicalSizeZ": 0.3, "Channel": {"Name": ["DAPI", "GFP"]}, "TimeIncrement": 2.0,
        },
    )  # fmt: skip
    source = open_source(tmp_path / "in.ome.tif")
    assert source.frame.axes == "czyx"
    assert source.frame.channels == ("DAPI", "GFP")
    assert source.frame.voxel == {"z": 0.3, "y": 0.2, "x": 0.1, "t": 2.0}
    assert source.frame.units == {"z": "micrometer", "y": "micrometer", "x": "nanometer",
                                  "t": "second"}  # fmt: skip
    assert (source.read(tuple(slice(0, n) for n in data.shape)) == data).all()


def test_a_hyperstack_of_imagej(tmp_path):
    data = drawn((4, 3, 2, 8, 9), "uint16")
    tifffile.imwrite(
        tmp_path / "in.tif", data, imagej=True, resolution=(10, 5),
        metadata={"axes": "TZCYX", "spacing": 0.3, "unit": "um", "finterval": 2.5},
    )  # fmt: skip
    source = open_source(tmp_path / "in.tif")
    assert source.frame.axes == "tczyx"
    assert source.frame.voxel == {"z": 0.3, "y": 0.2, "x": 0.1, "t": 2.5}
    assert source.frame.units["x"] == "micrometer"
    assert (source.read(tuple(slice(0, n) for n in source.shape)) == data.swapaxes(1, 2)).all()


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_ome_zarr(tmp_path, version):
    data = drawn((2, 6, 8, 9))
    group = zarr.open_group(
        tmp_path / "in.zarr", mode="w", zarr_format=2 if version == "0.4" else 3
    )
    group.create_array("full", data=data, chunks=(1, 3, 4, 4))
    axes = [{"name": "c", "type": "channel"}]
    axes += [{"name": a, "type": "space", "unit": "micrometer"} for a in "zyx"]
    scale = {"type": "scale", "scale": [1, 2.0, 0.5, 0.25]}
    told = {
        "multiscales": [
            {"axes": axes, "datasets": [{"path": "full", "coordinateTransformations": [scale]}]}
        ],
        "omero": {"channels": [{"label": "a"}, {"label": "b"}]},
    }
    group.attrs.update(told if version == "0.4" else {"ome": {"version": "0.5", **told}})
    source = open_source(tmp_path / "in.zarr")
    assert source.frame.axes == "czyx"
    assert source.frame.channels == ("a", "b")
    assert source.frame.voxel == {"z": 2.0, "y": 0.5, "x": 0.25}
    assert set(source.frame.units.values()) == {"micrometer"}
    assert (source.read(tuple(slice(0, n) for n in data.shape)) == data).all()


def test_a_cube_of_fits_with_a_scale(tmp_path):
    data = drawn((5, 8, 9), "uint16")
    hdu = fits.PrimaryHDU(data)  # which stores uint16 with an offset
    hdu.header.update(CTYPE3="VELO-LSR", CDELT1=-0.5, CDELT2=0.5, CUNIT1="deg", CUNIT2="deg")
    hdu.writeto(tmp_path / "in.fits")
    source = open_source(tmp_path / "in.fits")
    assert source.frame.axes == "cyx"
    assert source.frame.voxel == {"y": 0.5, "x": 0.5}
    assert source.frame.units == {"y": "degree", "x": "degree"}
    assert (source.read(tuple(slice(0, n) for n in data.shape)) == data).all()


def test_names_of_axes_of_zarr_itself(tmp_path):
    data = drawn((2, 6, 8, 9))
    zarr.create_array(store=str(tmp_path / "a"), data=data, dimension_names=["time", "z", "y", "x"])
    assert open_source(tmp_path / "a").frame.axes == "tzyx"


# --- bad input, one sentence each


def refused(given, **options):
    with pytest.raises(VolumeError) as error:
        open_source(given, **options)
    sentence = str(error.value)
    assert sentence.endswith(".")
    assert "\n" not in sentence
    return sentence


def test_what_is_no_volume(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.txt").write_text("no")
    (tmp_path / "a.npy").write_text("no")
    (tmp_path / "a.tif").write_text("no")
    (tmp_path / "a.fits").write_text("no")
    zarr.open_group(tmp_path / "group.zarr", mode="w")
    for name, told in {
        "none.npy": "there is no", "empty": "is no Zarr", "a.txt": "of no format",
        "a.npy": "no whole NPY", "a.tif": "no whole TIFF", "a.fits": "no whole FITS",
        "group.zarr": "without the multiscales",
    }.items():  # fmt: skip
        assert told in refused(tmp_path / name)
    assert "must be a path or an array" in refused([1, 2])
    assert "holds complex128" in refused(np.ones((3, 3), complex))
    assert "has no samples" in refused(np.ones((0, 3)))


def test_axes_that_are_not_known(tmp_path):
    data = drawn((2, 3, 4, 5))
    assert "has 4 axes (2, 3, 4, 5) and does not say which" in refused(data)
    for axes in ("zyx", "czyy", "tczx", "abcd", 3):
        assert "does not fit" in refused(data, axes=axes)
    assert "must have a size for each of the axes z, y, x" in refused(
        data, axes="czyx", voxel=(1, 2)
    )
    assert "has 1 axes" in refused(np.ones(3))


@pytest.mark.parametrize("write", [write_npy, write_tiff, write_pages, write_tiles, write_fits])
def test_files_that_are_cut_short(tmp_path, write):
    path = write(tmp_path / "in", drawn((9, 33, 17)))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) - 4000])
    assert "get a fresh copy" in refused(path)


def test_chunks_of_zarr_that_are_missing_or_cut_short(tmp_path):
    data = drawn((9, 33, 17)) + 1
    source = open_source(write_zarr(tmp_path / "in.zarr", data))
    whole = tuple(slice(0, n) for n in data.shape)
    (tmp_path / "in.zarr/c/1/2/1").unlink()
    source = open_source(tmp_path / "in.zarr")
    assert source.remarks[0].startswith("1 of the 45 chunks of ")
    path = tmp_path / "in.zarr/c/1/1/1"
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(VolumeError, match="could not be read at z 0-9, y 0-33, x 0-17"):
        source.read(whole)


@pytest.mark.parametrize("shards", [None, (8, 16, 16)])
def test_a_file_of_no_bytes_is_cut_short(tmp_path, shards):
    """Of a shard Zarr takes it for one that was never stored."""
    data = drawn((9, 33, 17)) + 1
    path = tmp_path / "in.zarr"
    zarr.create_array(store=str(path), data=data, chunks=(4, 8, 8), shards=shards)
    (path / "c/1/2/1").write_bytes(b"")
    assert "has 1 files of no bytes, such as c/1/2/1; it is cut short" in refused(path)


BAD = [None, "x", 7, [], {}, [None], ["q"], [1, 2], [0, 0, 0], [-1, 1, 1], [float("inf"), 1, 1]]
PLACES = ["ome", "multiscales", "first", "axes", "datasets", "path", "changes", "scale", "name",
          "unit", "omero", "version"]  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("bad", BAD, ids=str)
def test_metadata_that_are_none_are_a_sentence_or_left_out(tmp_path, place, bad):
    group = zarr.open_group(tmp_path / "in.zarr", mode="w")
    group.create_array("0", data=drawn((6, 8, 9)))
    data = {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [2, 1, 1]}]}
    scales = {"axes": [{"name": a, "unit": "micrometer"} for a in "zyx"], "datasets": [data]}
    ome = {"version": "0.5", "multiscales": [scales], "omero": {}}
    told = {"ome": ome}
    owner, key = {
        "ome": (told, "ome"), "multiscales": (ome, "multiscales"), "axes": (scales, "axes"),
        "first": (ome["multiscales"], 0), "datasets": (scales, "datasets"), "path": (data, "path"),
        "changes": (data, "coordinateTransformations"), "unit": (scales["axes"][1], "unit"),
        "scale": (data["coordinateTransformations"][0], "scale"),
        "name": (scales["axes"][0], "name"), "omero": (ome, "omero"), "version": (ome, "version"),
    }[place]  # fmt: skip
    owner[key] = bad
    group.attrs.update(told)
    try:
        source = open_source(tmp_path / "in.zarr")
    except VolumeError as exc:
        sentence = str(exc)
        assert str(tmp_path) in sentence
        assert sentence.endswith(".")
        assert "\n" not in sentence
        assert any(
            word in sentence for word in ("get a", "name the array", "pass axes", "pass voxel")
        )
    else:
        assert source.frame.axes == "zyx"
        assert all(0 < size < float("inf") for size in source.frame.voxel.values())


def test_a_tiff_of_several_images(tmp_path):
    with tifffile.TiffWriter(tmp_path / "in.tif") as file:
        file.write(drawn((5, 8, 9)), photometric="minisblack")
        file.write(drawn((8, 7)), photometric="minisblack")
    assert "expected one stack" in refused(tmp_path / "in.tif")


def test_a_tiff_is_closed_when_nobody_reads_it_any_more(tmp_path):
    folder = Path("/proc/self/fd")
    if not folder.is_dir():
        pytest.skip("what is open is not told")
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((5, 8, 9), np.float32), photometric="minisblack")

    def is_open():
        return any(link.is_symlink() and link.readlink() == path for link in folder.iterdir())

    source = open_source(path)
    assert not is_open()  # its header was read
    source.read((slice(0, 5), slice(0, 8), slice(0, 9)))
    assert is_open()
    del source
    assert not is_open()
