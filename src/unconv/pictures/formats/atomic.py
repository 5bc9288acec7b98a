"""The atomic write: the target is either the old file or the whole new one.

The content is encoded in memory first, for an encoder that writes to a file itself may overlook a
full disk (Pillow's does).  The bytes then go to a file that has no name, where the system knows
such files, so that a process killed while it writes leaves nothing behind.  Elsewhere they go to
`.unconv-…` beside the target.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from .picture import PictureError


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A buffer whose content becomes the file `path` when the block ends well.

    Args:
        path: the target; a link is written through.  An existing file keeps its mode.

    Yields:
        a binary file in memory.

    Raises:
        PictureError: the disk is full, the target is no regular file, or anything else of the
            system keeps the whole content from its place, which is then as it was.

    Example:
        >>> with replacing(Path("kernel.npy")) as file:  # doctest: +SKIP
        ...     np.save(file, kernel)
    """
    content = io.BytesIO()
    yield content
    try:
        _replace(path, content.getbuffer())
    except OSError as exc:
        raise PictureError(
            f"{path} could not be written ({exc.strerror or exc}); make room, or choose another "
            "place"
        ) from exc


def require_regular(path: Path) -> None:
    """Refuse a pipe or a device, which a new file would otherwise replace."""
    if path.exists() and not path.is_file():
        raise PictureError(f"{path} is no regular file but a pipe or device; name a file")


def _replace(path: Path, content: memoryview) -> None:
    require_regular(path)
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".unconv-{secrets.token_hex(8)}{path.suffix}")
    try:
        _store(temporary, content, target)
        os.replace(temporary, target)
    except BaseException:  # KeyboardInterrupt too
        temporary.unlink(missing_ok=True)
        raise


def _store(temporary: Path, content: memoryview, target: Path) -> None:
    """All of the content in a new file, which gets its name when it is whole, if that can be."""
    # Not tempfile: it makes files 0600, and a new picture should follow the umask.
    if hasattr(os, "O_TMPFILE"):
        with contextlib.suppress(OSError):  # not every file system has nameless files
            handle = os.open(temporary.parent, os.O_TMPFILE | os.O_RDWR, 0o666)
            with os.fdopen(handle, "w+b") as file:
                _fill(file, content, target)
                # With a directory descriptor, though unused, Python follows the link to the file.
                os.link(f"/proc/self/fd/{handle}", temporary, src_dir_fd=handle)
            return
    with temporary.open("x+b") as file:
        _fill(file, content, target)


def _fill(file: BinaryIO, content: memoryview, target: Path) -> None:
    file.write(content)
    file.flush()
    if target.exists():
        os.chmod(
            file.fileno() if os.chmod in os.supports_fd else file.name,
            stat.S_IMODE(target.stat().st_mode),
        )
    os.fsync(file.fileno())  # else a crash may leave the new name with no content
    if os.fstat(file.fileno()).st_size != content.nbytes:
        raise OSError(errno.EIO, "the file is shorter than its content")
