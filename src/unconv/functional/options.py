"""The options of one-call functions: those of `ConvOperator`, and those of the method they call.

A function names what it does with y and the weight, and takes all else as `**options`, of which a
TypedDict tells type checkers and `spelled_out` whoever asks for the signature.  Names and defaults
are those of the operator and of the method, written there and nowhere else.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, ParamSpec, TypedDict, TypeVar

from torch import Tensor

from ..doors import ConvOperator
from ..grid.geometry import Padding, PerAxis, smallest_domain
from ..inverse.lstsq import in_precision_of
from ..numerics.checks import check_tensor, is_sequence
from ..numerics.compiled import outside_graphs
from ..numerics.progress import Progress
from ..operators.arguments import axes_of_weight
from ..operators.linear_operator import EXPECTED_SOLVES
from ..regularize.penalty import Penalty

_P = ParamSpec("_P")
_R = TypeVar("_R")


class BoundaryOptions(TypedDict, total=False):
    """Options of a convolution that torch's functions lack."""

    padding_mode: str
    input_shape: Sequence[int] | None
    observed: Tensor | None


class ConvOptions(BoundaryOptions, total=False):
    """Options of the convolution that made y."""

    stride: PerAxis
    padding: Padding
    dilation: PerAxis
    groups: int


class LimitOptions(TypedDict, total=False):
    """Options of everything that is factored."""

    memory_limit: float
    check_finite: bool


class IterationOptions(LimitOptions, total=False):
    """Options of what may be iterated."""

    method: str
    tol: float | None
    maxiter: int | None
    progress: Progress | None


class SolverOptions(IterationOptions, total=False):
    """Options of what weighs set-up against solves."""

    expected_solves: int | None


class PinvOptions(BoundaryOptions, SolverOptions, total=False):
    """Options of `conv*d_pinv`."""

    rtol: float | None
    atol: float


class TikhonovOptions(ConvOptions, SolverOptions, total=False):
    """Options of `tikhonov`."""

    penalty: Penalty | None


class WienerOptions(ConvOptions, IterationOptions, total=False):
    """Options of `wiener`."""

    channel_covariance: Tensor | None


class TsvdOptions(ConvOptions, SolverOptions, total=False):
    """Options of `tsvd`."""


class FilteredOptions(ConvOptions, LimitOptions, total=False):
    """Options of `filtered`."""


class LstsqOptions(TikhonovOptions, total=False):
    """Options of `lstsq`."""

    rtol: float | None
    atol: float


_OF_THE_DATA = ("input_shape", "observed")
_CONV = {
    name: p
    for name, p in inspect.signature(ConvOperator).parameters.items()
    if name in ConvOptions.__annotations__ and name not in _OF_THE_DATA
}
_NOT_OFFERED = ("self", "y", "subtract_bias")
"""No options: what a one-call function has by its nature, and a bias, which it knows nothing of."""


_TEXTS = {
    "data": """y : (N, c_out, *m), or one image (c_out, *m); floating point or complex
    weight : (c_out, c_in/groups, *k), or with a leading batch axis: one kernel per sample""",
    "conv": """stride, padding, dilation, groups, padding_mode
        As in `ConvOperator`.
    input_shape
        Spatial sizes of x.  Default: the size that torch's transposed convolution with
        output_padding=0 returns; with stride > 1 several sizes give the same y.{axes}
    observed
        Bool, True where y was seen, (*m) or (c_out, *m), as in `ConvOperator.observed`; None where
        all of it was.""",
    "axes": """  Its length
        tells one image from one kernel per sample where y has an axis less than weight; else it is
        one kernel per sample if y has as many samples and channels.""",
    "cutoff": """rtol, atol
        Singular values σ ≤ max(atol, rtol·σ_max) count as zero, as in `ConvOperator.pinv`;
        without effect where damp > 0.""",
    "solver": """method, memory_limit, expected_solves, tol, maxiter, check_finite, progress
        As in `ConvOperator.pinv`; solves are expected for the images of y, and for 10 at least.""",
    "answer": """Returns
    -------
    (N, c_in, *input_shape) of dtype `torch.result_type(weight, y)`, without N for one image

    {errors}""",
    "errors": """Raises
    ------
    ValueError, TypeError, NotImplementedError
        One sentence: what was expected, what came, the remedy.""",
}
"""What several docstrings say, by the name in braces that stands for it in each."""


