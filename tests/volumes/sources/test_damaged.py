"""Damaged volumes: what is read is what another reader reads; all else is refused in a sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

kinds = pytest.importorskip("tests.mutants.kinds")


@pytest.mark.parametrize("name", [name for name in kinds.KINDS if name.endswith("volume")])
@pytest.mark.parametrize("draws", [60, pytest.param(4000, marks=pytest.mark.slow)])
def test_damage_is_refused_or_changes_nothing_unseen(
    tmp_path: Path, capfd: pytest.CaptureFixture, name: str, draws: int
) -> None:
    rng, refusals = np.random.default_rng(7), 0
    for _ in range(draws):
        refusals += kinds.judged(kinds.KINDS[name], rng, tmp_path) is not None
        assert capfd.readouterr() == ("", "")
    assert draws / 5 < refusals < draws
