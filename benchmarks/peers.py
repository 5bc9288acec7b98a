"""The rivals: sparse direct solvers, and iterations for damped least squares.

Every one is imported where it is called; one that is not installed is `None`, a dash in the tables.
Direct solvers run in a process of their own with a limit of time and memory (`direct`), for some of
them take minutes and gigabytes.  `grown` runs one of these, or ours, on larger and larger problems.
"""

from __future__ import annotations

import functools
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import math
import os
import resource
import subprocess
import sys
import time
import types
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

import unconv

from .common import THREADS, fft_pair, held_memory, peak_memory

SECONDS = 30
BYTES = 14e9
GROWN_SECONDS = 4.0  # of a problem after which no larger one is tried
MOST_STEPS = 1000  # of an iteration
DIRECT = {
    "SuiteSparseQR": "sparseqr",
    "CHOLMOD on AᴴA": "sksparse",
    "PARDISO": "pypardiso",
    "SuperLU": "scipy",
}


# --- direct
def sparse_matrix(K: Any, size: int) -> scipy.sparse.csc_matrix:
    """A of zero padding by k//2, by index arithmetic; K a NumPy array (c_out, c_in, k, k)."""
    c_out, c_in, k, _ = K.shape
    rows, columns, values = [], [], []
    row, column = np.meshgrid(np.arange(size), np.arange(size), indexing="ij")
    o, i = np.meshgrid(np.arange(c_out), np.arange(c_in), indexing="ij")
    for u in range(k):
        for v in range(k):
            r, s = row + u - k // 2, column + v - k // 2
            inside = (r >= 0) & (r < size) & (s >= 0) & (s < size)
            output, pixel = (row * size + column)[inside], (r * size + s)[inside]
            rows.append((o[..., None] * size**2 + output).ravel())
            columns.append((i[..., None] * size**2 + pixel).ravel())
            values.append(np.broadcast_to(K[:, :, u, v, None], (*o.shape, len(output))).ravel())
    entries = np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))
    shape = (c_out * size**2, c_in * size**2)
    return scipy.sparse.coo_matrix(entries, shape=shape).tocsc()


def _qr(A: Any) -> Callable[[Any], Any]:
    import sparseqr

    rows = A.tocoo()
    return lambda b: sparseqr.solve(rows, b)


def _cholmod(A: Any) -> Callable[[Any], Any]:
    from sksparse.cholmod import cholesky

    factor = cholesky((A.T @ A).tocsc())
    return lambda b: factor(A.T @ b)


def _pardiso(A: Any) -> Callable[[Any], Any]:
    import pypardiso

    solver = pypardiso.PyPardisoSolver()
    rows = A.tocsr()
    solver.factorize(rows)
    return lambda b: solver.solve(rows, b)


def _superlu(A: Any) -> Callable[[Any], Any]:
    from scipy.sparse.linalg import splu

    return splu(A).solve


def _lsqr(A: Any) -> Callable[[Any], Any]:
    from scipy.sparse.linalg import lsqr

    rows = A.tocsr()
    return lambda b: lsqr(rows, b, atol=1e-12, btol=1e-12, iter_lim=MOST_STEPS)[0]


_FACTOR = {
    "SuiteSparseQR": _qr,
    "CHOLMOD on AᴴA": _cholmod,
    "PARDISO": _pardiso,
    "SuperLU": _superlu,
    "SciPy lsqr": _lsqr,
}
AGAIN_IS_ALL = "SuiteSparseQR", "SciPy lsqr"  # they keep nothing from one solve to the next
OURS, FLOOR = "unconv", "FFT pair"


