"""The atomic write: the target is either the old file or the whole new one."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A new file that takes the place of `path` when the block ends well, or else vanishes."""
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".unconv-{secrets.token_hex(8)}{path.suffix}")
    try:
        # Not tempfile: it makes files 0600, and a new picture should follow the umask.
        with temporary.open("x+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # else a crash may leave the new name with no content
        if target.exists():
            temporary.chmod(stat.S_IMODE(target.stat().st_mode))
        os.replace(temporary, target)
    except BaseException:  # KeyboardInterrupt too
        temporary.unlink(missing_ok=True)
        raise
