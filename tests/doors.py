"""Every public function and method of the library with one valid call, and what can be wrong in it.

A door is a name, a function of keyword arguments, and valid arguments for it.  `odd_values` and
`odd_tensors` are values of every kind, for arguments of any; `NEVER` holds, by the name of an
argument, what none may accept: names are used alike throughout the library.
"""

from __future__ import annotations

import copy
import functools
import importlib.util
import inspect
import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

import unconv
from unconv import (
    adapters,
    inspection,
    linalg,
    parameter_choice,
    pictures,
    psf,
    regularize,
    restoration,
    testing,
)
from unconv.fir import (
    approximate_pinv,
    decay,
    errors_by_delay,
    matching_damp,
    matching_kernel,
    residuals_by_size,
    smallest_inverse,
    smallest_matching_kernel,
)
from unconv.operators import matrix
from unconv.pictures import restoration as deblur

F64, C128 = torch.float64, torch.complex128


class Door(NamedTuple):
    name: str
    call: Callable[..., Any]
    valid: dict[str, Any]
    arguments: tuple[str, ...]


def seeded(*shape: int, dtype: torch.dtype = F64) -> Tensor:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(0))


def some_operator(**options: Any) -> unconv.ConvOperator:
    return unconv.ConvOperator(seeded(2, 1, 3), (7,), padding=1, **options)


def picture_operator() -> unconv.ConvOperator:
    K = psf.gaussian(0.8)[None, None]
    return unconv.ConvOperator(K, (12, 12), padding="same", padding_mode="circular")


def _beads() -> Tensor:
    image = 0.01 * seeded(40, 40)
    for row, column in ((8, 9), (10, 30), (29, 11), (30, 28), (20, 20)):
        image[row - 3 : row + 4, column - 3 : column + 4] += psf.gaussian(0.8)
    return image


def _of(nd: int) -> dict[str, Any]:
    return {"y": seeded(1, 2, *[4] * nd), "weight": seeded(2, 1, *[3] * nd), "padding": 1}


