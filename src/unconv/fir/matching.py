"""The kernel that makes one kernel into another, and how large and how damped it should be.

    min over g of  ‖a ∗ g − b‖² + damp²‖g‖²        a ∗ g the full convolution, centred on b

It is the problem of an inverse kernel (problem.py) with b in the place of δ: the same operator and
the same factors, solved exactly.  Of all kernels of its size none has a smaller ‖a ∗ g − b‖ at the
same noise gain ‖g‖, for damp is the multiplier of that bound.

A picture y = a ∗ x + n that is filtered with g should be b ∗ x.  What it misses,

    g ∗ y − b ∗ x = (a ∗ g − b) ∗ x + g ∗ n,

has for white x of variance s² and white n of variance σ² the mean square s²‖a ∗ g − b‖² + σ²‖g‖² a
sample: damp = σ/s is then the best of all, and no search is needed.  For spectra S and N of x and n
it is the mean over frequencies of |AG − B|² S + |G|² N, which `matching_damp`
(matching_search.py) minimises.

Cost: that of an inverse kernel of the size; a search some 20 of them.
Do not use it to sharpen (b narrower than a) without damping: the noise gain is then that of an
inverse.

Sources: Alard & Lupton, "A method for optimal image subtraction", ApJ 503 (1998), for kernels by
least squares; Boucaud et al., "Convolution kernels for multi-wavelength imaging", A&A 596 (2016),
for damping.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..inverse import Certificate
from ..inverse.plan import damp_value
from ..numerics.checks import (
    check_all_finite,
    check_memory_limit,
    check_tensor,
    check_values,
)
from ..numerics.compiled import outside_graphs
from ..operators.linear_operator import DEFAULT_MEMORY_LIMIT
from .problem import Problem, Size, pose


@dataclass(frozen=True, eq=False)
class MatchingKernel:
    """The least-squares best kernel g with a ∗ g ≈ b, and how good it is.

    The tensors are differentiable in a and b.

    Attributes
    ----------
    kernel : (*size), g, of the dtype of a; its centre is the sample n//2 of each axis
    response : (*full), a ∗ g in double precision, full = size of a + size − 1
    residual : (), ‖a ∗ g − b‖₂, what of b reaches beyond a ∗ g included
    error : (), the residual as a part of ‖b‖₂
    noise_gain : (), ‖g‖₂: white noise of standard deviation 1 leaves g with this
    sum : (), Σ g, by which g multiplies the light of a picture
    damp : of ‖a ∗ g − b‖² + damp²‖g‖²
    method : what solved it
    certificate : of the solve
    """

    kernel: Tensor
    response: Tensor
    residual: Tensor
    error: Tensor
    noise_gain: Tensor
    sum: Tensor
    damp: float
    method: str
    certificate: Certificate

    @property
    def size(self) -> tuple[int, ...]:
        """Sizes of g."""
        return tuple(self.kernel.shape)

    def as_dict(self) -> dict[str, Any]:
        """Numbers, strings and lists only, without the taps."""
        numbers = ("residual", "error", "noise_gain", "sum")
        return {
            "size": list(self.size),
            "damp": self.damp,
            "method": self.method,
            **{name: float(getattr(self, name).detach()) for name in numbers},
        }


@outside_graphs
def matching_kernel(
    weight: Tensor,
    target: Tensor,
    size: Size,
    *,
    damp: float | Tensor = 0.0,
    memory_limit: float = DEFAULT_MEMORY_LIMIT,
) -> MatchingKernel:
    """The kernel g that minimises ‖a ∗ g − b‖² + damp²‖g‖², solved exactly.

    Filtering with a and then with g is filtering with b, nearly: the taps convolve, whether the
    filters are meant as convolutions or as correlations.  Centres are the samples n//2.

    Parameters
    ----------
    weight : (*k), a, floating point or complex, 1 to 3 axes
    target : (*m), b, with as many axes; of any sizes
    size : taps of g, one number per axis, or one for all axes
    damp : ≥ 0, the weight of ‖g‖; a gradient may be asked of a tensor of one element
    memory_limit : bytes that a factor may take

    Returns
    -------
    MatchingKernel

    Raises
    ------
    MemoryLimitError
        If no direct method fits `memory_limit`; nothing was allocated.
    ValueError, TypeError
        A kernel or a target of zeros, of several channels, an empty size, …

    Examples
    --------
    >>> import torch
    >>> from unconv.fir import matching_kernel
    >>> narrow = torch.tensor([1.0, 2, 1], dtype=torch.float64)
    >>> wide = torch.tensor([1.0, 4, 6, 4, 1], dtype=torch.float64)
    >>> found = matching_kernel(narrow, wide, 3)
    >>> [round(v, 9) for v in found.kernel.tolist()], bool(found.error < 1e-14)
    ([1.0, 2.0, 1.0], True)
    """
    check_memory_limit(memory_limit)
    problem = posed(weight, size)
    b = target_of(problem, target)
    inverse = problem.factor(damp, memory_limit, 1)
    y, beyond = _placed(b, problem)
    rows, certificate = problem.solve(inverse, y)
    g = problem.turned(rows).to(weight.dtype)
    response = problem.respond(g)
    residual = torch.linalg.vector_norm(torch.stack([_norm(response - y), beyond]))
    g = g[0, 0]
    return MatchingKernel(
        kernel=g,
        response=response[0, 0],
        residual=residual,
        error=residual / torch.linalg.vector_norm(torch.stack([_norm(y), beyond])),
        noise_gain=_norm(g.to(response.dtype)),
        sum=g.to(response.dtype).sum(),
        damp=damp_value(damp),
        method=inverse.method,
        certificate=certificate,
    )


# --- the parts of the problem
def posed(weight: Tensor, size: Size) -> Problem:
    """The problem of one kernel without channels and a size, checked."""
    check_values("weight", check_tensor("weight", weight))
    if not 1 <= weight.ndim <= 3:
        raise ValueError(
            f"weight has shape {tuple(weight.shape)}; a kernel to be matched has 1 to 3 axes of "
            "taps and no channels: match them one by one."
        )
    if isinstance(size, int) and not isinstance(size, bool):
        size = (size,) * weight.ndim
    return pose(weight, size)


def target_of(problem: Problem, target: Tensor) -> Tensor:
    """The target b in double precision, checked."""
    kernel, axes = problem.kernel, len(problem.size)
    check_values("target", check_tensor("target", target))
    if target.ndim != axes or target.numel() == 0:
        raise ValueError(
            f"target has shape {tuple(target.shape)}; expected the {axes} axes of weight, with at "
            "least one tap."
        )
    check_all_finite("target", target, "give finite numbers")
    if not bool((target != 0).any()):
        raise ValueError("target holds zeros alone, which g = 0 matches; give a kernel with a tap.")
    if target.device != kernel.device or target.is_complex() != kernel.is_complex():
        raise ValueError(
            f"weight is of {kernel.dtype} on {kernel.device}, target of {target.dtype} on "
            f"{target.device}; convert one to the other with .to()."
        )
    return target.to(kernel.dtype)


def _placed(b: Tensor, problem: Problem) -> tuple[Tensor, Tensor]:
    """The target centred in a ∗ g, (1, 1, *full), and the norm of what of it reaches beyond."""
    pads: list[int] = []
    inside: list[slice] = []
    sizes = zip(problem.kernel.shape[2:], problem.size, b.shape, problem.full, strict=True)
    for n_a, n_g, n_b, full in sizes:
        before = n_a // 2 + n_g // 2 - n_b // 2
        pads = [before, full - before - n_b, *pads]
        inside.append(slice(max(0, -before), full - before))
    y = torch.nn.functional.pad(b, pads)  # negative ones cut
    beyond = torch.ones_like(b)
    beyond[tuple(inside)] = 0
    return y[None, None], _norm(b * beyond)


def _norm(t: Tensor) -> Tensor:
    return torch.linalg.vector_norm(t)
