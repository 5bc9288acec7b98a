"""The largest eigenpairs of a Hermitian positive map by thick-restart block Lanczos.

From an orthonormal block W₁ the method builds orthonormal V = [W₁ W₂ …] with

    T V = V H + W_{j+1} R Eⱼᴴ,      H = VᴴTV,      T W_j − V(VᴴTW_j) = W_{j+1} R,

and answers by H y = θ y: v = V y has the residual ‖T v − θ v‖ = ‖R yⱼ‖, yⱼ the last block of y,
and θ is a lower bound of the eigenvalue in its place.  When V is full it is replaced by its best
Ritz vectors (H becomes diagonal) and the recurrence goes on.  H is taken from the projections
themselves, and every block is orthogonalised twice against all of V: no eigenvalue appears twice by
round-off.

A Krylov space holds one vector of each eigenspace a vector of the first block.  What multiplicity
has hidden shows when the converged vectors are locked and a fresh random block starts on the rest:
it runs until the next eigenvalue is known roughly, and again if it changed one of those wanted.
A fresh start forgets the residuals of what was locked: a run goes on until they are a share of what
is asked for.

Cost: a product with T a vector and 8·N·j operations to orthogonalise it; memory: `basis_size(k)`
vectors.
Not for: the small end of a spectrum, unless T inverts.

Source: Wu & Simon, "Thick-restart Lanczos method for large symmetric eigenvalue problems", SIAM J.
Matrix Anal. Appl. 22 (2000); Golub & Underwood, "The block Lanczos method", 1977.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

_BLOCK = 4  # vectors at once: eigenvalues of that multiplicity show in the first run
_MOST_PRODUCTS = 20_000  # block products, whatever the convergence
_SWEEPS = 4  # fresh starts that look for more of a multiplicity, at most
_KEPT_RESIDUAL = 1 / (1 + _SWEEPS)  # of a residual that is allowed: every fresh start forgets one
_ROUGH = 1e-3  # residual to which the eigenvalue after those wanted is known
_DEPENDENT = 1e-14  # of the largest eigenvalue: what is left of a vector is round-off


@dataclass(frozen=True)
class Eigenpairs:
    """Eigenvalues (k,) descending, vectors (k, ...), residuals (k,), and whether all settled."""

    values: Tensor
    vectors: Tensor
    residuals: Tensor
    converged: bool


def basis_size(k: int, N: int) -> int:
    """Vectors that are held at once for k pairs in N dimensions."""
    return min(N, max(2 * k + 4 * _BLOCK, 48))


def largest_eigenpairs(
    apply: Callable[[Tensor], Tensor],
    shape: tuple[int, ...],
    k: int,
    like: Tensor,
    *,
    rtol: float,
    most: int = _MOST_PRODUCTS,
) -> Eigenpairs:
    """The k largest eigenvalues of a Hermitian map T ≥ 0 with their vectors.

    Parameters
    ----------
    apply : T on (b, *shape), vector by vector
    shape : of one vector, N numbers
    k : 1 … N
    like : dtype and device of the vectors
    rtol
        Each residual is at most rtol·θ, and so is the error of θ.  (Its square over the gap is
        smaller, but only where the gap is known: Ritz values hide close neighbours for long.)
    most : block products after which the best so far is returned

    Examples
    --------
    >>> d = torch.arange(1.0, 101.0, dtype=torch.float64)
    >>> largest_eigenpairs(lambda v: d * v, (100,), 3, d, rtol=1e-10).values.round()
    tensor([100.,  99.,  98.], dtype=torch.float64)
    """
    run = _Run(apply, shape, k, like, rtol, most)
    run.start()
    found = run.until_settled(rough=False)
    # The largest value alone cannot be hidden by its own copies.
    for _ in range(_SWEEPS if k > 1 else 0):
        if not run.converged or run.filled == run.N:
            break
        before = found.values
        run.lock(k)
        run.start()
        found = run.until_settled(rough=True)
        if bool((found.values <= before * (1 + 10 * rtol)).all()):
            break
    return found


@dataclass
class _Run:
    """A run of block Lanczos: the basis V, T on it as the matrix H, and the block that is next."""

    apply: Callable[[Tensor], Tensor]
    shape: tuple[int, ...]
    k: int
    like: Tensor
    rtol: float
    most: int
    filled: int = 0  # rows of V in use
    products: int = 0
    converged: bool = False
    generator: torch.Generator = field(default_factory=lambda: torch.Generator().manual_seed(0))

    def __post_init__(self) -> None:
        self.N = math.prod(self.shape)
        size = basis_size(self.k, self.N)
        self.V = self.like.new_empty(size, self.N)
        self.H = self.like.new_zeros(size, size)
        # Of two values that are alike to rtol the space of one vector knows but a mixture.
        self.block = 2 if self.k == 1 else _BLOCK
        self.next = self.V[:0]
        self.R = self.H[:0, :0]

    def start(self) -> None:
        """Let a random block beside V, orthonormal to it, come next."""
        b = min(self.block, self.N - self.filled, len(self.V) - self.filled)
        self.next = self._orthonormal(self._random(b), 1.0)[0]

    def until_settled(self, *, rough: bool) -> Eigenpairs:
        """Lanczos steps and restarts until the k best pairs settle or `most` products are spent.

        rough : whether to go on until the next eigenvalue, the k + 1st, is known roughly too
        """
        self.converged = False
        while True:
            self._step()
            theta, Y = torch.linalg.eigh(self.H[: self.filled, : self.filled])
            theta, Y = theta.flip(0).clamp(min=0), Y.flip(1)
            last = Y[self.filled - self.R.shape[1] :]
            residual = torch.linalg.vector_norm(self.R @ last, dim=0)
            whole = self.filled == self.N
            self.converged = whole or self._settled(theta, residual, rough)
            if self.converged or (self.products >= self.most and len(theta) >= self.k):
                return self._pairs(theta, Y, residual)
            if self.filled + len(self.next) > len(self.V):
                self._restart(theta, Y)

    def lock(self, k: int) -> None:
        """Keep the k best Ritz vectors alone; their residuals are below what is asked for."""
        theta, Y = torch.linalg.eigh(self.H[: self.filled, : self.filled])
        self._keep(theta.flip(0), Y.flip(1), k)

    def _step(self) -> None:
        """T on the next block, its projections into H, what is left becomes the next one."""
        j, b = self.filled, len(self.next)
        self.V[j : j + b] = self.next
        self.filled = j + b
        Z = self.apply(self.next.reshape(b, *self.shape)).flatten(1)
        V = self.V[: self.filled]
        for _ in range(2):
            C = V.conj() @ Z.mT  # (filled, b)
            Z = Z - C.mT @ V
            self.H[: self.filled, j : j + b] += C
        self.H[j : j + b, :j] = self.H[:j, j : j + b].mH
        own = self.H[j : j + b, j : j + b]
        own.copy_((own + own.mH) / 2)
        self.products += 1
        scale = float(self.H[: self.filled, : self.filled].diagonal().real.amax())
        if self.filled < self.N:
            self.next, self.R = self._orthonormal(Z, scale)
        else:
            self.R = self.R.new_zeros(1, b)

    def _orthonormal(self, Z: Tensor, scale: float) -> tuple[Tensor, Tensor]:
        """Rows W ⟂ V and R with Z = (W R)ᵀ; where Z has run out, W continues at random.

        By the singular values of Z: of a factor R of QR alone a diagonal of round-off may stand
        before the largest entry of its row.
        """
        Q, R = torch.linalg.qr(Z.mT)
        P, S, Qh = torch.linalg.svd(R)
        rows = min(len(Z), self.N - self.filled)
        W, R = (Q @ P[:, :rows]).mT, S[:rows, None] * Qh[:rows]
        V = self.V[: self.filled]
        small = (S[:rows] <= _DEPENDENT * scale)[:, None]
        if bool(small.any()):
            W = torch.where(small, self._random(rows), W)
            R = torch.where(small, 0.0, R)
        for _ in range(2):
            W = W - (W @ V.mH) @ V
            W, S = torch.linalg.qr(W.mT)
            W = (W * (S.diagonal() / S.diagonal().abs())).mT
        return W, R

    def _random(self, b: int) -> Tensor:
        W = torch.randn(b, self.N, dtype=self.like.dtype, generator=self.generator)
        return W.to(self.like.device) / math.sqrt(self.N)

    def _settled(self, theta: Tensor, residual: Tensor, rough: bool) -> bool:
        k = self.k
        done = self._within(
            _KEPT_RESIDUAL * self.rtol if k > 1 else self.rtol, theta[:k], residual[:k]
        )
        if not rough or not done:
            return done and len(theta) >= k
        return len(theta) > k and bool(residual[k] <= _ROUGH * theta[k])

    def _within(self, rtol: float, theta: Tensor, residual: Tensor) -> bool:
        # A zero eigenvalue has nothing to be relative to.
        return bool((residual <= rtol * theta + _DEPENDENT * theta[0]).all())

    def _restart(self, theta: Tensor, Y: Tensor) -> None:
        room = len(self.V) - 2 * self.block
        self._keep(theta, Y, max(1, min(room, self.k + max(self.block, len(self.V) // 3))))

    def _keep(self, theta: Tensor, Y: Tensor, count: int) -> None:
        count = min(count, len(theta))
        self.V[:count] = Y[:, :count].mT @ self.V[: self.filled]
        self.filled = count
        self.H.zero_()
        self.H[:count, :count] = torch.diag(theta[:count]).to(self.H.dtype)

    def _pairs(self, theta: Tensor, Y: Tensor, residual: Tensor) -> Eigenpairs:
        k = self.k
        vectors = Y[:, :k].mT @ self.V[: self.filled]
        return Eigenpairs(theta[:k], vectors.reshape(-1, *self.shape), residual[:k], self.converged)