def _functions() -> dict[Callable[..., Any], dict[str, Any]]:
    A, B, y, spread = some_operator(), picture_operator(), seeded(1, 2, 7), psf.gaussian(0.8)
    blocks = torch.arange(144.0, dtype=F64).reshape(1, 1, 12, 12) % 7
    picture = B(blocks) + 0.01 * seeded(1, 1, 12, 12)
    blurred = seeded(1, 33, 36).cumsum(1).cumsum(2) + 0.1 * seeded(1, 33, 36)
    plane, A43, w = picture[0], seeded(4, 3), seeded(3)
    found: dict[Callable[..., Any], dict[str, Any]] = {}
    for nd in (1, 2, 3):
        found[getattr(unconv, f"conv{nd}d_adjoint")] = _of(nd)
        found[getattr(unconv, f"conv{nd}d_pinv")] = _of(nd)
    if importlib.util.find_spec("psf_generator"):
        found[psf.microscope] = {
            "na": 0.8,
            "wavelength_nm": 500.0,
            "voxel_um": (0.3, 0.2, 0.2),
            "size": (3, 3, 3),
        }
    return found | {
        unconv.tikhonov: {**_of(1), "damp": 0.3},
        unconv.wiener: {**_of(1), "noise_psd": 0.1, "signal_psd": 1.0},
        unconv.tsvd: {**_of(1), "rtol": 0.01},
        unconv.filtered: {**_of(1), "gain": regularize.showalter(2.0)},
        unconv.lstsq: _of(1),
        unconv.conv_matrix: {"weight": w, "input_shape": (5,)},
        unconv.inverse_kernel: {"weight": w, "size": 5},
        unconv.restore: {"A": B, "y": picture, "noise_std": 0.01, "maxiter": 20},
        restoration.restoration_path: {"A": B, "y": picture, "strengths": [0.1, 0.01]},
        restoration.sliding_dct: {"x": picture, "sigma": 0.1},
        unconv.richardson_lucy: {"A": A.with_weight(A.weight.abs()), "y": y.abs().round() + 1},
        linalg.pinv: {"A": A43},
        linalg.spectral_apply: {"A": A43, "f": torch.sqrt, "df": lambda s: 0.5 / s.sqrt()},
        linalg.svd: {"A": A43},
        linalg.svdvals: {"A": A43},
        linalg.svt: {"A": A43, "tau": 0.5},
        parameter_choice.choose_damp: {"op": A, "y": y, "noise_std": 0.1},
        parameter_choice.estimate_noise_std: {"y": y},
        parameter_choice.estimate_spectra: {"op": B, "y": picture},
        regularize.landweber: {"steps": 3, "step": 0.1},
        regularize.penalty_operator: {"op": A, "penalty": "gradient"},
        regularize.showalter: {"time": 2.0},
        parameter_choice.tikhonov_path: {"op": A, "y": y, "damps": [0.1, 1.0]},
        parameter_choice.whiteness: {"residual": seeded(1, 8, 8)},
        adapters.as_h_functions: {"op": B},
        adapters.as_scipy: {"op": A},
        adapters.from_deepinv_denoiser: {"denoiser": nn.Bilinear(1, 1, 1)},
        approximate_pinv: {"op": B, "size": (3, 3)},
        decay: {"weight": w},
        errors_by_delay: {"weight": w, "size": 4},
        matching_damp: {"weight": w, "target": w, "size": 3, "noise_psd": 0.1, "signal_psd": 1.0},
        matching_kernel: {"weight": w, "target": seeded(5), "size": 3},
        smallest_matching_kernel: {"weight": w, "target": w, "error": 0.1},
        residuals_by_size: {"weight": w, "sizes": [2, 3]},
        smallest_inverse: {"weight": w, "tol": 0.5, "max_size": 9},
        matrix.operator_matrix: {"op": A},
        inspection.inspect_operator: {"op": A},
        inspection.transfer_function: {"op": A},
        testing.dot_test: {"op": A},
        testing.penrose_errors: {"op": A, "pinv": A.pinv()},
        testing.dense_twin: {"op": A},
        psf.gaussian: {"sigma": 1.0},
        psf.disk: {"radius": 1.5},
        psf.motion: {"length": 4.0, "angle": 30.0},
        psf.airy: {"wavelength_nm": 550.0, "f_number": 4.0, "pixel_um": 2.0, "energy": 0.9},
        psf.moffat: {"fwhm": 2.0, "beta": 2.5, "energy": 0.9},
        psf.pixelated: {"density": lambda y, x: torch.exp(-y * y - x * x), "size": 3},
        psf.measured: {"values": spread},
        psf.check: {"values": spread},
        psf.estimate: {"picture": blurred, "family": "gaussian"},
        psf.without_background: {"values": seeded(7, 7).abs()},
        psf.center: {"values": spread},
        psf.crop: {"values": spread},
        psf.resample: {"values": psf.gaussian(2.0), "voxel": 0.1, "to": 0.15},
        psf.match: {"a": spread, "b": psf.gaussian(1.2), "size": 5},
        psf.smallest_match: {"a": spread, "b": psf.gaussian(1.2)},
        psf.match_damp: {"a": spread, "b": psf.gaussian(1), "noise_psd": 0.01, "signal_psd": 1.0},
        psf.blind: {"picture": blurred, "size": 3},
        psf.from_pair: {"sharp": seeded(14, 14), "blurred": seeded(14, 14), "size": 3},
        psf.from_points: {"image": _beads(), "size": 7},
        psf.grid_from_points: {"image": _beads(), "size": 7, "grid": 2},
        deblur.blur_operator: {"psf": spread, "size": (12, 12)},
        deblur.blur: {"planes": plane, "psf": spread},
        deblur.deblur: {"planes": plane, "psf": spread, "damp": 0.1},
        deblur.frame: {"planes": plane, "psf": spread},
        deblur.faded_out: {"y": plane},
        pictures.memory_needed: {"planes": plane, "psf": spread},
        pictures.find_missing: {"planes": plane},
        pictures.linear_from_srgb: {"planes": plane},
        pictures.srgb_from_linear: {"light": plane},
    }


