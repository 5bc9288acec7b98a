"""From positions and values to a matrix in one of four layouts, with every check in front."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...grid.geometry import Geometry
from ...numerics.checks import (
    check_choice,
    check_kind,
    check_memory_limit,
    check_values,
)
from ...numerics.compiled import outside_graphs
from ..convolution import Convolution
from ..linear_operator import DEFAULT_MEMORY_LIMIT, MemoryLimitError, gigabytes
from .factors import factors_of, most_entries
from .pattern import Pattern
from .table import value_table

if TYPE_CHECKING:
    from scipy.sparse import csr_array

ORDERS = ("C", "F")

AnyIndices = NDArray[np.integer[Any]]  # 32 bits wide where that is enough


@outside_graphs
def operator_matrix(
    op: Convolution,
    layout: str = "sparse_csr",
    order: str = "C",
    *,
    memory_limit: float = DEFAULT_MEMORY_LIMIT,
) -> Tensor | csr_array:
    """The matrix of an operator with every one of its options; `op.to_sparse()`.

    Parameters
    ----------
    op
        Any ConvOperator with one kernel for the whole batch.
    layout
        'sparse_csr', 'sparse_coo' (coalesced) or 'dense' for a tensor, 'scipy' for a
        `scipy.sparse.csr_array`, which is on the CPU and has no gradient: a weight that requires
        one is refused.
    order
        How one sample (c, *spatial) becomes a vector: 'C' as `x.flatten()`, 'F' as NumPy's
        `x.ravel(order="F")`, the first index fastest.
    memory_limit
        Bytes that the matrix may take.

    Returns
    -------
    (m, n) of the operator's dtype, `op.shape`.  Columns ascend within a row and no position stands
    twice; entries that happen to be zero are kept, so the pattern depends on shapes alone.
    Indices are int64, in SciPy's array int32 where they fit.  Tensors are on the operator's
    device and differentiable in its weight.

    Raises
    ------
    MemoryLimitError
        If the matrix would take more than `memory_limit` bytes; nothing was allocated.
    ValueError
        If a name is not known, or every sample has its own kernel.
    TypeError
        If the layout lacks the operator's dtype, or its gradient ('scipy', complex 'sparse_csr').

    Examples
    --------
    >>> import torch, unconv
    >>> from unconv.operators.matrix import operator_matrix
    >>> K = torch.randn(4, 2, 3, 3, dtype=torch.float64)
    >>> op = unconv.ConvOperator(K, (8, 9), stride=2, padding=1, padding_mode="reflect")
    >>> A, x = operator_matrix(op), torch.randn(1, 2, 8, 9, dtype=torch.float64)
    >>> torch.allclose(A @ x.flatten(), op(x).flatten())
    True
    """
    check_kind("op", op, Convolution, "build one from the weight")
    if op.batch_size is not None:
        raise ValueError(
            f"the operator has one kernel for each of {op.batch_size} samples, so there is one "
            "matrix per sample; take them from op.of_sample(i)."
        )
    matrix = op.taps, op.geometry, op.transposed
    seen = None if op.seen is None else op.seen.expand(op.range_shape)
    return assemble(*matrix, layout, order, memory_limit, seen)


def assemble(
    taps: Tensor,
    geometry: Geometry,
    transposed: bool,
    layout: str,
    order: str,
    memory_limit: float,
    seen: Tensor | None = None,
) -> Tensor | csr_array:
    """The matrix of the correlation with `taps`; padding may be wider than the domain.

    seen : bool, of the shape of the range, False where a row is zero
    """
    check_choice("layout", layout, LAYOUTS)
    check_choice("order", order, ORDERS)
    _check_dtype(layout, taps)
    _check_memory(geometry, transposed, layout, taps.dtype, check_memory_limit(memory_limit))
    check_values("weight", taps)
    factors = factors_of(geometry, transposed)
    table = value_table(taps, factors)
    if order == "F":  # the first index fastest: the factors in the opposite order
        factors, table = factors[::-1], table.permute(*reversed(range(table.ndim)))
        seen = None if seen is None else seen.permute(*reversed(range(seen.ndim)))
    rows = None if seen is None else seen.flatten().cpu().numpy()
    return LAYOUTS[layout](Pattern(factors, rows), table.flatten())


# --- the layouts


def _csr(pattern: Pattern, table: Tensor) -> Tensor:
    columns = np.empty(pattern.size, dtype=np.int64)
    values = _write(pattern, table, columns)
    with warnings.catch_warnings():  # torch says once a process that CSR is in beta state
        warnings.filterwarnings("ignore", "Sparse CSR tensor support", UserWarning)
        return torch.sparse_csr_tensor(
            torch.from_numpy(pattern.crow).to(table.device),
            torch.from_numpy(columns).to(table.device),
            values,
            pattern.shape,
            check_invariants=False,
        )


def _coo(pattern: Pattern, table: Tensor) -> Tensor:
    indices = np.empty((2, pattern.size), dtype=np.int64)
    values = _write(pattern, table, columns=indices[1])
    indices[0] = pattern.row_of_entries(slice(0, pattern.shape[0]))
    return torch.sparse_coo_tensor(
        torch.from_numpy(indices).to(table.device),
        values,
        pattern.shape,
        is_coalesced=True,
        check_invariants=False,
    )


def _dense(pattern: Pattern, table: Tensor) -> Tensor:
    m, n = pattern.shape
    labels = np.full((m, n), pattern.zero, dtype=_index_dtype(pattern.zero))
    for block in pattern.blocks():
        labels[pattern.row_of_entries(block.rows), block.column] = block.label
    return _look_up(table, labels.reshape(-1)).view(m, n)


def _scipy(pattern: Pattern, table: Tensor) -> csr_array:
    from scipy.sparse import csr_array  # a fifth of a second, for whoever asks for one

    index = _index_dtype(max(pattern.size, *pattern.shape))
    columns = np.empty(pattern.size, dtype=index)
    values = _write(pattern, table.detach().cpu(), columns)
    arrays = values.numpy(), columns, pattern.crow.astype(index)
    return csr_array(arrays, shape=pattern.shape)


LAYOUTS: dict[str, Callable[[Pattern, Tensor], Tensor | csr_array]] = {
    "sparse_csr": _csr,
    "sparse_coo": _coo,
    "dense": _dense,
    "scipy": _scipy,
}


def _write(pattern: Pattern, table: Tensor, columns: AnyIndices) -> Tensor:
    """Fill in the columns; the values, looked up in one go so that they are differentiable."""
    labels = np.empty(pattern.size, dtype=_index_dtype(pattern.zero))
    for block in pattern.blocks():
        columns[block.where], labels[block.where] = block.column, block.label
    return _look_up(table, labels)


def _look_up(table: Tensor, labels: AnyIndices) -> Tensor:
    """Values by their labels, the last of which is that of zero."""
    table = torch.cat([table, table.new_zeros(1)])
    return table.index_select(0, torch.from_numpy(labels).to(table.device))


def _index_dtype(largest: int) -> type[np.int32 | np.int64]:
    return np.int32 if largest < 2**31 else np.int64


# --- refusals

_COMMON = (torch.float32, torch.float64, torch.complex64, torch.complex128)
_DTYPES = {
    "sparse_csr": _COMMON,  # torch makes others on a CPU, but has no product with them
    "sparse_coo": (*_COMMON, torch.float16, torch.bfloat16),
    "scipy": _COMMON,
}


def _check_dtype(layout: str, taps: Tensor) -> None:
    accepted = _DTYPES.get(layout, (taps.dtype,))
    if taps.dtype not in accepted:
        names = ", ".join(str(dtype).removeprefix("torch.") for dtype in accepted)
        raise TypeError(
            f"layout={layout!r} is for {names}, got {taps.dtype}; convert the weight, with "
            f"{'.to(torch.complex64)' if taps.is_complex() else '.float()'}, or use "
            "layout='dense'."
        )
    wanted = taps.requires_grad and torch.is_grad_enabled()
    if layout == "sparse_csr" and taps.is_complex() and wanted:
        raise TypeError(
            "torch has no gradient of complex 'sparse_csr' tensors, and the weight requires one; "
            "use layout='sparse_coo', or call under torch.no_grad()."
        )
    if layout == "scipy" and wanted:
        raise TypeError(
            "a SciPy matrix has no gradient, and the weight requires one; give weight.detach() if "
            "it is a constant here, or use layout='sparse_coo'."
        )


def _check_memory(
    geometry: Geometry, transposed: bool, layout: str, dtype: torch.dtype, memory_limit: float
) -> None:
    m, n = math.prod(geometry.range_shape), math.prod(geometry.domain_shape)
    m, n = (n, m) if transposed else (m, n)
    channels = geometry.c_out * geometry.c_in // geometry.groups
    entries = channels * math.prod(map(most_entries, geometry.axes))
    index = _index_dtype(max(entries, m, n))().itemsize if layout == "scipy" else 8
    need = {
        "dense": m * n * dtype.itemsize,
        "sparse_coo": entries * (dtype.itemsize + 16),
    }.get(layout, entries * (dtype.itemsize + index) + (m + 1) * index)
    if need > memory_limit:
        what = "" if layout == "dense" else f" with up to {entries} entries"
        remedy = "a sparse layout, " if layout == "dense" else ""
        raise MemoryLimitError(
            f"the {m} × {n} matrix{what} takes {gigabytes(need)} as {layout!r}, more than "
            f"memory_limit={gigabytes(memory_limit)}; use {remedy}the operator itself, a smaller "
            "input_shape or a larger memory_limit."
        )
