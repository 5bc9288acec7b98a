"""One thread, no deadline, and the same Hypothesis draws in every CI run."""

import os

import torch
from hypothesis import settings

torch.set_num_threads(1)
settings.register_profile("dev", deadline=None, max_examples=25)
settings.register_profile("ci", settings.get_profile("dev"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "dev")
