"""Two questions about a restored picture: do the data agree with it, and were its equations solved?

Equations that are solved to round-off give a bad picture where psf or noise are not the true ones;
so the command says first what the data say.
"""

from __future__ import annotations

import math
from typing import Any

from ..parameter_choice.residual_whiteness import Whiteness, whiteness
from ..pictures.restoration import Restored


def whiteness_of(restored: Restored) -> Whiteness | None:
    """That of the residual; a Wiener filter's is judged against what its spectra expect."""
    if restored.data is not None:
        return restored.data.whiteness
    residual = restored.residual
    return whiteness(residual) if residual[0].numel() >= 4 else None


def verdict_on_data(restored: Restored) -> str:
    """Whether the data agree with the answer: is the residual white, is the psf plausible."""
    white, data = whiteness_of(restored), restored.data
    if white is None:
        return "too few pixels to judge the data by"
    left = (
        "what is left looks like noise"
        if white.is_white
        else f"what is left does not look like noise ({white.distance:.2g} from white, up to "
        f"{white.limit:.2g} is usual)"
    )
    if data is None:
        return f"{left}; prior 'damp' does not judge the psf"
    agree = white.is_white and data.psf_plausible
    psf = "the psf is plausible" if data.psf_plausible else "the psf is not plausible"
    return f"{'the data agree' if agree else 'doubtful'}: {left}, {psf}"


def is_solved(restored: Restored, tol: float) -> bool:
    """Whether the equations were solved as far as was asked for."""
    if is_partial(restored):
        return False
    certificates = [one.certificate for one in restored.sharpened if one.certificate is not None]
    if certificates:
        return all(bool(c.converged.all()) for c in certificates)
    return bool((restored.certificate.error_bound <= tol).all())


def is_partial(restored: Restored) -> bool:
    """Whether it was interrupted on the way."""
    return any(one.partial for one in restored.sharpened)


def evidence_of(restored: Restored) -> dict[str, Any]:
    """How the equations were solved, and how exactly, as facts of the command."""
    if is_partial(restored):
        return {"method": restored.prior, "advice": "interrupted: what it had got to was written"}
    ends = [one.certificate for one in restored.sharpened if one.certificate is not None]
    if ends:
        gaps = [float(c.gap[0]) for c in ends]
        return {
            "method": ends[0].method,
            "strength": [one.strength for one in restored.sharpened],
            "iterations": [int(c.iterations[0]) for c in ends],
            **({"gap": gaps} if all(map(math.isfinite, gaps)) else {}),
            "advice": ends[0].advice,
        }
    certificate = restored.certificate
    return {
        "method": certificate.method,
        "iterations": certificate.iterations.tolist(),
        "residual": certificate.residual.tolist(),
        "optimality": certificate.optimality.tolist(),
        "error_bound": certificate.error_bound.tolist(),
        "advice": certificate.advice,
    }
