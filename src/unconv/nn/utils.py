"""The spectral norm of a convolution layer as a map of pictures, held by a parametrization.

`torch.nn.utils.parametrizations.spectral_norm` divides a weight by the norm of it reshaped to
(c_out, c_in·taps), which is not the norm of the convolution: at stride 1 that lies between it and
√taps times it.  Here it is σ_max of the layer's own operator A, of pictures of one size:

    weight  =  original · bound/σ,      σ = ‖A(original) v‖,      dσ = Re⟨A v/σ, dA v⟩

v is the right singular vector, kept from step to step.  In training each call takes it a step
further, by Rayleigh–Ritz on v, its residual AᴴA v − σ²v and the direction that it came from
(LOBPCG: conjugate gradients for an eigenvector, which halves the error in far fewer steps than a
power iteration); in evaluation v is exact, found once for a weight.

Sources: Miyato et al., "Spectral normalization for generative adversarial networks", ICLR 2018;
Knyazev, "Toward the optimal preconditioned eigensolver", SIAM J. Sci. Comput. 23 (2001).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ..doors import ConvOperator
from ..numerics.checks import check_all_finite, check_count, check_number
from ..numerics.compiled import outside_graphs
from ..numerics.plain_values import Values, with_values
from ..numerics.precision import ieee_arithmetic, working_dtype
from ..operators.linear_operator import DEFAULT_MEMORY_LIMIT
from ..spectrum import outermost

__all__ = ["spectral_norm"]

_Module = TypeVar("_Module", bound=nn.Module)


def spectral_norm(
    module: _Module, input_shape: Sequence[int], bound: float = 1.0, *, steps: int = 1
) -> _Module:
    """Give a convolution layer the operator norm `bound`, by a parametrization of its weight.

    The norm is that of the layer as a map of pictures x of one size, ‖layer(x) − layer(x')‖ ≤
    bound·‖x − x'‖, under its own stride, padding, padding_mode, dilation and groups.  The weight is
    divided by σ and multiplied by `bound` whenever it is read, and gradients go through σ; in a
    second derivative its vector counts as constant.  A weight of zeros stays as it is.

    Parameters
    ----------
    module : an nn.Conv1d, 2d, 3d or nn.ConvTranspose1d, 2d, 3d
    input_shape
        Spatial sizes of x.  Under zero padding the norm of smaller pictures is no larger.
    bound : > 0
    steps
        Of the iteration, for each call in training.  One follows a weight that an optimiser moves,
        with a norm up to a quarter too large where the weight moves fast, four within 6 %;
        in evaluation the norm is exact, and so it is for a weight that has just been assigned.

    Returns
    -------
    The module itself.  `torch.nn.utils.parametrize.remove_parametrizations(module, "weight")` takes
    the parametrization off and leaves the normalised weight, exactly so after `module.eval()`.

    Raises
    ------
    ValueError, TypeError
        If it is another module, the sizes do not fit it, or bound or steps are out of range; where
        the weight is read, if it holds NaN or infinite values.

    Examples
    --------
    >>> import torch, unconv
    >>> conv = torch.nn.Conv2d(3, 8, 3, padding=1)
    >>> conv = unconv.nn.utils.spectral_norm(conv, input_shape=(16, 16))
    >>> A = unconv.ConvOperator.from_module(conv.eval(), (16, 16))
    >>> bool(torch.isclose(A.norm(), torch.ones(1, dtype=torch.float64), rtol=1e-5))
    True
    """
    op = ConvOperator.from_module(module, input_shape)  # refuses what is wrong, now
    check_number("bound", bound, positive=True)
    check_count("steps", steps)
    parametrize.register_parametrization(module, "weight", _OperatorNorm(op, bound, steps))
    return module


class _OperatorNorm(nn.Module):
    """weight ↦ weight·bound/σ; v (1, *domain) is a buffer, for it is what training has reached.

    Of a weight of zeros v is zero, and the first weight after it has its own.  Halves are followed
    in float32, inside autocast too.
    """

    v: Tensor
    direction: Tensor

    def __init__(self, op: ConvOperator, bound: float, steps: int) -> None:
        super().__init__()
        self.bound, self.steps = float(bound), steps
        weight = op.weight.detach()
        # of the operator only its shapes and options are kept; a submodule would store the weight
        self._template = (op.without_bias(weight[:0].new_zeros(()).expand(weight.shape)),)
        v = torch.zeros(1, *op.domain_shape, dtype=_precise(weight).dtype, device=weight.device)
        self.register_buffer("v", v)
        self.register_buffer("direction", torch.zeros_like(v))
        self._known: tuple[Tensor, Tensor] | None = None  # a weight in evaluation, and its v

    @outside_graphs
    def forward(self, weight: Tensor) -> Tensor:
        with ieee_arithmetic(weight.device.type, weight.dtype):
            v = with_values(self._vector, weight)
            image = self._template[0].without_bias(_precise(weight))._matvec(v)
            sigma = torch.linalg.vector_norm(image)
            return weight * (self.bound / torch.where(sigma > 0, sigma, self.bound))

    def right_inverse(self, weight: Tensor) -> Tensor:
        """What is stored for a weight that is assigned: the weight as it is."""
        self._start_at(self._template[0].without_bias(_precise(weight.detach())))
        return weight

    def _start_at(self, op: ConvOperator) -> None:
        self.v = _exact(op)
        self.direction = torch.zeros_like(self.v)

    def _vector(self, found: Values) -> Tensor:
        """v for a plain weight: a step further in training, exact in evaluation."""
        if any(found.mapped):
            raise NotImplementedError(
                "spectral_norm keeps one vector for one weight and does not serve under "
                "torch.func.vmap over the weight; normalise each layer of the ensemble by itself."
            )
        weight = _precise(found.tensors[0])
        op = self._template[0].without_bias(weight)
        if self.training:
            self._follow(op)
            return self.v.clone()  # a backward keeps it, and buffers are written in place
        if self._known is None or not _same(self._known[0], weight):
            self._known = weight.clone(), _exact(op)
        return self._known[1]

    def _follow(self, op: ConvOperator) -> None:
        """Take v as many steps further as are asked for."""
        check_all_finite("weight", op.weight, _NOT_FINITE)
        self.v, self.direction = self.v.to(op.dtype), self.direction.to(op.dtype)
        if not bool(self.v.any()):
            self._start_at(op)
        for _ in range(self.steps if bool(op.weight.any()) else 0):
            self.v, self.direction = _improved(op, self.v, self.direction)


_NOT_FINITE = "a spectrum needs finite numbers"


def _precise(weight: Tensor) -> Tensor:
    """The weight in the precision in which it is followed, at least float32."""
    return weight.to(working_dtype(weight.dtype, weight.dtype))


def _same(a: Tensor, b: Tensor) -> bool:
    return a.dtype == b.dtype and a.device == b.device and torch.equal(a, b)


def _exact(op: ConvOperator) -> Tensor:
    """A right singular vector of σ_max, (1, *domain_shape); zero for an operator that is zero."""
    check_all_finite("weight", op.weight, _NOT_FINITE)
    if not bool(op.weight.any()):
        return op.weight.new_zeros(1, *op.domain_shape)
    with torch.no_grad():
        return outermost(op, 1, True, DEFAULT_MEMORY_LIMIT).V.to(op.dtype)


def _improved(op: ConvOperator, v: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    """v with a larger ‖A v‖, a unit vector, and the direction in which it went."""
    image = op._matvec(v)
    rest = op._rmatvec(image) - torch.linalg.vector_norm(image) ** 2 * v
    parts = torch.cat([v, _unit(rest), _unit(direction)]).flatten(1)
    basis = torch.linalg.qr(parts.mT)[0].mT  # the first is v up to its sign
    images = op._matvec(basis.reshape(-1, *v.shape[1:])).flatten(1)
    ritz = torch.linalg.eigh(images.conj() @ images.mT)[1][:, -1]
    found = ritz @ basis
    along = found - (found @ basis[0].conj()) * basis[0]
    return (_unit(found[None]).reshape(v.shape), along.reshape(v.shape))


def _unit(v: Tensor) -> Tensor:
    size = torch.linalg.vector_norm(v)
    return v / size.clamp(min=torch.finfo(size.dtype).tiny)
