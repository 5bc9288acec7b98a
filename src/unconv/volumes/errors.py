"""What goes wrong with a volume, and the optional packages that volumes need."""

from __future__ import annotations

import importlib
from typing import Any


class VolumeError(ValueError):
    """A volume could not be read, restored or written: expected, got, and the remedy."""


class TooLargeError(VolumeError):
    """More memory than was allowed."""


class StoppedError(VolumeError):
    """A run cannot go on now: the disk is full, or its workers are gone.  It may go on later."""


class DamagedError(VolumeError):
    """Stored samples are not those that were written, or what they come from is gone."""


class TilesError(VolumeError):
    """Some tiles could not be done, and the rest of their stage is.

    Attributes
    ----------
    bad_input : each of them would fail again
    """

    def __init__(self, sentence: str, bad_input: bool) -> None:
        super().__init__(sentence)
        self.bad_input = bad_input


def need(module: str) -> Any:
    """Import a module of the extra `volumes`, or say how to install it."""
    try:
        return importlib.import_module(module)
    except ImportError as exc:
        name = module.partition(".")[0]
        package = {"google_crc32c": "google-crc32c"}.get(name, name)
        raise VolumeError(
            f"volumes need the package {package}; pip install 'unconv[volumes]'."
        ) from exc
