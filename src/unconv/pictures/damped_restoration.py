"""A picture by damping: x = argmin ‖A x − y‖² + damp² ‖x − x₀‖², x₀ the mean of y.

The damp is given, or chosen by a rule for the circular operator of the same psf and the picture
faded out towards its edges, without which the jump where opposite edges meet would be read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..inverse import Certificate
from ..numerics.checks import check_real_tensor, check_values
from ..parameter_choice import DampChoice, choose_damp
from ..parameter_choice.whittle import Periodogram, hann
from .bad_pixels import filled
from .missing import Missing
from .operators import LEAST_SIZE, blur_operator, frame
from .saturated import solve_with_saturated
from .series import Series


class Damped(NamedTuple):
    """Planes and residual (C, H, W), the damp, how it was chosen, and the certificate."""

    planes: Tensor
    residual: Tensor
    damp: float
    choice: DampChoice | None
    certificate: Certificate


def restore_damped(
    planes: Tensor,
    kernel: Tensor,
    size: tuple[int, int],
    damp: float | str | None,
    boundary: str,
    noise_std: float | None,
    missing: Missing,
    limits: Mapping[str, Any],
    series: Series | None,
    say: Callable[[str, float | None], None],
) -> Damped:
    """Restore by damping towards the mean; saturated samples are lower bounds (saturated.py).

    limits : memory_limit and tol of the solves
    series : which keeps factors, or None
    """
    rule = "risk" if damp is None else damp
    op, seen = blur_operator(kernel, size, boundary), missing.observed
    whole = planes if seen is None else filled(planes, seen)
    y, choice = whole[:, None], None
    if isinstance(rule, str):
        say("choosing the damp", None)
        choice = _choice(y, kernel, rule, noise_std)
        rule = 1.0 if choice is None else choice.damp  # an even picture comes back by any damp
    begun = f"restoring, damp {rule:.3g}"
    say(begun, None)
    mean = y.mean((-2, -1), keepdim=True).expand(-1, *op.domain_shape)
    if missing.saturated is not None:
        y = torch.where(missing.saturated.any(0), planes, whole)[:, None]
    detail_of_y = y - op(mean)

    def step(done: str, fraction: float | None) -> None:
        say(f"{begun}, {done}", fraction)

    def solve(known: Tensor | None) -> tuple[Tensor, Certificate]:
        solver = op if known is None else op.observed(known)
        lstsq = partial(series.lstsq, solver) if series else solver.lstsq
        detail, certificate = lstsq(
            detail_of_y, rule, expected_solves=len(y), progress=step, **limits
        )
        return mean + detail, certificate

    x, certificate, used = solve_with_saturated(solve, op, y, seen, missing.saturated)
    residual, planes = (y - op(x))[:, 0], x[:, 0]
    residual = residual if used is None else residual.where(used, 0.0)
    planes = frame(planes, kernel) if boundary == "valid" else planes
    return Damped(planes, residual, rule, choice, certificate)


def _choice(y: Tensor, kernel: Tensor, rule: str, noise_std: float | None) -> DampChoice | None:
    """The damp by a rule; None for an even picture.

    Fading changes what a median says of the noise, so its level is read from the picture as it is.
    """
    size = y.shape[-2], y.shape[-1]
    if bool((y.amax((-2, -1)) == y.amin((-2, -1))).all()):  # y minus its mean may be round-off
        return None
    faded, how = faded_out(y), "given"
    if noise_std is None and rule != "gcv" and min(size) >= LEAST_SIZE:
        spectra = Periodogram(y[:, 0].double(), kernel.double()).fit()
        noise_std = float(spectra.noise_psd(size).mean().sqrt())
        how = "likelihood of the periodogram of y"
    choice = choose_damp(blur_operator(kernel, size, "circular"), faded, rule, noise_std=noise_std)
    return choice if noise_std is None else replace(choice, noise_how=how)


def faded_out(y: Tensor) -> Tensor:
    """y without its mean, faded out towards its edges by a Hann window of unit power.

    What reads noise and signal from a periodic spectrum needs it for photographs: the jump where
    opposite edges meet would drown both.  White noise keeps its power.

    Parameters
    ----------
    y : (..., H, W), real

    Returns
    -------
    (..., H, W) float64

    Raises
    ------
    ValueError, TypeError
        If y is complex, empty or has fewer than two axes.

    Examples
    --------
    >>> import torch
    >>> y = torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(0)).double()
    >>> 0.8 < float(faded_out(y).std()) < 1.2
    True
    """
    check_values("y", check_real_tensor("y", y))
    if y.ndim < 2 or y.numel() == 0:
        raise ValueError(f"pictures must have shape (..., H, W), got {tuple(y.shape)}.")
    y = y.double() - y.double().mean((-2, -1), keepdim=True)
    for dim in (-2, -1):
        window = hann(y.shape[dim], y)
        y = y * (window[:, None] if dim == -2 else window)
    return y
