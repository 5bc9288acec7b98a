"""One thread, and the same random numbers in every run: `make test` says the same twice.

`make test-all` sets HYPOTHESIS_PROFILE=free, under which Hypothesis draws anew each time.
"""

import gc
import os

import pytest
import torch
from hypothesis import register_random, settings

torch.set_num_threads(1)


class _TorchRandom:
    """Torch's global generator, for Hypothesis to seed before every example."""

    seed = staticmethod(torch.manual_seed)
    getstate = staticmethod(torch.get_rng_state)
    setstate = staticmethod(torch.set_rng_state)


TORCH_RANDOM = _TorchRandom()  # Hypothesis keeps a weak reference only
register_random(TORCH_RANDOM)
settings.register_profile("free", deadline=None, max_examples=25)
settings.register_profile("fixed", settings.get_profile("free"), derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))


def pytest_collection_finish() -> None:
    """What was collected stays: the garbage collector need not look through it again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)
