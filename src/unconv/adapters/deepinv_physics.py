"""deepinv's physics with the solves that its iterations approximate.

`as_deepinv` gives a `LinearPhysics`, or where the singular vectors of A are known a
`DecomposablePhysics`, which DDRM asks for.  What they apply is in exact_maps.py and
singular_coordinates.py.

Source: Tachella et al., "DeepInverse: a Python package for solving imaging inverse problems with
deep learning", 2025, for the interface; Song et al., "Pseudoinverse-guided diffusion models for
inverse problems", ICLR 2023, for ΠGDM.
"""

from __future__ import annotations

import importlib
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from ..numerics.checks import check_kind, check_number
from ..operators.convolution import Convolution
from ..operators.linear_operator import DEFAULT_MEMORY_LIMIT, EXPECTED_SOLVES
from .exact_maps import ExactMaps
from .singular_coordinates import SingularCoordinates, have_singular_vectors


def as_deepinv(
    op: Convolution,
    *,
    noise_model: nn.Module | None = None,
    rtol: float | None = None,
    atol: float = 0.0,
    method: str = "auto",
    memory_limit: float = DEFAULT_MEMORY_LIMIT,
    expected_solves: int = EXPECTED_SOLVES,
    tol: float | None = None,
    maxiter: int | None = None,
    check_finite: bool = True,
) -> Any:
    """`op` as a physics of deepinv whose A_dagger, prox_l2 and singular vectors are exact.

    Parameters
    ----------
    op
        With one kernel for all samples; any boundary, `observed` masks, strides.
    noise_model
        deepinv's, for `physics(x)`; none by default.
    rtol, atol, method, memory_limit, expected_solves, tol, maxiter, check_finite
        As in `ConvOperator.pinv`.

    Returns
    -------
    LinearPhysics
        Its A_dagger and prox_l2 are exact to round-off, or to the `tol` of `pinv` where the plan
        says 'completion' or 'krylov'.  They take the options of deepinv's iterations and have no
        use for them.  `physics.maps` is its `ExactMaps`.  Where A is circular, symmetric, separable
        or small and real it is a `DecomposablePhysics`, with U, U_adjoint, V, V_adjoint and mask.

    Raises
    ------
    ImportError
        If deepinv cannot be imported.

    Examples
    --------
    >>> import torch, unconv
    >>> A = unconv.ConvOperator(torch.randn(3, 3, 5, 5), (64, 64), padding=2)
    >>> physics = as_deepinv(A)  # doctest: +SKIP
    >>> y = physics(torch.randn(1, 3, 64, 64))  # doctest: +SKIP
    >>> x = physics.prox_l2(physics.A_dagger(y), y, gamma=10.0)  # doctest: +SKIP
    """
    if noise_model is not None:
        check_kind("noise_model", noise_model, nn.Module, "deepinv has several")
    maps = ExactMaps(
        op,
        rtol=rtol,
        atol=atol,
        method=method,
        memory_limit=memory_limit,
        expected_solves=expected_solves,
        tol=tol,
        maxiter=maxiter,
        check_finite=check_finite,
    )
    plain, diagonal = _physics_classes()
    if have_singular_vectors(op, memory_limit):
        return diagonal(maps, noise_model, SingularCoordinates(rtol, atol, memory_limit))
    return plain(maps, noise_model)


def pigdm_fidelity(
    denoiser: nn.Module | None = None,
    *,
    weight: float = 1.0,
    clip: tuple[float, float] | None = None,
) -> Any:
    """deepinv's `PiGDMDataFidelity` with its linear system solved for, by physics of `as_deepinv`.

    Where A has no singular vectors deepinv takes three steps of conjugate gradients for
    (r_t²·AAᴴ + σ_y²)⁻¹; this one solves.

    Parameters
    ----------
    denoiser
        A denoiser of deepinv; `PosteriorDiffusion` gives its own.
    weight, clip
        Of deepinv's class.

    Returns
    -------
    PiGDMDataFidelity
        For any linear physics; exact for those of `as_deepinv`.

    Raises
    ------
    ImportError
        If deepinv cannot be imported.

    Examples
    --------
    >>> term = pigdm_fidelity()  # doctest: +SKIP
    >>> deepinv.sampling.PosteriorDiffusion(term, denoiser, sde, solver)  # doctest: +SKIP
    """
    if denoiser is not None:
        check_kind("denoiser", denoiser, nn.Module, "deepinv has several")
    check_number("weight", weight, positive=True)
    return _pigdm_class()(denoiser=denoiser, weight=weight, clip=clip)


