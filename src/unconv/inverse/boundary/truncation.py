"""A⁺ with a cut-off for square A on a healthy grid: small singular values live on the ghosts.

Hundreds of singular values may lie under a cut-off τ (a random 3×3 kernel on 512×512 has 390 under
1e-8·σ_max).  As images their vectors would fill gigabytes; as ghost sources they are a small
matrix.  With the masks P (data) and D (domain), J the ghost outputs and W the constraints,

    A⁻¹ = G − L S⁻¹ Q,    G = D C⁻¹ P,   L = D C⁻¹ J,   Q = W C⁻¹ P,   S = W C⁻¹ J,

where ‖G‖ ≤ γ = 1/σ_min(C) is harmless: what is large in A⁻¹ is large in S⁻¹.  There are two ways.

*Null vectors* (`null_sources`).  S z = 0 if and only if A L z = 0, and L z = 0 only for z = 0: the
null vectors of A are L z, those of Aᴴ are Qᴴ w with Sᴴ w = 0, and S⁺ in the place of S⁻¹ gives a
generalised inverse.  The SVD of S decides where its values part into those that are round-off and
the others.  S is not squared and nothing else is inverted: kernels with rows of zeros, of which
some ghosts reach no pixel, are as good as any.

*Any cut-off* (`cut_sources`).  In orthonormal bases L = Q_L R_L and Qᴴ = Q_Q R_Q (from Gram
matrices that are Green's functions of CᴴC, CCᴴ on the ghosts) the core of A⁻¹ is −N with

    N⁻¹ = (I − B F)⁻¹ B,    B = R_Q⁻ᴴ S R_L⁻¹,    F = Q_Lᴴ G Q_Q,

a matrix of the order of S.  Its singular values σ are those of A, and its vectors p, q give

    v = −L R_L⁻¹(p + σ F q) + σ D C⁻¹ P u₀,         u₀ = Qᴴ R_Q⁻¹ q,
    u =  Qᴴ R_Q⁻¹(q + σ Fᴴ p) + σ P C⁻ᴴ D v₀,       v₀ = −L R_L⁻¹ p,

all with relative errors (σγ)².  What the Gram matrices lose is known, eps·‖S‖‖R_L⁻¹‖‖R_Q⁻¹‖ of σ;
a cut-off that it hides is refused.

Dropping the triples in S or in the core alone leaves a bounded matrix M that differs from A⁺ by a
few percent at most; iterating x ← x + (I − VVᴴ) M (I − UUᴴ)(y − Ax) removes the difference.
"""

from __future__ import annotations

import math
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ...grid.torus import Torus
from ...numerics.memory import return_freed_memory
from ...operators.linear_operator import LinearOperator
from ..facts import CannotServeError
from .bordered import Bordered, green_matrix
from .embedding import Embedding
from .forms import Answer, refined_solve
from .ghost_system import MatrixSolver, PseudoSolver
from .ghosts import Ghosts, Strip

_VISIBLE = 0.1  # of a cut-off: the round-off of singular values that it may be taken among


class Sources(NamedTuple):
    """A⁺ on the ghosts: what takes the place of S⁻¹, and the dropped vectors as ghost sources.

    p, q, v, u (g, n, k): v = −L v + D C⁻¹ P Qᴴ q and u = Qᴴ u − P C⁻ᴴ D L p; p and q
    are None for null vectors, where they vanish.
    """

    solver: MatrixSolver
    p: Tensor | None
    q: Tensor | None
    v: Tensor
    u: Tensor
    dropped: int


class Core(NamedTuple):
    """The core of A⁻¹ by its singular triples, σ ascending; (g, n, n), (g, n), (g, n, n).

    `noise` is the round-off that its singular values carry.
    """

    P: Tensor
    S: Tensor
    Q: Tensor
    F: Tensor
    left: Tensor  # R_L⁻¹
    right: Tensor  # R_Q⁻¹
    noise: float


class _Green:
    """Green's functions of C between the strips of the ghosts, each made when it is asked for.

    A matrix of the order of S is most of the memory: no more of them are held than are used.
    """

    def __init__(self, torus: Torus, inverse: Tensor, ghosts: Ghosts) -> None:
        self.torus, self.inverse, self.ghosts = torus, inverse, ghosts

    def between(self, blocks: Tensor, rows: Strip, columns: Strip) -> Tensor:
        """(g, rows, columns)."""
        return green_matrix(self.torus, blocks, [rows], [columns])

    def S(self) -> Tensor:
        """W C⁻¹ J."""
        return Bordered.square(self.torus, self.inverse, self.ghosts).schur_complement()

    def on_pixels(self) -> Tensor:
        """C⁻¹ J on the ghost pixels."""
        return self.between(self.inverse, self.ghosts.pixels, self.ghosts.outputs)

    def of_outputs(self) -> Tensor:
        """Jᴴ (CCᴴ)⁻¹ J."""
        J = self.ghosts.outputs
        return self.between(self.inverse.mH @ self.inverse, J, J)

    def of_constraints(self) -> Tensor:
        """W (CᴴC)⁻¹ Wᴴ."""
        W = self.ghosts.constraints
        return self.between(self.inverse @ self.inverse.mH, W, W)

    def LGQ(self, S: Tensor, on_pixels: Tensor, of_outputs: Tensor) -> Tensor:
        """Lᴴ G Qᴴ."""
        J, W, pixels = self.ghosts.outputs, self.ghosts.constraints, self.ghosts.pixels
        turned, normal = self.inverse.mH @ self.inverse, self.inverse @ self.inverse.mH
        found = self.between(turned @ self.inverse.mH, J, W)
        _subtract_(found, of_outputs, S.mH)
        seen = self.between(normal, pixels, W)
        _subtract_(seen, on_pixels, S.mH)
        _subtract_(found, on_pixels.mH, seen)
        return found


