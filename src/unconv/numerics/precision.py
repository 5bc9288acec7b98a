"""Which arithmetic a computation uses: working dtypes, and no silent TF32 or bfloat16 inside."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor

DOUBLE_BITS = 53
"""Binary digits of a float64, the implied first one counted."""

_HALF = {torch.float16: torch.float32, torch.bfloat16: torch.float32}


def real_working_dtype(dtype: torch.dtype) -> torch.dtype:
    """The real dtype to compute in: at least float32."""
    real = dtype.to_real()
    return _HALF.get(real, real)


def double_dtype(dtype: torch.dtype) -> torch.dtype:
    """float64 for a real dtype, complex128 for a complex one.

    Examples
    --------
    >>> double_dtype(torch.float16), double_dtype(torch.complex64)
    (torch.float64, torch.complex128)
    """
    return torch.complex128 if dtype.is_complex else torch.float64


def working_dtype(own: torch.dtype, result: torch.dtype) -> torch.dtype:
    """The dtype in which an operand of dtype `own` takes part in a computation of `result`.

    A real operand stays real beside complex ones; both have the precision of the result.
    """
    if own == result and own not in _HALF:
        return own
    real = real_working_dtype(result)
    return real.to_complex() if own.is_complex else real


def in_precision(t: Tensor, dtype: torch.dtype) -> Tensor:
    """`t` in the precision of `dtype`; what is real stays real."""
    return t.to(dtype.to_complex() if t.is_complex() else dtype.to_real())


def result_dtype(own: torch.dtype, data: torch.dtype, device_type: str) -> torch.dtype:
    """Dtype of a result: the promoted one, or that of autocast in the place of float32."""
    dtype = torch.promote_types(own, data)
    single = dtype in (torch.float32, torch.float16, torch.bfloat16)
    return torch.get_autocast_dtype(device_type) if single and _is_autocast(device_type) else dtype


def ieee_arithmetic(
    device_type: str, dtype: torch.dtype = torch.float32
) -> AbstractContextManager[None]:
    """Products in the operands' own precision, whatever the process allows elsewhere.

    TF32 keeps 10 bits of mantissa, autocast 7: an adjoint would hold to 1e-3 instead of 1e-7.  The
    switches are the process's own, so they are touched only where they would matter.
    """
    if dtype in (torch.float64, torch.complex128):
        return _AS_IT_IS
    slots, autocast = _loose_slots(device_type), _is_autocast(device_type)
    return _strict(slots, device_type if autocast else None) if slots or autocast else _AS_IT_IS


_AS_IT_IS: AbstractContextManager[None] = nullcontext()


def _loose_slots(device_type: str) -> list[Any]:
    """torch's switches that let float32 products on this device round to TF32 or bfloat16."""
    backends: Any = torch.backends  # the switches are attributes that torch's stubs do not list
    if device_type == "cpu":
        slots = backends.mkldnn.matmul, backends.mkldnn.conv
    elif device_type == "cuda":
        slots = backends.cuda.matmul, backends.cudnn.conv
    else:
        return []
    return [slot for slot in slots if slot.fp32_precision not in ("none", "ieee")]


def _is_autocast(device_type: str) -> bool:
    return device_type in ("cpu", "cuda") and torch.is_autocast_enabled(device_type)


@contextmanager
def _strict(slots: list[Any], autocast: str | None) -> Iterator[None]:
    before = [slot.fp32_precision for slot in slots]
    try:
        for slot in slots:
            slot.fp32_precision = "ieee"
        with torch.autocast(autocast, enabled=False) if autocast else nullcontext():
            yield
    finally:
        for slot, value in zip(slots, before, strict=True):
            slot.fp32_precision = value