def _operators() -> dict[str, tuple[Callable[..., Any], dict[str, Any]]]:
    A, B, x, y = some_operator(bias=seeded(2)), picture_operator(), seeded(1, 1, 7), seeded(1, 2, 7)
    own: dict[str, dict[str, Any]] = {
        "forward": {"x": x},
        "affine": {"x": x},
        "residual_gradient": {"x": x, "y": y},
        "weight_gradient": {"x": x, "y": y},
        "of_sample": {"i": 0},
        "observed": {"mask": torch.ones(A.range_shape, dtype=torch.bool)},
        "prox": {"v": x, "y": y, "rho": 0.3},
        "tikhonov": {"damp": 0.3},
        "wiener": {"noise_psd": 0.1, "signal_psd": 1.0},
        "tsvd": {"rtol": 0.01},
        "filtered": {"gain": regularize.showalter(2.0)},
        "lstsq": {"y": y},
        "svd": {"k": 2},
    }
    bare = "to_dense to_sparse as_scipy plan pinv svdvals norm cond matrix_rank logabsdet"
    names = [*own, *bare.split(), "range_projector", "null_projector"]
    found = {f"ConvOperator.{n}": (getattr(A, n), own.get(n, {})) for n in names}
    found["Schedule"] = restoration.Schedule, {"steps": 4, "first": 0.3, "last": 0.1}
    found["ConvOperator.as_h_functions"] = B.as_h_functions, {}
    found["ConvOperator"] = (
        unconv.ConvOperator,
        {"weight": seeded(2, 1, 3), "input_shape": (7,), "bias": seeded(2)},
    )
    varying = {
        "psfs": seeded(2, 3).abs(),
        "nodes": (torch.tensor([0.0, 4.0]),),
        "input_shape": (7,),
    }
    for kind in (unconv.ProductConvolution, unconv.ConvolutionProduct):
        V, name = kind(**varying), kind.__name__
        found[name] = kind, {**varying, "padding": "valid", "channels": 1}
        found[f"{name}.forward"] = V.forward, {"x": x}
        found[f"{name}.observed"] = (
            V.observed,
            {"mask": torch.ones(V.range_shape, dtype=torch.bool)},
        )
        found[f"{name}.tikhonov"] = V.tikhonov, {"damp": 0.3}
        found[f"{name}.lstsq"] = V.lstsq, {"y": seeded(1, 1, 5), "damp": 0.3}
        found[f"{name}.to_dense"], found[f"{name}.as_scipy"] = (V.to_dense, {}), (V.as_scipy, {})
    module = {"module": nn.Conv1d(1, 2, 3), "input_shape": (7,)}
    found["ConvOperator.from_module"] = unconv.ConvOperator.from_module, module
    for name, op in (("H", A.H), ("gram", A.gram), ("pinv()", A.pinv())):
        found[f"{name}.forward"] = op.forward, {"x": seeded(1, *op.domain_shape)}
        found[f"{name}.to_dense"] = op.to_dense, {}
        found[f"{name}.as_scipy"] = op.as_scipy, {}
    return found


def _adapters() -> dict[str, tuple[Callable[..., Any], dict[str, Any]]]:
    A, x, y = some_operator(), seeded(1, 1, 7), seeded(1, 2, 7)
    maps, h = adapters.ExactMaps(A), adapters.as_h_functions(picture_operator())
    found: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
        "ExactMaps": (adapters.ExactMaps, {"op": A}),
        "ExactMaps.A": (maps.A, {"x": x}),
        "ExactMaps.A_adjoint": (maps.A_adjoint, {"y": y}),
        "ExactMaps.A_dagger": (maps.A_dagger, {"y": y}),
        "ExactMaps.A_dagger_A": (maps.A_dagger_A, {"x": x}),
        "ExactMaps.A_A_adjoint_inverse": (maps.A_A_adjoint_inverse, {"u": y, "r": 0.5}),
        "ExactMaps.prox_l2": (maps.prox_l2, {"z": x, "y": y, "gamma": 2.0}),
        "SciPyOperator": (adapters.SciPyOperator, {"op": A}),
        "HFunctions.singulars": (h.singulars, {}),
    }
    for name in ("H", "H_pinv", "Ht", "U", "Ut", "V", "Vt", "add_zeros"):
        found[f"HFunctions.{name}"] = getattr(h, name), {"vec": seeded(1, 144)}
    return found


_LAYERS = ("Pinv", "Tikhonov", "Wiener")


def _layers() -> Iterator[Door]:
    sizes = {"in_channels": 1, "out_channels": 2, "kernel_size": 3, "padding": 1}
    for kind in _LAYERS:
        for nd in (1, 2, 3):
            layer = getattr(unconv.nn, f"{kind}Conv{nd}d")
            name, make = layer.__name__, functools.partial(layer, dtype=F64)
            yield Door(name, make, sizes, _names(layer))
            conv = [nn.Conv1d, nn.Conv2d, nn.Conv3d][nd - 1](1, 2, 3, dtype=F64)
            share = layer.from_conv
            settings = [n for n in _names(layer) if n not in _names(unconv.nn.InverseConv)]
            yield Door(f"{name}.from_conv", share, {"module": conv}, (*_names(share), *settings))
            made = make(**sizes)
            yield _door(f"{name}.forward", made.forward, {"y": seeded(1, 2, *[7] * nd)})
            yield _door(f"{name}.operator", made.operator, {"input_shape": (7,) * nd})