def _unconv(K: Tensor, size: int) -> Callable[[Any], Any]:
    op = unconv.ConvOperator(K, (size, size), padding=K.shape[-1] // 2)
    pinv = op.pinv()
    return lambda b: pinv(torch.from_numpy(b).view(1, -1, size, size)).numpy().ravel()


def _transformed(K: Tensor, size: int) -> Callable[[Any], Any]:
    return lambda b: fft_pair(torch.from_numpy(b).view(-1, size, size)).numpy().ravel()


Iterative = Callable[[float], Tensor]


class Outcome(NamedTuple):
    """What one solver did, or why not.

    Attributes
    ----------
    first, again : seconds of set-up and one solve, and of a solve after that
    error : ‖found − x‖/‖x‖
    peak_bytes : of set-up and solves, above the problem itself
    """

    first: float = float("nan")
    again: float = float("nan")
    error: float = float("nan")
    peak_bytes: float = float("nan")
    failure: str = ""


def direct(name: str, channels: int, size: int, taps: int) -> Outcome | None:
    """One sparse solver on `random_problem`, in a process of its own; None if not installed."""
    if importlib.util.find_spec(DIRECT[name]) is None:
        return None
    try:
        ran = subprocess.run(
            _command(name, channels, taps, 0.0, [size]),
            env=environment(),
            capture_output=True,
            text=True,
            timeout=SECONDS + 15,
        )
    except subprocess.TimeoutExpired:
        return Outcome(failure=f"> {SECONDS} s")
    if ran.returncode:
        gave_up = "emory" in ran.stderr or ran.returncode < 0
        indefinite = "ositive definite" in ran.stderr
        other = "not positive definite" if indefinite else "failed"
        return Outcome(failure=f"> {BYTES / 1e9:.0f} GB" if gave_up else other)
    found = Outcome(*json.loads(ran.stdout.splitlines()[-1]))
    return found if found.first <= SECONDS else Outcome(failure=f"> {SECONDS} s")


def grown(name: str, channels: int, taps: int, sizes: list[int]) -> dict[int, Outcome]:
    """A solver, ours or the floor, on problems of some sizes that are well conditioned.

    Processor times of one thread, which a machine that is shared does not change.  It stops after
    the first that takes more than GROWN_SECONDS, and is stopped after SECONDS; one that is not
    installed has no outcomes.  The tap in the centre is what all others are at most.
    """
    if importlib.util.find_spec(DIRECT.get(name, "scipy")) is None:
        return {}
    centre = 4 * math.sqrt(taps**2 * channels)
    ran = subprocess.run(
        _command(name, channels, taps, centre, sizes),
        env=environment(1),
        capture_output=True,
        text=True,
        check=False,  # what it printed until its processor time was up counts
    )
    found = map(json.loads, ran.stdout.splitlines())
    return {size: Outcome(*told) for size, told in zip(sizes, found, strict=False)}


def _command(name: str, channels: int, taps: int, centre: float, sizes: list[int]) -> list[str]:
    numbers = (channels, taps, centre, *sizes)
    return [os.path.basename(sys.executable), "-m", "benchmarks.peers", name, *map(str, numbers)]


def environment(threads: int = THREADS) -> dict[str, str]:
    """Of a process that runs this very Python on so many threads."""
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", "")])
    counts = {v: str(threads) for v in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    return os.environ | {"PATH": path} | counts


def random_problem(
    channels: int, size: int, taps: int, centre: float = 0.0
) -> tuple[Tensor, Tensor, Tensor]:
    """K, x and y = Ax with zero padding, float64, the same in every process.

    `centre` is added to the tap by which a channel sees itself.
    """
    torch.manual_seed(0)
    K = torch.randn(channels, channels, taps, taps, dtype=torch.float64)
    K[..., taps // 2, taps // 2] += centre * torch.eye(channels, dtype=K.dtype)
    x = torch.randn(1, channels, size, size, dtype=torch.float64)
    return K, x, torch.nn.functional.conv2d(x, K, padding=taps // 2)


def _run(
    name: str, channels: int, size: int, taps: int, centre: float, clock: Callable[[], float]
) -> Outcome:
    K, x, y = random_problem(channels, size, taps, centre)
    b, truth = y.numpy().ravel(), x.numpy().ravel()
    if name in (OURS, FLOOR):
        make = functools.partial(_unconv if name == OURS else _transformed, K, size)
    else:
        A = sparse_matrix(K.numpy(), size)
        if not np.allclose(A @ truth, b):
            raise AssertionError("the sparse matrix is another operator")
        make = functools.partial(_FACTOR[name], A)
    held = held_memory()
    begin = clock()
    solve = make()
    found = solve(b)
    first, again = clock() - begin, float("nan")
    peak = peak_memory() - held
    if clock is time.process_time and first < 0.1:
        first = _mean_seconds(lambda: make()(b), clock)
    if name not in AGAIN_IS_ALL:
        again = _mean_seconds(functools.partial(solve, b), clock)
    error = float(np.linalg.norm(found - truth) / np.linalg.norm(truth))
    return Outcome(first, again, error, peak)


def _mean_seconds(run: Callable[[], Any], clock: Callable[[], float]) -> float:
    """Of as many calls as take a tenth of a second: clocks of processors tick every 4 ms."""
    calls, begin = 0, clock()
    while clock() - begin < 0.1:
        run()
        calls += 1
    return (clock() - begin) / calls


def _main(name: str, channels: str, taps: str, centre: str, *sizes: str) -> None:
    """A line of JSON for each size."""
    resource.setrlimit(resource.RLIMIT_AS, (int(BYTES), int(BYTES)))
    growing = float(centre) > 0  # `grown` asks with an identity in the kernel, the others without
    torch.set_num_threads(1 if growing else THREADS)
    clock = time.process_time if growing else time.perf_counter
    if growing:
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
        _run(name, int(channels), int(sizes[0]), int(taps), float(centre), clock)  # loads libraries
    for size in map(int, sizes):
        found = _run(name, int(channels), size, int(taps), float(centre), clock)
        print(json.dumps(found), flush=True)
        if found.first > GROWN_SECONDS:
            break


# --- iterations for min ‖Ax − y‖² + damp²‖x‖²
def iterative(op: unconv.ConvOperator, y: Tensor, damp: float) -> dict[str, Callable[[float], Any]]:
    """For each installed rival a function of its tolerance that solves for x."""
    rivals: dict[str, Callable[[float], Any]] = {"SciPy lsqr": _scipy_lsqr(op, y, damp)}
    deepinv = _deepinv()
    if deepinv is not None:
        for solver in ("CG", "lsqr"):
            rivals[f"deepinv {solver}"] = _deepinv_solver(deepinv, solver, op, y, damp)
    return rivals


def _scipy_lsqr(op: unconv.ConvOperator, y: Tensor, damp: float) -> Callable[[float], Tensor]:
    from scipy.sparse.linalg import LinearOperator, lsqr

    H = op.H

    def matvec(v: Any) -> Any:
        return op(torch.from_numpy(v).reshape(1, *op.domain_shape)).numpy().ravel()

    def rmatvec(v: Any) -> Any:
        return H(torch.from_numpy(v).reshape(1, *op.range_shape)).numpy().ravel()

    A = LinearOperator(op.shape, matvec=matvec, rmatvec=rmatvec, dtype=np.float64)
    b = y.numpy().ravel()

    def solve(tol: float) -> Tensor:
        x = lsqr(A, b, damp=damp, atol=tol, btol=tol, iter_lim=MOST_STEPS)[0]
        return torch.from_numpy(x).reshape(1, *op.domain_shape)

    return solve


def _deepinv_solver(
    deepinv: Any, solver: str, op: unconv.ConvOperator, y: Tensor, damp: float
) -> Callable[[float], Tensor]:
    H, zero = op.H, y.new_zeros(1, *op.domain_shape)

    def solve(tol: float) -> Tensor:
        return deepinv(
            op, H, y, z=zero, gamma=damp**-2, solver=solver, max_iter=MOST_STEPS, tol=tol
        )

    return solve


def _deepinv() -> Any | None:
    """deepinv's `least_squares`."""
    if deepinv_package() is None:
        return None
    from deepinv.optim.linear import least_squares

    return least_squares


def deepinv_package() -> Any | None:
    """deepinv, whose demos want torchvision and whose solvers do not; None if not installed."""
    if importlib.util.find_spec("deepinv") is None:
        return None
    if importlib.util.find_spec("torchvision") is None:
        sys.meta_path.insert(0, _Hollow())
    try:
        return importlib.import_module("deepinv")
    except ImportError:
        return None


class _Hollow(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds every module of torchvision, with nothing in it."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name.split(".")[0] != "torchvision":
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: Any) -> types.ModuleType:
        return _HollowModule(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        return None


class _HollowModule(types.ModuleType):
    __path__: ClassVar[list[str]] = []

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


if __name__ == "__main__":
    _main(*sys.argv[1:])
