"""Which arithmetic a computation uses: working dtypes, and no silent TF32 or bfloat16 inside."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
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


def doubled(t: Tensor) -> Tensor:
    """`t` in double precision."""
    return t.to(double_dtype(t.dtype))


def working_dtype(own: torch.dtype, result: torch.dtype) -> torch.dtype:
    """The dtype in which an operand of dtype `own` takes part in a computation of `result`.

    A real operand stays real beside complex ones; both have the precision of the result.
    """
    if own == result and own not in _HALF:
        return own
    real = real_working_dtype(result)
    return real.to_complex() if own.is_complex else real


def working_pair(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, torch.dtype]:
    """Two operands, each in its `working_dtype`, and the dtype of what is made of them."""
    if a.dtype == b.dtype and a.dtype not in _HALF:
        return a, b, a.dtype
    result = torch.result_type(a, b)
    return a.to(working_dtype(a.dtype, result)), b.to(working_dtype(b.dtype, result)), result


def in_precision(t: Tensor, dtype: torch.dtype) -> Tensor:
    """`t` in the precision of `dtype`; what is real stays real."""
    return t.to(dtype.to_complex() if t.is_complex() else dtype.to_real())


def result_dtype(own: torch.dtype, data: torch.dtype, device_type: str) -> torch.dtype:
    """Dtype of a result: the promoted one, or that of autocast in the place of float32."""
    dtype = own if own == data else torch.promote_types(own, data)
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
    switches, autocast = _switches(device_type), _is_autocast(device_type)
    for switch in switches:
        if switch.__getattr__(_NAME) not in ("none", "ieee"):
            break
    else:
        if not autocast:
            return _AS_IT_IS
    return _strict(switches, device_type if autocast else None)


_AS_IT_IS: AbstractContextManager[None] = nullcontext()
# Read by __getattr__, which is what finds it: the search that fails before costs twice as much.
_NAME = "fp32_precision"


@cache
def _switches(device_type: str) -> tuple[Any, ...]:
    """Where torch lets float32 products on this device round to TF32 or bfloat16."""
    backends: Any = torch.backends  # the switches are attributes that torch's stubs do not list
    if device_type == "cpu":
        return backends.mkldnn.matmul, backends.mkldnn.conv
    return (backends.cuda.matmul, backends.cudnn.conv) if device_type == "cuda" else ()


def _is_autocast(device_type: str) -> bool:
    return device_type in ("cpu", "cuda") and torch.is_autocast_enabled(device_type)


@contextmanager
def _strict(slots: Sequence[Any], autocast: str | None) -> Iterator[None]:
    before = [slot.fp32_precision for slot in slots]
    try:
        for slot in slots:
            slot.fp32_precision = "ieee"
        with torch.autocast(autocast, enabled=False) if autocast else nullcontext():
            yield
    finally:
        for slot, value in zip(slots, before, strict=True):
            slot.fp32_precision = value