def _spectral_layers() -> Iterator[Door]:
    for nd in (1, 2, 3):
        layer = getattr(unconv.nn, f"InvertibleConv{nd}d")
        name, make = layer.__name__, functools.partial(layer, dtype=F64)
        yield Door(name, make, {"channels": 2, "kernel_size": 3}, _names(layer))
        made, x = make(2, 3), seeded(1, 2, *[5] * nd)
        yield _door(f"{name}.forward", made.forward, {"x": x})
        yield _door(f"{name}.inverse", made.inverse, {"y": x})
        yield _door(f"{name}.operator", made.operator, {"input_shape": (5,) * nd})
        yield _door(f"{name}.reset_parameters", made.reset_parameters, {})

    def normalised(module: nn.Module, *args: Any, **options: Any) -> nn.Module:
        return unconv.nn.utils.spectral_norm(copy.deepcopy(module), *args, **options)

    conv = {"module": nn.Conv2d(1, 2, 3, dtype=F64), "input_shape": (6, 6)}
    yield Door("spectral_norm", normalised, conv, _names(unconv.nn.utils.spectral_norm))


def _names(call: Callable[..., Any]) -> tuple[str, ...]:
    parameters = inspect.signature(call).parameters.values()
    return tuple(p.name for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL))


def _door(name: str, call: Callable[..., Any], valid: dict[str, Any]) -> Door:
    return Door(name, call, valid, _names(call))


@functools.lru_cache(maxsize=1)
def all_doors() -> tuple[Door, ...]:
    functions = (_door(f.__qualname__, f, valid) for f, valid in _functions().items())
    methods = (_door(n, *call) for n, call in (_operators() | _adapters()).items())
    return (*functions, *methods, *_layers(), *_spectral_layers())


# --- what can be wrong


class Tagged(Tensor):
    """A subclass that does nothing of its own."""


def strange_tensors(good: Tensor) -> dict[str, Tensor]:
    """Tensors that hold no dense numbers to work on; no argument for numbers may accept one."""
    flat = good.detach().reshape(-1, good.shape[-1])
    good = good.detach()
    with warnings.catch_warnings():  # torch calls half of these kinds experimental
        warnings.simplefilter("ignore")
        return {
            "float8": good.to(torch.float8_e4m3fn),
            "complex32": good.to(torch.complex32),
            "integers": torch.ones(good.shape, dtype=torch.int64),
            "bools": torch.ones(good.shape, dtype=torch.bool),
            "meta": good.to("meta"),
            "coo": good.to_sparse(),
            "csr": flat.to_sparse_csr(),
            "mkldnn": good.float().to_mkldnn(),
            "nested": torch.nested.nested_tensor([flat[0], flat[0]]),
            "jagged": torch.nested.nested_tensor([flat[0], flat[0]], layout=torch.jagged),
            "quantized": torch.quantize_per_tensor(good.float(), 0.1, 0, torch.qint8),
            "lazy": nn.UninitializedParameter(dtype=good.dtype),
            "masked": torch.masked.masked_tensor(good, torch.ones(good.shape, dtype=torch.bool)),
        }


def odd_tensors(good: Tensor) -> dict[str, Tensor]:
    """Tensors that may be wrong or right, as the argument has it."""
    good = good.detach()
    return {
        "empty": good[:0],
        "no elements": good.new_zeros(*good.shape[:-1], 0),
        "nothing": good.new_zeros(0),
        "scalar": good.new_ones(()),
        "one": good.new_ones(1),
        "vector": good.new_ones(3),
        "more axes": good[None],
        "fewer axes": good[0],
        "many axes": good.reshape(*[1] * 7, *good.shape),
        "longer": torch.cat([good, good], -1),
        "NaN": good * torch.nan,
        "infinite": good / 0,
        "negative": -good.abs() - 1,
        "zero": 0 * good,
        "half": good.half(),
        "bfloat16": good.bfloat16(),
        "single": good.float(),
        "complex": good.to(C128),
        "conjugate": good.to(C128).conj(),
        "imaginary part": good.to(C128).conj().imag,
        "requires grad": good.clone().requires_grad_(),
        "expanded": good.new_ones(()).expand(good.shape),
        "subclass": good.clone().as_subclass(Tagged),
        "parameter": nn.Parameter(good.clone()),
        "tiny": good * 1e-300,
        "huge": good * 1e300,
    }


