"""Ratios of one run beside those of another: a time alone depends on the machine, a ratio less."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

LIMIT = 1.25
"""How much worse a ratio may be before it is told: medians of one machine differ by up to 15 %."""

_RATIO = re.compile(r"/(?!s\b)|\bpairs\b|\bratio\b")
_NUMBER = re.compile(r"-?\d[\d,]*\.?\d*(e-?\d+)?")


def worse(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """A sentence for each ratio that has grown by more than a quarter.

    Columns are ratios where their head has a "/", "pairs" or "ratio"; less is better in all.  What
    one of the two runs lacks is passed over.
    """
    old = dict(_ratios(before))
    return [
        f"{' · '.join(key)}: {value:g}, was {old[key]:g}"
        for key, value in _ratios(now)
        if key in old and value > LIMIT * old[key] > 0
    ]


def _ratios(found: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], float]]:
    for name, each in found.items():
        for table in each["tables"]:
            heads = table["header"]
            ratios = [i for i, head in enumerate(heads) if i and _RATIO.search(head)]
            first = ratios[0] if ratios else 0
            for row in table["rows"]:
                words = [c for c in row[:first] if not _NUMBER.fullmatch(c.removesuffix(" !"))]
                for i in ratios:
                    if number := _NUMBER.match(row[i]):
                        value = float(number[0].replace(",", ""))
                        yield (name, table["title"], *(words or row[:1]), heads[i]), value
