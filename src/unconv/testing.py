"""The laws, public: what every linear operator and every pseudo-inverse must satisfy.

For those who write operators, inverses or adapters.  Each check returns a number to compare with a
tolerance of your own; nothing here raises because an operator is wrong.

    dot test      ⟨A x, y⟩ = ⟨x, Aᴴ y⟩
    Penrose       A X A = A,   X A X = X,   (A X)ᴴ = A X,   (X A)ᴴ = X A
    dense twin    the matrix of a convolution, summed up tap by tap from its definition

The twin and the Penrose conditions hold dense matrices: small operators only.

Source: Penrose, "A generalized inverse for matrices", Proc. Cambridge Philos. Soc. 51 (1955);
Claerbout, "Earth Soundings Analysis", 1992, for the dot test.
"""

from __future__ import annotations

import itertools
from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor

from .doors import ConvOperator
from .grid.geometry import Axis
from .grid.modes import MODES, Terms
from .numerics.checks import check_count, check_kind, check_values
from .numerics.compiled import outside_graphs
from .numerics.precision import double_dtype
from .operators.linear_operator import LinearOperator


class PenroseErrors(NamedTuple):
    """Relative errors, in the Frobenius norm, of the four conditions; see `penrose_errors`."""

    AXA: float
    """‖A X A − A‖ / ‖A‖"""
    XAX: float
    """‖X A X − X‖ / ‖X‖"""
    AX: float
    """‖(A X)ᴴ − A X‖ / ‖A X‖"""
    XA: float
    """‖(X A)ᴴ − X A‖ / ‖X A‖"""


@outside_graphs
def dot_test(op: LinearOperator, *, batch: int = 2, seed: int = 0) -> float:
    """How far `op.H` is from the adjoint of `op`: |⟨A x, y⟩ − ⟨x, Aᴴ y⟩| / (‖A x‖ ‖y‖).

    x and y are Gaussian, of the operator's dtype.  An exact adjoint gives a few eps of that dtype.

    Parameters
    ----------
    op : maps (N, *domain_shape) to (N, *range_shape)
    batch
        Number N of samples; an operator with one kernel per sample takes its own number instead.
    seed
        Seed of x and y.

    Returns
    -------
    float
        0 where A x and Aᴴ y both vanish, inf where A x alone vanishes and the products differ.

    Raises
    ------
    ValueError
        If batch < 1.

    Examples
    --------
    >>> import torch, unconv
    >>> from unconv.testing import dot_test
    >>> K = torch.randn(4, 2, 3, 3, dtype=torch.complex128)
    >>> A = unconv.ConvOperator(K, (8, 9), stride=2, padding=2, padding_mode="reflect")
    >>> dot_test(A) < 1e-13
    True
    """
    check_kind("op", op, LinearOperator, "dot_test is for operators of this library")
    check_count("batch", batch)
    check_count("seed", seed, 0)
    generator = torch.Generator().manual_seed(seed)
    N = op.batch_size or batch

    def gaussian(shape: tuple[int, ...]) -> Tensor:
        return torch.randn(N, *shape, dtype=op.dtype, generator=generator).to(op.device)

    with torch.no_grad():
        x, y = gaussian(op.domain_shape), gaussian(op.range_shape)
        Ax, AHy = _doubled(op(x)).flatten(), _doubled(op.H(y)).flatten()
        x, y = _doubled(x).flatten(), _doubled(y).flatten()
        error = torch.vdot(y, Ax) - torch.vdot(AHy, x)  # vdot conjugates its first argument
        return float(_ratio(error.abs(), torch.linalg.norm(Ax) * torch.linalg.norm(y)))


@outside_graphs
def penrose_errors(op: LinearOperator, pinv: LinearOperator) -> PenroseErrors:
    """How far `pinv` is from the Moore–Penrose pseudo-inverse of `op`.

    Parameters
    ----------
    op : maps (N, *domain_shape) to (N, *range_shape)
    pinv : the other way round

    Returns
    -------
    PenroseErrors
        Four relative errors, the largest over the kernels where every sample has its own.  Both
        matrices are multiplied in double precision, so the errors are those of `pinv` itself;
        expect cond(A)·eps of the precision that it was computed in.

    Raises
    ------
    ValueError
        If the shapes of `pinv` are not those of `op` turned round.
    MemoryLimitError
        If a matrix would exceed the default memory limit.

    Examples
    --------
    >>> import torch, unconv
    >>> from unconv.testing import penrose_errors
    >>> K = torch.randn(3, 2, 3, 3, dtype=torch.float64)
    >>> A = unconv.ConvOperator(K, (6, 6), padding=1, padding_mode="circular")
    >>> max(penrose_errors(A, A.pinv())) < 1e-10
    True
    """
    for name, operator in (("op", op), ("pinv", pinv)):
        check_kind(name, operator, LinearOperator, "give two operators of this library")
    if (pinv.domain_shape, pinv.range_shape) != (op.range_shape, op.domain_shape):
        raise ValueError(
            f"pinv maps {pinv.domain_shape} to {pinv.range_shape}, expected {op.range_shape} to "
            f"{op.domain_shape}; pass the inverse of this operator."
        )
    with torch.no_grad():
        A, X = _doubled(op.to_dense()), _doubled(pinv.to_dense())
        common = torch.promote_types(A.dtype, X.dtype)
        A, X = A.to(common), X.to(common)
        AX, XA = A @ X, X @ A
        return PenroseErrors(
            _distance(AX @ A, A),
            _distance(XA @ X, X),
            _distance(AX.mH, AX),
            _distance(XA.mH, XA),
        )


