"""What the public functions accept, judged in one place; every refusal is one sentence.

A function checks its arguments once, at the public edge, and trusts them further in.  ValueError is
for values and shapes, TypeError for kinds.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Collection, Sequence
from typing import Any, TypeGuard, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

DTYPES = (
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
    torch.complex64,
    torch.complex128,
)
"""What a weight or data may be."""

_LAZY = (UninitializedParameter, UninitializedBuffer)

_Kind = TypeVar("_Kind")


def shown(value: object) -> str:
    """A value for a sentence: short, and on one line.

    Examples
    --------
    >>> shown("no"), shown(torch.ones(2, 3))
    ("'no'", 'a tensor of shape (2, 3)')
    """
    if isinstance(value, Tensor):
        if isinstance(value, _LAZY) or value.is_nested:
            return f"a {type(value).__name__} without a shape"
        return f"a tensor of shape {tuple(value.shape)}"
    if isinstance(value, nn.Module) or callable(value):
        return f"a {type(value).__name__}"
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"a {type(value).__name__}"


# --- tensors
def check_tensor(name: str, value: object) -> Tensor:
    """`value` as dense real or complex numbers to work on, or one sentence with the remedy.

    Dense, strided, of one of `DTYPES`; half precision included, which the library computes in
    single precision.  Whether there are values at all is asked by `check_values`: shapes are
    enough to plan.
    """
    if (  # as nearly every one is: to ask for each remedy costs more than a small convolution
        type(value) is Tensor
        and value.dtype in DTYPES
        and value.layout == torch.strided
        and (value.is_cpu or value.is_cuda)
        and not value.is_nested
    ):
        return value
    tensor = check_dense(name, value)
    if tensor.dtype not in DTYPES:
        raise TypeError(
            f"{name} must be floating point or complex, got {tensor.dtype}; convert it with "
            f"{'.to(torch.complex64)' if tensor.is_complex() else '.float() or .double()'}."
        )
    return tensor


def check_dense(name: str, value: object) -> Tensor:
    """The value, if it is a tensor of any dtype and a plain array: not sparse, nested or masked."""
    if not isinstance(value, Tensor):
        raise TypeError(
            f"{name} must be a torch.Tensor, got {type(value).__name__}; use torch.as_tensor."
        )
    why = _why_not_dense(value)
    if why is not None:
        raise TypeError(f"{name} must be a dense tensor, got {why}.")
    return value


def _why_not_dense(value: Tensor) -> str | None:
    if type(value) is not Tensor:  # the look at subclasses costs as much as all the rest
        if isinstance(value, _LAZY):
            return "a lazy parameter without a shape; run its module once first"
        if isinstance(value, torch.masked.MaskedTensor):
            return "a masked one; choose what stands behind the mask with .to_tensor(value)"
    if value.is_nested:
        return "a nested one; pass its parts one by one"
    if value.is_quantized:
        return "a quantized one; convert it with .dequantize()"
    if value.layout != torch.strided:
        return f"one of layout {value.layout}; convert it with .to_dense()"
    if not (value.is_cpu or value.is_cuda) and value.device.type == "lazy":
        return "one on the lazy device; move it with .to('cpu')"
    return None


def check_values(name: str, value: Tensor) -> None:
    """Refuse a tensor of the meta device, which is a shape alone."""
    if value.is_meta:
        raise ValueError(
            f"{name} is on the meta device and has no values; give it some, for a module with "
            ".to_empty(device=...)."
        )


def check_real_tensor(name: str, value: object) -> Tensor:
    """`value` as a dense tensor of real numbers, or one sentence with the remedy."""
    tensor = check_tensor(name, value)
    if tensor.is_complex():
        raise TypeError(
            f"{name} must be real, got {tensor.dtype}; take its real part or its modulus."
        )
    return tensor


def check_all_finite(
    name: str,
    value: Tensor,
    remedy: str = "remove them, or pass check_finite=False to let them spread",
) -> None:
    """Refuse NaN and Inf: a transform would spread one of them over the whole result."""
    check_values(name, value)
    # one pass and no memory; only overflow needs a look
    if cmath.isfinite(value.detach().sum().item()):
        return
    bad = ~torch.isfinite(value)
    if bad.any():
        first = tuple(bad.nonzero()[0].tolist())
        raise ValueError(
            f"{name} holds {int(bad.sum())} NaN or infinite values, the first at index {first}; "
            f"{remedy}."
        )


# --- numbers, names and the like
def check_number(
    name: str,
    value: object,
    *,
    least: float = 0.0,
    below: float = math.inf,
    positive: bool = False,
    why: str = "",
) -> float:
    """The number, if it is real with least ≤ value < below, and not 0 where `positive`.

    Examples
    --------
    >>> check_number("rtol", 0.5, below=1)
    0.5
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(
            f"{name} must be a number, got {type(value).__name__}; use float({name}) if it is one."
        )
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not least <= number < below or math.isinf(number) or (positive and number == 0):
        lower = (
            "" if least == -math.inf else f" {'>' if positive and least == 0 else '>='} {least:g}"
        )
        upper = "" if below == math.inf else f"{' and' if lower else ''} < {below:g}"
        raise ValueError(f"{name}={shown(value)} must be a finite number{lower}{upper}{why}.")
    return number


def check_count(name: str, value: object, least: float = 1, most: int = 2**63 - 1) -> int:
    """The value, if it is an integer with least ≤ value ≤ most and no bool."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(
            f"{name} must be an integer, got {type(value).__name__}; use int({name}) if it is one."
        )
    if value < least:
        raise ValueError(f"{name}={shown(value)} must be at least {least}.")
    if value > most:
        limit = "2^63 − 1" if most == 2**63 - 1 else f"{most:,}"
        raise ValueError(f"{name}={shown(value)} must be at most {limit}.")
    return value


def check_memory_limit(value: object) -> float:
    """The value, if it is a number of bytes, which may be infinite."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"memory_limit must be a number of bytes, got {shown(value)}; 4e9 is 4 GB.")
    if not value >= 0:
        raise ValueError(f"memory_limit={value} must be a number of bytes >= 0.")
    return value if value < 2**63 else math.inf


def check_flag(name: str, value: object) -> bool:
    """The value, if it is True or False: a text or a number would mean what its writer did not."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, got {shown(value)}.")
    return value


def check_choice(name: str, value: object, choices: Collection[str], remark: str = "") -> str:
    """The value, if it is one of several names; the refusal lists them."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(
            f"{name}={shown(value)} is not known; use one of "
            f"{', '.join(map(repr, choices))}{remark}."
        )
    return value


def check_kind(name: str, value: object, kind: type[_Kind], remedy: str) -> _Kind:
    """The value, if it is an instance of `kind`; `remedy` says how to come by one."""
    if not isinstance(value, kind):
        raise TypeError(f"{name} must be a {kind.__name__}, got {shown(value)}; {remedy}.")
    return value


def check_function(name: str, value: object) -> Any:
    """The value, if it can be called."""
    if not callable(value):
        raise TypeError(
            f"{name} must be a function, got {type(value).__name__}; pass the function itself."
        )
    return value


def is_sequence(value: object) -> TypeGuard[Sequence[Any]]:
    """Whether `value` is a tuple, a list or the like, but no text and no bytes."""
    return isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray)
