"""The sparse matrix of a convolution, beside what one would write with SciPy.

Must hold: the matrix of 3×3 taps on 512² within 0.3 s, and within three times its own bytes on the
way there, in every sparse layout; in 2-D and 3-D at most twice the time of the faster of two SciPy
idioms, which know zeros, odd kernels and one channel only; the same bits as both; SciPy's spsolve
and lsqr on it find the solution of `op.lstsq` to 1e-10.  Over one axis the table of that axis is
the whole matrix, and is made as carefully as the small ones.
"""

from __future__ import annotations

import itertools
import statistics
import subprocess
import sys
from collections.abc import Callable
from functools import partial

import numpy as np
import scipy.sparse as sp
import torch
from scipy.sparse.linalg import lsqr, spsolve
from torch import Tensor

import unconv
from unconv import conv_matrix
from unconv.operators.matrix import operator_matrix

from .common import against, medians, milliseconds, ratio, relative_error, table, turns

SIZE, SECONDS, TIMES, AGREE, AS_FAST = 512, 0.3, 3.0, 1e-10, 2.0
SPARSE = ("sparse_csr", "sparse_coo", "scipy")
SHAPES = {  # weight, picture
    "3×3, 512²": ((3, 3), (512, 512)),
    "9×9, 256²": ((9, 9), (256, 256)),
    "16 channels, 3×3, 64²": ((16, 16, 3, 3), (64, 64)),
    "3×3×3, 64³": ((3, 3, 3), (64, 64, 64)),
    "3, 10⁶": ((3,), (10**6,)),
}
PEAK = """
import torch
from benchmarks.common import peak_memory
from unconv import conv_matrix
K = torch.randn({kernel}, dtype=torch.float64)
conv_matrix(K[{centre}], {small}, "same", layout={layout!r})
before = peak_memory()
A = conv_matrix(K, {size}, "same", layout={layout!r})
print(peak_memory() - before)
"""


