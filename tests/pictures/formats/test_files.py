"""Files of every format: what goes in comes out, and everything doubtful is refused."""

from __future__ import annotations

import contextlib
import importlib
import os
import stat
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unconv.pictures import formats as images
from unconv.pictures.formats import (
    PictureError,
    check_writable,
    files,
    read_picture,
    write_picture,
)

from .samples import FLOATS, INTEGERS, H, W, leftovers, make_picture, refused, same

Image = pytest.importorskip("PIL.Image")
png = pytest.importorskip("png")
tifffile = pytest.importorskip("tifffile")


CASES = [
    *[(".png", d, c) for d in INTEGERS for c in (1, 2, 3, 4)],
    *[(s, d, c) for s in (".tif", ".tiff") for d in INTEGERS + FLOATS for c in (1, 2, 3, 4)],
    *[(".npy", d, c) for d in INTEGERS + FLOATS for c in (1, 3, 4)],
]


@pytest.mark.parametrize(("suffix", "dtype", "channels"), CASES)
def test_lossless_round_trip(tmp_path: Path, suffix: str, dtype: str, channels: int) -> None:
    path = tmp_path / f"a{suffix}"
    picture = make_picture(dtype, channels)
    write_picture(path, picture)
    back = read_picture(path)
    same(picture, back)
    write_picture(path, back)
    same(picture, read_picture(path))
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize(("suffix", "dtype", "channels"), CASES)
@pytest.mark.parametrize(("h", "w"), [(1, 1), (1, 6), (6, 1), (3, 4)])
def test_thin_pictures(
    tmp_path: Path, suffix: str, dtype: str, channels: int, h: int, w: int
) -> None:
    picture = make_picture(dtype, channels, h=h, w=w)
    write_picture(tmp_path / f"a{suffix}", picture)
    same(picture, read_picture(tmp_path / f"a{suffix}"))


def test_content_decides_the_format(tmp_path: Path) -> None:
    picture = make_picture("uint16", 3)
    write_picture(tmp_path / "a.png", picture)
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    same(picture, read_picture(tmp_path / "a.jpg"))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".npy"])
def test_max_pixels_is_the_largest_allowed(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    write_picture(path, make_picture("uint8", 3))
    assert read_picture(path, max_pixels=H * W).planes.shape == (3, H, W)
    refused(path, f"{W} x {H}", "max_pixels=34", max_pixels=H * W - 1)


def test_large_pictures_are_not_left_to_pillows_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_picture(tmp_path / "a.png", make_picture("uint8", 3))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_picture(tmp_path / "a.png").planes.shape == (3, H, W)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".npy"])
@pytest.mark.parametrize("dtype", INTEGERS)
def test_truncated_files(tmp_path: Path, suffix: str, dtype: str) -> None:
    path = tmp_path / f"a{suffix}"
    write_picture(path, make_picture(dtype, 3, h=64, w=64))
    whole = path.read_bytes()
    for keep in (9, 20, 100, len(whole) // 4, len(whole) // 2, len(whole) - 20):
        path.write_bytes(whole[:keep])
        refused(path)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".npy"])
def test_damaged_files_never_leak_another_error(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    write_picture(path, make_picture("uint8", 3, h=16, w=16))
    whole = np.frombuffer(path.read_bytes(), np.uint8)
    rng = np.random.default_rng(0)
    for _ in range(60):
        broken = whole.copy()
        broken[rng.integers(8, min(len(whole), 400), 3)] = rng.integers(0, 256, 3)
        path.write_bytes(broken.tobytes())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with contextlib.suppress(PictureError):  # some damage is only to the pixels
                planes = read_picture(path, max_pixels=10_000).planes
                assert 0 < planes.shape[1] * planes.shape[2] <= 10_000


def test_text_named_png(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("hello, this is text")
    refused(tmp_path / "a.png", "not a PNG, JPEG, TIFF, NPY or FITS")


def test_missing_empty_and_directory(tmp_path: Path) -> None:
    refused(tmp_path / "none.png", "cannot be opened")
    refused(tmp_path, "cannot be opened")
    (tmp_path / "empty.png").touch()
    refused(tmp_path / "empty.png", "begins with b''")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".npy"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("where", ["encode", "replace"])
def test_failure_leaves_the_old_file(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    suffix: str,
    error: BaseException,
    where: str,
) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"old")

    def encode(file: Any, *_: Any) -> None:
        file.write(b"half a picture")
        raise error

    def fail(*_: Any) -> None:
        raise error

    if where == "encode":
        kind = files._SUFFIXES[suffix]
        monkeypatch.setitem(files._FORMATS, kind, files._FORMATS[kind]._replace(write=encode))
    else:
        monkeypatch.setattr(os, "replace", fail)
    expected = PictureError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected):
        write_picture(path, make_picture("uint8", 3))
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")
@pytest.mark.parametrize("suffix", [".png", ".npy"])
def test_permissions(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    old = os.umask(0o027)
    try:
        write_picture(path, make_picture("uint8", 1))
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        path.chmod(0o664)
        write_picture(path, make_picture("uint8", 1))
        assert stat.S_IMODE(path.stat().st_mode) == 0o664
    finally:
        os.umask(old)


@pytest.mark.skipif(os.name != "posix", reason="links")
def test_a_link_is_written_through(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "a.png").symlink_to(tmp_path / "there" / "b.png")
    write_picture(tmp_path / "a.png", make_picture("uint8", 1))
    assert (tmp_path / "a.png").is_symlink()
    same(make_picture("uint8", 1), read_picture(tmp_path / "there" / "b.png"))


def test_check_writable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for suffix in files._SUFFIXES:
        check_writable(tmp_path / f"a{suffix}")
        check_writable(str(tmp_path / f"a{suffix.upper()}"))
    with pytest.raises(PictureError, match=r"'\.gif'.*\.png"):
        check_writable(tmp_path / "a.gif")
    with pytest.raises(PictureError, match="unknown extension ''"):
        check_writable(tmp_path / "a")
    with pytest.raises(PictureError, match="does not exist; create it"):
        check_writable(tmp_path / "none" / "a.png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(PictureError, match="is a directory"):
        check_writable(tmp_path / "folder.png")
    existing = tmp_path / "b.png"
    existing.touch()
    # root may write anywhere, so the answer of os.access is given here
    monkeypatch.setattr(os, "access", lambda p, _: Path(p) != existing)
    with pytest.raises(PictureError, match="read-only"):
        check_writable(existing)
    monkeypatch.setattr(os, "access", lambda p, _: Path(p) != tmp_path)
    with pytest.raises(PictureError, match="not writable"):
        check_writable(tmp_path / "a.png")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b.png", "folder.png"]


@pytest.mark.parametrize(
    ("suffix", "package"), [(".png", "pillow"), (".jpg", "pillow"), (".tif", "tifffile")]
)
def test_a_missing_package_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, package: str
) -> None:
    write_picture(tmp_path / f"a{suffix}", make_picture("uint8", 3))

    def absent(name: str) -> Any:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(PictureError, match=rf"{package}; pip install 'unconv\[cli\]'"):
        read_picture(tmp_path / f"a{suffix}")


def test_import_needs_only_numpy() -> None:
    code = (
        "import sys, importlib.util as u\n"
        f"path = {images.__file__!r}\n"
        "where = {'submodule_search_locations': [path.removesuffix('__init__.py')]}\n"
        "spec = u.spec_from_file_location('images', path, **where)\n"
        "m = sys.modules['images'] = u.module_from_spec(spec)\n"
        "spec.loader.exec_module(m)\n"
        "assert not {'PIL', 'tifffile', 'png', 'torch'} & set(sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