@lru_cache(maxsize=1)
def _pigdm_class() -> Any:
    base: Any = _imported("deepinv.sampling").PiGDMDataFidelity

    class ExactPiGDM(base):
        """The data term of ΠGDM, by one solve."""

        def solve_inverse(
            self,
            physics: Any,
            u: Tensor,
            r_t2: Tensor | float,
            sigma_y: Tensor | float,
        ) -> Tensor:
            maps = getattr(physics, "maps", None)
            if not isinstance(maps, ExactMaps):
                return super().solve_inverse(physics, u, r_t2, sigma_y)
            scale = torch.as_tensor(r_t2, dtype=torch.float64, device=u.device).flatten()
            noise = torch.as_tensor(sigma_y, dtype=torch.float64, device=u.device).flatten()
            w = maps.A_A_adjoint_inverse(u, noise.square() / scale)
            return w / scale.to(u.dtype).reshape(-1, *[1] * (u.ndim - 1))

    return ExactPiGDM


def _imported(name: str) -> Any:
    """A module of deepinv."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        remedy = "install it with: pip install deepinv"
        if (error.name or "").split(".")[0] == "torchvision":
            remedy = (
                "deepinv imports torchvision; install the build that fits your torch, or, where "
                "there is none, put a stand-in module into sys.modules['torchvision'] first: its "
                "physics and samplers call nothing of it"
            )
        raise ImportError(
            f"as_deepinv needs the package deepinv, which cannot be imported ({error}); {remedy}"
        ) from error


class _Exact:
    """What both kinds of physics share; keywords that deepinv passes to iterations are ignored."""

    maps: ExactMaps

    def A(self, x: Tensor, **_: Any) -> Tensor:
        return self.maps.A(x)

    def A_adjoint(self, y: Tensor, **_: Any) -> Tensor:
        return self.maps.A_adjoint(y)

    def A_A_adjoint(self, y: Tensor, **_: Any) -> Tensor:
        return self.maps.A(self.maps.A_adjoint(y))

    def A_adjoint_A(self, x: Tensor, **_: Any) -> Tensor:
        return self.maps.A_adjoint(self.maps.A(x))

    def A_dagger(self, y: Tensor, *_: Any, **__: Any) -> Tensor:
        return self.maps.A_dagger(y)

    def prox_l2(
        self, z: Tensor | float | None, y: Tensor, gamma: float | Tensor, *_: Any, **__: Any
    ) -> Tensor:
        return self.maps.prox_l2(z, y, gamma)


@lru_cache(maxsize=1)
def _physics_classes() -> tuple[Any, Any]:
    """Made at the first call, for their base classes are there only where deepinv is installed."""
    physics = _imported("deepinv.physics")
    LinearPhysics: Any = physics.LinearPhysics
    Decomposable: Any = physics.DecomposablePhysics

    class ConvPhysics(_Exact, LinearPhysics):
        """A convolution."""

        def __init__(self, maps: ExactMaps, noise_model: nn.Module | None) -> None:
            noise = {} if noise_model is None else {"noise_model": noise_model}
            LinearPhysics.__init__(
                self, img_size=maps.op.domain_shape, device=maps.op.device, **noise
            )
            self.maps = maps

    class DiagonalConvPhysics(ConvPhysics, Decomposable):
        """A convolution with all of its singular vectors."""

        def __init__(
            self,
            maps: ExactMaps,
            noise_model: nn.Module | None,
            coordinates: SingularCoordinates,
        ) -> None:
            ConvPhysics.__init__(self, maps, noise_model)
            self.img_size, self._coordinates = maps.op.domain_shape, coordinates

        @property
        def mask(self) -> Tensor:
            """(1, n) singular values, zeros behind."""
            return self._coordinates.mask(self.maps.op)

        def U(self, x: Tensor) -> Tensor:
            return self._coordinates.U(self.maps.op, x)

        def U_adjoint(self, x: Tensor, **_: Any) -> Tensor:
            return self._coordinates.U_adjoint(self.maps.op, x)

        def V(self, x: Tensor, **_: Any) -> Tensor:
            return self._coordinates.V(self.maps.op, x)

        def V_adjoint(self, x: Tensor) -> Tensor:
            return self._coordinates.V_adjoint(self.maps.op, x)

    return ConvPhysics, DiagonalConvPhysics