def triples(weight: np.ndarray, size: tuple[int, ...]) -> sp.csr_array:
    """The usual SciPy code: an index array a tap, (value, (row, column)), then CSR."""
    index = np.arange(np.prod(size)).reshape(size)
    rows, columns, values = [], [], []
    for tap in np.ndindex(weight.shape):
        shift = [t - (k - 1) // 2 for t, k in zip(tap, weight.shape, strict=True)]
        inner = [(max(0, -s), n - max(0, s)) for s, n in zip(shift, size, strict=True)]
        rows.append(index[tuple(slice(a, b) for a, b in inner)].ravel())
        moved = (slice(a + s, b + s) for (a, b), s in zip(inner, shift, strict=True))
        columns.append(index[tuple(moved)].ravel())
        values.append(np.full(len(rows[-1]), weight[tap]))
    where = np.concatenate(rows), np.concatenate(columns)
    return sp.coo_array((np.concatenate(values), where), (index.size, index.size)).tocsr()


def kronecker(weight: np.ndarray, size: tuple[int, ...]) -> sp.csr_array:
    """The other: Σ w[t] · shift₁ ⊗ shift₂ ⊗ …"""
    total = sp.csr_array((np.prod(size), np.prod(size)))
    for tap in np.ndindex(weight.shape):
        product = sp.eye_array(1, format="csr")
        for t, k, n in zip(tap, weight.shape, size, strict=True):
            product = sp.kron(product, sp.eye_array(n, k=t - (k - 1) // 2), format="csr")
        total = total + weight[tap] * product
    return total


def bytes_of(A: Tensor | sp.csr_array) -> int:
    if isinstance(A, sp.csr_array):
        return A.data.nbytes + A.indices.nbytes + A.indptr.nbytes
    if A.layout == torch.sparse_csr:
        parts = A.values(), A.col_indices(), A.crow_indices()
    else:
        parts = A.values(), A.indices()
    return sum(t.nbytes for t in parts)


def peak(kernel: tuple[int, ...], size: tuple[int, ...], layout: str) -> int:
    """Bytes that a fresh process needs at most, beyond what it had."""
    centre = ", ".join(["..."] + [":1"] * len(size))
    values = {"kernel": kernel, "size": size, "small": (2,) * len(size), "layout": layout}
    script = PEAK.format(**values, centre=centre)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    return int(done.stdout)


def sizes() -> bool:
    """Seconds and bytes, in every layout."""
    rows, good = [], True
    for (name, (kernel, size)), layout in itertools.product(SHAPES.items(), SPARSE):
        K = torch.randn(kernel, dtype=torch.float64)
        build = partial(conv_matrix, K, size, "same", layout=layout)
        seconds = medians({"ours": build}, rounds=9, seconds=1.0)["ours"]
        A = build()
        entries = A.nnz if layout == "scipy" else A.values().numel()
        result = bytes_of(A)
        times = peak(kernel, size, layout) / result
        judged = name.endswith(f"{SIZE}²")
        good &= not judged or (seconds <= SECONDS and times <= TIMES)
        limit, most = (SECONDS, TIMES) if judged else (np.inf, np.inf)
        cells = [against(seconds, limit), milliseconds(seconds / entries * 1e6)]
        rows.append([name, layout, str(entries), *cells, against(times, most)])
    header = ["kernel, size", "layout", "entries", "s", "ns an entry", "peak / result"]
    print(table("building the matrix", header, rows), flush=True)
    return good


def peers() -> bool:
    """Beside two idioms of SciPy, in its own layout."""
    rows, good = [], True
    for name, (kernel, size) in SHAPES.items():
        if len(kernel) != len(size):
            continue
        K = torch.randn(kernel, dtype=torch.float64)
        ours: Callable[[], sp.csr_array] = partial(conv_matrix, K, size, "same", layout="scipy")
        others = {f.__name__: partial(f, K.numpy(), size) for f in (triples, kronecker)}
        times = turns({"ours": ours, **others}, rounds=9)
        middle = {name: statistics.median(values) for name, values in times.items()}
        same = all(abs(ours() - run()).max() == 0 for run in others.values())
        found = ratio(times, "ours", min(others, key=middle.__getitem__))
        limit = AS_FAST if len(size) > 1 else np.inf
        good &= same and found.value <= limit
        cells = [*map(milliseconds, middle.values()), found.shown(limit)]
        rows.append([name, *cells, "yes" if same else "no !"])
    header = ["kernel, size", "ours", "coo triples, tocsr", "sum of kron", "ratio", "same bits"]
    print(table("milliseconds, zeros, 'scipy'", header, rows), flush=True)
    return good


def solvers() -> bool:
    """SciPy's solvers on the matrix against `op.lstsq`, relative difference of the solutions."""
    rows, good = [], True
    generator = torch.Generator().manual_seed(0)
    K = 0.1 * torch.randn(2, 2, 3, 3, dtype=torch.float64, generator=generator)
    K[[0, 1], [0, 1], 1, 1] += 1
    for boundary in ("zeros", "circular", "reflect", "replicate", "symmetric"):
        op = unconv.ConvOperator(K, (64, 64), padding=1, padding_mode=boundary)
        y = torch.randn(1, *op.range_shape, dtype=torch.float64, generator=generator)
        A, b, expected = operator_matrix(op, "scipy"), y.flatten().numpy(), op.lstsq(y).solution
        found = {
            "spsolve": spsolve(A.tocsc(), b),
            "lsqr": lsqr(A, b, atol=1e-15, btol=1e-15, iter_lim=10**4)[0],
        }
        errors = [relative_error(torch.from_numpy(x), expected.flatten()) for x in found.values()]
        good &= max(errors) <= AGREE
        rows.append([boundary, *(against(e, AGREE, ".1e") for e in errors)])
    print(table("2 channels, 64²: distance from op.lstsq", ["", "spsolve", "lsqr"], rows))
    return good


def main() -> bool:
    """Print all tables; whether the figures hold."""
    return all([sizes(), peers(), solvers()])
