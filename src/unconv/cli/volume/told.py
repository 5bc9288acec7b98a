"""What is said of a volume: a plan, or what became of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.filesize import decimal

from ...volumes.engine.process import Processed
from ...volumes.prepare import Plan, Prepared


def facts_of_plan(prepared: Prepared, plan: Plan, *, as_json: bool) -> dict[str, Any]:
    """Tiles, memory, disk and estimates."""
    estimates = plan.estimates
    facts: dict[str, Any] = facts_of_input(prepared) | {
        "psf_size": list(plan.psf),
        "prior": plan.prior,
        "tiles": plan.tiles,
        "tile": list(plan.need.core),
        "halo": list(plan.halo),
        "memory": _bytes(plan.need.memory, as_json),
        "disk": _bytes(plan.need.disk, as_json),
    }
    told = {
        "noise_std": estimates.noise_std,
        "background": estimates.background,
        "strength": estimates.strength,
        "weights": list(estimates.weights),
        "tiles_looked_at": estimates.tiles,
        "left_out": estimates.left_out,
    }
    if prepared.asked.wanted.noise_model == "poisson":
        told["gain"] = estimates.gain
    return facts | {k: v for k, v in told.items() if v or v == 0.0}


def facts_of_input(prepared: Prepared) -> dict[str, Any]:
    """Axes, sizes and voxel."""
    frame = prepared.source.frame
    facts: dict[str, Any] = {
        "axes": frame.axes,
        "size": list(prepared.source.shape),
        "dtype": str(prepared.source.dtype),
    }
    if frame.voxel:
        units = {frame.units.get(a, "") for a in frame.space}
        facts["voxel"] = list(prepared.asked.spacing)
        if len(units) == 1 and units != {""}:
            facts["unit"] = units.pop()
    return facts


def facts_of_run(prepared: Prepared, done: Processed, *, as_json: bool) -> dict[str, Any]:
    """What was restored, by what, and how well that is known."""
    facts = facts_of_input(prepared) | {
        "psf_size": list(prepared.asked.psf.shape),
        "prior": prepared.asked.wanted.prior,
        "tile": list(done.need.core),
        "memory": _bytes(done.need.memory, as_json),
        "resumed": done.resumed,
    }
    if as_json:
        return facts | {"volumes": done.reports, "failed": done.failed}
    each = {label: _one(found) for label, found in done.reports.items()}
    if len(each) == 1:
        return facts | next(iter(each.values()))
    return facts | {label: _line(told) for label, told in each.items()}


def bounds_of(found: Mapping[str, Any]) -> list[float]:
    """The bound before the first pass and after each; empty where the method proves none."""
    if "proven error" not in found:
        return []
    return [*found["errors by pass"][:-1], found["proven error"]]


def doubts_of_run(prepared: Prepared, done: Processed) -> tuple[list[str], bool]:
    """Sentences, and whether everything is as was asked for."""
    doubts = [f"{label} was not restored and is NaN: {why}" for label, why in done.failed.items()]
    proven = not done.failed
    for label, found in done.reports.items():
        doubts += found["estimates"]["doubts"]
        bounds = bounds_of(found)
        if bounds and not bounds[-1] <= prepared.asked.wanted.tol:
            proven = False
            doubts.append(
                f"{label}: the error is proven to be within {bounds[-1]:.2g} of the standard "
                f"deviation of x, and {prepared.asked.wanted.tol:g} was asked for"
            )
        if not found.get("settled", True):
            proven = False
            doubts.append(
                f"{label}: the last of {found['passes']} passes still moved x by "
                f"{found['residual'][-1]:.2g} of its standard deviation; seams of tiles may be "
                "wrong by as much, and --memory makes larger tiles"
            )
    return doubts, proven


def _one(found: Mapping[str, Any]) -> dict[str, Any]:
    """What is told of one volume: noise, background, strength, and how the run ended."""
    estimates, bounds = found["estimates"], bounds_of(found)
    told = {key: estimates[key] for key in ("noise_std", "background", "strength")}
    if bounds:
        return told | {
            "passes": found["passes"],
            "error_bound": bounds[-1],
            "bound_from": found["from"],
        }
    for key in ("passes", "iterations", "stopped_by"):
        if key in found:
            told[key] = found[key]
    return told | ({"residual": found["residual"][-1]} if found["residual"] else {})


def _line(told: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{key.replace('_', ' ')} {value:.4g}" if isinstance(value, float) else f"{key} {value}"
        for key, value in told.items()
    )


def _bytes(count: int, as_json: bool) -> int | str:
    return count if as_json else decimal(count)
