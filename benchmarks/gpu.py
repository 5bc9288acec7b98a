"""What a GPU makes of it, in under five minutes: `python -m benchmarks.gpu [--device cpu --tiny]`.

*adjoint*: ⟨Ax, y⟩ = ⟨x, Aᴴy⟩, and A and Aᴴ against the same in float64 on the CPU.  *rungs*: a
factorisation and a solve of every rung, in float32 and float64, against the solve in float64 on the
CPU; their times beside one bare FFT pair of the data on the device, medians of turns with their
quartiles, and the peak of the device's memory.  Compiled kernels and FFT plans are warm.

Must hold: adjoints to 1e-5 in float32 and 1e-12 in float64, solves to 1e-3 and 1e-9, in float64
those that are iterated to 2e-6, every answer on the device.  Without a GPU this is said, and no
more; `--device cpu --tiny` tries the program itself.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

import unconv
from unconv import psf
from unconv.testing import dot_test

from .common import against, fft_pair, milliseconds, ratio, relative_error, table, turns

ADJOINT = {torch.float32: 1e-5, torch.float64: 1e-12}
SOLVE = {torch.float32: 1e-3, torch.float64: 1e-9}
ITERATED, PROVEN = ("completion", "krylov"), 2e-6  # two answers, each proven to 1e-6
SECONDS, BRIEF = 1.0, 0.05  # of turns for a row, and with --tiny


class Case(NamedTuple):
    """An operator, and the inverse that is asked of it.

    Attributes
    ----------
    weight : (c_out, c_in, *k) float64, on the CPU
    size, tiny : samples an axis of the picture, and with --tiny
    damp : 0 for A⁺
    """

    rung: str
    weight: Tensor
    size: int
    tiny: int
    options: dict[str, Any]
    damp: float = 0.0

    def operator(self, device: str, dtype: torch.dtype, *, tiny: bool) -> unconv.ConvOperator:
        """Of this weight on a device."""
        n = self.tiny if tiny else self.size
        return unconv.ConvOperator(self.weight.to(device, dtype), (n, n), **self.options)

    def inverse(self, op: unconv.ConvOperator) -> unconv.InverseOperator:
        """By the rung of the case, factored on the device of its operator."""
        if self.damp:
            return op.tikhonov(self.damp, method=self.rung)
        return op.pinv(method=self.rung)


def near_identity(channels: int, taps: int) -> Tensor:
    """A random kernel whose condition number is a few units."""
    generator = torch.Generator().manual_seed(0)
    shape = (channels, channels, taps, taps)
    weight = torch.randn(shape, generator=generator, dtype=torch.float64)
    weight *= 0.1 / taps / channels**0.5
    weight[..., taps // 2, taps // 2] += torch.eye(channels, dtype=torch.float64)
    return weight


def cases() -> list[Case]:
    """One for each rung."""
    gaussian = psf.gaussian(2.0).double()[None, None]
    disk = psf.disk(4.0).double()[None, None]
    half = gaussian.shape[-1] // 2, disk.shape[-1] // 2
    return [
        Case("fourier", near_identity(32, 3), 128, 12, _padded(1, "circular")),
        Case("cosine", disk, 512, 24, _padded(half[1], "symmetric"), 0.1),
        Case("separable", gaussian, 512, 24, _padded(half[0], "reflect"), 0.1),
        Case("dense", near_identity(2, 3), 22, 6, _padded(1, "zeros")),
        Case("boundary", near_identity(16, 3), 128, 12, _padded(1, "zeros")),
        Case("completion", disk, 512, 32, {}, 0.1),
        Case("krylov", near_identity(4, 3), 256, 12, _padded(1, "replicate"), 0.1),
    ]


def _padded(padding: int, mode: str) -> dict[str, Any]:
    return {"padding": padding, "padding_mode": mode}


def adjoints(device: str, *, tiny: bool) -> bool:
    """⟨Ax, y⟩ against ⟨x, Aᴴy⟩, and both maps against float64 on the CPU."""
    rows, good = [], True
    for case in cases():
        exact = case.operator("cpu", torch.float64, tiny=tiny)
        x = torch.randn(2, *exact.domain_shape, dtype=torch.float64)
        y = torch.randn(2, *exact.range_shape, dtype=torch.float64)
        for dtype, limit in ADJOINT.items():
            op = case.operator(device, dtype, tiny=tiny)
            there = op(x.to(device, dtype)), op.H(y.to(device, dtype))
            errors = [dot_test(op)]
            errors += [
                relative_error(found.cpu(), true)
                for found, true in zip(there, (exact(x), exact.H(y)), strict=True)
            ]
            good &= max(errors) <= limit and all(v.device == x.to(device).device for v in there)
            shown = (against(error, limit, ".1e") for error in errors)
            rows.append([case.rung, _size(exact), str(dtype), *shown, f"{limit:.0e}"])
    header = ["operator of", "data", "dtype", "adjoint test", "A x, error", "Aᴴy, error", "limit"]
    print(table(f"adjoints on {device}", header, rows), flush=True)
    return good


def rungs(device: str, *, tiny: bool) -> bool:
    """Every rung against the CPU, and its times beside an FFT pair."""
    rows, good = [], True
    for case in cases():
        exact = case.operator("cpu", torch.float64, tiny=tiny)
        y = torch.randn(1, *exact.range_shape, dtype=torch.float64)
        reference = case.inverse(exact)(y)
        for dtype, limit in SOLVE.items():
            limit = max(limit, PROVEN) if case.rung in ITERATED else limit
            cells, error = measured(case, device, dtype, y, reference, tiny=tiny)
            good &= error <= limit
            row = [case.rung, _size(exact), str(dtype), *cells]
            rows.append([*row, against(error, limit, ".1e"), f"{limit:.0e}"])
    header = ["rung", "data", "dtype", "set-up, ms", "FFT pair, ms", "solve, ms", "solve, in pairs"]
    header += ["peak, MB", "error", "limit"]
    print(table(f"a solve of each rung on {device}", header, rows), flush=True)
    return good


def measured(
    case: Case, device: str, dtype: torch.dtype, y: Tensor, reference: Tensor, *, tiny: bool
) -> tuple[list[str], float]:
    """Times and memory of one row, and its error; an answer elsewhere is infinitely wrong."""
    op, data = case.operator(device, dtype, tiny=tiny), y.to(device, dtype)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    inverse = case.inverse(op)
    found = inverse(data)
    peak = f"{torch.cuda.max_memory_allocated() / 1e6:.0f}" if device == "cuda" else "–"
    runs: dict[str, Callable[[], object]] = {
        "pair": partial(fft_pair, data),
        "solve": partial(inverse, data),
    }
    seconds = BRIEF if tiny else SECONDS
    setup = turns({"set-up": partial(case.inverse, op)}, rounds=5, seconds=seconds)["set-up"]
    times = turns(runs, seconds=seconds)
    cells = [milliseconds(statistics.median(t)) for t in (setup, times["pair"], times["solve"])]
    error = relative_error(found.cpu(), reference) if found.device == data.device else float("inf")
    return [*cells, ratio(times, "solve", "pair").shown(digits=".1f"), peak], error


def _size(op: unconv.ConvOperator) -> str:
    return "×".join(map(str, op.range_shape))


def main(arguments: list[str] | None = None) -> int:
    """1 if a figure was missed; 0 where there is no GPU, which is said."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="small pictures: does the program run?")
    args = parser.parse_args(arguments)
    if args.device == "cuda" and not torch.cuda.is_available():
        print("no GPU: torch finds no CUDA device here, nothing was measured on one")
        return 0
    name = torch.cuda.get_device_name() if args.device == "cuda" else "the CPU"
    print(f"{name}, torch {torch.__version__}")
    torch.manual_seed(0)
    begin = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", unconv.AccuracyWarning)
        good = [part(args.device, tiny=args.tiny) for part in (adjoints, rungs)]
    print(f"\n{'all figures reached' if all(good) else 'figures were missed (!)'}", end=", ")
    print(f"{time.perf_counter() - begin:.0f} s")
    return int(not all(good))


if __name__ == "__main__":
    raise SystemExit(main())
