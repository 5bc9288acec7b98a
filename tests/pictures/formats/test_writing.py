"""Writing on full disks, beside pipes, and in processes that are killed."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from unconv.pictures.formats import (
    Picture,
    PictureError,
    check_writable,
    write_picture,
)
from unconv.pictures.formats.atomic import replacing

from .samples import leftovers, make_picture

pytest.importorskip("PIL.Image")
pytest.importorskip("tifffile")
posix = pytest.mark.skipif(os.name != "posix", reason="signals, pipes and limits of POSIX")

FULL = """
import resource, sys
from pathlib import Path
import numpy as np
from unconv.pictures.formats import Picture, PictureError, write_picture
folder, full = Path(sys.argv[1]), "File too large"
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))  # short writes, as on a full disk
planes = np.random.default_rng(0).random((3, 200, 200))
for suffix in (".png", ".jpg", ".tif", ".npy"):
    for dtype in ("uint8",) if suffix == ".jpg" else ("uint8", "uint16"):
        try:
            write_picture(folder / f"a{suffix}", Picture(planes, dtype=np.dtype(dtype)))
        except PictureError as error:
            assert f"a{suffix} could not be written ({full})" in str(error), error
        else:
            raise AssertionError(suffix)
"""


@posix
def test_full_disk(tmp_path: Path) -> None:
    for suffix in (".png", ".jpg", ".tif"):
        (tmp_path / f"a{suffix}").write_bytes(b"old")
    subprocess.run([sys.executable, "-c", FULL, tmp_path], check=True, timeout=120)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.jpg", "a.png", "a.tif"]
    assert all(p.read_bytes() == b"old" for p in tmp_path.iterdir())


STOPPED = """
import os, sys, time
from pathlib import Path
from unconv.pictures.formats.atomic import replacing

def wait(_):
    print("half-way", flush=True)
    time.sleep(60)

os.fsync = wait
with replacing(Path(sys.argv[1])) as file:
    file.write(bytes(100_000))
"""


@posix
@pytest.mark.skipif(not hasattr(os, "O_TMPFILE"), reason="files without a name")
def test_a_killed_process_leaves_nothing(tmp_path: Path) -> None:
    try:
        os.close(os.open(tmp_path, os.O_TMPFILE | os.O_RDWR))
    except OSError:
        pytest.skip("this file system has no files without a name")
    path = tmp_path / "a.png"
    path.write_bytes(b"old")
    command = [sys.executable, "-c", STOPPED, path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "half-way\n"
        process.kill()
        assert process.wait(60) == -signal.SIGKILL
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize("nameless", ["known", "unknown", "not linked"])
@pytest.mark.parametrize("existing", [True, False])
def test_written_with_and_without_nameless_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nameless: str, existing: bool
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError

    if nameless == "unknown":
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    elif nameless == "not linked":
        monkeypatch.setattr(os, "link", refuse)
    path = tmp_path / "a.npy"
    if existing:
        path.write_bytes(b"old")
        path.chmod(0o600)
    with replacing(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new"
    if existing and os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [p.name for p in tmp_path.iterdir()] == ["a.npy"]


@pytest.mark.parametrize("nameless", [True, False])
@pytest.mark.parametrize("where", ["fsync", "replace"])
def test_a_failure_names_the_file_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nameless: bool, where: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(5, "Input/output error")

    if not nameless:
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    monkeypatch.setattr(os, where, fail)
    path = tmp_path / "page.html"
    with (
        pytest.raises(PictureError, match=r"page\.html could not be written \(Input/output error"),
        replacing(path) as file,
    ):
        file.write(b"new")
    assert [*tmp_path.iterdir()] == []


def test_a_failing_encoder_writes_nothing(tmp_path: Path) -> None:
    def encode() -> None:
        with replacing(tmp_path / "a.npy") as file:
            file.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        encode()
    assert [*tmp_path.iterdir()] == []


@posix
def test_pipes_and_devices_are_not_replaced(tmp_path: Path) -> None:
    pipe, device = tmp_path / "pipe.png", tmp_path / "device.png"
    os.mkfifo(pipe)
    device.symlink_to("/dev/null")
    for path in (pipe, device):
        before = path.stat()
        with pytest.raises(PictureError, match="no regular file but a pipe or device"):
            check_writable(path)
        with pytest.raises(PictureError, match="no regular file"):
            write_picture(path, make_picture("uint8", 1))
        with pytest.raises(PictureError, match="no regular file"), replacing(path):
            pass
        assert path.stat().st_mode == before.st_mode
        assert path.stat().st_ino == before.st_ino
    assert leftovers(tmp_path) == []


def test_many_sizes_of_files_are_whole(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for size in (1, 4095, 4096, 4097, 300_000):
        content = rng.bytes(size)
        with replacing(tmp_path / "a.bin") as file:
            file.write(content[:100])
            file.write(content[100:])
            file.seek(0)  # encoders come back to write a header
            file.write(content[:1])
        assert (tmp_path / "a.bin").read_bytes() == content


def test_large_pictures_are_written_whole(tmp_path: Path) -> None:
    planes = np.random.default_rng(0).random((3, 300, 400))
    for suffix in (".png", ".tif", ".npy"):
        write_picture(tmp_path / f"a{suffix}", Picture(planes, dtype=np.dtype("uint16")))
        assert (tmp_path / f"a{suffix}").stat().st_size > 600_000
