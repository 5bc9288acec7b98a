"""A⁺ with a cut-off for square A on a healthy grid: small singular values live on the ghosts.

Hundreds of singular values may lie under a cut-off τ (a random 3×3 kernel on 512×512 has 390 under
1e-8·σ_max).  As images their vectors would fill gigabytes; as ghost sources they are a small
matrix.  With the masks P (data) and D (domain), J the ghost outputs and W the constraints,

    A⁻¹ = G − L S⁻¹ Q,    G = D C⁻¹ P,   L = D C⁻¹ J,   Q = W C⁻¹ P,   S = W C⁻¹ J,

where ‖G‖ ≤ γ = 1/σ_min(C) is harmless: what is large in A⁻¹ is large in S⁻¹.  In orthonormal bases
L = Q_L R_L and Qᴴ = Q_Q R_Q (from Gram matrices that are Green's functions of CᴴC, CCᴴ on the
ghosts) the core of A⁻¹ is −N with

    N⁻¹ = (I − B F)⁻¹ B,    B = R_Q⁻ᴴ S R_L⁻¹,    F = Q_Lᴴ G Q_Q,

a matrix of the order of S.  Its singular values σ are those of A, and its vectors p, q give

    v = −L R_L⁻¹(p + σ F q) + σ D C⁻¹ P u₀,         u₀ = Qᴴ R_Q⁻¹ q,
    u =  Qᴴ R_Q⁻¹(q + σ Fᴴ p) + σ P C⁻ᴴ D v₀,       v₀ = −L R_L⁻¹ p,

all with relative errors (σγ)².  Dropping the triples up to τ in the core alone leaves a bounded
matrix M that differs from A⁺ by a few percent at most; iterating x ← x + (I − VVᴴ) M (I − UUᴴ)
(y − Ax) removes the difference.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..linear_operator import LinearOperator
from ..torus import Torus
from .base import CannotServeError
from .boundary_forms import Answer, Embedding, improved
from .ghost_system import GhostSystem, MatrixSolver, ghost_matrix
from .ghosts import Ghosts, Strip


class Core(NamedTuple):
    """The core of A⁻¹ by its singular triples, σ ascending; (g, n, n), (g, n), (g, n, n)."""

    P: Tensor
    S: Tensor
    Q: Tensor
    F: Tensor
    left: Tensor  # R_L⁻¹
    right: Tensor  # R_Q⁻¹


def core_of(torus: Torus, inverse: Tensor, ghosts: Ghosts) -> Core:
    """Singular triples of the core, from Green's functions on the ghosts.

    inverse : (F, 1, g, q, r), the blocks of C⁻¹
    """

    def green(blocks: Tensor, rows: Strip, columns: Strip) -> Tensor:
        return ghost_matrix(torus, blocks, [rows], [columns], 0.0)

    J, W, pixels = ghosts.outputs, ghosts.constraints, ghosts.pixels
    normal, turned = inverse @ inverse.mH, inverse.mH @ inverse  # (CᴴC)⁻¹, (CCᴴ)⁻¹
    S = green(inverse, W, J)
    on_pixels = green(inverse, pixels, J)
    LL_whole = green(turned, J, J)
    LL = LL_whole - on_pixels.mH @ on_pixels
    QQ = green(normal, W, W) - S @ S.mH
    LGQ = green(turned @ inverse.mH, J, W) - LL_whole @ S.mH
    LGQ -= on_pixels.mH @ (green(normal, pixels, W) - on_pixels @ S.mH)
    left, right = _inverse_factor(LL), _inverse_factor(QQ)
    F = left.mH @ LGQ @ right
    B = right.mH @ S @ left
    eye = torch.eye(B.shape[-1], dtype=B.dtype, device=B.device)
    E = torch.linalg.solve(eye - B @ F, B)  # N⁻¹ = Q Σ Pᴴ
    Q, sigma, Ph = torch.linalg.svd(E)
    return Core(Ph.mH.flip(-1), sigma.flip(-1), Q.flip(-1), F, left, right)


def _inverse_factor(gram: Tensor) -> Tensor:
    """R⁻¹ of gram = RᴴR."""
    R, info = torch.linalg.cholesky_ex(gram, upper=True)
    if bool(info.any()):
        raise CannotServeError("the ghosts are numerically dependent")
    eye = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    return torch.linalg.solve_triangular(R, eye.expand_as(gram), upper=True)


class TruncatedForm(nn.Module):
    """A⁺ without the singular triples up to τ, which are kept as ghost sources."""

    Z_p: Tensor
    Z_q: Tensor
    Z_v: Tensor
    Z_u: Tensor

    def __init__(
        self,
        A: LinearOperator,
        embedding: Embedding,
        torus: Torus,
        inverse: Tensor,
        ghosts: Ghosts,
        core: Core,
        tau: float,
    ) -> None:
        super().__init__()
        self.A, self.embedding = A, embedding
        lost = tau >= core.S
        gains = torch.where(lost, 0.0, 1 / torch.where(lost, 1.0, core.S)).to(core.P.dtype)
        X = core.left @ ((core.P * gains[:, None]) @ core.Q.mH + core.F) @ core.right.mH
        self.system = GhostSystem(
            torus, inverse, [ghosts.constraints], [ghosts.outputs], MatrixSolver(X)
        )
        count = int(lost.sum(1).max())
        drop = lost[:, None, :count].to(core.P.dtype)  # groups with fewer carry zeros
        p, q = core.P[..., :count] * drop, core.Q[..., :count] * drop
        sigma = core.S[:, None, :count].to(p.dtype)
        self.register_buffer("Z_p", core.left @ p * sigma)
        self.register_buffer("Z_q", core.right @ q * sigma)
        self.register_buffer("Z_v", core.left @ (p + core.F @ q * sigma))
        self.register_buffer("Z_u", core.right @ (q + core.F.mH @ p * sigma))

    def pinv(self, y: Tensor, *, careful: bool = True) -> Answer:
        """A⁺ y; this form always refines."""
        return self._refined(y, adjoint=False)

    def pinv_adjoint(self, b: Tensor, *, careful: bool = True) -> Answer:
        """(A⁺)ᴴ b, likewise."""
        return self._refined(b, adjoint=True)

    def _refined(self, y: Tensor, *, adjoint: bool) -> Answer:
        def solve(r: Tensor) -> Tensor:
            return self._kept(self._pass(self._kept(r, adjoint), adjoint), not adjoint)

        return Answer(*improved(solve, self.A._rmatvec if adjoint else self.A._matvec, y))

    def _pass(self, r: Tensor, adjoint: bool) -> Tensor:  # M r or Mᴴ r
        e = self.embedding
        if adjoint:
            return self.system.solve_adjoint(e.grid_of_domain(r), e.data_of)
        return self.system.solve(e.grid_of_data(r), e.domain_of)

    def _kept(self, r: Tensor, domain: bool) -> Tensor:
        """r without its part in span V (domain) or span U (data)."""
        if not self.Z_p.shape[-1]:
            return r
        if domain:
            return r - self._v(self._v_adjoint(r))
        return r - self._u(self._u_adjoint(r))

    # --- V, U and their adjoints: fields of ghost sources, (N, g, k) <-> images
    def _v(self, c: Tensor) -> Tensor:
        e, invert = self.embedding, self.system.invert
        inner = e.data_of(invert(self._put(c, self.Z_q, self._W), adjoint=True))  # P C⁻ᴴ Wᴴ Z c
        f = e.grid_of_data(inner) - self._put(c, self.Z_v, self._J)
        return e.domain_of(invert(f))

    def _v_adjoint(self, x: Tensor) -> Tensor:
        e, invert = self.embedding, self.system.invert
        y = invert(e.grid_of_domain(x), adjoint=True)
        back = invert(e.grid_of_data(e.data_of(y)))
        return self._read(back, self.Z_q, self._W) - self._read(y, self.Z_v, self._J)

    def _u(self, c: Tensor) -> Tensor:
        e, invert = self.embedding, self.system.invert
        inner = e.domain_of(invert(self._put(c, self.Z_p, self._J)))  # D C⁻¹ J Z c
        f = self._put(c, self.Z_u, self._W) - e.grid_of_domain(inner)
        return e.data_of(invert(f, adjoint=True))

    def _u_adjoint(self, y: Tensor) -> Tensor:
        e, invert = self.embedding, self.system.invert
        x = invert(e.grid_of_data(y))
        back = invert(e.grid_of_domain(e.domain_of(x)), adjoint=True)
        return self._read(x, self.Z_u, self._W) - self._read(back, self.Z_p, self._J)

    @property
    def _W(self) -> tuple[Strip, ...]:
        return self.system.constraints

    @property
    def _J(self) -> tuple[Strip, ...]:
        return self.system.sources

    def _put(self, c: Tensor, Z: Tensor, strips: tuple[Strip, ...]) -> Tensor:
        components = len(Z) * strips[0].channels * strips[0].phases
        grid = c.new_zeros(len(c), components, *self.embedding.torus.coarse)
        self.system.scatter_(grid, torch.einsum("gnk,Ngk->Ngn", Z, c), strips)
        return grid

    def _read(self, u: Tensor, Z: Tensor, strips: tuple[Strip, ...]) -> Tensor:
        return torch.einsum("gnk,Ngn->Ngk", Z.conj(), self.system.read(u, strips))
