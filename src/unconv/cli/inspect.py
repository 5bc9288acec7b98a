"""`unconv inspect`: whether, and how well, a convolution can be undone."""

from __future__ import annotations

import difflib
import importlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import Tensor

from .. import inspection as library
from ..doors import ConvOperator
from ..pictures.formats import PictureError, check_writable
from ..pictures.formats.atomic import replacing
from ..pictures.restoration import BOUNDARIES, blur_operator
from .common import (
    DEFAULT_MEMORY,
    JsonOption,
    MemoryOption,
    friendly,
    parse_memory,
    report,
    tell,
)
from .inspect_figure import draw
from .progress_bar import progress
from .psf_option import DESCRIPTIONS, BackgroundOption, CenterOption, prepared_psf

_CHECKPOINTS = (".pt", ".pth", ".ckpt", ".bin", ".safetensors")


@friendly
def inspect(
    kernel: Annotated[
        str,
        typer.Argument(
            help=f"{DESCRIPTIONS}, a psf in a file, or CHECKPOINT:LAYER (a state dict in .pt, "
            ".pth, .ckpt, .bin or .safetensors)."
        ),
    ],
    size: Annotated[
        str, typer.Option(help="Samples of what is restored: 256, 256x256 or 32x32x32.")
    ] = "256x256",
    boundary: Annotated[
        str,
        typer.Option(
            help="What lies outside: circular, zeros, reflect, replicate, symmetric, "
            "antireflective, or valid (no padding; for a psf the size is that of the blurred "
            "picture)."
        ),
    ] = "symmetric",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A PNG with the figure.")
    ] = None,
    stride: Annotated[int, typer.Option(min=1, help="Of the layer.")] = 1,
    groups: Annotated[
        int | None,
        typer.Option(min=1, help="Of the layer.", show_default="1, unless it could be depthwise"),
    ] = None,
    psf_background: BackgroundOption = "off",
    psf_center: CenterOption = False,
    memory_limit: MemoryOption = DEFAULT_MEMORY,
    as_json: JsonOption = False,
) -> None:
    """Tell the singular values σ, the rank, the noise gain √(Σ 1/σ² / n) and the zeros of |F(ω)|.

    Example: unconv inspect motion:15,30 --size 256x256 --boundary valid -o spectrum.png
    """
    most_bytes = parse_memory(memory_limit)
    if output is not None:
        _check_output(output)
    op, doubts = _operator(
        kernel, _sizes(size), boundary, (stride, groups), (psf_background, psf_center)
    )
    with progress() as step:
        step(f"inspecting {kernel}")
        found = library.inspect_operator(op, memory_limit=most_bytes)
        if output is not None:
            step("drawing")
            _draw(output, f"{kernel}, {size}, {boundary}", found)
    head = {"kernel_of": kernel, "size": size}
    last = {} if output is None else {"figure": str(output)}
    facts = found.as_dict() if as_json else rows(found)
    report("inspected", head | facts | last, as_json)
    tell(doubts)


def rows(found: library.Inspection) -> dict[str, Any]:
    """The facts as short texts for people."""
    levels = {
        ("default cut-off " if i == len(library.RTOLS) else "cut-off ") + f"{level.rtol:.0e}": (
            f"rank {level.rank:,} of {level.of:,} ({100 * level.rank / level.of:.4g} %), "
            f"noise gain {level.noise_gain:.3g}"
        )
        for i, level in enumerate(found.levels)
    }
    zeros = [f"({', '.join(f'{v:.4g}' for v in z)})" for z in found.transfer.zeros]
    return {
        "boundary": found.boundary,
        "weight": " × ".join(map(str, found.kernel.shape)),
        "groups": found.groups,
        "outputs × unknowns": f"{found.shape[0]:,} × {found.shape[1]:,}",
        "pinv": f"{found.method}: {found.reason}",
        "largest σ": _bounded(found.sigma_max),
        "smallest σ": _bounded(found.sigma_min),
        "condition": _bounded(found.cond),
        "rank": _bounded(found.rank),
        "values below are of": found.values_of,
        **levels,
        "|F| from, to": f"{found.transfer.minimum:.3g}, {found.transfer.maximum:.4g}",
        "zeros of |F|, cycles per sample": ", ".join(zeros) or "none found",
        **{f"advice {i}": sentence for i, sentence in enumerate(found.advice, 1)},
        **{f"left out {i}": sentence for i, sentence in enumerate(found.skipped, 1)},
    }


def _bounded(b: library.Bounded) -> str:
    """A number with the bounds that say more than it does."""
    if math.isnan(b.value):
        if math.isfinite(b.upper):
            return f"≤ {b.upper:.4g} ({b.how})"
        return f"≥ {b.lower:.4g} ({b.how})"
    if b.lower == b.upper == b.value:
        return f"{b.value:.6g}"
    return f"{b.value:.6g} in [{b.lower:.6g}, {b.upper:.6g}] ({b.how})"


def _check_output(output: Path) -> None:
    if output.suffix.lower() != ".png":
        raise PictureError(f"the figure is a PNG, got {output.name!r}; end it in .png.")
    check_writable(output)


def _draw(output: Path, title: str, found: library.Inspection) -> None:
    with replacing(output) as file:
        draw(file, title, found)