def _subtract_(C: Tensor, A: Tensor, B: Tensor) -> None:
    """C − A B in the place of C, group by group: no product is held."""
    for c, a, b in zip(C, A, B, strict=True):
        c.addmm_(a, b, alpha=-1)


def null_sources(torus: Torus, inverse: Tensor, ghosts: Ghosts) -> Sources:
    """S⁺ and the null vectors of A and Aᴴ, where the singular values of S leave no doubt.

    inverse : (F, 1, g, q, r), the blocks of C⁻¹
    """
    green = _Green(torus, inverse, ghosts)
    S = PseudoSolver(green.S())
    v, u = S.right, S.left
    if S.dropped:  # Gram matrices of their images, LᴴL and QQᴴ between them
        outside = green.on_pixels() @ v
        v = _orthonormal(v, v.mH @ (green.of_outputs() @ v) - outside.mH @ outside)
        outside = green.S().mH @ u  # Qᴴ u has no part on the ghost outputs
        u = _orthonormal(u, u.mH @ (green.of_constraints() @ u) - outside.mH @ outside)
    return Sources(solver=S, p=None, q=None, v=v, u=u, dropped=S.dropped)


def _orthonormal(null: Tensor, gram: Tensor) -> Tensor:
    """(g, n, k) vectors recombined so that their images, of this Gram matrix, are orthonormal."""
    absent = (torch.linalg.vector_norm(null, dim=1) == 0).to(null.dtype)  # groups with fewer
    return null @ _inverse_factor(gram + torch.diag_embed(absent))


def core_of(torus: Torus, inverse: Tensor, ghosts: Ghosts) -> Core:
    """Singular triples of the core, from Green's functions on the ghosts.

    inverse : (F, 1, g, q, r), the blocks of C⁻¹
    """
    green = _Green(torus, inverse, ghosts)
    S, on_pixels, of_outputs = green.S(), green.on_pixels(), green.of_outputs()
    F = green.LGQ(S, on_pixels, of_outputs)
    _subtract_(of_outputs, on_pixels.mH, on_pixels)  # LᴴL
    del on_pixels
    left = _inverse_factor(of_outputs)
    del of_outputs
    return_freed_memory(S.nbytes)
    QQ = green.of_constraints()
    _subtract_(QQ, S, S.mH)
    right = _inverse_factor(QQ)
    del QQ
    sizes = (torch.linalg.matrix_norm(t, 2).amax() for t in (S, left, right))
    noise = torch.finfo(torch.float64).eps * float(math.prod(sizes))
    return_freed_memory(S.nbytes)
    F = left.mH @ F @ right
    S = right.mH @ S @ left  # B
    eye = torch.eye(S.shape[-1], dtype=S.dtype, device=S.device)
    S = torch.linalg.solve(eye - S @ F, S)  # N⁻¹ = Q Σ Pᴴ
    return_freed_memory(S.nbytes)
    Q, sigma, Ph = torch.linalg.svd(S)
    del S
    return_freed_memory(Q.nbytes)
    return Core(Ph.mH.flip(-1), sigma.flip(-1), Q.flip(-1), F, left, right, noise)


def cut_sources(core: Core, tau: float) -> Sources:
    """A⁺ without the triples up to τ.

    Raises
    ------
    CannotServeError
        The cut-off lies in the round-off of the core's singular values.
    """
    if core.noise > _VISIBLE * tau:
        raise CannotServeError("the cut-off lies in the round-off of singular values at the border")
    lost = tau >= core.S
    gains = torch.where(lost, 0.0, 1 / torch.where(lost, 1.0, core.S)).to(core.P.dtype)
    X = core.left @ ((core.P * gains[:, None]) @ core.Q.mH + core.F) @ core.right.mH
    count = int(lost.sum(1).max())
    drop = lost[:, None, :count].to(core.P.dtype)  # groups with fewer carry zeros
    p, q = core.P[..., :count] * drop, core.Q[..., :count] * drop
    sigma = core.S[:, None, :count].to(p.dtype)
    return Sources(
        solver=MatrixSolver(X),
        p=core.left @ p * sigma,
        q=core.right @ q * sigma,
        v=core.left @ (p + core.F @ q * sigma),
        u=core.right @ (q + core.F.mH @ p * sigma),
        dropped=int(lost.sum()),
    )


