"""Tikhonov with a penalty on derivatives, or on any filtered x, as a pseudo-inverse:

    x = argmin ‖Ax − y‖² + damp²‖Lx‖² = [A; damp·L]⁺ [y; 0].

Where A and L are convolutions on one grid (stride 1, one padding mode, as many outputs), the stack
is a convolution again, with the output channels of both, and the ladder of `pinv` factors it: no
normal equations, the minimum-norm x where A and L share a null vector, and a certificate.  Where A
pads nothing and the rows of L translate, as differences do, those that do not exist are completed
on a periodic grid (`natural_edges`), with a proven bound of the error.  Any other pair is iterated
by LSMR on the stack, which knows its optimality but no error_bound.

Cost: that of a pseudo-inverse with c_out + rows of L output channels.
Not for: L = I, which damping itself does at less cost.

Source: Hansen, "Rank-Deficient and Discrete Ill-Posed Problems", SIAM 1998, §2.1 and §5.1.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..convolve import grouped
from ..grid.geometry import Axis
from ..grid.modes import MODES
from ..numerics.checks import (
    check_choice,
    check_kind,
    check_tensor,
    check_values,
)
from ..numerics.precision import double_dtype
from ..operators.convolution import Convolution

PENALTIES = ("gradient", "laplacian")

Penalty = str | Tensor | Convolution


def penalty_operator(op: Convolution, penalty: Penalty) -> Convolution:
    """The operator L of a penalty ‖Lx‖², a convolution on the domain of `op`.

    Parameters
    ----------
    penalty
        'gradient' : forward differences along every axis, (c_in·nd, *n)
        'laplacian' : the sum of second differences, (c_in, *n)
        a tensor (*k) : that correlation kernel for every channel, or (rows, c_in, *k)
        a ConvOperator with the same domain : itself

    A name or a kernel takes the padding mode of `op`, under which differences across the edge see
    what A sees there; where `op` does not pad (a scene that is larger than its data) the edge is
    replicated, so that no difference across it is penalised.

    Raises
    ------
    ValueError, TypeError
        If the name is unknown, or the tensor or operator does not fit the domain of `op`.

    Examples
    --------
    >>> import torch, unconv
    >>> A = unconv.ConvOperator(torch.ones(1, 1, 3, 3), (8, 9), padding=1, padding_mode="reflect")
    >>> penalty_operator(A, "gradient").range_shape
    (2, 8, 9)
    """
    check_kind("op", op, Convolution, "build one from the weight")
    if op.batch_size is not None:
        raise NotImplementedError(
            "a penalty for one kernel per sample is not supported; solve sample by sample with "
            "op.of_sample(i)."
        )
    found = _penalty_operator(op, penalty)
    if found.dtype.is_complex and not op.dtype.is_complex:
        raise ValueError(
            "a complex penalty needs a complex operator; build it from weight.to(torch.complex128)."
        )
    return found


def _penalty_operator(op: Convolution, penalty: Penalty) -> Convolution:
    if isinstance(penalty, Convolution):
        if penalty.domain_shape != op.domain_shape or penalty.batch_size is not None:
            raise ValueError(
                f"the penalty acts on {penalty.domain_shape}, the operator on {op.domain_shape}; "
                "build it with the operator's domain as its input_shape."
            )
        return penalty
    kernel = _kernel(op, penalty)
    axes = op.geometry.axes
    mode = axes[0].mode
    padded = not op.transposed and any(a.before or a.after for a in axes)
    groups = op.domain_shape[0] if kernel.shape[1] == 1 else 1
    return type(
        op
    )(  # with the methods that the operator itself has
        kernel,
        op.domain_shape[1:],
        padding="same",
        padding_mode=mode if padded or MODES[mode].periodic else "replicate",
        groups=groups,
    )


def _kernel(op: Convolution, penalty: str | Tensor) -> Tensor:
    c, nd = op.domain_shape[0], len(op.domain_shape) - 1
    like = op.weight.detach()
    if isinstance(penalty, str):
        check_choice("penalty", penalty, PENALTIES, ", a kernel or a ConvOperator")
        stencil = _differences(nd) if penalty == "gradient" else _laplacian(nd)
        return stencil.to(like).repeat(c, *[1] * (nd + 1))
    check_values("penalty", check_tensor("penalty", penalty))
    if penalty.ndim == nd:
        return penalty.to(like.device).expand(c, 1, *penalty.shape)
    if penalty.ndim == nd + 2 and penalty.shape[1] == c:
        return penalty.to(like.device)
    raise ValueError(
        f"a penalty kernel must have {nd} axes (one kernel for every channel) or shape (rows, {c}, "
        f"*k), got {tuple(penalty.shape)}."
    )


def _differences(nd: int) -> Tensor:
    """(nd, 1, 2, …): x[i + 1] − x[i] along each axis."""
    kernel = torch.zeros(nd, 1, *[2] * nd, dtype=torch.float64)
    kernel.flatten(1)[:, 0] = -1
    for axis in range(nd):
        kernel[(axis, 0, *[int(axis == a) for a in range(nd)])] = 1
    return kernel


def _laplacian(nd: int) -> Tensor:
    """(1, 1, 3, …): Σ x[i − 1] − 2 x[i] + x[i + 1]."""
    kernel = torch.zeros(1, 1, *[3] * nd, dtype=torch.float64)
    kernel[(0, 0, *[1] * nd)] = -2 * nd
    for axis in range(nd):
        for end in (0, 2):
            kernel[(0, 0, *[end if axis == a else 1 for a in range(nd)])] = 1
    return kernel


# --- the stack [A; damp·L]
def stacked(
    A: Convolution, L: Convolution, damp: float, memory_limit: float
) -> tuple[Convolution, Tensor] | None:
    """[A; damp·L] as one convolution in double precision, and which of its channels are A's.

    None where they do not share a grid, where outputs of A were not observed, or where their taps,
    spread to one size, do not fit.
    """
    pairs = list(zip(A.geometry.axes, L.geometry.axes, strict=True))
    if A.transposed or L.transposed or A.seen is not None:
        return None
    if not all(_same_grid(a, b) for a, b in pairs):
        return None
    g = math.gcd(A.geometry.groups, L.geometry.groups)
    own, other = (in_groups(op, g) for op in (A, L))
    before = [max(a.before, b.before) for a, b in pairs]
    after = [max(a.after, b.after) for a, b in pairs]
    rows_of_both = g * (own.shape[1] + other.shape[1])
    taps = math.prod(b + c + 1 for b, c in zip(before, after, strict=True))
    if 32 * rows_of_both * own.shape[2] * taps > memory_limit:
        return None
    rows = [
        _widened(own, [a for a, _ in pairs], before, after),
        damp * _widened(other, [b for _, b in pairs], before, after),
    ]
    kind = torch.promote_types(rows[0].dtype, rows[1].dtype)
    weight = torch.cat([r.to(kind) for r in rows], 1)  # (g, rows, c_in/g, *k)
    op = Convolution(
        weight.flatten(0, 1),
        A.domain_shape[1:],
        padding=list(zip(before, after, strict=True)),
        padding_mode=pairs[0][0].mode,
        groups=g,
    )
    channels = torch.arange(weight.shape[0] * weight.shape[1], device=A.device)
    return op, channels.reshape(g, -1)[:, : own.shape[1]].flatten()


def _same_grid(a: Axis, b: Axis) -> bool:
    modes = a.mode == b.mode or not (a.before or a.after or b.before or b.after)
    return modes and a.stride == b.stride == 1 and a.m == b.m


def in_groups(op: Convolution, g: int) -> Tensor:
    """The taps as (g, rows, columns, *k) of g groups, g a divisor of the operator's own."""
    taps = op.taps.detach()
    taps = taps.to(double_dtype(taps.dtype))
    own = grouped(taps, op.geometry)[0]  # (groups, r, c, *k)
    each = op.geometry.groups // g
    out = own.new_zeros(g, each * own.shape[1], each * own.shape[2], *own.shape[3:])
    for i in range(each):
        r, c = (slice(i * n, (i + 1) * n) for n in own.shape[1:3])
        out[:, r, c] = own.unflatten(0, (g, each))[:, i]
    return out


def _widened(taps: Tensor, axes: list[Axis], before: list[int], after: list[int]) -> Tensor:
    """Taps spaced by their dilation, with zeros to reach as far as the common padding."""
    shape = [
        a.extent + b - a.before + c - a.after for a, b, c in zip(axes, before, after, strict=True)
    ]
    out = taps.new_zeros(*taps.shape[:3], *shape)
    place = [
        slice(b - a.before, b - a.before + a.extent, a.dilation)
        for a, b in zip(axes, before, strict=True)
    ]
    out[(slice(None), slice(None), slice(None), *place)] = taps
    return out