# --- the operator
def _sizes(text: str) -> tuple[int, ...]:
    parts = text.lower().replace("×", "x").split("x")
    if not all(p.strip().isdecimal() for p in parts) or len(parts) > 3:
        raise ValueError(
            f"--size {text!r} must be 1, 2 or 3 whole numbers, such as 256, 256x256 or 32x32x32."
        )
    sizes = tuple(int(p) for p in parts)
    if min(sizes) < 1:
        raise ValueError(f"--size {text!r} has an empty axis; every size must be at least 1.")
    return sizes


def _operator(
    kernel: str,
    sizes: tuple[int, ...],
    boundary: str,
    of_layer: tuple[int, int | None],
    of_psf: tuple[str, bool],
) -> tuple[ConvOperator, list[str]]:
    """A, and what is doubtful about a psf in a file."""
    (stride, groups), (background, center) = of_layer, of_psf
    if boundary not in BOUNDARIES:
        known = ", ".join(BOUNDARIES)
        raise ValueError(f"boundary={boundary!r} is not known; use one of {known}.")
    path, _, layer = kernel.rpartition(":")
    if Path(kernel).suffix in _CHECKPOINTS and ":" not in Path(kernel).name:
        path, layer = kernel, ""
    if Path(path).suffix in _CHECKPOINTS:
        if center or background != "off":
            raise ValueError("--psf-background and --psf-center are for psfs; leave them out.")
        return _of_layer(_weight(Path(path), layer), sizes, boundary, stride, groups), []
    if stride != 1 or groups is not None:
        raise ValueError("--stride and --groups are for layers, CHECKPOINT:LAYER; leave them out.")
    psf, doubts = prepared_psf(kernel, background, center=center)
    if len(sizes) != 2:
        raise ValueError(f"a psf needs two sizes, such as --size 256x256, got {len(sizes)}.")
    return blur_operator(psf, (sizes[0], sizes[1]), boundary), doubts


def _of_layer(
    weight: Tensor, sizes: tuple[int, ...], boundary: str, stride: int, groups: int | None
) -> ConvOperator:
    """Padded to 'same' at stride 1: d(k−1) in all, the smaller half before."""
    nd = weight.ndim - 2
    if len(sizes) != nd:
        example = "x".join(["64"] * nd)
        raise ValueError(
            f"the weight {tuple(weight.shape)} is that of Conv{nd}d and needs {nd} sizes, such as "
            f"--size {example}, got {len(sizes)}."
        )
    valid = boundary == "valid"
    spans = [0 if valid else k - 1 for k in weight.shape[2:]]
    return ConvOperator(
        weight,
        sizes,
        stride=stride,
        padding=[(s // 2, s - s // 2) for s in spans],
        groups=_groups(weight, groups),
        padding_mode="zeros" if valid else boundary,
    )


def _groups(weight: Tensor, groups: int | None) -> int:
    if groups is not None:
        return groups
    c_out, per_group = weight.shape[:2]
    if per_group == 1 < c_out:
        raise ValueError(
            f"the weight {tuple(weight.shape)} may have one input channel or be depthwise; give "
            f"--groups 1 or --groups {c_out}."
        )
    return 1


# --- checkpoints
def _weight(path: Path, layer: str) -> Tensor:
    """The weight of a layer, named with or without '.weight'."""
    state = _state(path)
    names = [n for n, t in state.items() if _is_dense(t) and t.ndim in (3, 4, 5)]
    if not names:
        raise ValueError(f"{path} holds no weight of 3, 4 or 5 axes, as Conv1d, 2d and 3d have.")
    if not layer:
        raise ValueError(f"{path} needs the name of a layer: {path}:LAYER, one of {_few(names)}.")
    for name in (layer, f"{layer}.weight"):
        if isinstance(state.get(name), Tensor):
            weight: Tensor = state[name].detach()
            if name not in names:
                raise ValueError(
                    f"{name} in {path} has shape {tuple(weight.shape)}; expected 3, 4 or 5 axes "
                    "(out, in/groups, *kernel)."
                )
            return weight
    close = difflib.get_close_matches(layer, names, n=3, cutoff=0.4)
    hint = f"did you mean {_few(close)}?" if close else f"it has {_few(names)}."
    raise ValueError(f"{path} has no layer {layer!r}; {hint}")


def _is_dense(value: object) -> bool:
    return isinstance(value, Tensor) and value.layout == torch.strided


def _few(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _state(path: Path) -> Mapping[str, Any]:
    """A state dict, or the one inside {'state_dict': …}; nothing in the file is executed."""
    try:
        if path.suffix == ".safetensors":
            state = _safetensors(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError) as exc:
        raise PictureError(
            f"{path} cannot be opened ({exc.strerror}); check the name and the permissions."
        ) from exc
    except PictureError:
        raise
    except Exception as exc:  # a damaged or foreign file makes the loader raise nearly anything
        raise PictureError(
            f"{path} is not a checkpoint of tensors alone ({type(exc).__name__}); save it with "
            "torch.save(model.state_dict(), …)."
        ) from exc
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not isinstance(state, Mapping):
        raise PictureError(
            f"{path} holds a {type(state).__name__}, expected a dict of tensors; save it with "
            "torch.save(model.state_dict(), …)."
        )
    return {name: value for name, value in state.items() if isinstance(name, str)}


def _safetensors(path: Path) -> Mapping[str, Any]:
    try:
        package = importlib.import_module("safetensors.torch")
    except ModuleNotFoundError:
        raise PictureError(
            f"reading {path} needs the package safetensors; pip install safetensors."
        ) from None
    state: Mapping[str, Any] = package.load_file(path)
    return state
