"""Linear operators on tensors (N, C, *spatial) and their algebra.

Every operator is a map between two fixed shapes, knows its adjoint, and composes.  Validation
happens here, once; `_matvec` and `_rmatvec` of a subclass trust their input.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch import promote_types as promote

from ..numerics.checks import check_memory_limit, check_tensor, check_values
from ..numerics.precision import result_dtype
from .images import in_layout_of, is_alone
from .scipy_operator import scipy_operator_class

if TYPE_CHECKING:
    from .scipy_operator import SciPyOperator

DEFAULT_MEMORY_LIMIT = 4 * 2**30
"""Bytes that a dense matrix or a factor may take unless told otherwise (4 GiB)."""

EXPECTED_SOLVES = 10
"""Images that a factor is weighed for, where nobody says how many there will be."""


def gigabytes(size: float) -> str:
    """A number of bytes for a sentence.

    Examples
    --------
    >>> gigabytes(6_800_000_000), gigabytes(2500)
    ('6.8 GB', '2.5 kB')
    """
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size:.0f} B"


class MemoryLimitError(ValueError):
    """A computation was refused before it allocated anything; the message has the figures."""


class LinearOperator(nn.Module):
    """A linear map A from (N, *domain_shape) to (N, *range_shape) for any batch size N.

    Attributes
    ----------
    domain_shape : tuple of int
        (channels, *spatial) of one x.
    range_shape : tuple of int
        (channels, *spatial) of one y.
    batch_size : int or None
        None if one operator serves the whole batch, B if every sample has its own.
    """

    domain_shape: tuple[int, ...]
    range_shape: tuple[int, ...]
    batch_size: int | None = None
    made_in_passing = False  # by compiled code, which then applies it outside of its graphs

    # --- to be given by subclasses
    def _matvec(self, x: Tensor) -> Tensor:  # (N, *domain_shape) -> (N, *range_shape)
        raise NotImplementedError

    def _rmatvec(self, y: Tensor) -> Tensor:  # (N, *range_shape) -> (N, *domain_shape)
        raise NotImplementedError

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the operator's own coefficients."""
        raise NotImplementedError

    @property
    def device(self) -> torch.device:
        """Device of the operator's own coefficients."""
        raise NotImplementedError

    def _coefficients(self) -> tuple[torch.dtype, torch.device]:
        """Their dtype and device, together: every call asks for both."""
        return self.dtype, self.device

    # --- the algebra
    def forward(self, x: Tensor) -> Tensor:
        """A x.

        Parameters
        ----------
        x : (N, *domain_shape), or one image (*domain_shape), as torch.nn takes both; floating point
            or complex, on the operator's device

        Returns
        -------
        (N, *range_shape), or (*range_shape) for one image, of dtype
        `torch.promote_types(self.dtype, x.dtype)`; under autocast of its dtype in the place of
        float32.  What is of half precision is computed in float32 all the same.  Channels that
        come last in memory (`torch.channels_last`) stay last.

        Raises
        ------
        ValueError, TypeError
            If x is no dense tensor of this shape on this device.

        Examples
        --------
        >>> import torch, unconv
        >>> A = unconv.ConvOperator(torch.ones(2, 1, 3), (5,), padding=1)
        >>> A(torch.ones(1, 1, 5))[0, 0]
        tensor([2., 3., 3., 3., 2.])
        """
        if is_alone(x, self.domain_shape):
            return self.forward(x[None])[0]
        own = self._check(x, self.domain_shape)
        dtype = result_dtype(own, x.dtype, x.device.type)
        if x.shape[0] == 0:  # transforms and convolutions of torch refuse empty batches
            return x.new_zeros(0, *self.range_shape, dtype=dtype)
        y = self._matvec(x)
        return in_layout_of(y if y.dtype == dtype else y.to(dtype), x)

    @property
    def shape(self) -> tuple[int, int]:
        """(m, n) of the matrix of one sample: the numbers in one y and in one x."""
        return math.prod(self.range_shape), math.prod(self.domain_shape)

    @property
    def H(self) -> LinearOperator:
        """The adjoint Aᴴ: ⟨A x, y⟩ = ⟨x, Aᴴ y⟩; an operator, and nothing is computed for it.

        Examples
        --------
        >>> import torch, unconv
        >>> A = unconv.ConvOperator(torch.ones(2, 1, 3), (5,), padding=1)
        >>> A.H.domain_shape, A.H.range_shape, A.H.H is A
        ((2, 5), (1, 5), True)
        """
        return AdjointOperator(self)

    @property
    def T(self) -> LinearOperator:
        """The transpose, Aᴴ without its conjugate; the same as `H` for real operators."""
        return self.H if not self.dtype.is_complex else TransposeOperator(self)

    @property
    def gram(self) -> LinearOperator:
        """AᴴA as an operator, for normal equations and power iterations.

        Examples
        --------
        >>> import torch, unconv
        >>> A = unconv.ConvOperator(torch.ones(1, 1, 2), (3,))
        >>> A.gram.to_dense()
        tensor([[1., 1., 0.],
                [1., 2., 1.],
                [0., 1., 1.]])
        """
        return ComposedOperator(self.H, self)

    def __matmul__(self, other: LinearOperator | Tensor) -> LinearOperator | Tensor:
        """`A @ B` composes two operators, `A @ x` applies A."""
        if isinstance(other, LinearOperator):
            return ComposedOperator(self, other)
        if isinstance(other, Tensor):
            return self(other)
        return NotImplemented

    def as_scipy(self) -> SciPyOperator:
        """A on flat NumPy vectors, for SciPy and PyLops; see `unconv.adapters.as_scipy`."""
        return scipy_operator_class()(self)

    def to_dense(self, *, memory_limit: float = DEFAULT_MEMORY_LIMIT) -> Tensor:
        """The matrix of A, by applying it to the unit vectors.

        Returns
        -------
        (m, n), or (B, m, n) with one operator a sample; rows and columns in C order of
        `range_shape` and `domain_shape`.

        Raises
        ------
        MemoryLimitError
            If the matrix would take more than `memory_limit` bytes.
        ValueError
            If the operator is on the meta device, and has no values.

        Examples
        --------
        >>> import torch, unconv
        >>> unconv.ConvOperator(torch.tensor([[[1.0, 2.0]]]), (3,)).to_dense()
        tensor([[1., 2., 0.],
                [0., 1., 2.]])
        """
        check_memory_limit(memory_limit)
        m, n = self.shape
        need = m * n * self.dtype.itemsize * (self.batch_size or 1)
        if need > memory_limit:
            raise MemoryLimitError(
                f"the dense {m} × {n} matrix takes {gigabytes(need)}, more than "
                f"memory_limit={gigabytes(memory_limit)}; use the operator itself, a smaller "
                "input_shape or a larger memory_limit."
            )
        if self.device.type == "meta":
            raise ValueError(
                "the operator is on the meta device and has no values; move its weight first."
            )
        step = 1 if self.batch_size else max(1, min(n, int(4e6) // max(m, n, 1)))
        columns = []
        for start in range(0, n, step):
            width = min(step, n - start)
            e = torch.zeros(width, n, dtype=self.dtype, device=self.device)
            e[torch.arange(width), start + torch.arange(width)] = 1
            e = e.expand(self.batch_size or width, n).reshape(-1, *self.domain_shape)
            columns.append(self._matvec(e).flatten(1))
        return torch.stack(columns, -1) if self.batch_size else torch.cat(columns).mT

    def _check(self, x: Tensor, shape: tuple[int, ...]) -> torch.dtype:
        """Refuse what is no batch of this shape on this device; the dtype of the coefficients."""
        check_tensor("the input", x)
        if x.shape[1:] != shape:
            expected = ", ".join(("N", *map(str, shape)))
            raise ValueError(
                f"expected a tensor of shape ({expected}), got {tuple(x.shape)}; "
                f"{_remedy(tuple(x.shape), shape)}."
            )
        if self.batch_size is not None and x.shape[0] != self.batch_size:
            raise ValueError(
                f"the operator has one kernel for each of {self.batch_size} samples, got a batch "
                f"of {x.shape[0]}; give as many samples as kernels."
            )
        dtype, device = self._coefficients()
        if x.device != device:
            raise ValueError(
                f"the input is on {x.device}, the operator on {device}; move one of them "
                "with .to(device)."
            )
        if x.is_meta:
            check_values("the input", x)
        return dtype


def _remedy(found: tuple[int, ...], shape: tuple[int, ...]) -> str:
    """What helps where data of another shape than (N, *shape) came."""
    if found == shape:
        return "add the batch axis with x[None]"
    if shape[0] == 1 and len(found) == len(shape) + 1 and found[2:] == shape[1:]:
        C = found[1]
        return (
            f"for one kernel k for all {C} channels take each channel as a sample, which is "
            "cheapest, x.flatten(0, 1)[:, None], or build the operator of "
            f"k[None, None].expand({C}, 1, *k.shape) with groups={C}"
        )
    return "check channels and sizes, or build the operator with another input_shape"


class AdjointOperator(LinearOperator):
    """Aᴴ as an operator; its own adjoint is A again."""

    op: LinearOperator

    def __init__(self, op: LinearOperator) -> None:
        super().__init__()
        self._modules["op"] = op
        # as `self.name = …` does for what is no tensor and no module, which nn.Module asks of each
        vars(self).update(
            domain_shape=op.range_shape, range_shape=op.domain_shape, batch_size=op.batch_size
        )

    def _coefficients(self) -> tuple[torch.dtype, torch.device]:
        return self.op._coefficients()

    def _matvec(self, x: Tensor) -> Tensor:
        return self.op._rmatvec(x)

    def _rmatvec(self, y: Tensor) -> Tensor:
        return self.op._matvec(y)

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of A."""
        return self.op.dtype

    @property
    def device(self) -> torch.device:
        """Device of A."""
        return self.op.device

    @property
    def H(self) -> LinearOperator:
        """The adjoint of Aᴴ, which is A."""
        return self.op


class TransposeOperator(AdjointOperator):
    """Aᵀ = conj ∘ Aᴴ ∘ conj."""

    def _matvec(self, x: Tensor) -> Tensor:
        return self.op._rmatvec(x.conj()).conj().resolve_conj()

    def _rmatvec(self, y: Tensor) -> Tensor:
        return self.op._matvec(y.conj()).conj().resolve_conj()

    @property
    def H(self) -> LinearOperator:
        """The adjoint of Aᵀ, which is conj(A)."""
        return AdjointOperator(self)

    @property
    def T(self) -> LinearOperator:
        """The transpose of Aᵀ, which is A."""
        return self.op


class ComposedOperator(LinearOperator):
    """A B: first B, then A."""

    def __init__(self, A: LinearOperator, B: LinearOperator) -> None:
        super().__init__()
        if A.domain_shape != B.range_shape:
            raise ValueError(
                f"cannot compose: the left operator takes {A.domain_shape}, the right one gives "
                f"{B.range_shape}; these shapes must agree."
            )
        if A.device != B.device:
            raise ValueError(
                f"cannot compose operators on {A.device} and {B.device}; move one with .to(device)."
            )
        sizes = {op.batch_size for op in (A, B)} - {None}
        if len(sizes) > 1:
            raise ValueError(
                f"cannot compose operators for {A.batch_size} and {B.batch_size} "
                "samples; they must agree."
            )
        self.A, self.B = A, B
        self.domain_shape, self.range_shape = B.domain_shape, A.range_shape
        self.batch_size = next(iter(sizes), None)

    def _matvec(self, x: Tensor) -> Tensor:
        return self.A._matvec(self.B._matvec(x))

    def _rmatvec(self, y: Tensor) -> Tensor:
        return self.B._rmatvec(self.A._rmatvec(y))

    @property
    def dtype(self) -> torch.dtype:
        """Promoted dtype of both factors."""
        return promote(self.A.dtype, self.B.dtype)

    @property
    def device(self) -> torch.device:
        """Device of both factors."""
        return self.A.device
