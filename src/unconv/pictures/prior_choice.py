"""Which prior restores a picture, by what was asked for and what the picture is."""

from __future__ import annotations

from torch import Tensor

from ..inverse.plan import damp_value
from ..numerics.checks import check_choice, check_flag, check_number
from ..parameter_choice.rules import RULES
from .edges import MOST_SAMPLES, Edges
from .operators import EDGE_PRIORS, LEAST_SIZE, PRIORS

DAMP_RULES = ("auto", "risk", *(rule for rule in RULES if rule != "lcurve"))
"""Rules that serve pictures: the L-curve of a picture has no corner.  'auto' is 'risk' for them."""


def checked_damp(damp: float | str | None) -> float | str | None:
    """A number, the name of a rule that serves pictures, or None."""
    if isinstance(damp, str):
        if damp == "lcurve":
            raise ValueError(
                "damp='lcurve' does not serve pictures, whose L-curve has no corner; use one of "
                f"{', '.join(DAMP_RULES)}."
            )
        check_choice("damp", damp, DAMP_RULES)
        return damp
    return damp if damp is None else damp_value(damp)


def chosen_prior(
    prior: str, damp: float | str | None, boundary: str, planes: Tensor, seen: Tensor
) -> str:
    """What restores the picture; see `deblur`."""
    check_choice("prior", prior, PRIORS)
    why = None
    data = planes.detach()[:, seen]
    if boundary not in ("valid", "circular"):
        why = f"boundary={boundary!r} invents what lies outside, which is no part of its scene"
    elif min(planes.shape[1:]) < LEAST_SIZE:
        why = f"no spectrum can be read from fewer than {LEAST_SIZE} samples along an axis"
    elif bool((data.amax(1) == data.amin(1)).all()):
        why = "the picture is even"
    if prior in ("auto", "damp"):
        if prior == "damp" or damp is not None or why is not None:
            return "damp"
        keeps_edges = boundary == "valid" and planes.numel() <= MOST_SAMPLES
        return "dct" if keeps_edges else "wiener"  # edges that do not meet ring with the former
    if damp is not None:
        raise ValueError(f"prior={prior!r} takes no damp; give one of the two.")
    if why is not None:
        raise ValueError(f"prior={prior!r} does not serve: {why}; use prior='damp'.")
    return prior


def edges_of(
    prior: str,
    chosen: str,
    strength: float | str,
    nonnegative: bool,
    noise_model: str,
    counts: float,
    keep_partial: bool,
) -> Edges | None:
    """What goes on from the Wiener filter's scene, None if nothing does."""
    if strength != "auto":
        check_number("strength", strength, positive=True)
    check_flag("nonnegative", nonnegative)
    check_flag("keep_partial", keep_partial)
    check_choice("noise_model", noise_model, ("gaussian", "poisson"))
    check_number("counts", counts, positive=True)
    asked = strength != "auto" or nonnegative or noise_model == "poisson"
    if chosen not in EDGE_PRIORS:
        if asked:
            raise ValueError(
                f"strength, nonnegative and noise_model='poisson' are not for prior={chosen!r}"
                f"{', which auto takes here' if prior == 'auto' else ''}; use prior='tv'."
            )
        return None
    poisson = noise_model == "poisson"
    return Edges(
        chosen,
        strength,
        nonnegative,
        counts if poisson else None,
        keep_partial=keep_partial,
        unless_worse=prior == "auto" and not asked,
    )
