"""The matrix of a case by loops over its taps, its SVD in float64, and A⁺y in 190 digits.

The float64 answers come with `doubt`, a bound of their own error; whoever needs better asks for the
precise ones.  Everything is in units in which weight and data are of order one (powers of two).

    tall   x = (AᴴA + σ_r² P₀ + λ)⁻¹ (I − P₀) Aᴴ y
    wide   x = Aᴴ (AAᴴ + σ_r² P₀ + λ)⁻¹ (I − P₀) y

P₀ projects on the singular vectors that are cut off, λ = damp².  They come from the float64 SVD and
are refined by inverse iteration; in 190 digits a Gram matrix loses nothing.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable
from functools import wraps
from typing import Any

import flint
import numpy as np
import numpy.typing as npt

from .case import Case

Array = npt.NDArray[Any]
_Read = list[tuple[int, int]]  # samples and factors that one tap adds up

EPS = float(np.finfo(np.float64).eps)
BITS = 640


class Clock:
    """CPU seconds that the oracle itself has taken: they are no answer's."""

    seconds = 0.0
    running = False


def _timed(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def run(*args: Any) -> Any:
        if Clock.running:
            return function(*args)
        Clock.running, started = True, time.process_time()
        try:
            return function(*args)
        finally:
            Clock.running = False
            Clock.seconds += time.process_time() - started

    return run


def matrices(case: Case) -> list[tuple[Array, Array, float]]:
    """Of every kernel of the case, A as a sum of two float64 matrices: taps add to 100 bits.

    With the largest sum of sizes of taps that an entry adds up: eps times that is what adding them
    in float64 may lose.
    """
    op = case.operator()
    weight = op.in_double().weight.numpy()
    weights = weight if op.batch_size else weight[None]
    return [_matrix(w, case) for w in weights]


def _matrix(w: Array, case: Case) -> tuple[Array, Array, float]:
    o = case.options
    nd, transposed = w.ndim - 2, o.get("transposed", False)
    if o.get("flip"):
        w = w[(..., *[slice(None, None, -1)] * nd)]
    axes = [_axis(case, i, w.shape[2 + i]) for i in range(nd)]
    groups = o.get("groups", 1)
    c_out, c_in = w.shape[0], w.shape[1] * groups
    n, m = [len_n for _, len_n in axes], [len(table) for table, _ in axes]
    terms: dict[tuple[int, int], list[Any]] = {}
    for place in itertools.product(*(range(size) for size in m)):
        for tap in itertools.product(*(range(k) for k in w.shape[2:])):
            row = _flat(place, m)
            for read in itertools.product(*(axes[i][0][place[i]][tap[i]] for i in range(nd))):
                column, factor = _flat([j for j, _ in read], n), math.prod(f for _, f in read)
                for c in range(c_out):
                    first = c // (c_out // groups) * w.shape[1]
                    for j in range(w.shape[1]):
                        entry = (c * math.prod(m) + row, (first + j) * math.prod(n) + column)
                        terms.setdefault(entry, []).append(factor * w[(c, j, *tap)])
    high = np.zeros((c_out * math.prod(m), c_in * math.prod(n)), dtype=w.dtype)
    low = np.zeros_like(high)
    for entry, values in terms.items():
        high[entry], low[entry] = _exact_sum(values)
    added = max((sum(abs(v) for v in values) for values in terms.values()), default=0.0)
    return (high.T.copy(), low.T.copy(), added) if transposed else (high, low, added)


def _axis(case: Case, i: int, k: int) -> tuple[list[list[_Read]], int]:
    """Which input samples each tap of each output reads along one axis, and how many inputs."""
    o = case.options
    stride, dilation = (_per_axis(o.get(name, 1), i) for name in ("stride", "dilation"))
    padding = o.get("padding", 0)
    before, after = (padding, padding) if isinstance(padding, int) else padding[i]
    extent, size = dilation * (k - 1) + 1, case.input_shape[i]
    n = size
    if o.get("transposed"):
        n = (size - 1) * stride + extent - before - after
        n += _per_axis(o.get("output_padding", 0), i)
    m = size if o.get("transposed") else (n + before + after - extent) // stride + 1
    mode = o.get("padding_mode", "zeros")
    table = [
        [_source(q * stride + t * dilation - before, n, mode) for t in range(k)] for q in range(m)
    ]
    return table, n


def _source(j: int, n: int, mode: str) -> _Read:
    """Samples and factors whose sum stands at j."""
    if 0 <= j < n:
        return [(j, 1)]
    inside = -j if j < 0 else 2 * (n - 1) - j
    match mode:
        case "zeros":
            return []
        case "circular":
            return [(j % n, 1)]
        case "replicate":
            return [(min(max(j, 0), n - 1), 1)]
        case "reflect":
            return [(inside, 1)]
        case "antireflective":
            return [(0 if j < 0 else n - 1, 2), (inside, -1)]
    return [(-1 - j if j < 0 else 2 * n - 1 - j, 1)]


def _per_axis(value: Any, i: int) -> int:
    return value if isinstance(value, int) else value[i]


def _flat(index: Any, shape: list[int]) -> int:
    return int(np.ravel_multi_index(tuple(index), shape))


def _exact_sum(values: list[Any]) -> tuple[Any, Any]:
    if len(values) == 1:
        return values[0], 0.0
    if any(isinstance(v, complex) for v in values):
        re, im = (_exact_sum([float(getattr(v, p)) for v in values]) for p in ("real", "imag"))
        return complex(re[0], im[0]), complex(re[1], im[1])
    high = math.fsum(values)
    return high, math.fsum([*values, -high])


class Oracle:
    """A⁺ and all else of one matrix, for one cut-off.

    Attributes
    ----------
    S : singular values in units of `unit`
    slack : how far each of them may be off
    tau : the cut-off; `ranks` those that rounding leaves open
    """

    @_timed
    def __init__(self, high: Array, low: Array, added: float, damp: float, rtol: float) -> None:
        size = float(np.abs(high).max(initial=0.0))
        self.unit = 2.0 ** math.frexp(size)[1] if size else 1.0
        self.A, self.low = high / self.unit, low / self.unit
        self.damp = damp / self.unit
        self.m, self.n = self.A.shape
        self.p = min(self.m, self.n)
        self.U, self.S, self.Vh = np.linalg.svd(self.A, full_matrices=False)
        self.norm = float(self.S[0])
        largest = max(self.norm, added / self.unit)
        self.cancelled = largest / self.norm if self.norm else 1.0  # A is known to eps times this
        self.slack = (16 + math.sqrt(max(self.m, self.n))) * EPS * largest
        self.tau = 0.0 if damp else rtol * self.norm
        self.rank = self.p if damp else int((self.tau < self.S).sum()) if self.norm else 0
        # A zero that LAPACK shows as round-off stays far below any cut-off.
        most = int((self.tau - min(self.slack, 0.9 * self.tau) < self.S).sum())
        least = int((self.tau + self.slack < self.S).sum())
        if damp:
            self.ranks = range(self.p, self.p + 1)
        else:
            self.ranks = range(least, most + 1) if self.norm else range(1)
        self._precise: dict[int, Precise] = {}

    def smallest(self, rank: int, *, adjoint: bool = False) -> float:
        """Of [A; damp·I], or of A itself, the smallest value that counts."""
        wide = self.m > self.n if adjoint else self.m < self.n
        sigma = float(self.S[rank - 1]) if rank else math.inf
        return math.hypot(0.0 if wide else sigma, self.damp) if self.damp else sigma

    def kappa(self, rank: int) -> float:
        """Condition number of what is kept."""
        smallest = self.smallest(rank)
        return math.hypot(self.norm, self.damp) / smallest if smallest else math.inf

    def gap(self, rank: int) -> float:
        """σ_r/σ_{r+1}."""
        if not 0 < rank < self.p:
            return math.inf
        return float(self.S[rank - 1]) / max(float(self.S[rank]), 1e-300)

    def _gains(self, rank: int) -> Array:
        S = self.S[:rank]
        return S / (S * S + self.damp**2) if self.damp else 1 / S

    def pinv(self, rank: int, y: Array) -> Array:
        """In float64, (…, n) from (…, m) in units of y/unit."""
        U, Vh = self.U[:, :rank], self.Vh[:rank]
        return ((y @ U.conj()) * self._gains(rank)) @ Vh.conj()

    def adjoint(self, rank: int, x: Array) -> Array:
        U, Vh = self.U[:, :rank], self.Vh[:rank]
        return ((x @ Vh.T) * self._gains(rank)) @ U.T

    def doubt(
        self, rank: int, y: Array, x: Array, *, eps: float = EPS, adjoint: bool = False
    ) -> float:
        """What rounding by eps of A, y and the work may do to x = A⁺y, by perturbation theory.

        eps·(κ‖x‖ + κ‖r‖/σ_r + ‖y‖/σ_r), r what is left of y; where values that are not zero were
        cut, all of y is turned between the kept and the cut directions.
        """
        if not rank or not self.norm:
            return 0.0
        smallest = self.smallest(rank, adjoint=adjoint)
        kappa = self.cancelled * math.hypot(self.norm, self.damp) / smallest
        gain = min(1 / smallest, 0.5 / self.damp) if self.damp else 1 / smallest
        size_x, size_y = float(np.linalg.norm(x)), float(np.linalg.norm(y))
        image = x @ (self.A.conj() if adjoint else self.A.T)
        rest = math.hypot(float(np.linalg.norm(y - image)), self.damp * size_x)
        if rank < self.p and float(self.S[rank]) > self.slack:
            rest = size_y / max(1 - 1 / self.gap(rank), 1e-12)
        return eps * (kappa * size_x + kappa * rest / smallest + size_y * gain)

    @_timed
    def precise(self, rank: int) -> Precise | None:
        """The same in 190 digits, where the cut has a gap."""
        if rank < self.p and self.gap(rank) < 3:
            return None
        if rank not in self._precise:
            try:
                self._precise[rank] = Precise(self, rank, BITS)
            except ArithmeticError:  # elimination in intervals may lose as much
                self._precise[rank] = Precise(self, rank, 4 * BITS)
        return self._precise[rank]


class Precise:
    """A⁺ of one rank, or a damped inverse, in 190 digits."""

    def __init__(self, oracle: Oracle, rank: int, bits: int) -> None:
        flint.ctx.prec = bits
        self.complex = np.iscomplexobj(oracle.A)
        self.rank, self.oracle = rank, oracle
        self.A = self._flint(oracle.A) + self._flint(oracle.low)
        self.AH = self._adjoint_of(self.A)
        self.tall = oracle.m >= oracle.n
        G = self.AH * self.A if self.tall else self.A * self.AH
        p = oracle.p
        shift = self._scalar(oracle.damp) ** 2
        if rank == p:
            self.G, self.P0 = G + self._identity(p, shift), None
        else:
            self.P0 = self._cut(G, p)
            self.G = G + self.P0 * self._scalar(float(oracle.S[rank - 1]) ** 2)
        self._inverse = self.G.inv()
        size = self._size(self._inverse)
        if not all(float(e.rad()) < 1e-40 * size for e in self._parts(self._inverse)):
            raise ArithmeticError("the intervals of the oracle have grown without bound")

    def _cut(self, G: Any, p: int) -> Any:
        """The projector on what is cut, by inverse iteration from the float64 vectors."""
        o = self.oracle
        V = o.Vh[self.rank :].conj().T if self.tall else o.U[:, self.rank :]
        start = self._flint(np.ascontiguousarray(V))
        shifted = G + self._identity(p, self._scalar(2.0**-200 * o.norm**2))
        inverse = shifted.inv()
        across = self._adjoint_of(start)
        V = start
        for _ in range(60):
            W = inverse * V
            W = W * (across * W).inv()
            change = self._size(W - V)
            V = W.mid()
            if change < 1e-48:
                break
        else:
            raise ArithmeticError("the inverse iteration of the oracle did not settle")
        VH = self._adjoint_of(V)
        return V * (VH * V).inv() * VH

    @_timed
    def pinv(self, y: Array) -> Array:
        """A⁺y of one y, rounded to double precision at the end."""
        if np.iscomplexobj(y) and not self.complex:
            return self.pinv(y.real) + 1j * self.pinv(y.imag)
        b = self._column(y)
        return self._numpy(
            self._inverse * self._kept(self.AH * b)
            if self.tall
            else self.AH * (self._inverse * self._kept(b))
        )

    @_timed
    def adjoint(self, x: Array) -> Array:
        """(A⁺)ᴴx of one x."""
        if np.iscomplexobj(x) and not self.complex:
            return self.adjoint(x.real) + 1j * self.adjoint(x.imag)
        b = self._column(x)
        return self._numpy(
            self.A * (self._inverse * self._kept(b))
            if self.tall
            else self._inverse * self._kept(self.A * b)
        )

    def _kept(self, b: Any) -> Any:
        return b if self.P0 is None else b - self.P0 * b

    def _flint(self, M: Array) -> Any:
        if self.complex:
            values = [flint.acb(complex(v).real, complex(v).imag) for v in M.ravel()]
            return flint.acb_mat(*M.shape, values)
        return flint.arb_mat(*M.shape, M.ravel().tolist())

    def _column(self, v: Array) -> Any:
        return self._flint(v.reshape(-1, 1))

    def _adjoint_of(self, M: Any) -> Any:
        T = M.transpose()
        if not self.complex:
            return T
        return flint.acb_mat(T.nrows(), T.ncols(), [v.conjugate() for v in T.entries()])

    def _scalar(self, value: float) -> Any:
        return flint.acb(value) if self.complex else flint.arb(value)

    def _identity(self, p: int, value: Any) -> Any:
        kind = flint.acb_mat if self.complex else flint.arb_mat
        return kind(p, p, [value if i == j else 0 for i in range(p) for j in range(p)])

    def _parts(self, M: Any) -> list[Any]:
        """Real and imaginary parts of the entries."""
        if not self.complex:
            return list(M.entries())
        return [part for e in M.entries() for part in (e.real, e.imag)]

    def _numpy(self, M: Any) -> Array:
        """(rows,) in double precision."""
        entries = M.entries()
        if self.complex:
            return np.array([complex(float(e.real.mid()), float(e.imag.mid())) for e in entries])
        return np.array([float(e.mid()) for e in entries])

    def _size(self, M: Any) -> float:
        return max(
            (abs(complex(e)) if self.complex else abs(float(e)) for e in M.entries()), default=0.0
        )
