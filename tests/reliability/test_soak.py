"""Ten thousand solves and factors take the memory of a few."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

from .problems import INVERSES, data

STATUS = Path("/proc/self/status")
MOST = 3_000_000
"""Bytes that a heap may grow by from one moment to another without a leak; of 10,000 answers of
24×20 in two channels, kept, 77 MB would stay."""

pytestmark = pytest.mark.skipif(not STATUS.exists(), reason="needs Linux's resident memory")


def _resident() -> int:
    gc.collect()
    return 1024 * int(STATUS.read_text().split("VmRSS:")[1].split()[0])


@pytest.mark.parametrize("method", INVERSES)
@pytest.mark.parametrize("solves", [25, pytest.param(10_000, marks=pytest.mark.slow)])
def test_solves_leave_no_memory_behind(method: str, solves: int) -> None:
    inverse = INVERSES[method]()
    y = data(inverse)
    for _ in range(15):
        inverse(y)
    before = _resident()
    for _ in range(solves):
        inverse(y)
    assert _resident() - before < MOST


@pytest.mark.parametrize("method", INVERSES)
@pytest.mark.parametrize("factors", [4, pytest.param(300, marks=pytest.mark.slow)])
def test_factors_are_gone_with_their_operators(method: str, factors: int) -> None:
    for _ in range(3):
        inverse = INVERSES[method]()
        inverse(data(inverse))
    before = _resident()
    for _ in range(factors):
        inverse = INVERSES[method]()
        inverse(data(inverse))
    assert _resident() - before < MOST
