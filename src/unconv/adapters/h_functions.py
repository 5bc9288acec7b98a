"""The `H_functions` of DDRM: an SVD that is applied, not stored.

    H = U diag(singulars) V₁ᵀ,    V = [V₁ V₂] n × n,    U m × k,    k = min(m, n)

Diffusion restoration works in the coordinates Vᵀx, one singular value at a time.  Its published
operators (square box blurs, patches, colours) are written by hand; here they come from the weight,
by one of the rungs (ways to invert A, see `unconv.inverse`) that diagonalise A:

1. `fourier`: circular operators, a small SVD for each pair of frequencies ±ω;
2. `cosine`: symmetric kernels under symmetric boundaries, a small SVD for each frequency;
3. `separable`: outer products of 1-D kernels with any boundary, one SVD per axis;
4. `dense`: whatever is small, by the SVD of its matrix.

All of it is real.  V₂ spans the null space of the wide operators, for which DDRM wants a basis too.

Cost: as the rung's, with complete bases: F·c³ for blocks, n³ for axes or the matrix; each product a
transform, or one with them.
Not for: anything else.  No rung has all singular vectors of a large operator with, say, zero
padding and a learned kernel.

Source: Kawar, Elad, Ermon & Song, "Denoising Diffusion Restoration Models", NeurIPS 2022, §4; names
and shapes as in their `H_functions`, which DDNM took over.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ..inverse import Request, request_of
from ..inverse.diagonal.protocol import Diagonal
from ..inverse.diagonal.rungs import RUNGS
from ..numerics.checks import check_all_finite, check_tensor
from ..numerics.compiled import outside_graphs
from ..numerics.precision import ieee_arithmetic, real_working_dtype
from ..operators.convolution import Convolution
from ..operators.linear_operator import DEFAULT_MEMORY_LIMIT, MemoryLimitError, gigabytes
from .checks import check_convolution
from .orthogonal_bases import RealCoordinates, real_coordinates


class HFunctions:
    """U, V and the singular values of a convolution under DDRM's names; see `as_h_functions`.

    Vectors are (N, anything) on input, which is flattened, and (N, d) on output, of the promoted
    dtype.  The operator's weight is a constant here; gradients reach the vectors.

    Attributes
    ----------
    method : the rung that diagonalised A
    shape : (m, n)
    """

    def __init__(self, op: Convolution, method: str, found: Diagonal, request: Request) -> None:
        self.method, self.shape = method, op.shape
        self._dtype = real_working_dtype(op.dtype)
        self._domain_shape, self._range_shape = op.domain_shape, op.range_shape
        k = min(op.shape)
        self._left, self._right = (
            real_coordinates(basis, self._dtype) for basis in (found.data, found.domain)
        )
        # Sorted by σ; the sort is stable, so equal ones keep the order that both sides share.
        self._u = self._left.labels.sort(descending=True, stable=True).indices[:k]
        self._v = self._right.labels.sort(descending=True, stable=True).indices[: op.shape[1]]
        sigma = self._left.labels[self._u].clamp(min=0)
        cut = sigma <= request.cutoff(op, sigma[0])
        self._singulars = sigma.masked_fill(cut, 0).to(self._dtype)
        self._gains = sigma.reciprocal().masked_fill(cut, 0).to(self._dtype)

    def V(self, vec: Tensor) -> Tensor:
        """V vec, (N, n) -> (N, n)."""
        n = self.shape[1]
        return self._run(lambda z: _synthesise(self._right, self._v, z), vec, (n,), n)

    def Vt(self, vec: Tensor) -> Tensor:
        """Vᵀ vec, (N, n) -> (N, n)."""
        basis, n = self._right, self.shape[1]
        return self._run(lambda x: basis.analyse(x)[:, self._v], vec, self._domain_shape, n)

    def U(self, vec: Tensor) -> Tensor:
        """U vec, (N, k) -> (N, m)."""
        m, k = self.shape[0], len(self._u)
        return self._run(lambda z: _synthesise(self._left, self._u, z), vec, (k,), m)

    def Ut(self, vec: Tensor) -> Tensor:
        """Uᵀ vec, (N, m) -> (N, k)."""
        basis, k = self._left, len(self._u)
        return self._run(lambda y: basis.analyse(y)[:, self._u], vec, self._range_shape, k)

    def singulars(self) -> Tensor:
        """(k,) descending; zero where `pinv` would count them as zero."""
        return self._singulars

    def add_zeros(self, vec: Tensor) -> Tensor:
        """(N, k) -> (N, n), zeros behind."""
        k, n = len(self._u), self.shape[1]
        return self._run(lambda z: torch.nn.functional.pad(z, (0, n - k)), vec, (k,), n)

    def H(self, vec: Tensor) -> Tensor:
        """A vec, (N, n) -> (N, m)."""
        return self.U(self._singulars * self.Vt(vec)[:, : len(self._u)])

    def Ht(self, vec: Tensor) -> Tensor:
        """Aᵀ vec, (N, m) -> (N, n)."""
        return self.V(self.add_zeros(self._singulars * self.Ut(vec)))

    def H_pinv(self, vec: Tensor) -> Tensor:
        """A⁺ vec, (N, m) -> (N, n)."""
        return self.V(self.add_zeros(self._gains * self.Ut(vec)))

    def _run(
        self, product: Callable[[Tensor], Tensor], vec: Tensor, shape: tuple[int, ...], size: int
    ) -> Tensor:
        """Apply `product` to a batch of vectors of this shape; results are flat, of this size."""
        if check_tensor("vec", vec).is_complex():
            raise TypeError("H_functions are real, got a complex vec; give Re and Im one by one.")
        if vec.ndim < 2 or math.prod(vec.shape[1:]) != math.prod(shape):
            raise ValueError(
                f"expected vec of shape (N, {math.prod(shape)}) or one that flattens to it, got "
                f"{tuple(vec.shape)}; A is {self.shape[0]} × {self.shape[1]}."
            )
        if vec.device != self._u.device:
            raise ValueError(
                f"vec is on {vec.device}, the singular vectors on {self._u.device}; move vec, or "
                "the operator before it is adapted, with .to(device)."
            )
        dtype = torch.promote_types(vec.dtype, self._dtype)
        if not len(vec):  # transforms of torch refuse empty batches
            return vec.new_zeros(0, size, dtype=dtype)
        with ieee_arithmetic(vec.device.type, self._dtype):  # TF32 would not leave V orthogonal
            return product(vec.reshape(-1, *shape).to(self._dtype)).to(dtype)


def _synthesise(side: RealCoordinates, index: Tensor, z: Tensor) -> Tensor:
    """The columns `index` of a basis, times z."""
    whole = z.new_zeros(len(z), len(side.labels)).index_copy(1, index, z)
    return side.synthesise(whole).flatten(1)


@outside_graphs
def as_h_functions(
    op: Convolution,
    *,
    rtol: float | None = None,
    atol: float = 0.0,
    memory_limit: float = DEFAULT_MEMORY_LIMIT,
) -> HFunctions:
    """The SVD of a circular, symmetric, separable or small convolution as DDRM's `H_functions`.

    Parameters
    ----------
    op
        Real, with one kernel for all samples.
    rtol, atol
        Singular values up to max(atol, rtol·σ_max) are given as zero; as in `pinv`.
    memory_limit
        Bytes that the bases may take.

    Returns
    -------
    HFunctions
        With V, Vt, U, Ut, singulars, add_zeros, H, Ht and H_pinv.

    Raises
    ------
    NotImplementedError
        If nothing diagonalises the operator; the message has the reasons.

    Examples
    --------
    >>> import torch, unconv
    >>> A = unconv.ConvOperator(torch.full((1, 1, 4, 4), 1 / 16), (32, 32), stride=4)
    >>> H = as_h_functions(A)
    >>> x = torch.randn(2, 1, 32, 32)
    >>> bool(torch.allclose(H.H(x), A(x).flatten(1), atol=1e-6)), H.singulars().shape
    (True, torch.Size([64]))
    >>> bool(torch.allclose(H.V(H.Vt(x)), x.flatten(1), atol=1e-5))
    True
    """
    op = check_convolution(op, "DDRM")
    if op.dtype.is_complex:
        raise NotImplementedError(
            f"H_functions are real, got an operator of {op.dtype}; pinv() and tikhonov() serve "
            "complex operators."
        )
    request = request_of(0.0, rtol, atol, memory_limit)
    check_all_finite("weight", op.weight.detach(), "remove them")
    method = _diagonal_rung(op)
    need = RUNGS[method].complete_memory(op)
    if need > memory_limit:
        raise MemoryLimitError(
            f"the singular vectors ({method}) take {gigabytes(need)}, more than memory_limit="
            f"{gigabytes(memory_limit)}; raise it or use a smaller input_shape."
        )
    with torch.no_grad():
        return HFunctions(op, method, RUNGS[method].diagonalise(op, complete=True), request)


def _diagonal_rung(op: Convolution) -> str:
    reasons = []
    for name, rung in RUNGS.items():
        why = rung.obstacle(op, Request())
        if why is None:
            return name
        reasons.append(f"{name}: {why}")
    raise NotImplementedError(
        "H_functions need all singular vectors, so a circular, symmetric, separable or small "
        f"operator ({'; '.join(reasons)}); change the boundary or the kernel, or use as_deepinv()."
    )
