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

_OPEN_FILES = "/proc/self/fd"


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
        file, named = _open_beside(temporary)
        with file:
            file.write(content)
            file.flush()
            if target.exists():
                os.chmod(
                    file.fileno() if os.chmod in os.supports_fd else temporary,
                    stat.S_IMODE(target.stat().st_mode),
                )
            os.fsync(file.fileno())  # else a crash may leave the new name with no content
            if os.fstat(file.fileno()).st_size != content.nbytes:
                raise OSError(errno.EIO, "the file is shorter than its content")
            if not named:
                # With a directory descriptor, though unused, Python follows the link to the file.
                os.link(f"{_OPEN_FILES}/{file.fileno()}", temporary, src_dir_fd=file.fileno())
        os.replace(temporary, target)
    except BaseException:  # KeyboardInterrupt too
        temporary.unlink(missing_ok=True)
        raise


def _open_beside(temporary: Path) -> tuple[BinaryIO, bool]:
    """A new file in that directory, and whether it has this name or none."""
    # Not tempfile: it makes files 0600, and a new picture should follow the umask.
    if hasattr(os, "O_TMPFILE") and os.path.isdir(_OPEN_FILES):
        with contextlib.suppress(OSError):  # not every file system has nameless files
            handle = os.open(temporary.parent, os.O_TMPFILE | os.O_RDWR, 0o666)
            return os.fdopen(handle, "w+b"), False
    return temporary.open("x+b"), True
