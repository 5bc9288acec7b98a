"""Padding modes: what stands outside the domain, each sample a sum over samples of the domain.

    x̃[i] = Σ c · x[j]        for i < 0 and i ≥ n, a few pairs (j, c) for every i

A mode is one `PaddingMode` in `MODES`, and no arithmetic of an operator or an inverse asks for its
name: E and Eᴴ, the matrix of A, ghosts, seams and bounds read the pairs, and whatever serves some
modes alone asks for a trait that is derived from them (`Pads`, `PaddingMode.periodic`).

In SciPy's and NumPy's words `reflect` is 'mirror' (d c b | a b c d), `symmetric` is 'reflect' of
scipy.ndimage (c b a | a b c), `replicate` is 'nearest' or 'edge', `circular` is 'wrap' and
`antireflective` is 'reflect' with reflect_type='odd', which continues a picture with its slope.

Source: Serra-Capizzano, "A note on antireflective boundary conditions and fast deblurring models",
SIAM J. Sci. Comput. 25 (2003), for the last one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np

Terms = tuple[tuple[int, float], ...]
"""Pairs (sample of the domain, coefficient), no sample twice."""

_ROUNDED_UP = 1 + 1e-12  # a norm that round-off may have made too small


@dataclass(frozen=True)
class PaddingMode:
    """One way to continue n samples, the same along every axis.

    Attributes
    ----------
    outside
        (i, n) -> pairs (j, c), no j twice: x̃[i] = Σ c·x[j] for any i < 0 or i >= n.  None: zeros,
        which engines append by themselves.
    most
        n -> how many samples an operator may add at each end; None: any number.
    """

    outside: Callable[[int, int], Terms] | None
    most: Callable[[int], int] | None = None

    @property
    def periodic(self) -> bool:
        """Whether lines go on periodically, also where an operator adds no samples to them.

        Three samples tell: their mirror images differ from the next period.
        """
        rule = self.outside
        if rule is None:
            return False
        return all(rule(i, 3) == _circular(i, 3) for i in (-3, -2, -1, 3, 4, 5))


def _circular(i: int, n: int) -> Terms:
    return ((i % n, 1.0),)


def _replicate(i: int, n: int) -> Terms:
    return ((min(max(i, 0), n - 1), 1.0),)


def _reflect(i: int, n: int) -> Terms:  # d c b | a b c d | c b a: period 2n − 2
    i %= max(2 * n - 2, 1)  # one sample is all there is
    return ((min(i, abs(2 * n - 2 - i)), 1.0),)


def _symmetric(i: int, n: int) -> Terms:  # c b a | a b c d | d c b: period 2n
    i %= 2 * n
    return ((min(i, 2 * n - 1 - i), 1.0),)


def _antireflective(i: int, n: int) -> Terms:
    """2 x[0] − x[−i] and 2 x[n−1] − x[2(n−1) − i], over and over: a period and a slope."""
    if n == 1:
        return ((0, 1.0),)
    turns, i = divmod(i, 2 * n - 2)
    coefficients = {0: -2.0 * turns, n - 1: 2.0 * turns}
    if i >= n:
        coefficients[n - 1] += 2.0
    sign = 1.0 if i < n else -1.0
    j = i if i < n else 2 * n - 2 - i
    coefficients[j] = coefficients.get(j, 0.0) + sign
    return tuple((j, c) for j, c in sorted(coefficients.items()) if c)


MODES: dict[str, PaddingMode] = {
    "zeros": PaddingMode(None),
    "circular": PaddingMode(_circular),
    "reflect": PaddingMode(_reflect, most=lambda n: n - 1),
    "replicate": PaddingMode(_replicate),
    "symmetric": PaddingMode(_symmetric, most=lambda n: n),
    "antireflective": PaddingMode(_antireflective, most=lambda n: n - 1),
}
"""Every padding mode by its name."""


def check_room(mode: str, n: int, pair: tuple[int, int], axis: int) -> None:
    """Refuse to pad an axis of n samples by more (before, behind) than its mode can."""
    most = MODES[mode].most
    if most is not None and max(pair) > most(n):
        raise ValueError(
            f"padding_mode={mode!r} can pad at most {most(n)} samples of an axis with {n}, got "
            f"padding {pair} along axis {axis}; use less padding or padding_mode='replicate'."
        )


class Layer(NamedTuple):
    """One pair of each padded sample; a sample that has no more of them has the coefficient 0."""

    sources: tuple[int, ...]
    factors: tuple[float, ...]


@dataclass(frozen=True)
class Pads:
    """The padded samples of one axis, and what is special about them.

    Attributes
    ----------
    n : samples of the domain
    before : how many stand before the domain; the others stand behind it
    terms : the pairs of each, from the first to the last

    Examples
    --------
    >>> pads_of("reflect", 4, 2, 1).terms
    (((2, 1.0),), ((1, 1.0),), ((2, 1.0),))
    >>> pads_of("antireflective", 4, 1, 1).terms
    (((0, 2.0), (1, -1.0)), ((2, -1.0), (3, 2.0)))
    """

    n: int
    before: int
    terms: tuple[Terms, ...]

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """The pairs one below the other: as many layers as the longest sum has terms."""
        found = []
        for t in range(max(map(len, self.terms), default=0)):
            pairs = [terms[t] if t < len(terms) else (0, 0.0) for terms in self.terms]
            found.append(Layer(tuple(j for j, _ in pairs), tuple(float(c) for _, c in pairs)))
        return tuple(found)

    @property
    def coordinates(self) -> list[int]:
        """Where they stand, counted from the first sample of the domain."""
        behind = len(self.terms) - self.before
        return [*range(-self.before, 0), *range(self.n, self.n + behind)]

    # --- traits
    @cached_property
    def copy(self) -> bool:
        """Whether each of them equals one sample of the domain."""
        return all(len(terms) == 1 and terms[0][1] == 1 for terms in self.terms)

    @cached_property
    def wrap(self) -> bool:
        """Whether they continue the domain periodically."""
        return self._follow(_circular)

    @cached_property
    def mirror(self) -> bool:
        """Whether they mirror the domain about its outer edges once, the edge samples repeated."""
        return max(self.before, len(self.terms) - self.before) <= self.n and self._follow(
            _symmetric
        )

    def _follow(self, rule: Callable[[int, int], Terms]) -> bool:
        every = zip(self.terms, self.coordinates, strict=True)
        return all(terms == rule(i, self.n) for terms, i in every)

    @cached_property
    def repeat_edge(self) -> bool:
        """Whether the samples next to the domain, if there are any, equal its outer ones."""
        first = self.terms[self.before - 1 : self.before], self.terms[self.before :][:1]
        edges = ((0, 1.0),), ((self.n - 1, 1.0),)
        return all(not t or t[0] == edge for t, edge in zip(first, edges, strict=True))

    @cached_property
    def keep_constants(self) -> bool:
        """Whether they continue a constant by itself: the coefficients of each have the sum 1."""
        return all(math.fsum(c for _, c in terms) == 1 for terms in self.terms)

    @cached_property
    def nonnegative(self) -> bool:
        """Whether no coefficient is negative."""
        return all(c >= 0 for terms in self.terms for _, c in terms)

    @cached_property
    def integral(self) -> bool:
        """Whether all coefficients are integers, so that integers stay integers."""
        return all(float(c).is_integer() for terms in self.terms for _, c in terms)

    def reversible(self, count: int) -> bool:
        """Whether `count` samples behind the domain mirror those before it, pair by pair."""
        before = self.terms[self.before - count : self.before]
        behind = self.terms[self.before : self.before + count]
        turned = [sorted((self.n - 1 - j, c) for j, c in terms) for terms in reversed(behind)]
        return [sorted(terms) for terms in before] == turned

    # --- norms of E = [G; 1; H], of all padded samples and the domain
    @cached_property
    def norm(self) -> float:
        """‖E‖, from above: how much a padded line can be larger than the line."""
        if self.copy:  # EᴴE is diagonal
            return math.sqrt(self.sums)
        G = np.zeros((len(self.terms), self.n))
        for row, terms in enumerate(self.terms):
            for j, c in terms:
                G[row, j] = c
        G = G[:, G.any(0)]
        largest = float(np.linalg.norm(G, 2)) if G.size else 0.0
        return math.hypot(1, largest) * _ROUNDED_UP

    @cached_property
    def sums(self) -> float:
        """max(‖E‖₁, ‖E‖_∞): the largest sum of absolute values in a row or a column."""
        columns = [1.0] * self.n
        for terms in self.terms:
            for j, c in terms:
                columns[j] += abs(c)
        rows = (math.fsum(abs(c) for _, c in terms) for terms in self.terms)
        return max(*columns, *rows, 1.0)


@lru_cache(maxsize=1024)
def pads_of(mode: str, n: int, before: int, after: int) -> Pads:
    """The padded samples of an axis with n samples, of a mode that is not zeros."""
    outside = MODES[mode].outside
    coordinates = Pads(n, before, ((),) * (before + after)).coordinates
    assert outside is not None or not coordinates, f"{mode} has no sources"
    return Pads(n, before, tuple(outside(i, n) for i in coordinates) if outside else ())
