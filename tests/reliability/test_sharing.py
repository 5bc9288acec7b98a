"""One factor for many: threads, processes started anew, runs of the same program."""

from __future__ import annotations

import hashlib
import multiprocessing
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from .problems import INVERSES, data

ROOT = Path(__file__).parents[2]
TOLD = """
import torch; torch.set_num_threads(1)
from tests.reliability.test_sharing import digest
from tests.reliability.problems import INVERSES
print(*(digest(make()) for make in INVERSES.values()))
"""


def digest(inverse) -> str:
    return hashlib.sha256(inverse(data(inverse)).numpy().tobytes()).hexdigest()


def _solved(pickled: bytes) -> str:
    torch.set_num_threads(1)
    return digest(pickle.loads(pickled))


@pytest.mark.parametrize("method", INVERSES)
def test_eight_threads_and_one_factor(method: str) -> None:
    inverse = INVERSES[method]()
    pieces = [data(inverse, batch=1 + i % 3) * (1 + i) for i in range(40)]
    alone = [inverse(y) for y in pieces]
    with ThreadPoolExecutor(8) as threads:
        together = [*threads.map(inverse, pieces)]
    for one, other in zip(alone, together, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("method", INVERSES)
def test_eight_threads_and_a_factor_that_is_not_there_yet(method: str) -> None:
    with ThreadPoolExecutor(8) as threads:
        inverse = INVERSES[method]()
        found = [*threads.map(lambda _: digest(inverse), range(8))]
    assert {*found} == {digest(INVERSES[method]())}


def test_a_process_started_anew_answers_to_the_bit() -> None:
    inverses = [make() for make in INVERSES.values()]
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        there = pool.map(_solved, [pickle.dumps(inverse) for inverse in inverses])
    assert there == [digest(inverse) for inverse in inverses]


def test_a_program_says_the_same_twice() -> None:
    runs = [
        subprocess.run([sys.executable, "-c", TOLD], cwd=ROOT, capture_output=True, check=True)
        for _ in range(2)
    ]
    assert runs[0].stdout == runs[1].stdout
    assert len({*runs[0].stdout.split()}) == len(INVERSES)
