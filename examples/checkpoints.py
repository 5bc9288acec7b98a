"""States of a training as files, whole or not there."""

from __future__ import annotations

from collections.abc import Set
from pathlib import Path
from typing import Any

import torch

from unconv.pictures.formats.atomic import replacing


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a dictionary of tensors and plain values."""
    with replacing(path) as file:
        torch.save(state, file)


def read_checkpoint(path: Path, *kinds: Set[str]) -> dict[str, Any]:
    """A dictionary whose keys are those of one kind, unpickled without running anything.

    Raises
    ------
    ValueError
        If there is none, or it is damaged or of another kind.
    """
    try:
        state = torch.load(path, weights_only=True)
    except FileNotFoundError:
        raise ValueError(f"there is no checkpoint {str(path)!r}; train writes one.") from None
    except Exception as error:  # a damaged file makes the unpickler raise nearly anything
        raise ValueError(
            f"{str(path)!r} cannot be read as a checkpoint ({type(error).__name__}); give one that "
            "train wrote."
        ) from error
    if not isinstance(state, dict) or state.keys() not in kinds:
        raise ValueError(f"{str(path)!r} is no checkpoint of this example; give one of train.")
    return state