def spelled_out(
    method: Callable[..., Any] | None = None, **texts: str
) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Give a function that ends in `**options` a signature of all of them, and refuse others.

    method : of `ConvOperator`, whose options follow those of the convolution; None for no solver
    texts : for the names in braces of its docstring, beside those that all functions share
    """

    def decorate(function: Callable[_P, _R]) -> Callable[_P, _R]:
        plain = inspect.signature(function)
        *named, _ = plain.parameters.values()
        added = [p for p in _options_of(method) if p.name not in {n.name for n in named}]
        signature = plain.replace(parameters=[*named, *added])
        defaults = {p.name: p.default for p in added}

        @wraps(function)
        def run(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            for name in kwargs:
                if name not in signature.parameters:
                    raise TypeError(
                        f"{run.__name__} has no option {name!r}; it takes "
                        f"{', '.join(signature.parameters)}."
                    )
            for name, value in defaults.items():
                kwargs.setdefault(name, value)
            return function(*args, **kwargs)

        for name, text in (_TEXTS | texts).items():
            run.__doc__ = (run.__doc__ or "").replace(f"{{{name}}}", text)
        run.__signature__ = signature  # type: ignore[attr-defined]  # what `inspect` asks for
        return outside_graphs(run)

    return decorate


def _options_of(method: Callable[..., Any] | None) -> list[inspect.Parameter]:
    """Those of a convolution and of a method, by name alone, with their defaults."""
    annotations = "Sequence[int] | None", "Tensor | None"
    found = [
        *_CONV.values(),
        *(
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)
            for name, kind in zip(_OF_THE_DATA, annotations, strict=True)
        ),
    ]
    if method is not None:
        found += [
            p for n, p in inspect.signature(method).parameters.items() if n not in _NOT_OFFERED
        ]
    return [_by_name(p) for p in found]


def _by_name(p: inspect.Parameter) -> inspect.Parameter:
    if p.name == "expected_solves":  # y is at hand: its images are counted
        p = p.replace(default=None, annotation="int | None")
    return p.replace(kind=inspect.Parameter.KEYWORD_ONLY)


def operator_of(
    y: Tensor, weight: Tensor, options: Mapping[str, Any], nd: int | None = None
) -> ConvOperator:
    """The convolution that produced y, by default on the smallest input that gives its size.

    nd : the number of axes, where the function's name has it; else that of y
    """
    check_tensor("y", y)
    check_tensor("weight", weight)
    input_shape = options["input_shape"]
    if nd is None:
        nd = _number_of_axes(y, weight, input_shape)
    if nd is None or y.ndim not in (nd + 1, nd + 2):
        spatial = "*spatial) with 1, 2 or 3" if nd is None else f"*spatial) with {nd}"
        raise ValueError(
            f"y has shape {tuple(y.shape)}, expected (N, channels, {spatial} spatial sizes, or one "
            "image without N; add the missing axes, for instance that of one channel with y[None]."
        )
    if weight.ndim not in (nd + 2, nd + 3):
        raise ValueError(
            f"weight has shape {tuple(weight.shape)}; for y of {nd} spatial axes expected "
            f"{axes_of_weight(weight, nd)}."
        )
    conv = {name: options[name] for name in _CONV}
    if input_shape is None:
        steps = {name: conv[name] for name in ("stride", "padding", "dilation")}
        input_shape = smallest_domain(y.shape[-nd:], weight.shape[-nd:], **steps)
    op = ConvOperator(weight, input_shape, **conv)
    op._check(y[None] if y.ndim == nd + 1 else y, op.range_shape)
    return op if options["observed"] is None else op.observed(options["observed"])


def _number_of_axes(y: Tensor, weight: Tensor, input_shape: object) -> int | None:
    """How many spatial axes y has where the name of a function does not tell; None if none fits.

    A weight with an axis more than y is one kernel per sample, or that of one image without a batch
    axis, whose channels are then the first of both; `input_shape` tells which where both fit.
    """
    if is_sequence(input_shape):
        nd = len(input_shape)
    else:
        channels_fit = weight.shape[:1] == y.shape[:1] and weight.shape[1:2] != y.shape[1:2]
        nd = y.ndim - (1 if weight.ndim == y.ndim + 1 and channels_fit else 2)
    return nd if nd in (1, 2, 3) else None


def question_of(
    y: Tensor, weight: Tensor, options: Mapping[str, Any], nd: int | None = None
) -> tuple[ConvOperator, dict[str, Any]]:
    """The operator in the precision of y, and the options of its method."""
    op = in_precision_of(operator_of(y, weight, options, nd), y)
    solver = {n: v for n, v in options.items() if n not in (*_CONV, *_OF_THE_DATA)}
    if solver.get("expected_solves", 0) is None:
        images = len(y) if y.ndim == len(op.range_shape) + 1 else 1
        solver["expected_solves"] = max(EXPECTED_SOLVES, images)
    return op, solver
