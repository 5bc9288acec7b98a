"""What memory an iteration takes, known from the sizes before any work."""

from __future__ import annotations

import math

import torch

from ..operators.convolution import Convolution
from ..operators.linear_operator import MemoryLimitError, gigabytes
from .grid_problem import grid_sizes

_BYTES_AT_A_LOOK = 8  # bytes of a number while the objective is looked at


def memory_needed(op: Convolution, kind: str, working: torch.dtype) -> int:
    """Bytes of the iteration for one image and of a look at it, without the exact solves.

    kind : of the differences, 'gradient' or 'hessian'
    working : real dtype of the iteration
    """
    nd, places = len(op.domain_shape) - 1, math.prod(grid_sizes(op))
    parts = 2 if op.dtype.is_complex else 1
    phases = math.prod(a.stride for a in op.geometry.axes) if op.transposed else 1
    c, rows = op.domain_shape[0], op.range_shape[0] * phases
    stack = c * (nd if kind == "gradient" else nd * (nd + 1) // 2)
    held = 7 * c + 5 * rows + 4 * stack  # the state, its multipliers and what a step makes
    looked = 3 * c + 3 * rows + 2 * stack
    blocks = rows * c // op.geometry.groups * 2  # complex, of half of the frequencies
    size = torch.finfo(working).bits // 8
    numbers = size * (held + blocks / 2) + _BYTES_AT_A_LOOK * looked
    return int(parts * places * numbers)


def memory_left(op: Convolution, kind: str, working: torch.dtype, memory_limit: float) -> float:
    """Bytes that the iteration leaves of a limit for the exact solves; refused if there are none.

    Of 1,500² both were predicted to take 285 bytes a pixel, and took 231.
    """
    need = memory_needed(op, kind, working)
    if need > memory_limit:
        raise MemoryLimitError(
            f"restoring an image of {op.domain_shape} takes {gigabytes(need)}, memory_limit="
            f"{gigabytes(memory_limit)}; raise memory_limit, or restore it in parts."
        )
    return memory_limit - need