@outside_graphs
def dense_twin(op: ConvOperator) -> Tensor:
    """The matrix of a convolution from its definition, slow and obvious.

    Every tap t of y[i] = Σ_t weight[t] · x̃[i·stride + t·dilation − before] contributes one matrix
    that picks x̃; where x̃ lies outside the domain, the padding mode names the sample that it
    copies, or the samples that it is a sum of.  Rows of outputs that were not observed are zero.
    Nothing of the operator's own arithmetic takes part, only its weight and its options: the six
    padding modes of this library are written down here anew, and a mode of your own is read from
    its entry in `unconv.grid.modes.MODES`.

    Parameters
    ----------
    op : any ConvOperator; the matrix should have less than some ten million entries

    Returns
    -------
    (m, n), or (B, m, n) with one kernel per sample; float64, complex128 for complex weights.  Rows
    and columns in C order of `op.range_shape` and `op.domain_shape`.

    Raises
    ------
    TypeError, ValueError
        If op is no ConvOperator, or its weight is on the meta device.

    Examples
    --------
    >>> import torch, unconv
    >>> from unconv.testing import dense_twin
    >>> K = torch.tensor([[[1.0, 2.0, 3.0]]])
    >>> dense_twin(unconv.ConvOperator(K, (4,), padding=1, padding_mode="replicate"))
    tensor([[3., 3., 0., 0.],
            [1., 2., 3., 0.],
            [0., 1., 2., 3.],
            [0., 0., 1., 5.]], dtype=torch.float64)
    """
    check_kind("op", op, ConvOperator, "build one from the weight")
    check_values("weight", op.weight)
    weight = _doubled(op.weight.detach())
    kernels = weight[None] if op.batch_size is None else weight
    A = torch.stack([_matrix(kernel, op) for kernel in kernels])
    if op.seen is not None:
        A = A.where(op.seen.expand(op.range_shape).reshape(-1, 1), 0)
    return A[0] if op.batch_size is None else A


def _matrix(weight: Tensor, op: ConvOperator) -> Tensor:  # (c_out, c_in/g, *k) -> (m, n)
    axes, groups = op.geometry.axes, op.geometry.groups
    if op.flip:
        weight = weight.flip(tuple(range(2, weight.ndim)))
    picks = [
        [_pick(axis, t).to(weight.device, weight.dtype) for t in range(axis.k)] for axis in axes
    ]
    A = weight.new_zeros(())
    taps = itertools.product(*(range(axis.k) for axis in axes))
    for tap, channels in zip(taps, weight.flatten(2).unbind(2), strict=True):
        blocks = torch.block_diag(*channels.chunk(groups))  # (c_out, c_in)
        A = A + reduce(torch.kron, [picks[a][t] for a, t in enumerate(tap)], blocks)
    return A.mT if op.transposed else A


def _pick(axis: Axis, t: int) -> Tensor:  # (m, n): how much of x[j] tap t meets at output i
    pick = torch.zeros(axis.m, axis.n, dtype=torch.float64)
    for i in range(axis.m):
        place = i * axis.stride + t * axis.dilation - axis.before
        for j, c in _samples(place, axis.n, axis.mode):
            pick[i, j] += c
    return pick


def _samples(i: int, n: int, mode: str) -> Terms:
    """Pairs (j, c) with x̃[i] = Σ c·x[j], some j perhaps twice; none where x̃[i] = 0.

    Modes that mirror turn i over about the edge beyond which it lies, until it is inside: another
    way than that of grid/modes.py, which E follows, so that one of them speaks for the other.
    """
    if 0 <= i < n:
        return ((i, 1.0),)
    edge, past = (0, -1) if i < 0 else (n - 1, 1)
    match mode:
        case "zeros":
            return ()
        case "circular":
            return ((i % n, 1.0),)
        case "replicate":
            return ((edge, 1.0),)
        case "reflect":
            return _samples(2 * edge - i, n, mode)
        case "symmetric":
            return _samples(2 * edge + past - i, n, mode)
        case "antireflective":
            return (edge, 2.0), *((j, -c) for j, c in _samples(2 * edge - i, n, mode))
    outside = MODES[mode].outside
    return () if outside is None else outside(i, n)


def _doubled(t: Tensor) -> Tensor:
    return t.to(double_dtype(t.dtype))


def _ratio(a: Tensor, b: Tensor) -> Tensor:
    """a/b, with 0/0 = 0."""
    return torch.where(a == 0, 0.0, a / b)


def _distance(A: Tensor, B: Tensor) -> float:  # (..., m, n) twice; the worst of the batch
    error = torch.linalg.matrix_norm(A - B)
    return float(_ratio(error, torch.linalg.matrix_norm(B)).amax())