def _inverse_factor(gram: Tensor) -> Tensor:
    """R⁻¹ of gram = RᴴR."""
    R, info = torch.linalg.cholesky_ex(gram, upper=True)
    if bool(info.any()):
        raise CannotServeError("the border unknowns are numerically dependent")
    eye = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    return torch.linalg.solve_triangular(R, eye.expand_as(gram), upper=True)


class TruncatedForm(nn.Module):
    """A⁺ without the singular triples that were dropped, which are kept as ghost sources."""

    Z_p: Tensor | None
    Z_q: Tensor | None
    Z_v: Tensor
    Z_u: Tensor

    def __init__(
        self,
        A: LinearOperator,
        embedding: Embedding,
        torus: Torus,
        inverse: Tensor,
        ghosts: Ghosts,
        sources: Sources,
        norm: float,
    ) -> None:
        super().__init__()
        self.A, self.embedding, self.norm = A, embedding, norm
        self.system = Bordered.square(torus, inverse, ghosts).with_solver(sources.solver)
        for name, value in zip("pqvu", sources[1:5], strict=True):
            self.register_buffer(f"Z_{name}", value)

    def pinv(self, y: Tensor, *, careful: bool = True) -> Answer:
        """A⁺ y; this form always refines."""
        return self._refined(y, adjoint=False)

    def pinv_adjoint(self, b: Tensor, *, careful: bool = True) -> Answer:
        """(A⁺)ᴴ b; this form always refines."""
        return self._refined(b, adjoint=True)

    def inverse_of_gram(self, v: Tensor, *, of_data: bool) -> Tensor:
        """(AAᴴ)⁺ v if it is data, (AᴴA)⁺ v if not, without refinement."""
        return self._once(self._once(v, adjoint=not of_data), adjoint=of_data)

    def null_vectors(self, c: Tensor) -> Tensor:
        """Combinations (N, g, k) of the dropped right singular vectors, as images."""
        return self._v(c)

    def _refined(self, y: Tensor, *, adjoint: bool) -> Answer:
        apply = self.A._rmatvec if adjoint else self.A._matvec
        return Answer(*refined_solve(partial(self._once, adjoint=adjoint), apply, y, self.norm))

    def _once(self, r: Tensor, *, adjoint: bool) -> Tensor:
        return self._kept(self._pass(self._kept(r, adjoint), adjoint), not adjoint)

    def _pass(self, r: Tensor, adjoint: bool) -> Tensor:  # M r or Mᴴ r
        e = self.embedding
        if adjoint:
            return self.system.solve_adjoint(e.grid_of_domain(r), e.data_of)
        return self.system.solve(e.grid_of_data(r), e.domain_of)

    def _kept(self, r: Tensor, domain: bool) -> Tensor:
        """r without its part in span V (domain) or span U (data)."""
        if not self.Z_v.shape[-1]:
            return r
        if domain:
            return r - self._v(self._v_adjoint(r))
        return r - self._u(self._u_adjoint(r))

    # --- V, U and their adjoints: fields of ghost sources, (N, g, k) <-> images
    def _v(self, c: Tensor) -> Tensor:
        e, invert = self.embedding, self.system.invert
        f = -self._put(c, self.Z_v, self._J)
        if self.Z_q is not None:
            inner = e.data_of(invert(self._put(c, self.Z_q, self._W), adjoint=True))  # P C⁻ᴴWᴴZ c
            f += e.grid_of_data(inner)
        return e.domain_of(invert(f))

    def _v_adjoint(self, x: Tensor) -> Tensor:
        e, invert = self.embedding, self.system.invert
        y = invert(e.grid_of_domain(x), adjoint=True)
        found = -self._read(y, self.Z_v, self._J)
        if self.Z_q is not None:
            back = invert(e.grid_of_data(e.data_of(y)))
            found += self._read(back, self.Z_q, self._W)
        return found

    def _u(self, c: Tensor) -> Tensor:
        e, invert = self.embedding, self.system.invert
        f = self._put(c, self.Z_u, self._W)
        if self.Z_p is not None:
            inner = e.domain_of(invert(self._put(c, self.Z_p, self._J)))  # D C⁻¹ J Z c
            f -= e.grid_of_domain(inner)
        return e.data_of(invert(f, adjoint=True))

    def _u_adjoint(self, y: Tensor) -> Tensor:
        e, invert = self.embedding, self.system.invert
        x = invert(e.grid_of_data(y))
        found = self._read(x, self.Z_u, self._W)
        if self.Z_p is not None:
            back = invert(e.grid_of_domain(e.domain_of(x)), adjoint=True)
            found -= self._read(back, self.Z_p, self._J)
        return found

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
