"""Ratios of one run beside those of another: a time alone depends on the machine, a ratio less."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

LIMIT = 1.25
"""How much worse a ratio may be before it is told: medians of one machine differ by up to 15 %."""

_RATIO = re.compile(r"/(?!s\b)|\b(pairs|ratio|solves|calls)\b")
_TIME = re.compile(r", [mn]?s$")
_NUMBER = re.compile(r"-?\d[\d,]*\.?\d*(e-?\d+)?")


def worse(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """A sentence for each ratio that has grown by more than a quarter.

    Columns are ratios where their head has a "/", "pairs", "ratio", "solves" or "calls", and no
    unit of time; less is better in all.  Where quartiles stand behind a ratio, "1.05 (0.98–1.12)",
    even the lower one has to have grown so.  A row is known by its words, one of several with the
    same words by its place among them.  What one of the two runs lacks is passed over.
    """
    old = dict(_ratios(before))
    return [
        f"{' · '.join(key)}: {found.value:g}, was {old[key].value:g}"
        for key, found in _ratios(now)
        if key in old and found.low > LIMIT * old[key].value > 0
    ]


class _Found(NamedTuple):
    value: float
    low: float


def _ratios(found: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], _Found]]:
    seen: Counter[tuple[str, ...]] = Counter()
    for name, each in found.items():
        for table in each["tables"]:
            heads = table["header"]
            ratios = [i for i, head in enumerate(heads) if i and _is_ratio(head)]
            first = ratios[0] if ratios else 0
            for row in table["rows"]:
                words = [c for c in row[:first] if not _NUMBER.fullmatch(c.removesuffix(" !"))]
                known = name, table["title"], *(words or row[:1])
                seen[known] += 1
                place = [f"row {seen[known]} of these"] if seen[known] > 1 else []
                for i in ratios:
                    value, _, spread = row[i].partition(" (")
                    if number := _NUMBER.match(value):
                        low = _NUMBER.match(spread) or number
                        each = (float(n[0].replace(",", "")) for n in (number, low))
                        yield (*known, *place, heads[i]), _Found(*each)


def _is_ratio(head: str) -> bool:
    return bool(_RATIO.search(head)) and not _TIME.search(head)
