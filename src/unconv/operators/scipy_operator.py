"""A linear operator on flat NumPy vectors, for SciPy's iterations and for PyLops.

    x.ravel() ↦ (A x).ravel(),    both in C order of `domain_shape` and `range_shape`

Several vectors, the columns of a matrix, go through A as one batch.  Data that lie on a CPU and are
contiguous are copied once, when the columns are turned to rows.

scipy.sparse.linalg takes a quarter of a second to import.  So the class that inherits from SciPy's
is made when the first operator is adapted; what it does is written in `FlatVectorMaps`.
"""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from ..numerics.precision import real_working_dtype

_Array = np.ndarray[Any, Any]
_SHARED = tuple(map(np.dtype, ("float32", "float64", "complex64", "complex128")))


class Applicable(Protocol):
    """What `SciPyOperator` asks of the operator that it wraps."""

    domain_shape: tuple[int, ...]
    range_shape: tuple[int, ...]
    batch_size: int | None

    @property
    def shape(self) -> tuple[int, int]:
        """(m, n) of the matrix of one sample."""

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of its coefficients."""

    @property
    def device(self) -> torch.device:
        """Device of its coefficients."""

    @property
    def H(self) -> Applicable:
        """Its adjoint, as an operator."""

    def __call__(self, x: Tensor) -> Tensor:
        """A x."""


class FlatVectorMaps:
    """`op` as a `scipy.sparse.linalg.LinearOperator`; see `as_scipy`.

    Attributes
    ----------
    shape : (m, n)
    dtype : NumPy's of the operator, float32 for half precision
    dims, dimsd : `domain_shape` and `range_shape`, under the names that PyLops reads
    """

    dtype: np.dtype[Any]

    def __init__(self, op: Applicable) -> None:
        if not isinstance(op, nn.Module) or not hasattr(op, "domain_shape"):
            raise TypeError(
                f"as_scipy needs an operator of unconv, got {type(op).__name__}; "
                "scipy.sparse.linalg.aslinearoperator takes matrices."
            )
        check_one_kernel(op, "SciPy")
        self.op = op
        self.dims, self.dimsd = op.domain_shape, op.range_shape
        super().__init__(_numpy_dtype(op.dtype), op.shape)  # type: ignore[call-arg]  # SciPy's

    def _matvec(self, x: _Array) -> _Array:  # (n,) or (n, 1) -> (m,)
        return self._matmat(x.reshape(-1, 1))[:, 0]

    def _rmatvec(self, x: _Array) -> _Array:  # (m,) or (m, 1) -> (n,)
        return self._rmatmat(x.reshape(-1, 1))[:, 0]

    def _matmat(self, X: _Array) -> _Array:  # (n, K) -> (m, K)
        batch = self._to_torch(X).reshape(-1, *self.op.domain_shape)
        with torch.no_grad():
            return _to_numpy(self.op(batch))

    def _rmatmat(self, X: _Array) -> _Array:  # (m, K) -> (n, K)
        return self._adjoint()._matmat(X)

    def _adjoint(self) -> SciPyOperator:
        return scipy_operator_class()(self.op.H)

    def _to_torch(self, X: _Array) -> Tensor:
        """Columns to rows, in a floating-point dtype that NumPy and torch both have."""
        dtype = np.promote_types(X.dtype, self.dtype)
        if dtype not in _SHARED:  # long double
            dtype = np.dtype("complex128" if dtype.kind == "c" else "float64")
        rows = np.array(X.T, dtype=dtype, order="C")
        return torch.from_numpy(rows).to(self.op.device)


@cache
def scipy_operator_class() -> type[SciPyOperator]:
    """`unconv.adapters.SciPyOperator`: these maps with the algebra of SciPy's class."""
    from scipy.sparse.linalg import LinearOperator

    names = {"__module__": "unconv.adapters", "__doc__": FlatVectorMaps.__doc__}
    return type("SciPyOperator", (FlatVectorMaps, LinearOperator), names)


if TYPE_CHECKING:
    from scipy.sparse.linalg import LinearOperator

    class SciPyOperator(FlatVectorMaps, LinearOperator):
        """What `scipy_operator_class` makes, for annotations."""


def _numpy_dtype(dtype: torch.dtype) -> np.dtype[Any]:
    single = real_working_dtype(dtype) == torch.float32
    if dtype.is_complex:
        return np.dtype("complex64" if single else "complex128")
    return np.dtype("float32" if single else "float64")


def _to_numpy(y: Tensor) -> _Array:  # (K, *shape) -> (m, K)
    rows = y.reshape(len(y), math.prod(y.shape[1:])).cpu()
    return np.asarray(rows.resolve_conj().numpy()).T


def check_one_kernel(op: Applicable, target: str) -> None:
    """Refuse one kernel for each sample: other packages have one operator for the whole batch."""
    if op.batch_size is not None:
        raise ValueError(
            f"{target} has one operator for the whole batch, got one kernel for each of "
            f"{op.batch_size} samples; adapt each one, as `op.of_sample(i)` gives it."
        )
    if op.device.type == "meta":
        raise ValueError("the operator is on the meta device and has no values; move it first.")