def odd_values() -> dict[str, Any]:
    """Values of every kind for arguments of any, functions and operators among them."""
    A = some_operator()
    plain = [
        None, True, False, 0, 1, -1, 2, 3, 10**400, 0.5, -0.5, 2.0, 1e-300, math.nan, math.inf,
        -math.inf, 1j, "", "no", "yes", "zeros", "C", b"same", b"ab", (), [], (3,), (0,), (-1,),
        (3, 3), (1.5,), ((1, 1),), ((1,),), (None,), ("a",), (True,), ((), ()), {}, {"a": 1},
        set(), range(3), object(), torch.float32, torch.float8_e5m2, torch.device("cpu"),
        np.float32(0.5), np.float64(0.5), np.int64(3), np.bool_(True), np.ones(3),
        np.ones((1, 2, 7)), nn.Conv1d(1, 2, 3), nn.Conv2d(1, 2, 3), nn.Linear(2, 2),
        nn.LazyConv1d(2, 3),
    ]  # fmt: skip
    found = {f"{i} {type(v).__name__} {str(v)[:20]}": v for i, v in enumerate(plain)}
    K, D = seeded(2, 1, 3, dtype=C128), seeded(2, 1, 3)
    return found | {
        "operator": A,
        "its adjoint": A.H,
        "its inverse": A.pinv(),
        "one kernel per sample": unconv.ConvOperator(D[None].repeat(2, 1, 1, 1), (7,), padding=1),
        "complex operator": unconv.ConvOperator(K, (7,), padding=1),
        "operator of NaN": unconv.ConvOperator(D * torch.nan, (7,), padding=1),
        "operator without values": unconv.ConvOperator(D.to("meta"), (7,), padding=1),
        "a function to NumPy": lambda *s: np.ones(3),
        "a function to one number": lambda *s: torch.tensor(1.0, dtype=F64),
        "a function to complex": lambda *s: s[0] + 1j,
        "a function to None": lambda *s: None,
        "a function to integers": lambda *s: s[0].long(),
    }


_NOT_FLAGS = ("no", "yes", "", None, 0, 1, 1.0, [], (True,), np.bool_(True), torch.tensor(True))
_NOT_NUMBERS = ("1", True, 1j, [1.0], (1,), {}, math.nan, math.inf, -1.0, np.float32(1))
_NOT_COUNTS = ("1", True, 1.0, 0, -1, 1j, [1], math.nan, 2**63, np.ones(1))
_NOT_NAMES = ("no", "", 1, True, b"auto", ("auto",), ["auto"], {}, math.nan, np.ones(3))
_NOT_OPERATORS = (None, 1, "op", nn.Conv1d(1, 2, 3), seeded(2, 1, 3), torch.sqrt)

_KINDS: list[tuple[str, tuple[Any, ...]]] = [
    ("transposed flip check_finite bracket subtract_bias exact full_matrices", _NOT_FLAGS),
    ("share learn_damp learn_psd accelerate coupled nonnegative pixelated", _NOT_FLAGS),
    ("damp atol tol noise_std tau step time sigma truncate radius length tv", _NOT_NUMBERS),
    ("wavelength_nm fwhm beta energy na", (*_NOT_NUMBERS, 0)),
    ("rtol", (*_NOT_NUMBERS, 1, 1.0, 2)),
    ("angle", _NOT_NUMBERS[:-2]),
    ("gamma rho gap_tol strength p first last", (*_NOT_NUMBERS, 0)),
    ("memory_limit", ("1GB", True, 1j, [1], None, math.nan, -1, torch.tensor(1.0))),
    ("maxiter expected_solves steps probes batch max_size k", _NOT_COUNTS),
    ("in_channels out_channels", _NOT_COUNTS),
    ("seed i", tuple(v for v in _NOT_COUNTS if v is True or v != 0)),
    ("method padding_mode layout order which rule side shape boundary stop", _NOT_NAMES),
    ("prior noise_model", _NOT_NAMES),
    ("strengths", ("0.1", True, 1j, [], (), {}, [0.0], [-1.0], [math.nan], [0.1, None], ["0.1"])),
    (
        "stride dilation kernel_size groups",
        ("1", True, 1.0, 0, -1, (), (0,), (1, 1, 1, 1), b"a", [1.0], None, 2**50, 1j),
    ),
    ("op", _NOT_OPERATORS),
    ("f df gain", (None, 1, "sqrt", seeded(3))),
    ("y x v weight A values planes residual vec", (None, 1.0, "x", [1.0], np.ones(3))),
    (
        "input_shape",
        (1, "8", b"8", (0,), (-1,), (1.5,), (True,), (), (4,) * 4, seeded(3), (2**50,)),
    ),
    ("dtype", ("float64", torch.int64, torch.float8_e5m2, torch.complex32, 1, np.float64)),
    ("device", ("no", 1.5, object(), ["cpu"])),
]

NEVER = {name: values for names, values in _KINDS for name in names.split()}
"""What no argument of a name accepts, in whatever function it stands."""

TENSORS = {"y", "x", "v", "weight", "A", "planes", "residual", "vec", "bias"}
