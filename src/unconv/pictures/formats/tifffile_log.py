"""What the package tifffile writes to the log of a process, kept from the terminal."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


class _Kept(logging.Handler):
    def __init__(self, said: list[str]) -> None:
        super().__init__()
        self._said = said

    def emit(self, record: logging.LogRecord) -> None:
        self._said.append(" ".join(record.getMessage().split()))


@contextmanager
def tifffile_log() -> Iterator[list[str]]:
    """Within, what tifffile says of a damaged file is a list of sentences and nothing else.

    A refusal is a sentence of unconv; a dozen lines of another package before it help nobody.
    """
    logger, said = logging.getLogger("tifffile"), list[str]()
    kept, before = _Kept(said), logger.propagate
    logger.addHandler(kept)
    logger.propagate = False
    try:
        yield said
    finally:
        logger.propagate = before
        logger.removeHandler(kept)
