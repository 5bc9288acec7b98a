"""The inverse kernel of a kernel of whole numbers as fractions, and the equations that it solves.

The normal equations AᵀA g = Aᵀδ_d have the autocorrelation of f as their coefficients,

    Σ_j r[i − j] g[j] = f[d − i],      r[t] = Σ_s f[s + t] f[s]

g is unique, so it shares every symmetry of f (flips and exchanges of axes) that leaves d in its
place.  One unknown for each orbit of taps remains: 3 instead of 9 for a symmetric 3 × 3.  They are
found by elimination without fractions, whose entries stay minors of the matrix.

Cost: k³/3 products of long integers for k unknowns.  For taps that are no small whole numbers,
these are very long.

Source: Bareiss, "Sylvester's identity and multistep integer-preserving Gaussian elimination",
Math. Comp. 22 (1968).
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction

from torch import Tensor

Index = tuple[int, ...]

MOST_UNKNOWNS = 150
"""Unknowns, after symmetry, that are solved for in rational arithmetic (some seconds)."""


@dataclass(frozen=True)
class ExactInverse:
    """The taps of g as fractions.

    Attributes
    ----------
    taps : g[index] for every index
    residual_squared : ‖f ∗ g − δ‖²
    orbits : the sets of taps that symmetry makes equal, one an unknown
    matrix, right : whole numbers, the equations Σ_b matrix[a][b]·x_b = right[a]
    """

    taps: Mapping[Index, Fraction]
    residual_squared: Fraction
    orbits: tuple[tuple[Index, ...], ...]
    matrix: tuple[tuple[int, ...], ...]
    right: tuple[int, ...]

    def equations(self) -> str:
        """The equations, the taps that share an unknown, and the solution, as text.

        Examples
        --------
        >>> import torch
        >>> from unconv.fir import inverse_kernel
        >>> print(inverse_kernel(torch.tensor([1, 2, 1]), (3,), exact=True).exact.equations())
        7·g[0] + 4·g[1] = 1
        8·g[0] + 6·g[1] = 2
        with g[0] = g[2]
        g[0] = -1/5
        g[1] = 3/5
        ‖f ∗ g − δ‖² = 1/5
        """
        names = [_name(orbit[0]) for orbit in self.orbits]
        lines = [
            f"{_sum_of(row, names)} = {b}" for row, b in zip(self.matrix, self.right, strict=True)
        ]
        equal = [" = ".join(map(_name, orbit)) for orbit in self.orbits if len(orbit) > 1]
        lines += [f"with {line}" for line in equal]
        for name, orbit in zip(names, self.orbits, strict=True):
            lines.append(f"{name} = {self.taps[orbit[0]]}")
        return "\n".join([*lines, f"‖f ∗ g − δ‖² = {self.residual_squared}"])


def solve_exactly(kernel: Tensor, size: Index, delay: Index) -> ExactInverse:
    """The taps of g for one channel; every floating-point number is taken as the fraction it is.

    kernel : (*k), real
    """
    taps = _fractions(kernel)
    shape = tuple(kernel.shape)
    orbits = _orbits(_symmetries(taps, shape, size, delay), size)
    if len(orbits) > MOST_UNKNOWNS:
        raise ValueError(
            f"exact=True solves at most {MOST_UNKNOWNS} equations in rational arithmetic, size="
            f"{size} has {len(orbits)}; use a smaller size or leave exact out."
        )
    matrix, right = _equations(taps, orbits, delay)
    values = _solve(matrix, right)
    found = {i: x for orbit, x in zip(orbits, values, strict=True) for i in orbit}
    reached = sum((x * taps.get(_minus(delay, i), Fraction(0)) for i, x in found.items()), _ZERO)
    return ExactInverse(found, 1 - reached, orbits, matrix, right)


_ZERO = Fraction(0)


def _fractions(kernel: Tensor) -> dict[Index, Fraction]:
    """The taps that are not zero."""
    indices = itertools.product(*map(range, kernel.shape))
    values = map(Fraction, kernel.detach().flatten().tolist())
    return {i: value for i, value in zip(indices, values, strict=True) if value}


# --- symmetry
def _symmetries(
    taps: Mapping[Index, Fraction], shape: Index, size: Index, delay: Index
) -> list[Callable[[Index], Index]]:
    """Exchanges and flips of axes that keep f and the delay, as maps of the indices of g."""
    full = tuple(k + n - 1 for k, n in zip(shape, size, strict=True))
    axes = range(len(size))
    found = []
    for order in itertools.permutations(axes):
        if any((shape[a], size[a]) != (shape[order[a]], size[order[a]]) for a in axes):
            continue
        for flips in itertools.product((False, True), repeat=len(size)):
            turn_taps, turn, turn_full = (_turn(order, flips, n) for n in (shape, size, full))
            if turn_full(delay) == delay and all(
                taps.get(turn_taps(i)) == value for i, value in taps.items()
            ):
                found.append(turn)
    return found


def _turn(order: Index, flips: tuple[bool, ...], sizes: Index) -> Callable[[Index], Index]:
    def turn(i: Index) -> Index:
        return tuple(
            n - 1 - i[a] if flip else i[a] for a, flip, n in zip(order, flips, sizes, strict=True)
        )

    return turn


def _orbits(
    symmetries: list[Callable[[Index], Index]], size: Index
) -> tuple[tuple[Index, ...], ...]:
    orbits = {tuple(sorted({s(i) for s in symmetries}))
              for i in itertools.product(*map(range, size))}  # fmt: skip
    return tuple(sorted(orbits))


# --- the equations
def _equations(
    taps: Mapping[Index, Fraction], orbits: tuple[tuple[Index, ...], ...], delay: Index
) -> tuple[tuple[tuple[int, ...], ...], tuple[int, ...]]:
    """The normal equations of the first tap of each orbit, in whole numbers."""
    r: defaultdict[Index, Fraction] = defaultdict(Fraction)
    for (i, a), (j, b) in itertools.product(taps.items(), repeat=2):
        r[_minus(i, j)] += a * b
    rows = []
    for first, *_ in orbits:
        row = [sum((r.get(_minus(first, j), _ZERO) for j in orbit), _ZERO) for orbit in orbits]
        rows.append([*row, taps.get(_minus(delay, first), _ZERO)])
    whole = [_whole(row) for row in rows]
    return tuple(row[:-1] for row in whole), tuple(row[-1] for row in whole)


def _whole(row: list[Fraction]) -> tuple[int, ...]:
    """A row of fractions as whole numbers: times the common denominator of its entries."""
    common = math.lcm(*(v.denominator for v in row))
    return tuple(int(v * common) for v in row)


def _solve(matrix: tuple[tuple[int, ...], ...], right: tuple[int, ...]) -> list[Fraction]:
    """Eliminate in whole numbers: two-by-two minors, which the pivot before divides exactly.

    No pivoting: the matrix is a positive diagonal times a positive definite one, AᵀA on the space
    of symmetric g, so that all leading minors are positive.
    """
    M = [[*row, b] for row, b in zip(matrix, right, strict=True)]
    n, before = len(M), 1
    for k in range(n):
        pivot = M[k][k]
        for i in range(k + 1, n):
            factor = M[i][k]
            M[i] = [(pivot * a - factor * b) // before for a, b in zip(M[i], M[k], strict=True)]
        before = pivot
    x = [_ZERO] * n
    for k in reversed(range(n)):
        rest = sum((M[k][j] * x[j] for j in range(k + 1, n)), _ZERO)
        x[k] = (M[k][n] - rest) / M[k][k]
    return x


def _minus(i: Index, j: Index) -> Index:
    return tuple(a - b for a, b in zip(i, j, strict=True))


# --- text
def _name(i: Index) -> str:
    return f"g[{', '.join(map(str, i))}]"


def _sum_of(row: tuple[int, ...], names: list[str]) -> str:
    terms = [(a, name) for a, name in zip(row, names, strict=True) if a]
    text = "".join(f" {'-' if a < 0 else '+'} {abs(a)}·{name}" for a, name in terms)
    return text[3:] if terms[0][0] > 0 else "-" + text[3:]
